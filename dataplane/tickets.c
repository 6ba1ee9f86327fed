// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The keys of session tickets (docs/decisions/0014): made here, of random numbers or of the secret
// that came with the credentials, and changed when they fall due, whether control runs or not. Each
// worker takes a copy; the one handed out last stands until all have. Main thread.

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"
#include "dataplane/dataplane.h"
#include "tls/ticket.h"

struct tickets { // memory for keys (secret_new)
	struct creds_tickets config;
	struct ticket_keys keys; // in force
	struct ticket_keys out[2];
	unsigned at;   // of those handed out last
	int64_t due_s; // since 1970: when they are to be changed
	bool due;      // at once
};

// Those handed out before last are nobody's any more.
static bool all_taken(struct dataplane *dp)
{
	struct tickets *t = dp->tickets;

	for (unsigned i = 0; i < dp->cfg->dataplane.workers; i++) {
		struct lcore *l = &dp->lcore[i];

		if (atomic_load_explicit(&l->tickets_taken, memory_order_acquire) !=
		    atomic_load_explicit(&l->tickets, memory_order_relaxed))
			return false;
	}
	explicit_bzero(&t->out[1 - t->at], sizeof(t->out[0]));
	return true;
}

static void hand_out(struct dataplane *dp)
{
	struct tickets *t = dp->tickets;

	t->at = 1 - t->at;
	t->out[t->at] = t->keys;
	for (unsigned i = 0; i < dp->cfg->dataplane.workers; i++)
		atomic_store_explicit(&dp->lcore[i].tickets, &t->out[t->at], memory_order_release);
	shm_main_add(&dp->shm, STAT_TLS_TICKET_KEYS, 1);
}

static void keys_change(struct dataplane *dp, int64_t now_s)
{
	struct tickets *t = dp->tickets;
	uint32_t rotation_s = t->config.rotation_s;

	t->due = false;
	if (t->config.shared != 0) {
		ticket_keys_derive(&t->keys, t->config.secret, now_s, rotation_s);
		t->due_s = (now_s / rotation_s + 1) * rotation_s;
	} else {
		t->due_s = now_s + rotation_s;
		if (!ticket_keys_fresh(&t->keys, now_s, rotation_s)) {
			log_line(LOG_WARNING, "no random numbers for the keys of tickets");
			return;
		}
	}
	hand_out(dp);
}

void tickets_configure(struct dataplane *dp, const struct creds_tickets *config)
{
	struct tickets *t = dp->tickets;

	if (t == NULL)
		t = dp->tickets = secret_new(sizeof(*t));
	if (t == NULL || memcmp(&t->config, config, sizeof(*config)) == 0)
		return;
	if (t->config.shared != config->shared)
		explicit_bzero(&t->keys, sizeof(t->keys));
	t->config = *config;
	t->due = true;
	tickets_run(dp);
}

void tickets_run(struct dataplane *dp)
{
	struct tickets *t = dp->tickets;
	int64_t now_s = time(NULL);

	if (t == NULL || t->config.rotation_s == 0 || !all_taken(dp))
		return;
	// a clock set back must not keep them from changing
	if (t->due || now_s >= t->due_s || t->due_s - now_s > t->config.rotation_s)
		keys_change(dp, now_s);
}

void tickets_stop(struct dataplane *dp)
{
	secret_free(dp->tickets, sizeof(*dp->tickets));
	dp->tickets = NULL;
}
