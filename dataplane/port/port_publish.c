// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What a port looks like from outside: its link, its counters. Main thread, a few times a second.

#include "dataplane/port/port_dpdk.h"

#include <rte_ethdev.h>

#include <string.h>

#include "common/log.h"
#include "dataplane/port/port_inner.h"

// True when the link has come up since it was looked at last.
static bool link_look(const char *name, struct port_state *p, struct shm_port *out)
{
	struct rte_eth_link link;
	bool up, change;

	if (rte_eth_link_get_nowait(p->id, &link) != 0)
		return false;
	up = link.link_status == RTE_ETH_LINK_UP;
	out->link_up = up;
	out->speed_mbps = link.link_speed != RTE_ETH_SPEED_NUM_UNKNOWN ? link.link_speed : 0;
	change = p->link_seen && up != p->link_up;
	p->link_seen = true;
	p->link_up = up;
	if (!change)
		return false;
	p->link_changes++;
	log_line(LOG_NOTICE, "port %s: link %s", name, up ? "up" : "down");
	return up;
}

bool port_publish(const struct cfg *cfg, struct shm_port *out, struct shm_port_link *ret_links)
{
	bool came_up = false;

	for (unsigned i = 0; i < cfg->port_count; i++, out++) {
		struct port_state *p = &port_states[i];
		struct rte_eth_stats stats;
		struct rte_ether_addr mac;
		uint16_t mtu = 0;

		if (rte_eth_stats_get(p->id, &stats) == 0) {
			out->rx_packets = stats.ipackets;
			out->rx_bytes = stats.ibytes;
			out->rx_missed = stats.imissed;
			out->rx_errors = stats.ierrors;
			out->rx_nombuf = stats.rx_nombuf;
			out->tx_packets = stats.opackets;
			out->tx_bytes = stats.obytes;
			out->tx_errors = stats.oerrors;
		}
		out->queues = p->queues;
		came_up = link_look(cfg->ports[i].name, p, out) || came_up;
		ret_links[i].changes = p->link_changes;
		ret_links[i].spread = p->rss                       ? SHM_SPREAD_RSS
				      : cfg->dataplane.workers > 1 ? SHM_SPREAD_SOFTWARE
								   : SHM_SPREAD_NONE;
		if (rte_eth_macaddr_get(p->id, &mac) == 0)
			memcpy(out->mac, mac.addr_bytes, sizeof(out->mac));
		if (rte_eth_dev_get_mtu(p->id, &mtu) == 0)
			out->mtu = mtu;
		memcpy(out->name, cfg->ports[i].name, sizeof(out->name));
	}
	return came_up;
}
