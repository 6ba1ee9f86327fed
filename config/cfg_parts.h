// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The groups with free names, each read by a function of its own. For the files of cfg_load only.

#pragma once

#include "config/cfg_read.h"

void cfg_ports_read(struct cfg_reader *r, const config_setting_t *root);
void cfg_networks_read(struct cfg_reader *r, const config_setting_t *root);
void cfg_sources_read(struct cfg_reader *r, const config_setting_t *root);
void cfg_pools_read(struct cfg_reader *r, const config_setting_t *root);
// cfg_balance.c: how a pool judges and chooses its backends; backups once all pools have been read.
void cfg_balance_defaults(struct cfg_pool *pool);
void cfg_balance_read(struct cfg_reader *r, const config_setting_t *s, struct cfg_pool *pool);
void cfg_backups_read(struct cfg_reader *r, const config_setting_t *pools);
void cfg_services_read(struct cfg_reader *r, const config_setting_t *root);
