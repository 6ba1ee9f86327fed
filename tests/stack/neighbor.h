// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A station that has every address: answers what a stack under test asks its neighbors.

#pragma once

#include <stdint.h>

#define NEIGHBOR_ANSWER_MAX 128

// The answer to an ARP request (RFC 826) or neighbor solicitation (RFC 4861) that a stack sent, as
// a frame for it; its length, 0: it is another frame, or about an address of the asker's own.
uint32_t neighbor_answer(
	const uint8_t *frame,
	uint32_t len,
	const uint8_t mac[6],
	uint8_t out[NEIGHBOR_ANSWER_MAX]
);
