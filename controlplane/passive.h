// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What the traffic says of a backend, against its pool's others: windows over the workers' counters
// and the tests on them. Pure functions of numbers; no I/O, no clock but what is passed in.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/abi/shm_layout.h"

#define PASSIVE_STEP_NS 10000000000ULL // between two snapshots
#define PASSIVE_SNAPS 6                // a minute
#define PASSIVE_NETWORKS 3             // a signal counts from so many client networks on

// Counters of one backend over all workers, or the difference of two such.
struct passive_sums {
	uint64_t legs, failing;
	uint64_t told_421, proxy; // of the signals
	uint64_t rcpt_votes, rcpt_bounces, eod_votes, eod_bounces;
	uint64_t replies, reply_us; // to EHLO and MAIL, and greetings
};

struct passive {
	struct passive_sums now;
	struct passive_sums snap[PASSIVE_SNAPS]; // a ring
	unsigned newest, count;
	uint64_t snapped_ns;
	// bits, of the last minute at most
	uint64_t failing_networks, bouncing_networks, slow_networks;
	uint64_t run_421, run_before; // told 421 since the last MAIL accepted; at the start
	uint64_t mail_ns;             // of that one
	bool serving;                 // sessions are still open there
};

struct passive_rules {
	bool health, bounces; // what is to be judged
};

// Forgets everything before now; run_421 has been filled in.
void passive_start(struct passive *p, const struct passive_sums *now, uint64_t now_ns);
// New sums, a snapshot when it is time.
void passive_add(struct passive *p, const struct passive_sums *now, uint64_t now_ns);
// Since the k-th newest snapshot, k < count.
struct passive_sums passive_window(const struct passive *p, unsigned k);
void passive_sums_add(struct passive_sums *to, const struct passive_sums *from);
void passive_sums_sub(struct passive_sums *from, const struct passive_sums *what);

// Do bad of n depart from bad of n at the peers, upwards, beyond chance (3.5 standard errors) and
// by much: a quarter more of all, or half of the good ones gone?
bool passive_departs(uint64_t bad, uint64_t n, uint64_t peers_bad, uint64_t peers_n);

// Has the backend itself called everybody off, from three networks, with no mail in between? While
// sessions are open there it takes longer to tell that from a limit of the server's own.
bool passive_is_maintenance(const struct passive *p, uint64_t now_ns);
// How long failures must last to be taken for such: a second; longer where most of them are 421,
// until it is clear whether everybody is told so.
unsigned passive_strikes(const struct passive *p, uint64_t now_ns);
// Why the backend should get no sessions, judged against peers (others of the pool that take
// sessions, same windows). SHM_REASON_NONE, _FAILING, _PROXY, _BOUNCES or _SLOW.
enum shm_reason passive_judge(
	const struct passive *p,
	const struct passive_sums peers[PASSIVE_SNAPS],
	const struct passive_rules *rules
);
// Mean reply time of the longest window in permille of the peers'; 0: not known.
uint32_t passive_drift(const struct passive *p, const struct passive_sums peers[PASSIVE_SNAPS]);
