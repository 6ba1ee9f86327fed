// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Keys of a pool that say how its backends are judged and chosen, and what stands in for it. Main
// thread.

#include "config/cfg_parts.h"

#include <string.h>

#define EJECTION_MIN_MS 5000

void cfg_balance_defaults(struct cfg_pool *pool)
{
	pool->backup = -1;
	pool->passive_health = pool->bounce_guard = true;
	pool->ejection_ms = 30000;
}

void cfg_balance_read(struct cfg_reader *r, const config_setting_t *s, struct cfg_pool *pool)
{
	cfg_duration(r, s, "slow_start", &pool->slow_start_ms);
	cfg_bool(r, s, "soft_bounce", &pool->soft_bounce);
	cfg_bool(r, s, "strict", &pool->strict);
	cfg_bool(r, s, "passive_health", &pool->passive_health);
	cfg_bool(r, s, "bounce_guard", &pool->bounce_guard);
	cfg_duration(r, s, "ejection_time", &pool->ejection_ms);
	if (pool->ejection_ms < EJECTION_MIN_MS)
		cfg_fail(r, config_setting_get_member(s, "ejection_time"), "at least 5s");
}

static void backup_find(struct cfg_reader *r, const config_setting_t *pool, unsigned index)
{
	const config_setting_t *at = config_setting_get_member(pool, "backup");
	char name[MR_NAME_LEN] = "";

	cfg_string(r, pool, "backup", name, sizeof(name));
	if (name[0] == '\0')
		return;
	for (unsigned i = 0; i < r->cfg->pool_count; i++)
		if (strcmp(r->cfg->pools[i].name, name) == 0)
			r->cfg->pools[index].backup = (int)i;
	if (r->cfg->pools[index].backup < 0)
		cfg_fail(r, at, "\"%s\" is not among pools", name);
	else if (r->cfg->pools[index].backup == (int)index)
		cfg_fail(r, at, "a pool is no backup of itself");
}

void cfg_backups_read(struct cfg_reader *r, const config_setting_t *pools)
{
	for (unsigned i = 0; i < r->cfg->pool_count; i++) {
		const config_setting_t *pool = config_setting_get_elem(pools, i);

		if (config_setting_is_group(pool))
			backup_find(r, pool, i);
	}
	for (unsigned i = 0; i < r->cfg->pool_count; i++) {
		const config_setting_t *pool = config_setting_get_elem(pools, i);
		int backup = r->cfg->pools[i].backup;

		if (backup >= 0 && backup != (int)i && r->cfg->pools[backup].backup >= 0)
			cfg_fail(
				r,
				config_setting_get_member(pool, "backup"),
				"\"%s\" has a backup itself: one is all there may be",
				r->cfg->pools[backup].name
			);
	}
}

void cfg_pass_check(
	struct cfg_reader *r,
	const config_setting_t *s,
	const struct cfg_policy *policy,
	unsigned pool
)
{
	const struct cfg_pool *p = pool != CFG_INDEX_NONE ? &r->cfg->pools[pool] : NULL;

	if (p == NULL || policy->bare_lf != BLOB_BARE_LF_PASS)
		return;
	if (p->strict && p->backup >= 0)
		p = &r->cfg->pools[p->backup];
	if (!p->strict)
		cfg_fail(
			r,
			config_setting_get_member(s, "bare_lf"),
			"\"pass\" wants strict = true in pool \"%s\": backends that take a bare "
			"line end for the end of a message would be smuggled mails",
			p->name
		);
}
