// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A backend's state changes: written where the workers read it, logged, and the ways back: after
// its time, and with a slow start. Main thread of control.

#include <string.h>

#include "common/abi/signals.h"
#include "common/log.h"
#include "controlplane/health.h"

#define MS 1000000ULL
#define HOLD_DOUBLINGS 4              // of the ejection time: sixteen times at most
#define FORGIVEN_NS (600 * 1000 * MS) // up so long, the next ejection is a first one
#define RAMP_FIRST_PERMILLE 100
#define RAMP_EJECTED_MS 10000 // at least, for one that the traffic found bad

void health_write(const struct link *link, const struct health_backend *b)
{
	struct shm_backend_ctl *ctl = &link->backend_ctl[b->slot];

	__atomic_store_n(&ctl->weight_permille, b->weight_permille, __ATOMIC_RELAXED);
	__atomic_store_n(&ctl->health, (uint8_t)b->health, __ATOMIC_RELAXED);
	__atomic_store_n(&ctl->admin, (uint8_t)b->admin, __ATOMIC_RELAXED);
	if (link->verdicts == NULL)
		return;
	link->verdicts[b->slot] = (struct shm_backend_verdict){
		.reason = (uint8_t)b->reason,
		.drift_permille = b->drift_permille,
		.ejections = b->ejections,
	};
}

static void change_log(const struct health_backend *b, unsigned bad)
{
	switch (b->health) {
	case SHM_HEALTH_DOWN:
		log_line(
			LOG_WARNING,
			"backend %s/%s is down: %s at %s after %u probes%s%s",
			b->pool,
			b->name,
			health_result_name(b->last.code),
			health_stage_name(b->last.stage),
			bad,
			b->last.text[0] != '\0' ? ": " : "",
			b->last.text
		);
		break;
	case SHM_HEALTH_MAINTENANCE:
		log_line(LOG_NOTICE, "backend %s/%s calls us off: %s", b->pool, b->name, b->said);
		break;
	case SHM_HEALTH_EJECTED:
		log_line(
			LOG_WARNING,
			"backend %s/%s gets no sessions for %u s: %s%s%s",
			b->pool,
			b->name,
			(b->ejection_ms << (b->times - 1)) / 1000,
			reason_names[b->reason],
			b->said[0] != '\0' ? ": " : "",
			b->said
		);
		break;
	default:
		log_line(LOG_NOTICE, "backend %s/%s is up", b->pool, b->name);
		break;
	}
}

static void
hold_begin(const struct link *link, struct health_backend *b, enum shm_health to, uint64_t now_ns)
{
	if (b->times > 0 && b->changed_ns != 0 && !health_is_out(b) &&
	    now_ns - b->changed_ns > FORGIVEN_NS)
		b->times = 0;
	if (b->times <= HOLD_DOUBLINGS)
		b->times++;
	b->hold_ns = now_ns + ((uint64_t)b->ejection_ms << (b->times - 1)) * MS;
	b->ejections += to == SHM_HEALTH_EJECTED;
}

static void
ramp_begin(const struct link *link, struct health_backend *b, enum shm_health was, uint64_t now_ns)
{
	b->ramp_ms = b->slow_start_ms;
	if (was == SHM_HEALTH_EJECTED && b->ramp_ms < RAMP_EJECTED_MS)
		b->ramp_ms = RAMP_EJECTED_MS;
	if (b->ramp_ms != 0)
		b->ramp_ns = now_ns;
	health_judge_anew(link, b, now_ns); // not by what was before
}

void health_change(
	struct link *link,
	struct health_backend *b,
	enum shm_health to,
	enum shm_reason reason,
	uint64_t now_ns
)
{
	enum shm_health was = b->health;
	unsigned bad = b->bad;

	if (to == SHM_HEALTH_EJECTED || (to == SHM_HEALTH_MAINTENANCE && bad == 0))
		hold_begin(link, b, to, now_ns);
	if (to != SHM_HEALTH_MAINTENANCE && to != SHM_HEALTH_EJECTED)
		memset(b->said, 0, sizeof(b->said));
	if (health_is_out(b) && (to == SHM_HEALTH_UP || to == SHM_HEALTH_UNKNOWN))
		ramp_begin(link, b, was, now_ns);
	else
		b->ramp_ns = 0;
	b->health = to;
	b->reason = reason;
	b->changed_ns = now_ns;
	b->good = b->bad = 0;
	b->suspected = SHM_REASON_NONE;
	b->strikes = 0;
	b->weight_permille = b->ramp_ns != 0 ? RAMP_FIRST_PERMILLE : 1000;
	health_write(link, b);
	__atomic_store_n(
		&link->backend_ctl[b->slot].changes,
		(uint16_t)(link->backend_ctl[b->slot].changes + 1),
		__ATOMIC_RELEASE
	);
	change_log(b, bad);
}

void health_ramp(struct link *link, struct health_backend *b, uint64_t now_ns)
{
	uint64_t passed_ms = (now_ns - b->ramp_ns) / MS;
	uint32_t permille = 1000;

	if (b->ramp_ns != 0 && b->ramp_ms != 0 && passed_ms < b->ramp_ms)
		permille = (uint32_t)(RAMP_FIRST_PERMILLE +
				      (1000 - RAMP_FIRST_PERMILLE) * passed_ms / b->ramp_ms);
	else
		b->ramp_ns = 0;
	if (permille == b->weight_permille)
		return;
	b->weight_permille = permille;
	health_write(link, b);
}

void health_return(struct link *link, struct health_backend *b, uint64_t now_ns)
{
	bool out = b->health == SHM_HEALTH_EJECTED || b->health == SHM_HEALTH_MAINTENANCE;

	if (out && !b->probe.enabled && now_ns >= b->hold_ns)
		health_change(link, b, SHM_HEALTH_UNKNOWN, SHM_REASON_NONE, now_ns);
}
