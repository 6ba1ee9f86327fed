// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Windows and tests, see passive.h. A backend that turns bad is seen in the short windows, a slow
// trickle in the long ones, so each is looked at. Pure.

#include "controlplane/passive.h"

#include <string.h>

#define SIGNALS_MIN 5
#define MAINTENANCE_MIN 3
#define MAINTENANCE_QUIET_NS 2000000000ULL // no mail for so long
#define MAINTENANCE_SERVING_NS 30000000000ULL
#define STRIKES 1U
#define STRIKES_421 5U
#define STRIKES_CALLED_OFF 35U // MAINTENANCE_SERVING_NS is over first
#define DRIFT_REPLIES_MIN 10
#define SLOW_REPLIES_MIN 20
#define SLOW_DRIFT_PERMILLE 20000U
#define SIGMAS_SQUARED 12.25 // 3.5

void passive_start(struct passive *p, const struct passive_sums *now, uint64_t now_ns)
{
	*p = (struct passive){
		.now = *now,
		.count = 1,
		.snapped_ns = now_ns,
		.run_before = p->run_421,
	};
	p->snap[0] = *now;
}

void passive_add(struct passive *p, const struct passive_sums *now, uint64_t now_ns)
{
	p->now = *now;
	if (now_ns - p->snapped_ns < PASSIVE_STEP_NS)
		return;
	p->snapped_ns = now_ns;
	p->newest = (p->newest + 1) % PASSIVE_SNAPS;
	p->snap[p->newest] = *now;
	if (p->count < PASSIVE_SNAPS)
		p->count++;
}

void passive_sums_add(struct passive_sums *to, const struct passive_sums *from)
{
	to->legs += from->legs;
	to->failing += from->failing;
	to->told_421 += from->told_421;
	to->proxy += from->proxy;
	to->rcpt_votes += from->rcpt_votes;
	to->rcpt_bounces += from->rcpt_bounces;
	to->eod_votes += from->eod_votes;
	to->eod_bounces += from->eod_bounces;
	to->replies += from->replies;
	to->reply_us += from->reply_us;
}

void passive_sums_sub(struct passive_sums *from, const struct passive_sums *what)
{
	from->legs -= what->legs;
	from->failing -= what->failing;
	from->told_421 -= what->told_421;
	from->proxy -= what->proxy;
	from->rcpt_votes -= what->rcpt_votes;
	from->rcpt_bounces -= what->rcpt_bounces;
	from->eod_votes -= what->eod_votes;
	from->eod_bounces -= what->eod_bounces;
	from->replies -= what->replies;
	from->reply_us -= what->reply_us;
}

struct passive_sums passive_window(const struct passive *p, unsigned k)
{
	struct passive_sums w = p->now;

	passive_sums_sub(&w, &p->snap[(p->newest + PASSIVE_SNAPS - k) % PASSIVE_SNAPS]);
	return w;
}

bool passive_departs(uint64_t bad, uint64_t n, uint64_t peers_bad, uint64_t peers_n)
{
	double share, peers, both, variance, by;

	if (bad < SIGNALS_MIN || n == 0 || peers_n == 0)
		return false;
	share = (double)bad / (double)n;
	peers = (double)peers_bad / (double)peers_n;
	both = (double)(bad + peers_bad) / (double)(n + peers_n);
	variance = both * (1 - both) * (1 / (double)n + 1 / (double)peers_n);
	by = share - peers;
	if (by <= 0 || by * by < SIGMAS_SQUARED * variance)
		return false;
	return by >= 0.25 || (1 - share) <= (1 - peers) / 2;
}

static bool enough(uint64_t networks)
{
	return __builtin_popcountll(networks) >= PASSIVE_NETWORKS;
}

// Everybody was told 421 since the last mail, for now.
static bool is_called_off(const struct passive *p, uint64_t now_ns)
{
	uint64_t run = p->run_421 >= p->run_before ? p->run_421 - p->run_before : p->run_421;

	return enough(p->failing_networks) && run >= MAINTENANCE_MIN &&
	       now_ns >= p->mail_ns + MAINTENANCE_QUIET_NS;
}

bool passive_is_maintenance(const struct passive *p, uint64_t now_ns)
{
	return is_called_off(p, now_ns) &&
	       (!p->serving || now_ns >= p->mail_ns + MAINTENANCE_SERVING_NS);
}

unsigned passive_strikes(const struct passive *p, uint64_t now_ns)
{
	struct passive_sums w = passive_window(p, 0);

	if (is_called_off(p, now_ns))
		return STRIKES_CALLED_OFF;
	return w.told_421 * 2 >= w.failing ? STRIKES_421 : STRIKES;
}

static bool
is_slow(const struct passive_sums *own, const struct passive_sums *peers, uint64_t replies_min)
{
	return own->replies >= replies_min && peers->replies >= replies_min &&
	       own->reply_us / own->replies >= SHM_SLOW_US &&
	       (double)own->reply_us / (double)own->replies * 1000.0 >=
		       (double)peers->reply_us / (double)peers->replies * SLOW_DRIFT_PERMILLE;
}

enum shm_reason passive_judge(
	const struct passive *p,
	const struct passive_sums peers[PASSIVE_SNAPS],
	const struct passive_rules *rules
)
{
	bool failing = rules->health && enough(p->failing_networks);
	bool bouncing = rules->bounces && enough(p->bouncing_networks);
	bool slow = rules->health && enough(p->slow_networks);

	for (unsigned k = 0; k < p->count; k++) {
		struct passive_sums w = passive_window(p, k);
		const struct passive_sums *o = &peers[k];

		if (failing && passive_departs(w.failing, w.legs, o->failing, o->legs))
			return w.proxy * 2 >= w.failing ? SHM_REASON_PROXY : SHM_REASON_FAILING;
		if (bouncing &&
		    (passive_departs(
			     w.rcpt_bounces, w.rcpt_votes, o->rcpt_bounces, o->rcpt_votes
		     ) ||
		     passive_departs(w.eod_bounces, w.eod_votes, o->eod_bounces, o->eod_votes)))
			return SHM_REASON_BOUNCES;
		if (slow && is_slow(&w, o, SLOW_REPLIES_MIN))
			return SHM_REASON_SLOW;
	}
	return SHM_REASON_NONE;
}

uint32_t passive_drift(const struct passive *p, const struct passive_sums peers[PASSIVE_SNAPS])
{
	struct passive_sums w;
	const struct passive_sums *o;
	double drift;

	if (p->count == 0)
		return 0;
	w = passive_window(p, p->count - 1);
	o = &peers[p->count - 1];
	if (w.replies < DRIFT_REPLIES_MIN || o->replies < DRIFT_REPLIES_MIN || o->reply_us == 0)
		return 0;
	drift = (double)w.reply_us / (double)w.replies /
		((double)o->reply_us / (double)o->replies) * 1000.0;
	return drift < 1e9 ? (uint32_t)drift : 1000000000U;
}
