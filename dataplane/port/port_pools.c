// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Packet buffers: how many, in which pools, and how many of them ports, caches and rings may keep.
// Main thread.

#include "dataplane/port/port_dpdk.h"

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "dataplane/port/port_inner.h"

#define BUFFERS_IN_TURN 256    // of a worker: bursts, frames waiting for neighbors or the port
#define BUFFERS_STEERED 64     // of a worker, under way to another; more only before one held up
#define BUFFERS_FOR_WORKER 512 // least that its connections may hold
#define SMALL_ROOM (RTE_PKTMBUF_HEADROOM + 512)

static char least_text[128];

static unsigned cache_size(const struct cfg *cfg)
{
	return RTE_MIN(256U, cfg->dataplane.buffers / (16 * (cfg->dataplane.workers + 1)));
}

uint32_t port_buffers_reserved(const struct cfg *cfg)
{
	uint32_t workers = cfg->dataplane.workers;
	uint32_t sum = workers * BUFFERS_IN_TURN;

	sum += (workers + 1) * cache_size(cfg) * 3 / 2; // flushed at one and a half times its size
	sum += (workers - 1) * BUFFERS_STEERED;
	for (unsigned i = 0; i < cfg->port_count; i++) {
		uint32_t queues = port_states[i].queues;

		sum += queues * (PORT_RX_DESCRIPTORS + PORT_TX_DESCRIPTORS) +
		       (workers - queues) * SHARE_HELD_MAX;
	}
	return sum;
}

// How many queues a port is to have: no more than workers, than the file says, than the device has.
static void port_plan(const struct cfg_port *port, unsigned workers, struct port_state *ret)
{
	unsigned queues = port->queues != 0 && port->queues < workers ? port->queues : workers;
	struct rte_eth_dev_info dev;
	char name[128];

	*ret = (struct port_state){.id = PORT_NO_DEVICE, .queues = 1};
	snprintf(name, sizeof(name), "%s", port->device);
	name[strcspn(name, ",")] = '\0';
	if (rte_eth_dev_get_port_by_name(name, &ret->id) != 0 ||
	    rte_eth_dev_info_get(ret->id, &dev) != 0) {
		ret->id = PORT_NO_DEVICE; // port_start says so
		return;
	}
	if (strcmp(dev.driver_name, "net_e1000_em") == 0)
		queues = 1; // its queues share one checksum context, whatever the driver says
	queues = RTE_MIN(queues, dev.max_rx_queues);
	queues = RTE_MIN(queues, dev.max_tx_queues);
	ret->queues = (uint16_t)RTE_MAX(queues, 1U);
}

int port_pools_init(const struct cfg *cfg, struct port_pools *ret, const char **ret_reason)
{
	unsigned n = cfg->dataplane.buffers - 1;
	unsigned cache = cache_size(cfg);
	uint32_t least;

	for (unsigned i = 0; i < cfg->port_count; i++)
		port_plan(&cfg->ports[i], cfg->dataplane.workers, &port_states[i]);
	least = port_buffers_reserved(cfg) + cfg->dataplane.workers * BUFFERS_FOR_WORKER;
	if (cfg->dataplane.buffers < least) {
		snprintf(
			least_text,
			sizeof(least_text),
			"dataplane.buffers must be at least %u for these workers and ports",
			least
		);
		*ret_reason = least_text;
		return -ENOBUFS;
	}
	ret->pool = rte_pktmbuf_pool_create(
		"frames", n, cache, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY
	);
	ret->small_pool = rte_pktmbuf_pool_create("small", n, cache, 0, SMALL_ROOM, SOCKET_ID_ANY);
	ret->ref_pool = rte_pktmbuf_pool_create("refs", n, cache, 0, 0, SOCKET_ID_ANY);
	if (ret->pool == NULL || ret->small_pool == NULL || ret->ref_pool == NULL)
		return port_fail(
			ret_reason,
			rte_errno,
			"no memory for dataplane.buffers: raise memory or hugepages",
			""
		);
	return 0;
}

void port_pools_count(const struct port_pools *pools, uint32_t *ret_total, uint32_t *ret_in_use)
{
	const struct rte_mempool *const all[] = {pools->pool, pools->small_pool, pools->ref_pool};

	*ret_total = *ret_in_use = 0;
	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		*ret_total += all[i]->size;
		*ret_in_use += rte_mempool_in_use_count(all[i]);
	}
}
