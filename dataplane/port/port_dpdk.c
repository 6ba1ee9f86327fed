// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// DPDK ports. Offloads and queues are asked for only as far as a port has them.

#include "dataplane/port/port_dpdk.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EAL_ARGS_MAX 48
#define RX_DESCRIPTORS 512
#define TX_DESCRIPTORS 512
#define BUFFERS_IN_TURN 256    // of a worker: bursts, frames waiting for neighbors or the port
#define BUFFERS_FOR_WORKER 512 // least that its connections may hold
#define SMALL_ROOM (RTE_PKTMBUF_HEADROOM + 512)

static uint16_t port_ids[PORT_MAX];
static unsigned port_started;
static char fail_text[256];

static int fail(const char **ret_reason, int err, const char *what, const char *which)
{
	snprintf(
		fail_text,
		sizeof(fail_text),
		"%s%s%s: %s",
		what,
		which[0] != '\0' ? " " : "",
		which,
		strerror(err)
	);
	*ret_reason = fail_text;
	return -err;
}

// EAL keeps pointers into its arguments: they live as long as the process.
static struct eal_args {
	char text[EAL_ARGS_MAX][256];
	char *argv[EAL_ARGS_MAX];
	char lcores[8192]; // 1,024 CPUs and 64 workers
	int argc;
} eal;

static void arg_add(const char *text)
{
	if (eal.argc == EAL_ARGS_MAX - 1)
		return;
	snprintf(eal.text[eal.argc], sizeof(eal.text[0]), "%s", text);
	eal.argv[eal.argc] = eal.text[eal.argc];
	eal.argc++;
}

// Workers on the CPUs that the process may use, in order, wrapping when there are more workers; the
// main thread on all of them.
static int lcores_add(unsigned workers)
{
	unsigned cpu[CPU_SETSIZE], count = 0;
	size_t n;
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return -errno;
	for (unsigned i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &set))
			cpu[count++] = i;
	n = (size_t)snprintf(eal.lcores, sizeof(eal.lcores), "--lcores=0@(%u", cpu[0]);
	for (unsigned i = 1; i < count && n < sizeof(eal.lcores); i++)
		n += (size_t)snprintf(eal.lcores + n, sizeof(eal.lcores) - n, ",%u", cpu[i]);
	if (n < sizeof(eal.lcores))
		n += (size_t)snprintf(eal.lcores + n, sizeof(eal.lcores) - n, ")");
	for (unsigned i = 0; i < workers && n < sizeof(eal.lcores); i++)
		n += (size_t)snprintf(
			eal.lcores + n,
			sizeof(eal.lcores) - n,
			",%u@%u",
			i + 1,
			cpu[(i + 1) % count]
		);
	if (n >= sizeof(eal.lcores))
		return -E2BIG;
	eal.argv[eal.argc++] = eal.lcores;
	return 0;
}

static bool is_vdev(const char *device)
{
	return strncmp(device, "net_", 4) == 0;
}

// Of all page sizes together.
static uint64_t hugepages_free_bytes(void)
{
	static const char *const sizes[] = {"2048", "1048576"}; // KiB, of x86-64
	uint64_t sum = 0;

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		unsigned long long pages = 0;
		char path[96];
		FILE *f;

		snprintf(
			path,
			sizeof(path),
			"/sys/kernel/mm/hugepages/hugepages-%skB/free_hugepages",
			sizes[i]
		);
		f = fopen(path, "re");
		if (f == NULL)
			continue;
		if (fscanf(f, "%llu", &pages) == 1)
			sum += pages * strtoull(sizes[i], NULL, 10) << 10;
		fclose(f);
	}
	return sum;
}

// EAL's own text would not say what to do.
static int hugepages_check(const struct cfg *cfg, const char **ret_reason)
{
	uint64_t free_bytes = hugepages_free_bytes();

	if (cfg->dataplane.hugepages_bytes <= free_bytes)
		return 0;
	snprintf(
		fail_text,
		sizeof(fail_text),
		"dataplane.hugepages wants %llu MiB, %llu MiB are free: raise vm.nr_hugepages "
		"(sysctl), or use dataplane.memory instead",
		(unsigned long long)(cfg->dataplane.hugepages_bytes >> 20),
		(unsigned long long)(free_bytes >> 20)
	);
	*ret_reason = fail_text;
	return -ENOMEM;
}

int port_eal_init(const struct cfg *cfg, const char **ret_reason)
{
	char text[256];
	bool pci = false;
	int err;

	err = hugepages_check(cfg, ret_reason);
	if (err < 0)
		return err;
	arg_add("mailrace-dataplane");
	arg_add("--no-telemetry");
	arg_add("--iova-mode=va");
	arg_add("--log-level=lib.*:error");
	arg_add("--log-level=pmd.*:error");
	if (cfg->dataplane.hugepages_bytes > 0) {
		arg_add("--in-memory");
		snprintf(
			text,
			sizeof(text),
			"%llu",
			(unsigned long long)(cfg->dataplane.hugepages_bytes >> 20)
		);
	} else {
		arg_add("--no-huge");
		arg_add("--no-shconf");
		snprintf(
			text,
			sizeof(text),
			"%llu",
			(unsigned long long)(cfg->dataplane.memory_bytes >> 20)
		);
	}
	arg_add("-m");
	arg_add(text);
	err = lcores_add(cfg->dataplane.workers);
	if (err < 0)
		return fail(ret_reason, -err, "CPUs of the workers", "");
	for (unsigned i = 0; i < cfg->port_count; i++) {
		snprintf(
			text,
			sizeof(text),
			"%s%s",
			is_vdev(cfg->ports[i].device) ? "--vdev=" : "--allow=",
			cfg->ports[i].device
		);
		arg_add(text);
		pci = pci || !is_vdev(cfg->ports[i].device);
	}
	if (!pci)
		arg_add("--no-pci");
	if (rte_eal_init(eal.argc, eal.argv) < 0)
		return fail(
			ret_reason,
			rte_errno,
			"EAL does not start (memory, hugepages or a port's device, see above)",
			""
		);
	return 0;
}

static unsigned cache_size(const struct cfg *cfg)
{
	return RTE_MIN(256U, cfg->dataplane.buffers / (16 * (cfg->dataplane.workers + 1)));
}

uint32_t port_buffers_reserved(const struct cfg *cfg)
{
	uint32_t queues = cfg->port_count * cfg->dataplane.workers;

	// a cache is flushed at one and a half times its size
	return queues * (RX_DESCRIPTORS + TX_DESCRIPTORS) +
	       (cfg->dataplane.workers + 1) * cache_size(cfg) * 3 / 2 +
	       cfg->dataplane.workers * BUFFERS_IN_TURN;
}

int port_pools_init(const struct cfg *cfg, struct port_pools *ret, const char **ret_reason)
{
	uint32_t least = port_buffers_reserved(cfg) + cfg->dataplane.workers * BUFFERS_FOR_WORKER;
	unsigned n = cfg->dataplane.buffers - 1;
	unsigned cache = cache_size(cfg);

	if (cfg->dataplane.buffers < least) {
		snprintf(
			fail_text,
			sizeof(fail_text),
			"dataplane.buffers must be at least %u for these workers and ports",
			least
		);
		*ret_reason = fail_text;
		return -ENOBUFS;
	}
	ret->pool = rte_pktmbuf_pool_create(
		"frames", n, cache, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY
	);
	ret->small_pool = rte_pktmbuf_pool_create("small", n, cache, 0, SMALL_ROOM, SOCKET_ID_ANY);
	ret->ref_pool = rte_pktmbuf_pool_create("refs", n, cache, 0, 0, SOCKET_ID_ANY);
	if (ret->pool == NULL || ret->small_pool == NULL || ret->ref_pool == NULL)
		return fail(
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

static uint16_t id_of(const char *device)
{
	char name[128];
	uint16_t id;

	snprintf(name, sizeof(name), "%s", device);
	name[strcspn(name, ",")] = '\0';
	return rte_eth_dev_get_port_by_name(name, &id) == 0 ? id : UINT16_MAX;
}

static int queues_setup(uint16_t id, uint16_t queues, struct rte_mempool *pool)
{
	uint16_t rxd = RX_DESCRIPTORS, txd = TX_DESCRIPTORS;
	int err = rte_eth_dev_adjust_nb_rx_tx_desc(id, &rxd, &txd);

	for (uint16_t q = 0; q < queues && err == 0; q++) {
		err = rte_eth_rx_queue_setup(id, q, rxd, SOCKET_ID_ANY, NULL, pool);
		if (err == 0)
			err = rte_eth_tx_queue_setup(id, q, txd, SOCKET_ID_ANY, NULL);
	}
	return err;
}

// net_tap sums a chain's segments without regard to odd lengths: bodies in slices left with wrong
// checksums.
static bool cksum_is_broken(const struct rte_eth_dev_info *dev)
{
	return strcmp(dev->driver_name, "net_tap") == 0;
}

static int port_open(
	const struct cfg *cfg,
	unsigned i,
	struct rte_mempool *pool,
	struct port_info *info,
	const char **ret_reason
)
{
	const struct cfg_port *port = &cfg->ports[i];
	uint16_t id = id_of(port->device), queues = (uint16_t)cfg->dataplane.workers;
	struct rte_eth_dev_info dev;
	struct rte_eth_conf conf = {0};
	struct rte_ether_addr mac;
	int err;

	if (id == UINT16_MAX || rte_eth_dev_info_get(id, &dev) != 0)
		return fail(ret_reason, ENODEV, "no device for port", port->name);
	if (dev.max_rx_queues < queues || dev.max_tx_queues < queues)
		return fail(
			ret_reason,
			EOPNOTSUPP,
			"fewer queues than workers (qpairs=N in the device?) on port",
			port->name
		);
	conf.rxmode.offloads = dev.rx_offload_capa & RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
	conf.txmode.offloads = dev.tx_offload_capa &
			       (RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_MULTI_SEGS);
	if (cksum_is_broken(&dev))
		conf.txmode.offloads &= ~RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
	err = rte_eth_dev_configure(id, queues, queues, &conf);
	if (err == 0)
		err = queues_setup(id, queues, pool);
	if (err == 0)
		err = rte_eth_dev_start(id);
	if (err == 0)
		err = rte_eth_macaddr_get(id, &mac);
	if (err != 0)
		return fail(ret_reason, -err, "cannot start port", port->name);
	port_started++;
	rte_eth_promiscuous_enable(id
	); // several addresses' multicast groups; frames of others are dropped and counted
	rte_eth_allmulticast_enable(id);
	port_ids[i] = id;
	*info = (struct port_info){.mtu = port->mtu, .vlan = port->vlan};
	memcpy(info->mac, mac.addr_bytes, 6);
	if (conf.txmode.offloads & RTE_ETH_TX_OFFLOAD_TCP_CKSUM)
		info->flags |= PORT_F_TX_TCP_CKSUM;
	if (conf.txmode.offloads & RTE_ETH_TX_OFFLOAD_MULTI_SEGS)
		info->flags |= PORT_F_TX_MULTI_SEGS;
	return 0;
}

int port_start(
	const struct cfg *cfg,
	const struct port_pools *pools,
	struct port_info info[PORT_MAX],
	const char **ret_reason
)
{
	for (unsigned i = 0; i < cfg->port_count; i++) {
		int err = port_open(cfg, i, pools->pool, &info[i], ret_reason);

		if (err < 0)
			return err;
	}
	return 0;
}

void port_stop(const struct cfg *cfg)
{
	for (unsigned i = 0; i < port_started; i++) {
		rte_eth_dev_stop(port_ids[i]);
		rte_eth_dev_close(port_ids[i]);
	}
	port_started = 0;
}

static uint16_t dpdk_rx(void *dev, uint16_t port, struct rte_mbuf **pkts, uint16_t n)
{
	return rte_eth_rx_burst(port_ids[port], ((struct port_dpdk *)dev)->queue, pkts, n);
}

static uint16_t dpdk_tx(void *dev, uint16_t port, struct rte_mbuf **pkts, uint16_t n)
{
	return rte_eth_tx_burst(port_ids[port], ((struct port_dpdk *)dev)->queue, pkts, n);
}

const struct port_ops port_dpdk_ops = {.rx_burst = dpdk_rx, .tx_burst = dpdk_tx};

void port_publish(const struct cfg *cfg, struct shm_port *out)
{
	for (unsigned i = 0; i < cfg->port_count; i++, out++) {
		struct rte_eth_stats stats;
		struct rte_eth_link link;
		struct rte_ether_addr mac;
		uint16_t mtu = 0;

		if (rte_eth_stats_get(port_ids[i], &stats) != 0)
			continue;
		out->rx_packets = stats.ipackets;
		out->rx_bytes = stats.ibytes;
		out->rx_missed = stats.imissed;
		out->rx_errors = stats.ierrors;
		out->rx_nombuf = stats.rx_nombuf;
		out->tx_packets = stats.opackets;
		out->tx_bytes = stats.obytes;
		out->tx_errors = stats.oerrors;
		out->queues = cfg->dataplane.workers;
		if (rte_eth_link_get_nowait(port_ids[i], &link) == 0) {
			out->link_up = link.link_status == RTE_ETH_LINK_UP;
			out->speed_mbps =
				link.link_speed != RTE_ETH_SPEED_NUM_UNKNOWN ? link.link_speed : 0;
		}
		if (rte_eth_macaddr_get(port_ids[i], &mac) == 0)
			memcpy(out->mac, mac.addr_bytes, sizeof(out->mac));
		if (rte_eth_dev_get_mtu(port_ids[i], &mtu) == 0)
			out->mtu = mtu;
		memcpy(out->name, cfg->ports[i].name, sizeof(out->name));
	}
}
