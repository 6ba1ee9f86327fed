// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// mailrace-dataplane: starts its modules in the order of one table, runs until a signal, takes them
// down in reverse. Nothing is left half-started: a start that fails says why and undoes what was
// done.

#include <rte_eal.h>
#include <rte_launch.h>
#include <rte_lcore.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>

#include "common/log.h"
#include "common/user.h"
#include "dataplane/ctl/server.h"
#include "dataplane/dataplane.h"

static_assert(SHM_PORTS > CFG_MAX_PORTS, "the last one has no name");

#define MAIN_TICK_MS 20
#define PORTS_EVERY_NS 200000000ULL
#define REFUSED_LOG_EVERY_NS 1000000000ULL
#define STOP_GRACE_NS 5000000000ULL // for mails under way, after the first signal

static int socket_start(struct dataplane *dp)
{
	int err = server_open(&dp->server, dp->cfg->dataplane.socket);

	if (err == -EADDRINUSE)
		dp->reason = "another dataplane is running on this socket";
	else if (err == -ENOTSOCK)
		dp->reason = "dataplane.socket names a file that is not a socket";
	else if (err < 0)
		dp->reason = strerror(-err);
	return err;
}

static void socket_stop(struct dataplane *dp)
{
	server_close(&dp->server, dp->cfg->dataplane.socket);
}

static int shm_start(struct dataplane *dp)
{
	const struct cfg_dataplane *d = &dp->cfg->dataplane;

	return shm_init(&dp->shm, d->workers, d->backend_slots, d->service_slots);
}

static void shm_stop(struct dataplane *dp)
{
	shm_fini(&dp->shm);
}

static int eal_start(struct dataplane *dp)
{
	return port_eal_init(dp->cfg, &dp->reason);
}

static void eal_stop(struct dataplane *dp)
{
	rte_eal_cleanup();
}

static int pools_start(struct dataplane *dp)
{
	return port_pools_init(dp->cfg, &dp->pools, &dp->reason);
}

static int ports_start(struct dataplane *dp)
{
	const struct port_start_args args = {
		.cfg = dp->cfg, .pools = &dp->pools, .rss_key = dp->rss_key
	};
	int err;

	if (getrandom(dp->rss_key, sizeof(dp->rss_key), 0) != sizeof(dp->rss_key))
		return -EIO;
	err = port_start(&args, dp->info, &dp->reason);
	if (err < 0)
		port_stop(dp->cfg);
	return err;
}

static void ports_stop(struct dataplane *dp)
{
	port_stop(dp->cfg);
}

static int generation_start(struct dataplane *dp)
{
	struct cfg_errors *errs = calloc(1, sizeof(*errs));
	const char *reason = "";
	int err = -ENOMEM;

	dp->slots = cfg_slots_new(dp->shm.backend_slots, dp->shm.service_slots);
	if (errs != NULL && dp->slots != NULL)
		err = dp->last_good ? state_generation(dp) : -ENOENT;
	if (err < 0 && errs != NULL && dp->slots != NULL) {
		err = generation_from_file(dp, dp->cfg, dp->certs, errs, &reason);
		if (err < 0 && reason[0] != '\0')
			dp->reason = reason;
	}
	certs_keys_wipe(dp->certs);
	free(errs);
	return err;
}

static void generation_stop(struct dataplane *dp)
{
	cfg_slots_free(dp->slots);
}

static int users_start(struct dataplane *dp)
{
	struct server_users *u = &dp->server.users;
	const struct cfg *cfg = dp->cfg;
	uid_t uid;

	if (!user_find(cfg->control.user, &u->control))
		dp->reason = "control.user: no such user";
	else if (!user_find(cfg->exporter.user, &u->exporter))
		dp->reason = "exporter.user: no such user";
	else if (!group_find(cfg->control.read_group, &u->read_group))
		dp->reason = "control.read_group: no such group";
	else if (!group_find(cfg->control.admin_group, &u->admin_group))
		dp->reason = "control.admin_group: no such group";
	else if (!user_find(cfg->dataplane.user, &uid))
		dp->reason = "dataplane.user: no such user";
	return dp->reason == NULL ? 0 : -ENOENT;
}

// The ports are open: from here on as another user.
static int user_start(struct dataplane *dp)
{
	const char *socket = dp->cfg->dataplane.socket;
	uid_t uid;
	int err;

	user_find(dp->cfg->dataplane.user, &uid);
	if (uid != USER_NO_ID && chown(socket, uid, (gid_t)-1) < 0)
		return -errno;
	err = user_become(dp->cfg->dataplane.user);
	if (dp->credentials != NULL)
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); // another user's process may be dumped again
	return err;
}

static int lcores_start(struct dataplane *dp)
{
	unsigned lcore, i = 0;

	RTE_LCORE_FOREACH_WORKER(lcore)
	{
		if (i < dp->cfg->dataplane.workers &&
		    rte_eal_remote_launch(lcore_run, &dp->lcore[i++], lcore) != 0)
			return -EBUSY;
	}
	return i == dp->cfg->dataplane.workers ? 0 : -ENODEV;
}

static void lcores_stop(struct dataplane *dp)
{
	atomic_store(&dp->phase, LCORE_STOP);
	rte_eal_mp_wait_lcore();
	for (unsigned i = 0; TURN_METER && i < dp->cfg->dataplane.workers; i++)
		turn_meter_show(
			&dp->lcore[i].meter, i, shm_counters_at(&dp->shm, i)[STAT_SESSION_ENDED]
		);
	workers_flush(dp);
}

static const struct {
	const char *name;
	int (*start)(struct dataplane *dp);
	void (*stop)(struct dataplane *dp);
	int exit_status; // of a start that fails here
} modules[] = {
	{"socket", socket_start, socket_stop, EX_UNAVAILABLE},
	{"shared memory", shm_start, shm_stop, EX_OSERR},
	{"memory and devices", eal_start, eal_stop, EX_OSERR},
	{"packet buffers", pools_start, NULL, EX_OSERR},
	{"ports", ports_start, ports_stop, EX_NOINPUT},
	{"workers", workers_init, workers_fini, EX_OSERR},
	{"configuration", generation_start, generation_stop, EX_CONFIG},
	{"users", users_start, NULL, EX_NOPERM},
	{"state", state_start, state_stop, EX_OSERR},
	{"user", user_start, NULL, EX_NOPERM},
	{"worker threads", lcores_start, lcores_stop, EX_OSERR},
};
#define MODULES (sizeof(modules) / sizeof(modules[0]))

static void start_only_show(const struct dataplane *dp, const struct cfg *next)
{
	const char *keys[CFG_START_ONLY_MAX];
	unsigned n = cfg_diff_start_only(dp->cfg, next, keys);

	for (unsigned i = 0; i < n; i++)
		log_line(
			LOG_WARNING, "%s changed in the file: read at the next start only", keys[i]
		);
}

// A bad file changes nothing, nor does a bad certificate.
static int file_take(struct dataplane *dp, struct cfg_errors *errs, const char **ret_reason)
{
	struct cfg *cfg = cfg_load(dp->cfg->path, errs);
	struct certs *certs = cfg != NULL ? certs_load(cfg, errs, false) : NULL;
	int err = -EINVAL;

	*ret_reason = cfg == NULL ? "the file" : "certificates";
	if (certs != NULL)
		err = generation_from_file(dp, cfg, certs, errs, ret_reason);
	certs_free(certs);
	cfg_errors_log(errs);
	if (err == 0)
		start_only_show(dp, cfg);
	cfg_free(cfg);
	return err;
}

// While workers are still taking the generation before, it waits.
static void reload(struct dataplane *dp)
{
	const char *reason = "no memory";
	struct cfg_errors *errs;
	int err = -ENOMEM;

	if (dp->server.control_fd >= 0) {
		dp->reload_wanted = false;
		log_line(LOG_WARNING, "control is attached: reload there (mailracectl reload)");
		return;
	}
	dp->reload_wanted = dp->old_blob != NULL;
	if (dp->reload_wanted)
		return;
	errs = calloc(1, sizeof(*errs));
	if (errs != NULL)
		err = file_take(dp, errs, &reason);
	free(errs);
	if (err == 0) {
		log_line(
			LOG_NOTICE, "generation %llu published", (unsigned long long)dp->generation
		);
		return;
	}
	shm_main_add(&dp->shm, STAT_CFG_BAD_FILE, 1);
	log_line(LOG_ERROR, "reload refused (%s): the configuration in force stays", reason);
}

static bool drained(const struct dataplane *dp)
{
	for (unsigned i = 0; i < dp->cfg->dataplane.workers; i++) {
		const struct shm_worker *w = shm_worker_at(&dp->shm, i);

		if (__atomic_load_n(&w->sessions, __ATOMIC_RELAXED) > 0 ||
		    __atomic_load_n(&w->connections, __ATOMIC_RELAXED) > 0)
			return false;
	}
	return true;
}

static int
publish(void *up, const uint8_t *arena, uint32_t len, int creds_fd, const char **ret_reason)
{
	struct dataplane *dp = up;
	int err = generation_from_control(dp, arena, len, creds_fd, ret_reason);
	uint64_t now = lcore_clock_ns();

	if (err == 0)
		log_line(
			LOG_NOTICE,
			"generation %llu taken from control",
			(unsigned long long)dp->generation
		);
	if (err == 0 || err == -EBUSY)
		return err;
	shm_main_add(&dp->shm, STAT_CFG_BAD_BLOB, 1);
	if (now - dp->refused_ns >= REFUSED_LOG_EVERY_NS) { // the rest is only counted
		dp->refused_ns = now;
		log_line(LOG_ERROR, "generation of control refused: %s", *ret_reason);
	}
	return err;
}

static const struct blob_header *blob_now(void *up)
{
	return ((struct dataplane *)up)->blob;
}

static void port_and_buffers_publish(struct dataplane *dp, uint64_t now)
{
	struct shm_header *h = dp->shm.header;
	struct shm_port_link links[SHM_PORTS];
	uint32_t total, in_use;

	if (now - dp->ports_ns < PORTS_EVERY_NS)
		return;
	dp->ports_ns = now;
	port_publish(dp->cfg, shm_ports(&dp->shm), links);
	for (unsigned i = 0; i < dp->cfg->port_count; i++)
		*shm_port_link_at(&dp->shm, i) = links[i];
	port_pools_count(&dp->pools, &total, &in_use);
	__atomic_store_n(&h->buffers_total, total, __ATOMIC_RELAXED);
	__atomic_store_n(&h->buffers_in_use, in_use, __ATOMIC_RELAXED);
}

static void sockets_run(struct dataplane *dp, uint64_t now)
{
	const struct server_view view = {
		.shm = &dp->shm,
		.up = dp,
		.blob = blob_now,
		.publish = publish,
	};

	server_run(&dp->server, &view, now);
}

// The first SIGTERM or SIGINT drains, the second one ends at once.
static void run(struct dataplane *dp, int signals)
{
	uint64_t stop_ns = 0;

	for (;;) {
		struct pollfd fds[SERVER_FDS_MAX + 1] = {{.fd = signals, .events = POLLIN}};
		unsigned n = 1 + server_fds(&dp->server, fds + 1);
		struct signalfd_siginfo info;
		uint64_t now;

		poll(fds, n, MAIN_TICK_MS);
		now = lcore_clock_ns();
		__atomic_store_n(&dp->shm.header->heartbeat_ns, now, __ATOMIC_RELAXED);
		generation_reap(dp);
		if (dp->reload_wanted)
			reload(dp);
		health_publish(dp);
		state_run(dp);
		tickets_run(dp);
		port_and_buffers_publish(dp, now);
		conflicts_log(dp);
		sockets_run(dp, now);
		if (stop_ns != 0 && (now >= stop_ns || drained(dp)))
			return;
		if ((fds[0].revents & POLLIN) == 0 ||
		    read(signals, &info, sizeof(info)) != sizeof(info))
			continue;
		if (info.ssi_signo == SIGHUP) {
			reload(dp);
			continue;
		}
		if (stop_ns != 0)
			return;
		log_line(LOG_NOTICE, "draining");
		atomic_store(&dp->phase, LCORE_DRAIN);
		stop_ns = now + STOP_GRACE_NS;
	}
}

static int start_and_run(struct dataplane *dp, int signals)
{
	unsigned done = 0;
	int status = EX_OK;

	for (; done < MODULES; done++) {
		int err = modules[done].start(dp);

		if (err == 0)
			continue;
		log_line(
			LOG_ERROR,
			"cannot start: %s: %s",
			modules[done].name,
			dp->reason != NULL ? dp->reason : strerror(-err)
		);
		status = modules[done].exit_status;
		break;
	}
	if (status == EX_OK) {
		log_line(
			LOG_NOTICE,
			"ready: %u workers, %u sessions, %llu bytes a session",
			dp->cfg->dataplane.workers,
			dp->cfg->dataplane.max_sessions,
			(unsigned long long)(dp->shm.header->session_bytes /
					     dp->cfg->dataplane.max_sessions)
		);
		run(dp, signals);
		log_line(LOG_NOTICE, "stopping");
	}
	while (done-- > 0)
		if (modules[done].stop != NULL)
			modules[done].stop(dp);
	return status;
}

static int signals_open(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL); // inherited by all threads
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int usage(int status)
{
	fprintf(status == EX_OK ? stdout : stderr,
		"usage: mailrace-dataplane [-t] [-s DIR] -c FILE\n"
		"  -t  check the file and exit\n"
		"  -s  keep the last good configuration there (control.state_dir)\n");
	return status;
}

// The configuration and the certificates it names, as the user that starts us; dp->cfg stays NULL
// when either is refused.
static void file_read(struct dataplane *dp, const char *file, struct cfg_errors *errs)
{
	dp->cfg = cfg_load_text(file, errs, &dp->text);
	dp->certs = dp->cfg != NULL ? certs_load(dp->cfg, errs, false) : NULL;
	cfg_errors_log(errs);
	if (dp->certs == NULL) {
		cfg_free(dp->cfg);
		dp->cfg = NULL;
	}
}

int main(int argc, char **argv)
{
	struct dataplane *dp = calloc(1, sizeof(*dp));
	struct cfg_errors *errs = calloc(1, sizeof(*errs));
	const char *file = NULL, *state = NULL;
	bool test = false;
	int c, status;

	log_init("mailrace-dataplane", LOG_INFO);
	while ((c = getopt(argc, argv, "c:s:th")) != -1) {
		if (c == 'c')
			file = optarg;
		else if (c == 's')
			state = optarg;
		else if (c == 't')
			test = true;
		else
			return usage(c == 'h' ? EX_OK : EX_USAGE);
	}
	if (file == NULL || dp == NULL || errs == NULL)
		return usage(EX_USAGE);
	dp->server.listen_fd = dp->server.control_fd = -1;
	dp->keep.dir_fd = -1;
	dp->state_dir = state != NULL ? strdup(state) : NULL;
	file_read(dp, file, errs);
	if (dp->cfg == NULL && (test || !state_recover(dp, file, errs))) {
		status = EX_CONFIG;
	} else if (test) {
		printf("%s: good\n", file);
		status = EX_OK;
	} else {
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		status = start_and_run(dp, signals_open());
	}
	keep_close(&dp->keep);
	certs_free(dp->certs);
	cfg_free(dp->cfg);
	free(dp->text);
	free(dp->state_dir);
	free(dp);
	free(errs);
	return status;
}
