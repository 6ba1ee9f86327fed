// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The group ledger: whether mails are recorded, what of them, where and for how long. Main thread.

#include "config/cfg_parts.h"

#include <stdio.h>

#define BYTES_DEFAULT (1ULL << 30)
#define BYTES_MIN (16ULL << 20)
#define DAYS_DEFAULT 30
#define DAYS_MAX 3650

void cfg_ledger_read(struct cfg_reader *r, const config_setting_t *root)
{
	static const struct cfg_choice keep[] = {
		{"full", BLOB_LEDGER_FULL},
		{"domain", BLOB_LEDGER_DOMAIN},
		{"none", BLOB_LEDGER_NONE},
		{NULL, 0},
	};
	const config_setting_t *g = cfg_group(r, root, "ledger");
	uint64_t bytes = BYTES_DEFAULT, days = DAYS_DEFAULT;
	int choice = BLOB_LEDGER_FULL;

	if (g == NULL)
		return;
	cfg_keys_check(r, g, CFG_SEC_ledger);
	cfg_choose(r, g, "addresses", keep, &choice);
	snprintf(
		r->cfg->ledger.directory,
		sizeof(r->cfg->ledger.directory),
		"%s",
		CFG_DEFAULT_STATE_DIR "/mail"
	);
	cfg_string(r, g, "directory", r->cfg->ledger.directory, sizeof(r->cfg->ledger.directory));
	cfg_size(r, g, "size", &bytes);
	if (bytes < BYTES_MIN)
		cfg_fail(r, config_setting_get_member(g, "size"), "at least 16M");
	cfg_uint(r, g, "days", (uint64_t[2]){1, DAYS_MAX}, &days);
	if (r->cfg->ledger.directory[0] != '/')
		cfg_fail(
			r,
			config_setting_get_member(g, "directory"),
			"wants a path that begins with /"
		);
	r->cfg->ledger.keep = (enum blob_ledger)choice;
	r->cfg->ledger.bytes = bytes;
	r->cfg->ledger.days = (unsigned)days;
}
