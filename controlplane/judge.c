// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What the traffic met at each backend, judged against the others of its pool: maintenance by the
// backend's own word, ejection for failures, bounce storms and extreme slowness, never beyond half
// the pool. Main thread of control.

#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "controlplane/health.h"

#define REFUSED_LOG_NS 60000000000ULL // at most once a minute

static void networks_add(struct passive *p, const struct shm_backend_signals *s, uint64_t now_ns)
{
	uint64_t epoch = now_ns / SHM_NETWORKS_EPOCH_NS;

	for (unsigned i = 0; i < 2; i++) {
		const struct shm_networks n = s->networks[i];

		if (n.epoch != epoch && n.epoch + 1 != epoch)
			continue;
		p->failing_networks |= n.failing;
		p->bouncing_networks |= n.bouncing;
		p->slow_networks |= n.slow;
	}
}

static void replies_add(struct passive_sums *sums, const struct shm_backend_local *local)
{
	static const enum shm_verb_group groups[] = {SHM_VERB_BANNER, SHM_VERB_EHLO, SHM_VERB_MAIL};

	for (unsigned i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
		sums->replies += local->latency[groups[i]].count;
		sums->reply_us += local->latency[groups[i]].sum_us;
	}
}

// A text that its writer may change meanwhile.
static void text_copy(char to[64], const char *from)
{
	memcpy(to, from, 63);
	to[63] = '\0';
	for (char *p = to; *p != '\0'; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
}

// The workers' blocks, found once for all backends.
struct blocks {
	uint32_t count;
	const struct shm_backend_signals *signals[CFG_MAX_WORKERS];
	const struct shm_backend_local *local[CFG_MAX_WORKERS];
};

static void blocks_find(const struct link *link, struct blocks *ret)
{
	uint32_t last = link->backend_slots - 1;

	ret->count = 0;
	for (uint32_t w = 0; w < link->workers; w++) {
		const struct shm_backend_signals *s = link_signals(link, w, last);
		const struct shm_backend_local *local = link_backend(link, w, last);

		if (s == NULL || local == NULL)
			continue; // a dataplane that does not count them
		ret->signals[ret->count] = s - last;
		ret->local[ret->count++] = local - last;
	}
}

static struct passive_sums
sums_of(const struct blocks *blocks, struct health_backend *b, uint64_t now_ns)
{
	struct passive_sums sums = {0};

	b->passive.failing_networks = b->passive.bouncing_networks = b->passive.slow_networks = 0;
	b->passive.run_421 = b->passive.mail_ns = 0;
	b->passive.serving = false;
	for (uint32_t w = 0; w < blocks->count; w++) {
		const struct shm_backend_signals *s = &blocks->signals[w][b->slot];
		const struct shm_backend_local *local = &blocks->local[w][b->slot];

		sums.legs += s->legs;
		sums.failing += s->failing;
		sums.told_421 += s->signal[SHM_SIGNAL_BANNER_421] + s->signal[SHM_SIGNAL_MAIL_421];
		sums.proxy += s->signal[SHM_SIGNAL_PROXY];
		sums.rcpt_votes += s->rcpt_votes;
		sums.rcpt_bounces += s->rcpt_bounces;
		sums.eod_votes += s->eod_votes;
		sums.eod_bounces += s->eod_bounces;
		b->passive.run_421 += s->run_421;
		if (s->mail_ns > b->passive.mail_ns)
			b->passive.mail_ns = s->mail_ns;
		networks_add(&b->passive, s, now_ns);
		replies_add(&sums, local);
		b->passive.serving =
			b->passive.serving || local->active > local->connecting + local->orphans;
	}
	return sums;
}

static uint64_t source_refused_sum(const struct blocks *blocks, uint32_t slot)
{
	uint64_t sum = 0;

	for (uint32_t w = 0; w < blocks->count; w++)
		sum += blocks->signals[w][slot].source_refused;
	return sum;
}

void health_judge_anew(const struct link *link, struct health_backend *b, uint64_t now_ns)
{
	struct blocks blocks;
	struct passive_sums sums;

	blocks_find(link, &blocks);
	sums = sums_of(&blocks, b, now_ns);
	passive_start(&b->passive, &sums, now_ns);
	b->source_refused = source_refused_sum(&blocks, b->slot);
}

// 5xx in place of a greeting is a verdict on our source address: an alarm, and no matter of health.
static void source_watch(const struct blocks *blocks, struct health_backend *b, uint64_t now_ns)
{
	uint64_t sum = source_refused_sum(blocks, b->slot);
	char said[64] = "";

	if (sum == b->source_refused ||
	    (b->refused_log_ns != 0 && now_ns - b->refused_log_ns < REFUSED_LOG_NS))
		return;
	for (uint32_t w = 0; w < blocks->count; w++) {
		const struct shm_backend_signals *s = &blocks->signals[w][b->slot];

		if (s->source_refused != 0)
			text_copy(said, s->source_said);
	}
	log_line(
		LOG_WARNING,
		"backend %s/%s refuses our source address, %llu times since it was said last: %s",
		b->pool,
		b->name,
		(unsigned long long)(sum - b->source_refused),
		said
	);
	b->source_refused = sum;
	b->refused_log_ns = now_ns;
}

// The last reply that was a signal, of any worker.
static void said_take(const struct link *link, struct health_backend *b)
{
	const struct shm_backend_signals *last = NULL;

	memset(b->said, 0, sizeof(b->said));
	for (uint32_t w = 0; w < link->workers; w++) {
		const struct shm_backend_signals *s = link_signals(link, w, b->slot);

		if (s != NULL && (last == NULL || s->said_ns > last->said_ns))
			last = s;
	}
	if (last == NULL)
		return;
	text_copy(b->said, last->said);
}

// The k-th window of one, or its longest.
static struct passive_sums window_of(const struct health_backend *b, unsigned k)
{
	return passive_window(&b->passive, k < b->passive.count ? k : b->passive.count - 1);
}

// The windows of all of the pool that take sessions.
static void pool_sum(
	struct health *h,
	const struct health_backend *first,
	struct passive_sums all[PASSIVE_SNAPS]
)
{
	memset(all, 0, PASSIVE_SNAPS * sizeof(*all));
	for (uint32_t i = first->first; i < first->first + first->peers; i++) {
		const struct health_backend *b = health_at(h, i);

		for (unsigned k = 0; k < PASSIVE_SNAPS && health_takes_sessions(b); k++) {
			struct passive_sums w = window_of(b, k);

			passive_sums_add(&all[k], &w);
		}
	}
}

// Of these, b's own taken off.
static void own_take_off(struct passive_sums all[PASSIVE_SNAPS], const struct health_backend *b)
{
	for (unsigned k = 0; k < PASSIVE_SNAPS; k++) {
		struct passive_sums w = window_of(b, k);

		passive_sums_sub(&all[k], &w);
	}
}

// May one more be taken out: is half of the pool left?
static bool may_eject(struct health *h, const struct health_backend *b)
{
	uint32_t left = 0;

	for (uint32_t i = b->first; i < b->first + b->peers; i++)
		left += health_takes_sessions(health_at(h, i));
	return (left - 1) * 2 >= b->peers;
}

// For the operator: why.
static void evidence_take(const struct link *link, struct health_backend *b, enum shm_reason reason)
{
	struct passive_sums w = passive_window(&b->passive, b->passive.count - 1);

	if (reason == SHM_REASON_BOUNCES)
		snprintf(
			b->said,
			sizeof(b->said),
			"5xx to %llu of %llu RCPT, %llu of %llu bodies",
			(unsigned long long)w.rcpt_bounces,
			(unsigned long long)w.rcpt_votes,
			(unsigned long long)w.eod_bounces,
			(unsigned long long)w.eod_votes
		);
	else if (reason == SHM_REASON_SLOW)
		snprintf(
			b->said,
			sizeof(b->said),
			"replies take %.1f s",
			(double)w.reply_us / 1e6 / (double)(w.replies > 0 ? w.replies : 1)
		);
	else
		said_take(link, b);
}

static void eject(struct health *h, struct link *link, struct health_backend *b, uint64_t now_ns)
{
	enum shm_reason reason = b->suspected;

	if (!may_eject(h, b)) {
		if (!b->spared)
			log_line(
				LOG_WARNING,
				"backend %s/%s is bad by its traffic, but half of the pool would "
				"be out: it keeps its sessions",
				b->pool,
				b->name
			);
		b->spared = true;
		return;
	}
	evidence_take(link, b, reason);
	health_change(link, b, SHM_HEALTH_EJECTED, reason, now_ns);
}

static void backend_judge(
	struct health *h,
	struct link *link,
	struct health_backend *b,
	const struct passive_sums all[PASSIVE_SNAPS],
	uint64_t now_ns
)
{
	struct passive_sums peers[PASSIVE_SNAPS];
	enum shm_reason reason;

	if (b->rules.health && passive_is_maintenance(&b->passive, now_ns)) {
		said_take(link, b);
		b->bad = 0;
		health_change(link, b, SHM_HEALTH_MAINTENANCE, SHM_REASON_MAINTENANCE, now_ns);
		return;
	}
	memcpy(peers, all, sizeof(peers));
	own_take_off(peers, b);
	b->drift_permille = passive_drift(&b->passive, peers);
	reason = passive_judge(&b->passive, peers, &b->rules);
	b->strikes = reason != SHM_REASON_NONE && reason == b->suspected ? b->strikes + 1 : 0;
	b->suspected = reason;
	if (b->strikes >= passive_strikes(&b->passive, now_ns))
		eject(h, link, b, now_ns);
	if (reason == SHM_REASON_NONE)
		b->spared = false;
	health_write(link, b);
}

static void pool_watch(struct health *h, struct health_backend *first)
{
	bool up = false;

	for (uint32_t i = first->first; i < first->first + first->peers; i++)
		up = up || health_takes_sessions(health_at(h, i));
	if (up != first->pool_down)
		return;
	first->pool_down = !up;
	if (up)
		log_line(LOG_NOTICE, "pool %s is up again", first->pool);
	else if (first->backup[0] != '\0')
		log_line(
			LOG_WARNING,
			"pool %s: nothing is up: its sessions go to pool %s",
			first->pool,
			first->backup
		);
	else
		log_line(LOG_WARNING, "pool %s: nothing is up: clients are told 421", first->pool);
}

static void
pool_judge(struct health *h, struct link *link, struct health_backend *first, uint64_t now_ns)
{
	struct passive_sums all[PASSIVE_SNAPS];

	pool_sum(h, first, all);
	for (uint32_t i = first->first; i < first->first + first->peers; i++) {
		struct health_backend *b = health_at(h, i);

		if (!health_takes_sessions(b))
			continue;
		backend_judge(h, link, b, all, now_ns);
		if (!health_takes_sessions(b))
			own_take_off(all, b); // nobody's peer any more
	}
	pool_watch(h, first);
}

void health_judge(struct health *h, struct link *link, uint64_t now_ns)
{
	struct health_backend *b;
	struct blocks blocks;

	blocks_find(link, &blocks);
	for (unsigned i = 0; (b = health_at(h, i)) != NULL; i++) {
		struct passive_sums sums = sums_of(&blocks, b, now_ns);

		passive_add(&b->passive, &sums, now_ns);
		source_watch(&blocks, b, now_ns);
	}
	for (unsigned i = 0; (b = health_at(h, i)) != NULL; i++)
		if (b->first == i)
			pool_judge(h, link, b, now_ns);
}
