// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The workers' TLS engines, and the threads that do what takes too long for a worker's turn
// (tls/away.h). Those run on the CPUs that no worker has, at a lower priority than other programs':
// mail goes before handshakes. Main thread, but for helper_thread.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "common/log.h"
#include "dataplane/dataplane.h"

#define HELPER_NICE 5

struct helper_arg {
	struct tls_helpers *helpers;
	unsigned index;
	struct port_thread thread;
};

struct helper_threads {
	struct tls_helpers *helpers;
	unsigned count; // started
	struct helper_arg arg[CFG_MAX_WORKERS];
};

static uint32_t helper_thread(void *arg)
{
	const struct helper_arg *a = arg;

	setpriority(PRIO_PROCESS, 0, HELPER_NICE); // of this thread, on Linux
	tls_helper_run(a->helpers, a->index);
	return 0;
}

static int threads_start(struct dataplane *dp)
{
	unsigned n = dp->cfg->dataplane.crypto_threads, workers = dp->cfg->dataplane.workers;
	struct helper_threads *t;
	char name[16];
	int err = 0;

	if (n > workers) // each worker has one helper
		n = workers;
	if (n == 0)
		return 0;
	t = dp->helpers = calloc(1, sizeof(*t));
	if (t == NULL)
		return -ENOMEM;
	t->helpers = tls_helpers_new(n, workers);
	if (t->helpers == NULL)
		return -errno;
	for (; t->count < n && err == 0; t->count += err == 0) {
		struct helper_arg *a = &t->arg[t->count];

		a->helpers = t->helpers;
		a->index = t->count;
		snprintf(name, sizeof(name), "crypto-%u", t->count % CFG_MAX_WORKERS);
		err = port_thread_start(&a->thread, name, helper_thread, a);
	}
	for (unsigned i = 0; i < workers && err == 0; i++)
		tls_engine_helpers_set(dp->lcore[i].engine, t->helpers, i);
	return err;
}

static int engine_make(struct dataplane *dp, unsigned i)
{
	struct lcore *l = &dp->lcore[i];
	bool degraded;

	l->engine = tls_engine_new(PK_ENGINE_MBX);
	if (l->engine == NULL)
		return -errno;
	degraded = tls_engine_degraded(l->engine);
	if (degraded)
		shm_main_set(&dp->shm, STAT_TLS_ENGINE_DEGRADED, 1);
	if (degraded && dp->cfg->dataplane.tls_engine_strict) {
		dp->reason = "dataplane.tls_engine_strict: the TLS engine for this processor fails "
			     "its tests, or libmbedtls is another than it was built for";
		return -ENOTSUP;
	}
	if (i == 0)
		log_line(
			degraded ? LOG_WARNING : LOG_NOTICE,
			"TLS engine: %s%s",
			tls_engine_name(l->engine),
			degraded ? ": A FASTER ONE FAILED ITS TESTS, handshakes are slow" : ""
		);
	return 0;
}

int engines_init(struct dataplane *dp)
{
	int err = 0;

	if (dp->cfg->dataplane.max_tls_connections == 0)
		return 0;
	for (unsigned i = 0; i < dp->cfg->dataplane.workers && err == 0; i++)
		err = engine_make(dp, i);
	return err == 0 ? threads_start(dp) : err;
}

void engines_fini(struct dataplane *dp)
{
	struct helper_threads *t = dp->helpers;

	if (t != NULL && t->helpers != NULL) {
		tls_helpers_stop(t->helpers);
		for (unsigned i = 0; i < t->count; i++)
			port_thread_join(t->arg[i].thread);
		tls_helpers_free(t->helpers);
	}
	free(t);
	for (unsigned i = 0; dp->lcore != NULL && i < dp->cfg->dataplane.workers; i++)
		tls_engine_free(dp->lcore[i].engine);
}
