// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The group tarpit of a virtual service: which clients wait for their banner and replies, and how
// long. Main thread.

#include "config/cfg_parts.h"

#include <stdlib.h>

#define DELAY_DEFAULT_MS 5000
#define DELAY_MIN_MS 1000

void cfg_tarpit_read(struct cfg_reader *r, const config_setting_t *s, struct cfg_service *service)
{
	const config_setting_t *g = cfg_group(r, s, "tarpit");
	uint64_t errors = 0;
	unsigned *network;

	if (g == NULL)
		return;
	cfg_keys_check(r, g, CFG_SEC_tarpit);
	network = calloc(2ULL * CFG_NETWORKS_MAX, sizeof(*network));
	if (network == NULL) {
		cfg_fail(r, g, "no memory");
		return;
	}
	service->tarpit_networks = network;
	service->tarpit_delay_ms = DELAY_DEFAULT_MS;
	service->tarpit_listed = cfg_network_names(r, g, "networks", network);
	service->tarpit_spared =
		cfg_network_names(r, g, "except", network + service->tarpit_listed);
	for (unsigned i = 0; i < service->tarpit_listed; i++)
		for (unsigned k = 0; k < service->tarpit_spared; k++)
			if (network[i] == network[service->tarpit_listed + k])
				cfg_fail(r, g, "a network is both in networks and in except");
	cfg_duration(r, g, "delay", &service->tarpit_delay_ms);
	if (service->tarpit_delay_ms < DELAY_MIN_MS ||
	    service->tarpit_delay_ms > BLOB_MAX_TARPIT_DELAY_MS)
		cfg_fail(r, config_setting_get_member(g, "delay"), "wants 1s to 60s");
	cfg_uint(r, g, "errors", (uint64_t[2]){1, BLOB_MAX_TARPIT_ERRORS}, &errors);
	service->tarpit_errors = (uint32_t)errors;
	if (errors == 0 && service->tarpit_listed == 0)
		cfg_fail(r, g, "lets nobody wait: networks, errors or both");
}
