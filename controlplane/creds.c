// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// See creds.h. Main thread of control.

#include "controlplane/creds.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static void memory_fail(const struct cfg *cfg, struct cfg_errors *errs, int err)
{
	struct cfg_error *e;

	errs->errors++;
	if (errs->count >= CFG_MAX_ERRORS)
		return;
	e = &errs->item[errs->count++];
	*e = (struct cfg_error){0};
	snprintf(e->file, sizeof(e->file), "%s", cfg->path);
	snprintf(e->reason, sizeof(e->reason), "no memory for certificates: %s", strerror(-err));
}

int creds_load(const struct cfg *cfg, struct cfg_errors *errs, struct creds *ret)
{
	*ret = CREDS_NONE;
	if (cfg->certificate_count > 0)
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); // keys are in memory from here on
	ret->certs = certs_load(cfg, errs, false);
	if (ret->certs == NULL)
		return -EINVAL;
	if (ret->certs->bundle == NULL)
		return 0;
	ret->fd = certs_memfd(ret->certs);
	certs_keys_wipe(ret->certs);
	if (ret->fd >= 0)
		return 0;
	memory_fail(cfg, errs, ret->fd);
	creds_release(ret);
	return -EINVAL;
}

void creds_release(struct creds *creds)
{
	certs_free(creds->certs);
	if (creds->fd >= 0)
		close(creds->fd);
	*creds = CREDS_NONE;
}
