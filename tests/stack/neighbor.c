// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Answers to ARP requests and neighbor solicitations. Pure.

#include "tests/stack/neighbor.h"

#include <rte_ether.h>
#include <rte_icmp.h>
#include <rte_ip.h>
#include <string.h>

#define ETHER 14
#define ARP_LEN 28
#define SOLICIT 135
#define ADVERT 136
#define ADVERT_LEN 32
#define SOLICITED_OVERRIDE 0x60

static uint32_t arp_answer(const uint8_t *frame, uint32_t len, const uint8_t mac[6], uint8_t *out)
{
	static const uint8_t none[4];
	const uint8_t *sender = frame + ETHER + 14, *target = frame + ETHER + 24;

	if (len < ETHER + ARP_LEN || frame[ETHER + 7] != 1 || memcmp(sender, none, 4) == 0 ||
	    memcmp(sender, target, 4) == 0)
		return 0;
	memcpy(out, frame, ETHER + ARP_LEN);
	memcpy(out, frame + 6, 6);
	memcpy(out + 6, mac, 6);
	out[ETHER + 7] = 2;
	memcpy(out + ETHER + 8, mac, 6);
	memcpy(out + ETHER + 14, target, 4);
	memcpy(out + ETHER + 18, frame + 6, 6);
	memcpy(out + ETHER + 24, sender, 4);
	return ETHER + ARP_LEN;
}

static uint32_t
solicit_answer(const uint8_t *frame, uint32_t len, const uint8_t mac[6], uint8_t *out)
{
	static const uint8_t none[16];
	const struct rte_ipv6_hdr *ask = (const struct rte_ipv6_hdr *)(frame + ETHER);
	struct rte_ipv6_hdr *ip = (struct rte_ipv6_hdr *)(out + ETHER);
	const uint8_t *target = frame + ETHER + 40 + 8;
	uint8_t *nd = out + ETHER + 40;
	uint16_t sum;

	if (len < ETHER + 40 + 24 || frame[ETHER + 6] != 58 || frame[ETHER + 40] != SOLICIT ||
	    memcmp(&ask->src_addr, none, 16) == 0)
		return 0;
	memset(out, 0, ETHER + 40 + ADVERT_LEN);
	memcpy(out, frame + 6, 6);
	memcpy(out + 6, mac, 6);
	out[12] = 0x86;
	out[13] = 0xdd;
	out[ETHER] = 0x60;
	ip->payload_len = rte_cpu_to_be_16(ADVERT_LEN);
	ip->proto = 58;
	ip->hop_limits = 255;
	memcpy(&ip->src_addr, target, 16);
	memcpy(&ip->dst_addr, &ask->src_addr, 16);
	nd[0] = ADVERT;
	nd[4] = SOLICITED_OVERRIDE;
	memcpy(nd + 8, target, 16);
	nd[24] = 2; // target link-layer address
	nd[25] = 1;
	memcpy(nd + 26, mac, 6);
	sum = rte_ipv6_udptcp_cksum(ip, nd);
	memcpy(nd + 2, &sum, sizeof(sum));
	return ETHER + 40 + ADVERT_LEN;
}

uint32_t neighbor_answer(
	const uint8_t *frame,
	uint32_t len,
	const uint8_t mac[6],
	uint8_t out[NEIGHBOR_ANSWER_MAX]
)
{
	if (len > ETHER && frame[12] == 0x08 && frame[13] == 0x06)
		return arp_answer(frame, len, mac, out);
	if (len > ETHER && frame[12] == 0x86 && frame[13] == 0xdd)
		return solicit_answer(frame, len, mac, out);
	return 0;
}
