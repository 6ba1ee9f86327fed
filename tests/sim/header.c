// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// PROXY headers and XCLIENT as the simulator's backends read them: by their documents, not by the
// product's own code, and as strictly as any server.

#include "tests/sim/mail.h"

#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 107
#define HEAD 16
#define TLV_CRC32C 3
#define TLV_SSL 0x20

static uint32_t be(const uint8_t *p, unsigned len)
{
	uint32_t v = 0;

	for (unsigned i = 0; i < len; i++)
		v = v << 8 | p[i];
	return v;
}

static uint32_t crc32c(const uint8_t *p, uint32_t len)
{
	uint32_t crc = UINT32_MAX;

	for (uint32_t i = 0; i < len; i++) {
		crc ^= p[i];
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ ((crc & 1) != 0 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

// Returns its length; 0: not all is there; -1: it is none.
static int line_read(const uint8_t *data, uint32_t len, struct sim_header *ret)
{
	char text[LINE_MAX_BYTES + 1] = "", family, from[64], to[64], again[160];
	const uint8_t *lf = memchr(data, '\n', len);
	unsigned sport, dport;
	uint32_t n = lf != NULL ? (uint32_t)(lf - data) + 1 : 0;

	if (n == 0)
		return len > LINE_MAX_BYTES ? -1 : 0;
	if (n > LINE_MAX_BYTES)
		return -1;
	memcpy(text, data, n);
	if (sscanf(text, "PROXY TCP%c %63s %63s %u %u", &family, from, to, &sport, &dport) != 5 ||
	    ip_addr_parse(from, &ret->client.addr) < 0 || ip_addr_parse(to, &ret->local.addr) < 0)
		return -1;
	ret->client.port = (uint16_t)sport;
	ret->local.port = (uint16_t)dport;
	snprintf(
		again,
		sizeof(again),
		"PROXY TCP%c %s %s %u %u\r\n",
		ip_addr_is_v4(&ret->client.addr) ? '4' : '6',
		from,
		to,
		sport,
		dport
	);
	return strcmp(text, again) == 0 && (strchr(from, ':') == NULL) == (family == '4') ? (int)n
											  : -1;
}

static bool tlvs_read(uint8_t *head, uint32_t at, uint32_t len, struct sim_header *ret)
{
	uint32_t crc = 0;
	bool has_crc = false;

	while (at < len) {
		uint32_t n = at + 3 <= len ? be(head + at + 1, 2) : len;

		if (at + 3 + n > len)
			return false;
		if (head[at] == TLV_CRC32C && n == 4) {
			crc = be(head + at + 3, 4);
			memset(head + at + 3, 0, 4);
			has_crc = true;
		}
		ret->tls = ret->tls || (head[at] == TLV_SSL && n >= 5 && (head[at + 3] & 1) != 0);
		at += 3 + n;
	}
	return has_crc && crc32c(head, len) == crc;
}

static int block_read(uint8_t *data, uint32_t len, struct sim_header *ret)
{
	uint32_t n, size;

	if (len < HEAD)
		return 0;
	if (memcmp(data, "\r\n\r\n\0\r\nQUIT\n", 12) != 0 || (data[12] & 0xfe) != 0x20)
		return -1;
	n = HEAD + be(data + 14, 2);
	if (len < n)
		return 0;
	ret->nobody = data[12] == 0x20;
	if (ret->nobody)
		return (int)n;
	if (data[13] != 0x11 && data[13] != 0x21)
		return -1;
	size = data[13] == 0x11 ? 4 : 16;
	if (n < HEAD + 2 * size + 4)
		return -1;
	ret->client.addr = ret->local.addr = ip_addr_from_v4(0);
	memcpy(ret->client.addr.b + 16 - size, data + HEAD, size);
	memcpy(ret->local.addr.b + 16 - size, data + HEAD + size, size);
	ret->client.port = (uint16_t)be(data + HEAD + 2 * size, 2);
	ret->local.port = (uint16_t)be(data + HEAD + 2 * size + 2, 2);
	return tlvs_read(data, HEAD + 2 * size + 4, n, ret) ? (int)n : -1;
}

bool header_take(
	struct sim *sim,
	struct tcp_stack *tcp,
	struct tcp_conn_id conn,
	enum blob_client_address way,
	struct sim_header *ret
)
{
	uint8_t data[1024];
	uint32_t len = 0, n;
	const uint8_t *p;
	int took;

	while (len < sizeof(data) && tcp_rx_peek(tcp, conn, len, &p, &n)) {
		n = n < sizeof(data) - len ? n : (uint32_t)sizeof(data) - len;
		memcpy(data + len, p, n);
		len += n;
	}
	*ret = (struct sim_header){0};
	took = way == BLOB_CLIENT_PROXY_V1 ? line_read(data, len, ret) : block_read(data, len, ret);
	if (took < 0)
		sim_fail(sim, "no PROXY header before a dialogue", way, len);
	if (took <= 0)
		return false;
	tcp_rx_drop(tcp, conn, (uint32_t)took);
	return true;
}

bool header_comes(enum blob_client_address way)
{
	return way == BLOB_CLIENT_PROXY_V1 || way == BLOB_CLIENT_PROXY_V2;
}

void xclient_take(struct sim *sim, const char *line, struct sim_header *ret)
{
	char address[64], again[160];
	unsigned port;

	*ret = (struct sim_header){.local = {.port = 25}};
	if (sscanf(line, "XCLIENT NAME=[UNAVAILABLE] PORT=%u ADDR=%63s", &port, address) != 2) {
		sim_fail(sim, "an XCLIENT that was not offered so", 0, strlen(line));
		return;
	}
	snprintf(again, sizeof(again), "XCLIENT NAME=[UNAVAILABLE] PORT=%u ADDR=%s", port, address);
	if (strcmp(again, line) != 0 ||
	    ip_addr_parse(
		    address + (strncmp(address, "IPV6:", 5) == 0 ? 5 : 0), &ret->client.addr
	    ) < 0)
		sim_fail(sim, "an XCLIENT with something more", port, strlen(line));
	ret->client.port = (uint16_t)port;
}

void header_judge(
	struct sim *sim,
	const struct ledger *ledger,
	enum blob_client_address way,
	const struct sim_header *h,
	unsigned client
)
{
	const struct ip_endpoint *at = &ledger->client_at[client];

	if (way == BLOB_CLIENT_SNAT)
		return;
	if (h->nobody || h->client.port != at->port || !ip_addr_eq(&h->client.addr, &at->addr) ||
	    h->local.port != 25)
		sim_fail(sim, "the header names another", client, h->client.port);
	if (way == BLOB_CLIENT_PROXY_V2 && h->tls != ledger->client_tls[client])
		sim_fail(sim, "the header knows nothing of TLS, or too much", client, h->tls);
}

static uint32_t block_write(const struct tcp_info *info, struct ip_endpoint *client, uint8_t *out)
{
	bool v4 = ip_addr_is_v4(&info->local.addr);
	uint32_t size = v4 ? 4 : 16, n = 2 * size + 4 + 3 + 5;
	uint8_t *p = out + HEAD;

	memcpy(out, "\r\n\r\n\0\r\nQUIT\n\x21", 13);
	out[13] = v4 ? 0x11 : 0x21;
	out[14] = 0;
	out[15] = (uint8_t)n;
	memcpy(p, client->addr.b + 16 - size, size);
	memcpy(p + size, info->remote.addr.b + 16 - size, size);
	p += 2 * size;
	p[0] = (uint8_t)(client->port >> 8);
	p[1] = (uint8_t)client->port;
	p[2] = 0;
	p[3] = 25;
	memcpy(p + 4, "\x04\0\5skip!", 8); // a TLV that says nothing
	return HEAD + n;
}

void header_send(
	struct tcp_stack *tcp,
	struct tcp_conn_id conn,
	unsigned version,
	struct ip_endpoint *ret_client
)
{
	char out[256], from[IP_ADDR_STRLEN], to[IP_ADDR_STRLEN];
	struct tcp_info info;
	uint32_t n;

	tcp_info_get(tcp, conn, &info);
	*ret_client = info.local;
	if (version == 0)
		return;
	ret_client->addr.b[14] ^= 0x55; // nobody's here
	ret_client->port ^= 0x2aaa;
	if (version == 2) {
		n = block_write(&info, ret_client, (uint8_t *)out);
	} else {
		ip_addr_format(&ret_client->addr, from);
		ip_addr_format(&info.remote.addr, to);
		n = (uint32_t)snprintf(
			out,
			sizeof(out),
			"PROXY TCP%c %s %s %u 25\r\n",
			ip_addr_is_v4(&ret_client->addr) ? '4' : '6',
			from,
			to,
			ret_client->port
		);
	}
	if (!tcp_tx_write(tcp, conn, out, n))
		abort();
}
