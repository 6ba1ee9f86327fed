// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The last good configuration, kept in control.state_dir over restarts (docs/decisions/0011): the
// file's text at each start that came this far, and the generation in force. Used only when the
// file is refused at a start. Nothing here can keep the dataplane from running. Main thread.

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/user.h"
#include "dataplane/dataplane.h"

#define START_NAME "start.conf"
#define BLOB_NAME "generation.blob"

static const char *state_dir(const struct dataplane *dp)
{
	return dp->state_dir != NULL ? dp->state_dir : dp->cfg->control.state_dir;
}

static void not_kept_warn(const struct dataplane *dp, const char *what, int err)
{
	log_line(
		LOG_WARNING,
		"%s/%s: %s: the last good configuration is not kept",
		state_dir(dp),
		what,
		err == -EPERM ? "others may write there" : strerror(-err)
	);
}

bool state_recover(struct dataplane *dp, const char *file, struct cfg_errors *errs)
{
	char dir[sizeof(errs->state_dir)];
	const char *reason;
	void *text;
	size_t len;

	if (dp->state_dir == NULL) {
		memcpy(dir, errs->state_dir, sizeof(dir));
		dp->state_dir = strdup(dir[0] != '\0' ? dir : CFG_DEFAULT_STATE_DIR);
	}
	if (dp->state_dir == NULL || keep_open(&dp->keep, dp->state_dir, file) < 0)
		return false;
	if (keep_read(&dp->keep, START_NAME, true, &text, &len, &reason) < 0) {
		log_line(LOG_ERROR, "%s/" START_NAME " %s", dp->state_dir, reason);
		return false;
	}
	dp->cfg = cfg_parse(text, START_NAME, errs);
	dp->certs = dp->cfg != NULL ? certs_load(dp->cfg, errs, false) : NULL;
	cfg_errors_log(errs);
	free(text);
	if (dp->certs == NULL) {
		log_line(
			LOG_ERROR,
			"%s/" START_NAME ", the last good configuration, cannot be used either",
			dp->state_dir
		);
		cfg_free(dp->cfg);
		dp->cfg = NULL;
		return false;
	}
	memset(dp->cfg->path, 0, sizeof(dp->cfg->path));
	memcpy(dp->cfg->path, file, strnlen(file, sizeof(dp->cfg->path) - 1)); // to be read again
	dp->last_good = true;
	log_line(
		LOG_ERROR,
		"%s is refused: STARTING WITH THE LAST GOOD CONFIGURATION, kept in %s",
		file,
		dp->state_dir
	);
	return true;
}

// Keys are never kept: the files are read again, of the paths that stand in start.conf. They may
// hold other certificates than then, so the blob is told which.
static int credentials_stamp(
	const struct dataplane *dp,
	struct blob_header *blob,
	size_t len,
	const char **ret_reason
)
{
	const struct blob_tls *have = &dp->certs->tls;
	int err = blob_check(blob, len, dp->shm.backend_slots, dp->shm.service_slots, ret_reason);

	if (err < 0 || blob->tls.servers + blob->tls.clients == 0)
		return err;
	*ret_reason = "names other certificates or TLS settings than the last good start";
	if (blob->tls.recipe != have->recipe || blob->tls.servers != have->servers ||
	    blob->tls.clients != have->clients)
		return -EINVAL;
	blob_tls_set(blob, have->digest, have->recipe);
	return 0;
}

int state_generation(struct dataplane *dp)
{
	const struct bundle bundle = {.data = dp->certs->bundle, .len = dp->certs->bundle_len};
	const char *reason;
	void *blob;
	size_t len;
	int err = keep_read(&dp->keep, BLOB_NAME, false, &blob, &len, &reason);

	if (err == 0) {
		err = credentials_stamp(dp, blob, len, &reason);
		if (err == 0)
			err = generation_install(dp, blob, len, &bundle, &reason);
		else
			free(blob);
	}
	if (err < 0) {
		log_line(
			LOG_ERROR,
			"%s/" BLOB_NAME " %s: with the services of the last good start",
			dp->state_dir,
			reason
		);
		return err;
	}
	dp->kept_generation = dp->generation;
	return 0;
}

// As the user that started us: what stands in start.conf decides on devices and users.
int state_start(struct dataplane *dp)
{
	uid_t owner = USER_NO_ID;
	int err;

	if (dp->last_good) {
		shm_main_add(&dp->shm, STAT_CFG_BAD_FILE, 1);
		shm_main_set(&dp->shm, STAT_CFG_LAST_GOOD, 1);
		return 0;
	}
	user_find(dp->cfg->dataplane.user, &owner);
	err = keep_make_dir(state_dir(dp), owner);
	if (err == 0)
		err = keep_open(&dp->keep, state_dir(dp), dp->cfg->path);
	if (err < 0)
		not_kept_warn(dp, "", err);
	else if (dp->text != NULL)
		err = keep_write(&dp->keep, START_NAME, dp->text, strlen(dp->text));
	if (err < 0 && dp->keep.dir_fd >= 0)
		not_kept_warn(dp, START_NAME, err);
	free(dp->text);
	dp->text = NULL;
	return 0;
}

static void written(struct dataplane *dp, int err)
{
	if (err == 0)
		return;
	shm_main_add(&dp->shm, STAT_CFG_NOT_KEPT, 1);
	not_kept_warn(dp, BLOB_NAME, err);
}

static bool is_to_be_kept(const struct dataplane *dp)
{
	return dp->keep.dir_fd >= 0 && dp->kept_generation != dp->generation &&
	       dp->shm.header->generation == dp->generation; // all workers have it
}

void state_run(struct dataplane *dp)
{
	int err = keep_write_end(&dp->keep, false);
	void *copy;

	if (err == -EINPROGRESS)
		return;
	if (err != -ENOENT)
		written(dp, err);
	if (!is_to_be_kept(dp))
		return;
	dp->kept_generation = dp->generation; // tried once
	copy = malloc(dp->blob->length);
	if (copy == NULL) {
		written(dp, -ENOMEM);
		return;
	}
	memcpy(copy, dp->blob, dp->blob->length);
	err = keep_write_begin(&dp->keep, BLOB_NAME, copy, dp->blob->length);
	if (err < 0)
		written(dp, err);
}

void state_stop(struct dataplane *dp)
{
	int err = keep_write_end(&dp->keep, true);

	if (err != -ENOENT)
		written(dp, err);
	if (is_to_be_kept(dp))
		written(dp, keep_write(&dp->keep, BLOB_NAME, dp->blob, dp->blob->length));
	keep_close(&dp->keep);
}
