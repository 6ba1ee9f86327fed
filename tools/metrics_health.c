// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Metrics of why backends take no sessions and of what the traffic met there. Only signals that
// happened are written, so that a page with many backends stays small.

#include <inttypes.h>

#include "common/abi/signals.h"
#include "tools/metrics.h"
#include "tools/metrics_rows.h"

static const struct shm_backend_verdict *verdict_at(const struct shm_view *view, uint32_t slot)
{
	const struct shm_backend_verdict *v =
		shm_view_entry(view, SHM_SEC_BACKEND_VERDICT, 0, (slot + 1) * sizeof(*v));

	return v != NULL ? &v[slot] : NULL;
}

static struct shm_backend_signals signals_sum(const struct shm_view *view, uint32_t slot)
{
	struct shm_backend_signals sum = {0};

	for (uint32_t w = 0; w < view->header->workers; w++) {
		const struct shm_backend_signals *s =
			shm_view_entry(view, SHM_SEC_BACKEND_SIGNALS, w, (slot + 1) * sizeof(*s));

		if (s == NULL)
			continue;
		s += slot;
		for (unsigned i = 0; i < SHM_SIGNALS; i++)
			sum.signal[i] += s->signal[i];
		sum.rcpt_votes += s->rcpt_votes;
		sum.rcpt_bounces += s->rcpt_bounces;
		sum.eod_votes += s->eod_votes;
		sum.eod_bounces += s->eod_bounces;
	}
	return sum;
}

static void head_write(const char *name, const char *type, const char *help, FILE *out)
{
	fprintf(out, "# HELP mailrace_%s %s\n# TYPE mailrace_%s %s\n", name, help, name, type);
}

// One family over all backends: what is one of the kinds below.
enum kind { KIND_OUT, KIND_EJECTIONS, KIND_DRIFT, KIND_SIGNALS, KIND_VOTES, KIND_BOUNCES };

static void
votes_write(const char *labels, const struct shm_backend_signals *s, enum kind kind, FILE *out)
{
	const char *name = kind == KIND_VOTES ? "votes" : "bounces";

	fprintf(out,
		"mailrace_backend_%s_total{%s,at=\"rcpt\"} %" PRIu64 "\n"
		"mailrace_backend_%s_total{%s,at=\"end_of_data\"} %" PRIu64 "\n",
		name,
		labels,
		kind == KIND_VOTES ? s->rcpt_votes : s->rcpt_bounces,
		name,
		labels,
		kind == KIND_VOTES ? s->eod_votes : s->eod_bounces);
}

static void backend_write(
	const struct shm_view *view,
	uint32_t slot,
	const char *labels,
	enum kind kind,
	FILE *out
)
{
	const struct shm_backend_verdict *v = verdict_at(view, slot);
	struct shm_backend_signals s;

	if (v == NULL)
		return;
	switch (kind) {
	case KIND_OUT:
		if (v->reason != SHM_REASON_NONE && v->reason < SHM_REASONS)
			fprintf(out,
				"mailrace_backend_out{%s,reason=\"%s\"} 1\n",
				labels,
				reason_names[v->reason]);
		return;
	case KIND_EJECTIONS:
		fprintf(out, "mailrace_backend_ejections_total{%s} %u\n", labels, v->ejections);
		return;
	case KIND_DRIFT:
		if (v->drift_permille != 0)
			fprintf(out,
				"mailrace_backend_reply_drift_ratio{%s} %.3f\n",
				labels,
				v->drift_permille / 1e3);
		return;
	default:
		break;
	}
	s = signals_sum(view, slot);
	if (kind != KIND_SIGNALS) {
		votes_write(labels, &s, kind, out);
		return;
	}
	for (unsigned i = 0; i < SHM_SIGNALS; i++)
		if (s.signal[i] != 0)
			fprintf(out,
				"mailrace_backend_signals_total{%s,signal=\"%s\"} %" PRIu64 "\n",
				labels,
				signal_names[i],
				s.signal[i]);
}

void metrics_health_write(const struct shm_view *view, const struct rows *rows, FILE *out)
{
	static const struct {
		const char *name, *type, *help;
	} families[] = {
		[KIND_OUT] = {"backend_out", "gauge", "Why a backend takes no sessions."},
		[KIND_EJECTIONS] =
			{"backend_ejections_total",
			 "counter",
			 "Times a backend was ejected for what the traffic met there."},
		[KIND_DRIFT] =
			{"backend_reply_drift_ratio",
			 "gauge",
			 "Reply time of the last minute (greeting, EHLO, MAIL) by that of the "
			 "pool's others."},
		[KIND_SIGNALS] =
			{"backend_signals_total",
			 "counter",
			 "What the traffic met at a backend and counts for its health."},
		[KIND_VOTES] =
			{"backend_votes_total",
			 "counter",
			 "Replies that count for the bounce-storm guard."},
		[KIND_BOUNCES] = {"backend_bounces_total", "counter", "Of these 5xx."},
	};

	for (unsigned k = 0; k < sizeof(families) / sizeof(families[0]); k++) {
		head_write(families[k].name, families[k].type, families[k].help, out);
		for (uint32_t i = 0; i < rows->backend_count; i++)
			backend_write(
				view,
				rows->backends[i].slot,
				rows->backends[i].labels,
				(enum kind)k,
				out
			);
	}
}
