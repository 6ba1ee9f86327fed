// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Tells the log when an address of ours turns out to be another station's, is claimed by one, or is
// free again. Main thread; reads what worker 0 keeps in the statistics.

#include <stdio.h>

#include "common/log.h"
#include "dataplane/dataplane.h"

static void conflict_log(const struct dataplane *dp, const struct shm_conflict *c, uint8_t state)
{
	const char *port = c->port < dp->cfg->port_count ? dp->cfg->ports[c->port].name : "?";
	char addr[IP_ADDR_STRLEN], mac[18];

	ip_addr_format(&c->addr, addr);
	snprintf(
		mac,
		sizeof(mac),
		"%02x:%02x:%02x:%02x:%02x:%02x",
		c->mac[0],
		c->mac[1],
		c->mac[2],
		c->mac[3],
		c->mac[4],
		c->mac[5]
	);
	if (state == SHM_CONFLICT_OFF)
		log_line(
			LOG_ERROR,
			"address %s of port %s is off: %s has it; looking again every 5 s",
			addr,
			port,
			mac
		);
	else if (state == SHM_CONFLICT_DEFENDED)
		log_line(LOG_WARNING, "address %s of port %s: %s claims it too", addr, port, mac);
	else
		log_line(LOG_NOTICE, "address %s of port %s is free and ours now", addr, port);
}

void conflicts_log(struct dataplane *dp)
{
	const struct shm_conflict *c = shm_conflicts(&dp->shm);

	for (unsigned i = 0; i < SHM_CONFLICTS; i++, c++) {
		uint8_t state = __atomic_load_n(&c->state, __ATOMIC_ACQUIRE);

		if (state == SHM_CONFLICT_NONE)
			break;
		if (state != dp->conflict_told[i])
			conflict_log(dp, c, state);
		dp->conflict_told[i] = state;
	}
}
