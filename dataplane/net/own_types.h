// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Addresses of ours on each port, and what the others on the link think of that (own.c, mld.c), for
// dataplane/net and its tests only. Worker 0.

#pragma once

#include "common/abi/shm_layout.h"
#include "dataplane/net/net.h"

#define OWN_MAX 16384 // pairs of port and address
#define OWN_BURST 32  // probes and announcements at once
#define OWN_PAUSE_NS 5000000ULL
#define OWN_PROBES4 2
#define OWN_PROBE4_NS 200000000ULL  // RFC 5227 2.1 has 1 to 2 s; the address is in use meanwhile
#define OWN_PROBES6 1               // RFC 4862 5.1, DupAddrDetectTransmits
#define OWN_PROBE6_NS 1000000000ULL // RFC 4861 10, RetransTimer
#define OWN_ANNOUNCEMENTS 2
#define OWN_ANNOUNCE4_NS 2000000000ULL // RFC 5227 1.1, ANNOUNCE_INTERVAL
#define OWN_ANNOUNCE6_NS 1000000000ULL // RFC 4861 7.2.6
#define OWN_DEFEND_NS 10000000000ULL   // RFC 5227 1.1, DEFEND_INTERVAL
#define OWN_RETRY_NS 5000000000ULL     // until a taken address is probed again
#define OWN_RETRY_JITTER_MS 1000
#define OWN_LEAVES 32          // groups left at once: switches forget the others in time
#define MLD_JOIN_REPORTS 2     // RFC 3810 9.1, Robustness Variable
#define MLD_JOIN_MS 1000       // RFC 3810 9.11, Unsolicited Report Interval
#define MLD_RECORDS 60         // in a report of at most 1,280 octets
#define MLD_DELAY_MAX_MS 10000 // longest answer to a query
#define MLD_QUERY 130
#define MLD_REPORT1 131
#define MLD_DONE1 132
#define MLD_REPORT 143

enum own_state {
	OWN_S_OPTIMISTIC, // in use, not sure yet: answered for, not asserted (RFC 4429)
	OWN_S_VALID,
	OWN_S_OFF, // another station has it: not used until a probe finds it free
};

struct own {
	struct ip_addr addr;
	uint64_t next_ns; // next probe or announcement
	uint64_t defended_ns;
	uint64_t mld_ns; // next report of its group
	uint8_t port, state;
	uint8_t left;         // probes before it is valid, announcements after
	uint8_t mld_left;     // reports
	bool mld_join;        // they tell of a change
	bool from_generation; // else the port's own
	bool kept;            // in the generation that is being taken over
	bool probed;          // whether others on the link may have it at all
};

struct own_table {
	unsigned count;
	uint64_t due_ns;
	struct own e[OWN_MAX];
	uint16_t index[2 * OWN_MAX]; // by hash: entry + 1, 0 none
};

struct ip_in;

struct own_table *own_new(const struct net_shared *shared);
void own_free(struct own_table *table);
struct own *own_find(const struct net *net, uint8_t port, const struct ip_addr *addr);
// May addr be answered for on this port? One of another port's subnets is not.
bool own_answers(const struct net *net, uint8_t port, const struct ip_addr *addr);
bool own_is_sure(const struct net *net, uint8_t port, const struct ip_addr *addr);
// An address of the port to ask about target from, of which there is no doubt. False: none yet.
bool own_source(
	const struct net *net,
	uint8_t port,
	const struct ip_addr *target,
	struct ip_addr *ret
);
// A station says that addr is its own. False: not ours, nothing done.
bool own_claimed(struct net *net, uint8_t port, const struct ip_addr *addr, const uint8_t mac[6]);
// A station asks whether anybody has addr. True: nothing is to be answered, it is in doubt.
bool own_probed(struct net *net, uint8_t port, const struct ip_addr *addr, const uint8_t mac[6]);
void own_run(struct net *net);
void own_due(struct own_table *table, uint64_t at_ns);

// mld.c. Reports that are due; returns when the next one is.
uint64_t mld_run(struct net *net);
void mld_join(struct own *e, uint64_t now_ns);
void mld_leave(struct net *net, const struct own *e);
void mld_input(struct net *net, const struct ip_in *in);
