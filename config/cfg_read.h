// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Reading values out of libconfig settings with errors that name file, line and key: shared by the
// files of cfg_load. Main thread of control, dataplane and CLI.

#pragma once

#include <libconfig.h>

#include "config/cfg.h"
#include "config/cfg_index.h"

struct cfg_reader {
	struct cfg *cfg;
	struct cfg_errors *errs;
	const char *path;
	struct cfg_index networks, sources, pools, certificates; // by name, once they are read
	struct cfg_index listens;                                // endpoints, value: of no meaning
};

enum cfg_section {
	CFG_SEC_root,
	CFG_SEC_dataplane,
	CFG_SEC_control,
	CFG_SEC_exporter,
	CFG_SEC_port,
	CFG_SEC_pool,
	CFG_SEC_probe,
	CFG_SEC_backend,
	CFG_SEC_service,
	CFG_SEC_tls,
	CFG_SEC_certificate,
	CFG_SEC_tls_tickets,
	CFG_SEC_pool_tls,
	CFG_SEC_rule,
	CFG_SEC_limits,
	CFG_SEC_tarpit,
	CFG_SEC_ledger,
};

void cfg_fail(struct cfg_reader *r, const config_setting_t *at, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
// The same, but the file stays good.
void cfg_warn(struct cfg_reader *r, const config_setting_t *at, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
// Refuses unknown keys, and those not built yet, by name.
void cfg_keys_check(struct cfg_reader *r, const config_setting_t *group, enum cfg_section section);

// Each leaves *ret alone when the key is absent; a value of the wrong kind or out of range is an
// error of the key.
void cfg_string(
	struct cfg_reader *r,
	const config_setting_t *group,
	const char *key,
	char *ret,
	size_t len
);
void cfg_uint(
	struct cfg_reader *r,
	const config_setting_t *group,
	const char *key,
	uint64_t min_max[2],
	uint64_t *ret
);
void cfg_bool(struct cfg_reader *r, const config_setting_t *group, const char *key, bool *ret);
void cfg_duration(
	struct cfg_reader *r,
	const config_setting_t *group,
	const char *key,
	uint32_t *ret_ms
);
void cfg_size(
	struct cfg_reader *r,
	const config_setting_t *group,
	const char *key,
	uint64_t *ret_bytes
);
struct cfg_choice {
	const char *name;
	int value; // -1: known, not built yet
};
void cfg_choose(
	struct cfg_reader *r,
	const config_setting_t *group,
	const char *key,
	const struct cfg_choice *choices,
	int *ret
);
// To be set as a file's destructor: groups of that file are then searched by tables (cfg_member.c).
void cfg_members_free(void *hook);
// Member of a group, or NULL; an error when it is there and not of the kind.
config_setting_t *cfg_group(struct cfg_reader *r, const config_setting_t *group, const char *key);
config_setting_t *cfg_list(struct cfg_reader *r, const config_setting_t *group, const char *key);
// Name of a member of a group with free names, as far as it is one.
void cfg_name_take(struct cfg_reader *r, const config_setting_t *s, char ret[MR_NAME_LEN]);
// Element i of a list of texts, or NULL after an error.
const char *cfg_element_text(struct cfg_reader *r, const config_setting_t *list, unsigned i);
