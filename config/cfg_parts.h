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
// cfg_sources.c: index of the named group that a member "source" asks for; -1 when there is none
// (or a wrong one: then an error). Probes' addresses, once the pool's backends have been read.
// Warnings, once all has been read without an error.
int cfg_source_find(struct cfg_reader *r, const config_setting_t *group);
void cfg_probe_sources_read(
	struct cfg_reader *r,
	const config_setting_t *probe,
	struct cfg_pool *pool
);
void cfg_sources_check(struct cfg_reader *r, const config_setting_t *root);
// cfg_client.c: how backends learn who the client is.
void cfg_pool_client_read(struct cfg_reader *r, const config_setting_t *s, struct cfg_pool *pool);
void cfg_rule_client_read(
	struct cfg_reader *r,
	const config_setting_t *s,
	unsigned pool,
	struct cfg_policy *policy
);
void cfg_service_client_judge(
	struct cfg_reader *r,
	const config_setting_t *s,
	const struct cfg_service *service
);
void cfg_service_header_read(
	struct cfg_reader *r,
	const config_setting_t *s,
	struct cfg_service *service
);
// The networks that a list names, at most CFG_NETWORKS_MAX, into network; how many.
#define CFG_NETWORKS_MAX 64
unsigned cfg_network_names(
	struct cfg_reader *r,
	const config_setting_t *g,
	const char *key,
	unsigned *network
);
// cfg_tarpit.c: of a service.
void cfg_tarpit_read(struct cfg_reader *r, const config_setting_t *s, struct cfg_service *service);
// cfg_tls.c: certificates first, then what names them.
void cfg_certificates_read(struct cfg_reader *r, const config_setting_t *root);
void cfg_tickets_read(struct cfg_reader *r, const config_setting_t *root);
void cfg_policy_tls_read(
	struct cfg_reader *r,
	const config_setting_t *s,
	struct cfg_policy *policy
);
void cfg_pool_tls_read(struct cfg_reader *r, const config_setting_t *s, struct cfg_pool *pool);
// What RFC 3207 and RFC 8314 advise against. Of a service that has been read.
// What limits say of TLS handshakes.
void cfg_tls_limits_read(
	struct cfg_reader *r,
	const config_setting_t *limits,
	struct cfg_service *service
);
void cfg_service_tls_judge(
	struct cfg_reader *r,
	const config_setting_t *s,
	const struct cfg_service *service
);
void cfg_services_read(struct cfg_reader *r, const config_setting_t *root);
void cfg_ledger_read(struct cfg_reader *r, const config_setting_t *root);
// Bytes that some server takes for the end of a message reach only servers that do not (G3).
void cfg_pass_check(
	struct cfg_reader *r,
	const config_setting_t *s,
	const struct cfg_policy *policy,
	unsigned pool
);
