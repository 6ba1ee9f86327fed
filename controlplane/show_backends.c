// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The views of backends and of their reply times, see show.h.

#include <stdio.h>

#include "common/abi/hist.h"
#include "common/abi/signals.h"
#include "controlplane/json_set.h"
#include "controlplane/show.h"

struct shm_backend_local backend_sum(const struct link *l, uint32_t slot)
{
	struct shm_backend_local sum = {0};

	for (uint32_t i = 0; i < l->workers; i++) {
		const struct shm_backend_local *b = link_backend(l, i, slot);

		if (b == NULL)
			continue;
		sum.active += b->active;
		sum.connecting += b->connecting;
		sum.orphans += b->orphans;
		sum.connects += b->connects;
		sum.connect_refused += b->connect_refused;
		sum.connect_timeouts += b->connect_timeouts;
		sum.resets += b->resets;
		sum.sessions += b->sessions;
		sum.messages += b->messages;
		sum.recipients += b->recipients;
		sum.bytes += b->bytes;
		sum.replies_4xx += b->replies_4xx;
		sum.replies_5xx += b->replies_5xx;
		sum.replies_421 += b->replies_421;
		sum.eod_lost += b->eod_lost;
		sum.desync += b->desync;
	}
	return sum;
}

static json_t *probe_show(const struct health_backend *h)
{
	json_t *o = json_object();

	set_seconds(o, "interval_seconds", h->probe.interval_ms / 1e3);
	set_uint(o, "ok_total", h->ok);
	set_uint(o, "failed_total", h->failed);
	if (h->last_ns == 0)
		return o;
	set_seconds(o, "age_seconds", age(h->last_ns));
	set_text(o, "result", health_result_name(h->last.code));
	set_text(o, "stage", health_stage_name(h->last.stage));
	set_uint(o, "reply_code", h->last.reply);
	set_text(o, "reply", h->last.text);
	set_seconds(o, "connect_seconds", h->last.connect_us / 1e6);
	set_seconds(o, "banner_seconds", h->last.banner_us / 1e6);
	if (h->last.tls_us != 0)
		set_seconds(o, "tls_seconds", h->last.tls_us / 1e6);
	set_seconds(o, "ehlo_seconds", h->last.ehlo_us / 1e6);
	set_seconds(o, "quit_seconds", h->last.quit_us / 1e6);
	return o;
}

static void backend_counters(json_t *o, const struct shm_backend_local *sum)
{
	set_uint(o, "connections", sum->active);
	set_uint(o, "connecting", sum->connecting);
	set_uint(o, "orphans", sum->orphans);
	set_uint(o, "connects_total", sum->connects);
	set_uint(o, "connect_refused_total", sum->connect_refused);
	set_uint(o, "connect_timeouts_total", sum->connect_timeouts);
	set_uint(o, "resets_total", sum->resets);
	set_uint(o, "sessions_total", sum->sessions);
	set_uint(o, "messages_total", sum->messages);
	set_uint(o, "recipients_total", sum->recipients);
	set_uint(o, "message_bytes_total", sum->bytes);
	set_uint(o, "replies_4xx_total", sum->replies_4xx);
	set_uint(o, "replies_5xx_total", sum->replies_5xx);
	set_uint(o, "replies_421_total", sum->replies_421);
	set_uint(o, "end_of_data_lost_total", sum->eod_lost);
	set_uint(o, "desync_total", sum->desync);
}

// Why it takes no sessions, and what the traffic met there.
static void traffic_show(json_t *o, const struct link *l, const struct health_backend *h)
{
	uint64_t now = control_clock_ns(), signal[SHM_SIGNALS] = {0};
	struct shm_backend_signals sum = {0};
	json_t *signals = json_object();

	for (uint32_t w = 0; w < l->workers; w++) {
		const struct shm_backend_signals *s = link_signals(l, w, h->slot);

		for (unsigned i = 0; s != NULL && i < SHM_SIGNALS; i++)
			signal[i] += s->signal[i];
		sum.rcpt_votes += s != NULL ? s->rcpt_votes : 0;
		sum.rcpt_bounces += s != NULL ? s->rcpt_bounces : 0;
		sum.eod_votes += s != NULL ? s->eod_votes : 0;
		sum.eod_bounces += s != NULL ? s->eod_bounces : 0;
		sum.source_refused += s != NULL ? s->source_refused : 0;
	}
	set_text(o, "reason", health_is_out(h) ? reason_names[h->reason] : "");
	set_text(o, "said", h->said);
	if (health_is_out(h) && h->hold_ns > now)
		set_seconds(o, "out_for_seconds", (double)(h->hold_ns - now) / 1e9);
	json_object_set_new(o, "spared", json_boolean(h->spared));
	set_uint(o, "weight_permille", h->weight_permille);
	set_uint(o, "ejections_total", h->ejections);
	if (h->drift_permille != 0)
		json_object_set_new(o, "reply_drift", json_real(h->drift_permille / 1e3));
	for (unsigned i = 0; i < SHM_SIGNALS; i++)
		set_uint(signals, signal_names[i], signal[i]);
	json_object_set_new(o, "signals_total", signals);
	set_uint(o, "source_refused_total", sum.source_refused);
	set_uint(o, "rcpt_votes_total", sum.rcpt_votes);
	set_uint(o, "rcpt_bounces_total", sum.rcpt_bounces);
	set_uint(o, "end_of_data_votes_total", sum.eod_votes);
	set_uint(o, "end_of_data_bounces_total", sum.eod_bounces);
}

bool show_backend(const struct control *c, unsigned i, json_t *out)
{
	const struct health_backend *h = health_at(c->health, i);
	const struct blob_backend *b;
	struct shm_backend_local sum;
	json_t *o;

	if (!link_is_open(&c->link) || h == NULL || i >= c->link.blob->backends.count)
		return false;
	b = (const struct blob_backend *)((const uint8_t *)c->link.blob + c->link.blob->backends.off
	    ) +
	    i;
	sum = backend_sum(&c->link, b->slot);
	o = json_object();
	set_text(o, "pool", h->pool);
	set_text(o, "name", h->name);
	set_endpoint(o, "address", &b->addr, b->port);
	set_uint(o, "weight", b->weight);
	set_uint(o, "max_connections", b->max_connections);
	set_text(o, "health", health_name(h->health));
	set_text(
		o,
		"admin",
		b->admin == BLOB_ADMIN_DRAIN || h->admin == BLOB_ADMIN_DRAIN ? "drain" : "enabled"
	);
	if (h->changed_ns != 0)
		set_seconds(o, "health_age_seconds", age(h->changed_ns));
	if (h->probe.enabled)
		json_object_set_new(o, "probe", probe_show(h));
	traffic_show(o, &c->link, h);
	backend_counters(o, &sum);
	json_array_append_new(out, o);
	return true;
}

bool show_latency(const struct control *c, unsigned i, json_t *out)
{
	const struct health_backend *b = health_at(c->health, i);

	if (!link_is_open(&c->link) || b == NULL)
		return false;
	for (unsigned v = 0; v < SHM_VERB_GROUPS; v++) {
		struct shm_hist h = {0};
		json_t *o;

		for (uint32_t w = 0; w < c->link.workers; w++) {
			const struct shm_backend_local *l = link_backend(&c->link, w, b->slot);

			if (l != NULL && l->latency[v].count > 0)
				hist_merge(&h, &l->latency[v]);
		}
		if (h.count == 0)
			continue;
		o = json_object();
		set_text(o, "pool", b->pool);
		set_text(o, "backend", b->name);
		set_text(o, "verb", hist_verb_names[v]);
		set_uint(o, "count", h.count);
		set_seconds(o, "mean_seconds", (double)h.sum_us / (double)h.count / 1e6);
		set_seconds(o, "p50_seconds", (double)hist_quantile_us(&h, 0.5) / 1e6);
		set_seconds(o, "p90_seconds", (double)hist_quantile_us(&h, 0.9) / 1e6);
		set_seconds(o, "p99_seconds", (double)hist_quantile_us(&h, 0.99) / 1e6);
		json_array_append_new(out, o);
	}
	return true;
}
