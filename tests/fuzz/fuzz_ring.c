// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A ring of control messages whose other side is hostile: puts, gets, and writes of any value into
// indices and messages. As long as the other side is honest the ring is a queue; when it is not,
// nothing leaves the ring, reading ends, and the ring works again. Input: commands.

#include <stdlib.h>
#include <string.h>

#include "common/abi/ring.h"
#include "tests/fuzz/fuzz.h"

struct model {
	uint32_t sent, taken; // ids, in order
	bool honest;
};

static void put(struct ctl_ring *ring, struct model *m)
{
	const struct ctl_msg msg = {.request_id = m->sent, .type = CTL_CMD_PROBE};
	uint32_t tail = ring->tail;
	bool done = ctl_ring_put(ring, &msg);

	FUZZ_CHECK(ring->tail == tail + done);
	if (m->honest)
		FUZZ_CHECK(done == (m->sent - m->taken < CTL_RING_SLOTS));
	m->sent += done;
}

static enum ctl_ring_result get(struct ctl_ring *ring, struct model *m)
{
	struct ctl_msg msg;
	uint32_t held = ring->tail - ring->head;
	enum ctl_ring_result result = ctl_ring_get(ring, &msg);

	FUZZ_CHECK((result == CTL_RING_EMPTY) == (held == 0));
	FUZZ_CHECK((result == CTL_RING_BAD) == (held > CTL_RING_SLOTS));
	FUZZ_CHECK(ring->tail - ring->head == (result == CTL_RING_MSG ? held - 1 : 0));
	if (!m->honest)
		return result;
	FUZZ_CHECK((result == CTL_RING_MSG) == (m->sent != m->taken));
	FUZZ_CHECK(result != CTL_RING_BAD);
	if (result == CTL_RING_MSG)
		FUZZ_CHECK(msg.request_id == m->taken++ && msg.type == CTL_CMD_PROBE);
	return result;
}

// After whatever happened: empty within what the ring can hold, then a queue again.
static void recovers(struct ctl_ring *ring, struct model *m)
{
	unsigned n = 0;

	while (get(ring, m) != CTL_RING_EMPTY)
		FUZZ_CHECK(++n <= CTL_RING_SLOTS);
	m->honest = true;
	m->taken = m->sent;
	for (unsigned i = 0; i < 3; i++)
		put(ring, m);
	for (unsigned i = 0; i < 3; i++)
		FUZZ_CHECK(get(ring, m) == CTL_RING_MSG);
	FUZZ_CHECK(get(ring, m) == CTL_RING_EMPTY);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, size};
	static struct ctl_ring *ring; // of its own block, once
	struct model m = {.honest = true};

	if (ring == NULL)
		ring = aligned_alloc(64, sizeof(*ring));
	if (ring == NULL)
		abort();
	ring->head = ring->tail = fuzz_u32(&in);
	while (in.left > 0) {
		uint8_t command = fuzz_u8(&in);
		unsigned n = command >> 3;

		switch (command & 7) {
		case 0:
		case 1:
			for (unsigned i = 0; i < n * n + 1; i++)
				put(ring, &m);
			break;
		case 2:
		case 3:
			for (unsigned i = 0; i < n * n + 1; i++)
				get(ring, &m);
			break;
		case 4:
			ring->head = fuzz_u32(&in);
			m.honest = false;
			break;
		case 5:
			ring->tail = fuzz_u32(&in);
			m.honest = false;
			break;
		case 6:
			memset(&ring->msg[fuzz_u16(&in) % CTL_RING_SLOTS], n, CTL_MSG_BYTES);
			m.honest = false;
			break;
		default:
			recovers(ring, &m);
			break;
		}
	}
	recovers(ring, &m);
	return 0;
}
