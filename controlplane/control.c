// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// From the file to the generation in force, and the events back. A file or a dataplane that cannot
// be used changes nothing. Main thread.

#include "controlplane/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"
#include "controlplane/journal.h"

#define ATTACH_EVERY_NS 500000000ULL
#define EVENTS_A_TURN 2048

uint64_t control_clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

static void error_add(struct cfg_errors *errs, const char *path, const char *reason)
{
	struct cfg_error *e;

	errs->errors++;
	if (errs->count >= CFG_MAX_ERRORS)
		return;
	e = &errs->item[errs->count++];
	*e = (struct cfg_error){0};
	snprintf(e->file, sizeof(e->file), "%s", path);
	snprintf(e->reason, sizeof(e->reason), "%s", reason);
}

static void slots_prepare(struct control *c)
{
	const struct link *l = &c->link;

	cfg_slots_adopt(c->slots, l->blob);
	for (uint32_t i = 1; i < l->backend_slots; i++)
		cfg_slots_hold(c->slots, CFG_SLOT_BACKEND, i, link_backend_is_held(l, i));
	for (uint32_t i = 1; i < l->service_slots; i++)
		cfg_slots_hold(c->slots, CFG_SLOT_SERVICE, i, link_service_is_held(l, i));
}

// Do two blobs say the same, whatever their generation?
static bool blob_same(const struct blob_header *a, const struct blob_header *b)
{
	struct blob_header x = *a, y = *b;

	x.generation = y.generation = 0;
	x.crc32 = y.crc32 = 0;
	return a->length == b->length && memcmp(&x, &y, sizeof(x)) == 0 &&
	       memcmp(a + 1, b + 1, a->length - sizeof(x)) == 0;
}

// Compiles cfg and makes it the generation in force; again: also if it is that already.
static int
publish(struct control *c,
	const struct cfg *cfg,
	const struct creds *creds,
	struct cfg_errors *errs,
	bool again)
{
	uint64_t generation = c->link.blob->generation + 1;
	char reason[256] = "";
	void *blob;
	size_t len;
	int err;

	slots_prepare(c);
	err = cfg_blob_build(cfg, c->slots, generation, &blob, &len, errs);
	if (err < 0)
		return err;
	blob_tls_set(blob, creds->certs->tls.digest, creds->certs->tls.recipe);
	if (blob_same(blob, c->link.blob) && !again) {
		free(blob);
	} else {
		err = link_publish(&c->link, blob, creds->fd, reason, sizeof(reason));
		if (err < 0)
			free(blob);
	}
	if (err == -ENOTCONN)
		return err;
	if (err < 0) {
		error_add(
			errs,
			cfg->path,
			err == -EINVAL ? reason : "the workers are still taking over the last one"
		);
		return err;
	}
	return health_configure(c->health, cfg, &c->link, control_clock_ns());
}

static int attach(struct control *c, struct cfg_errors *errs)
{
	int err = link_open(&c->link, c->cfg->dataplane.socket);

	if (err < 0)
		return err;
	cfg_slots_free(c->slots);
	c->slots = cfg_slots_new(c->link.backend_slots, c->link.service_slots);
	err = c->slots != NULL ? publish(c, c->cfg, &c->creds, errs, false) : -ENOMEM;
	if (err < 0)
		link_close(&c->link);
	return err;
}

static const char *attach_error_text(int err)
{
	switch (err) {
	case -ENOENT:
	case -ECONNREFUSED:
		return "no dataplane is running there";
	case -EBUSY:
		return "another control process is attached";
	case -EPERM:
	case -EACCES:
		return "not allowed for this user (control.user)";
	case -EPROTONOSUPPORT:
		return "its version of the shared memory is another one";
	default:
		return strerror(-err);
	}
}

void control_attach(struct control *c, uint64_t now_ns)
{
	struct cfg_errors *errs;
	int err;

	if (now_ns < c->attach_next_ns)
		return;
	c->attach_next_ns = now_ns + ATTACH_EVERY_NS;
	errs = calloc(1, sizeof(*errs));
	if (errs == NULL)
		return;
	err = attach(c, errs);
	if (err == 0) {
		log_line(
			LOG_NOTICE,
			"attached to the dataplane, generation %llu",
			(unsigned long long)c->link.blob->generation
		);
	} else if (err != c->attach_error) { // once, not twice a second
		cfg_errors_log(errs);
		log_line(
			LOG_WARNING,
			"cannot attach at %s: %s",
			c->cfg->dataplane.socket,
			attach_error_text(err)
		);
	}
	c->attach_error = err;
	free(errs);
}

static void
start_only_warn(const struct control *c, const struct cfg *next, struct cfg_errors *errs)
{
	const char *keys[CFG_START_ONLY_MAX];
	unsigned n = cfg_diff_start_only(c->started_cfg, next, keys);

	for (unsigned i = 0; i < n && errs->count < CFG_MAX_ERRORS; i++) {
		struct cfg_error *e = &errs->item[errs->count++];

		*e = (struct cfg_error){.warning = true};
		snprintf(e->file, sizeof(e->file), "%s", next->path);
		snprintf(e->key, sizeof(e->key), "%s", keys[i]);
		snprintf(
			e->reason, sizeof(e->reason), "changed: read at the dataplane's next start"
		);
	}
}

static const char *first_error(const struct cfg_errors *errs, int err)
{
	for (unsigned i = 0; i < errs->count && i < CFG_MAX_ERRORS; i++)
		if (!errs->item[i].warning)
			return errs->item[i].reason;
	return strerror(-err);
}

int control_reload(struct control *c, struct cfg_errors *errs)
{
	uint64_t begin_ns = control_clock_ns(), read_ns;
	struct cfg *next = cfg_load(c->cfg->path, errs);
	struct creds creds = CREDS_NONE;
	int err = next != NULL ? creds_load(next, errs, &creds) : -EINVAL;

	read_ns = control_clock_ns();
	if (err == 0 && link_check(&c->link))
		err =
			publish(c, next, &creds, errs, link_has_last_good(&c->link)
			); // the file is good now
	c->read_ns = read_ns - begin_ns;
	c->publish_ns = control_clock_ns() - read_ns;
	if (err == -ENOTCONN)
		err = 0; // published as soon as there is a dataplane again
	if (err < 0) {
		c->reloads_refused++;
		cfg_free(next);
		creds_release(&creds);
		snprintf(
			c->refused_reason,
			sizeof(c->refused_reason),
			"%.255s",
			first_error(errs, err)
		);
		cfg_errors_log(errs);
		log_line(LOG_ERROR, "reload refused: the configuration in force stays");
		return err;
	}
	start_only_warn(c, next, errs);
	cfg_errors_log(errs);
	c->reloads++;
	c->refused_reason[0] = '\0';
	if (c->cfg != c->started_cfg)
		cfg_free(c->cfg);
	c->cfg = next;
	journal_configure(c->journal, next);
	creds_release(&c->creds);
	c->creds = creds;
	log_line(
		LOG_NOTICE,
		"reloaded, generation %llu",
		link_is_open(&c->link) ? (unsigned long long)c->link.blob->generation : 0ULL
	);
	return 0;
}

unsigned control_events(
	struct control *c,
	void (*session)(void *up, const struct ctl_msg *msg),
	void *up,
	uint64_t now_ns
)
{
	struct ctl_msg msg;
	unsigned n = 0;

	for (uint32_t i = 0; i < c->link.workers; i++) {
		for (unsigned k = 0; k < EVENTS_A_TURN; k++, n++) {
			if (ctl_ring_get(c->link.events[i], &msg) != CTL_RING_MSG)
				break;
			if (msg.type == CTL_EVT_PROBE)
				health_result(c->health, &c->link, &msg, now_ns);
			else if (msg.type == CTL_EVT_ALARM)
				health_alarm(c->health, &msg, now_ns);
			else
				session(up, &msg);
		}
	}
	return n;
}
