// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// mailrace-controlplane: reads the configuration, makes it the dataplane's, judges the backends'
// health and serves the API. It may die and come back at any time: the dataplane goes on with what
// it was told last.

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/user.h"
#include "controlplane/api.h"
#include "controlplane/control.h"
#include "controlplane/journal.h"

#define TICK_MS 100      // heartbeat, probes due
#define TICK_PROBE_MS 10 // while answers are awaited, or mails come: the rings wake nobody

static int signals_open(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN); // an API client that has left
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

// Returns false when the process is to end.
static bool signal_take(struct control *c, int signals)
{
	struct signalfd_siginfo info;
	struct cfg_errors *errs;

	if (read(signals, &info, sizeof(info)) != sizeof(info))
		return true;
	if (info.ssi_signo != SIGHUP)
		return false;
	errs = calloc(1, sizeof(*errs));
	if (errs != NULL)
		control_reload(c, errs);
	free(errs);
	return true;
}

static void run(struct control *c, struct api *api, int signals)
{
	unsigned mails = 0;

	for (;;) {
		struct pollfd fds[3] = {
			{.fd = signals, .events = POLLIN},
			{.fd = api_fd(api), .events = POLLIN},
			{.fd = c->link.at.fd, .events = POLLIN},
		};
		bool waiting =
			link_is_open(&c->link) && (mails > 0 || health_is_waiting(c->health));
		uint64_t now;

		poll(fds, 3, api_wait_ms(api, waiting ? TICK_PROBE_MS : TICK_MS));
		now = control_clock_ns();
		if ((fds[0].revents & POLLIN) != 0 && !signal_take(c, signals))
			return;
		mails = journal_run(
			c->journal, &c->link, now
		); // also what a dataplane that died left
		if (link_is_open(&c->link) && !link_check(&c->link))
			log_line(LOG_WARNING, "the dataplane has gone");
		if (!link_is_open(&c->link))
			control_attach(c, now);
		if (link_is_open(&c->link)) {
			__atomic_store_n(&c->link.state->heartbeat_ns, now, __ATOMIC_RELAXED);
			c->link.state->pid = (uint32_t)getpid();
			control_events(c, api_event, api, now);
			health_run(c->health, &c->link, now);
			tarpit_log_run(c->tarpit, &c->link, now, (uint64_t)time(NULL));
		}
		api_run(api);
	}
}

static int start_and_run(struct control *c)
{
	int signals = signals_open();
	const char *reason;
	struct api *api = api_open(c, &reason);
	int status = EX_OK, err;

	if (api == NULL) {
		log_line(LOG_ERROR, "cannot start: %s: %s", c->cfg->control.socket, reason);
		return EX_UNAVAILABLE;
	}
	journal_configure(c->journal, c->cfg);
	err = user_become(c->cfg->control.user);
	if (c->creds.fd >= 0)
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); // another user's process may be dumped again
	if (err < 0) {
		log_line(LOG_ERROR, "cannot start: control.user: %s", strerror(-err));
		status = EX_NOPERM;
	} else {
		log_line(LOG_NOTICE, "ready: API at %s", c->cfg->control.socket);
		run(c, api, signals);
		log_line(LOG_NOTICE, "stopping");
	}
	api_close(api);
	return status;
}

static int usage(int status)
{
	fprintf(status == EX_OK ? stdout : stderr, "usage: mailrace-controlplane -c FILE\n");
	return status;
}

int main(int argc, char **argv)
{
	struct control c = {
		.link.at.fd = -1, .creds = CREDS_NONE, .started_ns = control_clock_ns()
	};
	struct cfg_errors *errs = calloc(1, sizeof(*errs));
	const char *file = NULL;
	bool bad = false;
	int opt, status;

	log_init("mailrace-controlplane", LOG_INFO);
	while ((opt = getopt(argc, argv, "c:h")) != -1) {
		if (opt != 'c')
			return usage(opt == 'h' ? EX_OK : EX_USAGE);
		file = optarg;
	}
	if (file == NULL || optind != argc || errs == NULL)
		return usage(EX_USAGE);
	c.cfg = c.started_cfg = cfg_load(file, errs);
	if (c.cfg != NULL)
		bad = creds_load(c.cfg, errs, &c.creds) < 0;
	c.health = health_new();
	c.journal = journal_new();
	c.tarpit = tarpit_log_new();
	cfg_errors_log(errs);
	free(errs);
	if (c.cfg == NULL || bad) {
		status = EX_CONFIG;
	} else if (c.health == NULL || c.journal == NULL || c.tarpit == NULL) {
		status = EX_OSERR;
	} else {
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		status = start_and_run(&c);
	}
	journal_free(c.journal);
	link_close(&c.link);
	creds_release(&c.creds);
	cfg_slots_free(c.slots);
	health_free(c.health);
	free(c.tarpit);
	if (c.cfg != c.started_cfg)
		cfg_free(c.cfg);
	cfg_free(c.started_cfg);
	return status;
}
