// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The part of the segments (shm_layout.h) that tells how backends do under the traffic.

#pragma once

#include <stdint.h>

// What the traffic met at a backend and says something of its health. Replies to RCPT and to AUTH
// and whatever refuses the client or its mail are not among them. Names: common/abi/signals.h.
enum shm_signal {
	SHM_SIGNAL_REFUSED = 0,    // connection refused
	SHM_SIGNAL_TIMEOUT = 1,    // not connected or greeted in time
	SHM_SIGNAL_MALFORMED = 2,  // a reply that is none
	SHM_SIGNAL_DROPPED = 3,    // connection lost while a reply was awaited
	SHM_SIGNAL_BANNER_421 = 4, // 421 in place of a greeting
	SHM_SIGNAL_MAIL_421 = 5,   // 421 to MAIL
	SHM_SIGNAL_STORAGE = 6,    // 452 4.3.1
	SHM_SIGNAL_SYSTEM = 7,     // 451 4.3.x
	SHM_SIGNAL_PROXY = 8,      // 451 4.7.0 ... PRX*: Exchange's front end found no back end
	SHM_SIGNALS = 9,
};

// Which client networks (/24, /48) a backend failed, bounced or kept waiting: a bit each, by a
// keyed hash, so that as many bits are at least as many networks. Of two epochs, the current one
// and the one before.
#define SHM_NETWORKS_EPOCH_NS 30000000000ULL
#define SHM_SLOW_US 10000000U // Exchange's back pressure begins here
struct shm_networks {
	uint64_t epoch; // time / SHM_NETWORKS_EPOCH_NS of the bits below
	uint64_t failing, bouncing;
	uint64_t slow; // a greeting, or a reply to EHLO or MAIL, took SHM_SLOW_US
};

struct shm_backend_signals { // dp: rw (its worker), others: ro
	uint64_t legs;       // connections that came to a greeting or gave a signal
	uint64_t failing;    // of these with a signal, each once
	uint64_t mails;      // of these with a MAIL accepted, each once
	uint64_t mail_ns;    // CLOCK_MONOTONIC of the last such
	uint64_t run_421; // connections told 421 at the banner or at MAIL since then, with no other
			  // signal in between
	uint64_t rcpt_votes;   // first replies to RCPT of a transaction, at most 8 a connection
	uint64_t rcpt_bounces; // of these 5xx
	uint64_t eod_votes;    // replies to the end of data, at most 8 a connection
	uint64_t eod_bounces;  // of these 5xx
	uint64_t signal[SHM_SIGNALS];
	struct shm_networks networks[2]; // epoch % 2
	uint64_t said_ns;                // CLOCK_MONOTONIC of the last signal that was a reply
	char said[64]; // that reply's last line, printable ASCII, NUL-terminated; may be read torn
	uint64_t source_refused; // greetings 5xx: no signal, our address is not wanted there
	char source_said[64];    // the last of them
};

enum shm_reason { // why a backend takes no sessions
	SHM_REASON_NONE = 0,
	SHM_REASON_PROBE = 1,
	SHM_REASON_MAINTENANCE = 2, // it says 421 to everybody
	SHM_REASON_FAILING = 3,     // signals of the traffic
	SHM_REASON_PROXY = 4,       // likewise, most of them SHM_SIGNAL_PROXY
	SHM_REASON_BOUNCES = 5,     // its share of 5xx departs from its peers'
	SHM_REASON_SLOW = 6,        // its reply times depart from its peers', extremely
	SHM_REASONS = 7,
};

struct shm_backend_verdict { // control: rw, dp: ro, copied into the statistics
	uint8_t reason;      // enum shm_reason
	uint8_t reserved[3];
	uint32_t drift_permille; // reply time of the last minute, of the peers'; 0: not known
	uint32_t ejections;      // for what the traffic met, maintenance not counted
	uint32_t reserved2;
};
