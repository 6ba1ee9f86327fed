// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Segments of the TCP fuzzer's peers, and the blocks that the box tells them of.

#include "tests/fuzz/tcp_peer.h"

#include <string.h>

#include "tests/fuzz/fuzz.h"

void peer_send(struct tcp_box *box, unsigned k, const struct segment *s)
{
	struct peer *p = &box->peer[k];
	const struct packet_ip ip = {
		.src = packet_addr(p->v6, 2),
		.dst = packet_addr(p->v6, 1),
		.from = 2,
		.proto = 6,
		.hop_limit = 64,
	};
	uint8_t frame[PACKET_MAX] = {0}, *tcp;
	size_t len = 20 + s->options_len + s->len, head = packet_head(frame, &ip, len);
	uint32_t seq = p->iss + 1 + s->off - ((s->flags & SYN) != 0), end = s->off + s->len;

	tcp = frame + head;
	packet_put16(packet_put16(tcp, p->theirs), p->ours);
	packet_put32(packet_put32(tcp + 4, seq), (s->flags & ACK) ? p->irs + 1 + s->ack : 0);
	tcp[12] = (uint8_t)((s->short_by > 0 ? 5U - s->short_by : (20 + s->options_len) / 4) << 4);
	tcp[13] = s->flags;
	packet_put16(tcp + 14, s->wnd);
	memcpy(tcp + 20, s->options, s->options_len);
	for (uint32_t i = 0; i < s->len; i++)
		tcp[20 + s->options_len + i] = peer_octet(k, s->off + i);
	packet_sum(&ip, tcp, len, 16);
	if (s->flip != UINT32_MAX)
		frame[s->flip / 8 % (head + len)] ^= (uint8_t)(1U << s->flip % 8);
	if (end < 1U << 24 && end > p->sent_max)
		p->sent_max = end;
	if ((s->flags & FIN) != 0 && end < 1U << 24) {
		p->fin_many = p->fin_many || (p->fin_sent && p->fin_at != end);
		p->fin_sent = true;
		p->fin_at = end;
	}
	tcp_box_frame(box, frame, head + len);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

void peer_sack_check(const struct peer *p, const struct packet *packet)
{
	size_t end = (size_t)(packet->l4[12] >> 4) * 4;

	for (size_t i = 20; i < end && packet->l4[i] != 0;) {
		size_t size = packet->l4[i] == 1 ? 1 : packet->l4[i + 1];

		FUZZ_CHECK(size > 0 && i + size <= end);
		for (size_t k = i + 2; packet->l4[i] == 5 && k < i + size; k += 8) {
			uint32_t from = get32(packet->l4 + k) - p->iss - 1;
			uint32_t to = get32(packet->l4 + k + 4) - p->iss - 1;

			FUZZ_CHECK((int32_t)(to - from) > 0);
			FUZZ_CHECK((int32_t)(to - p->sent_max) <= 0);
		}
		i += size;
	}
}
