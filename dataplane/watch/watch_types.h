// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Struct bodies of a worker's captures, for dataplane/watch and its tests only.

#pragma once

#include "common/hash.h"
#include "dataplane/net/frame.h"
#include "dataplane/watch/watch.h"

#define WATCH_TUPLES 1024 // connections remembered, power of two
#define WATCH_WAYS 4

// Whose a frame was found to be.
struct watch_owner {
	uint64_t session; // 0: not known
	uint8_t leg;      // enum capture_leg
};

// A connection that matched by its session: so do its last frames, when the session is over.
struct watch_tuple {
	struct ip_endpoint local, remote;
	struct watch_owner owner;
	bool used;
};

struct watch {
	struct watch_config config;
	struct worker_env *env;
	struct capture_writer out;
	struct ctl_capture filter;
	uint32_t id; // of the capture armed, 0: none
	bool over;   // its octets are
	uint64_t end_ns, lease_ns;
	uint64_t bytes;      // published
	unsigned tuple_next; // place to take in a full set
	struct watch_tuple tuple[WATCH_TUPLES];
	uint64_t shown[WATCH_TUPLES]; // sessions whose lines matched, by the id's lower bits
};

// match.c: does a TCP segment between these endpoints match?
bool watch_match_tuple(
	struct watch *w,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	struct watch_owner *ret
);
// Of a frame without a tuple: may it, by its addresses?
bool watch_match_addresses(const struct watch *w, const struct net_frame *frame);
bool watch_match_dialogue(struct watch *w, const struct relay_view *view);
