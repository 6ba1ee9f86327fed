// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// DPDK ports: queues, offloads and RSS, asked for only as far as a port has them, and the bursts of
// the workers.

#include "dataplane/port/port_dpdk.h"

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/hash.h"
#include "common/log.h"
#include "dataplane/port/port_inner.h"

#define RSS_TYPES (RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV6_TCP)
#define RSS_KEY_MAX 64
#define RSS_RETA_MAX 2048

struct port_state port_states[PORT_MAX];

int port_fail(const char **ret_reason, int err, const char *what, const char *which)
{
	static char text[256];

	snprintf(
		text,
		sizeof(text),
		"%s%s%s: %s",
		what,
		which[0] != '\0' ? " " : "",
		which,
		strerror(err)
	);
	*ret_reason = text;
	return -err;
}

// Can the port's own hash find the owner of every tuple?
static bool rss_is_usable(const struct rte_eth_dev_info *dev, uint16_t queues)
{
	return queues > 1 && (dev->flow_type_rss_offloads & RSS_TYPES) == RSS_TYPES &&
	       dev->hash_key_size >= HASH_TOEPLITZ_KEY_LEN && dev->hash_key_size <= RSS_KEY_MAX &&
	       dev->reta_size > 0 && dev->reta_size <= RSS_RETA_MAX &&
	       dev->reta_size % SHARE_RETA_SIZE == 0;
}

// The table by which the port goes from hash to queue: that of the slot's owner, or the queue whose
// worker steers to it.
static int reta_set(const struct port_state *p, uint16_t size, uint16_t workers)
{
	struct rte_eth_rss_reta_entry64 reta[RSS_RETA_MAX / RTE_ETH_RETA_GROUP_SIZE] = {0};

	for (unsigned i = 0; i < size; i++) {
		struct rte_eth_rss_reta_entry64 *group = &reta[i / RTE_ETH_RETA_GROUP_SIZE];

		group->mask = UINT64_MAX;
		group->reta[i % RTE_ETH_RETA_GROUP_SIZE] =
			share_tx_queue(p->share, share_slot_owner(i, workers));
	}
	return rte_eth_dev_rss_reta_update(p->id, reta, size);
}

static int queues_setup(uint16_t id, uint16_t queues, struct rte_mempool *pool)
{
	uint16_t rxd = PORT_RX_DESCRIPTORS, txd = PORT_TX_DESCRIPTORS;
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

// The kernel spreads frames over all sockets of net_af_packet, polled or not.
static bool queues_must_be_all(const struct rte_eth_dev_info *dev)
{
	return strcmp(dev->driver_name, "net_af_packet") == 0;
}

// Configures and starts with RSS when it can be had, else without.
static int device_start(
	struct port_state *p,
	const struct port_start_args *args,
	const struct rte_eth_dev_info *dev,
	struct rte_eth_conf *conf
)
{
	uint8_t key[RSS_KEY_MAX] = {0}; // only the first 40 octets count for TCP over IPv6
	uint16_t workers = (uint16_t)args->cfg->dataplane.workers;
	int err;

	memcpy(key, args->rss_key, HASH_TOEPLITZ_KEY_LEN);
	p->rss = rss_is_usable(dev, p->queues);
	if (p->rss) {
		conf->rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf->rx_adv_conf.rss_conf = (struct rte_eth_rss_conf){
			.rss_key = key,
			.rss_key_len = dev->hash_key_size,
			.rss_hf =
				RSS_TYPES | (dev->flow_type_rss_offloads & RTE_ETH_RSS_IPV6_TCP_EX),
		};
	}
	err = rte_eth_dev_configure(p->id, p->queues, p->queues, conf);
	if (err != 0 && p->rss) {
		p->rss = false;
		conf->rxmode.mq_mode = RTE_ETH_MQ_RX_NONE;
		conf->rx_adv_conf.rss_conf = (struct rte_eth_rss_conf){0};
		err = rte_eth_dev_configure(p->id, p->queues, p->queues, conf);
	}
	if (err == 0)
		err = queues_setup(p->id, p->queues, args->pools->pool);
	if (err == 0)
		err = rte_eth_dev_start(p->id);
	if (err != 0)
		return err;
	p->started = true;
	if (p->rss && reta_set(p, dev->reta_size, workers) != 0)
		p->rss = false;
	return 0;
}

static int port_open(
	const struct port_start_args *args,
	unsigned i,
	struct port_info *info,
	const char **ret_reason
)
{
	const struct cfg_port *port = &args->cfg->ports[i];
	struct port_state *p = &port_states[i];
	uint16_t workers = (uint16_t)args->cfg->dataplane.workers;
	struct rte_eth_dev_info dev;
	struct rte_eth_conf conf = {0};
	struct rte_ether_addr mac;
	int err;

	if (p->id == PORT_NO_DEVICE || rte_eth_dev_info_get(p->id, &dev) != 0)
		return port_fail(
			ret_reason,
			ENODEV,
			"no device (is its PCI address bound to vfio-pci?) for port",
			port->name
		);
	if (queues_must_be_all(&dev) && dev.max_rx_queues > p->queues)
		return port_fail(
			ret_reason,
			EINVAL,
			"more queues (qpairs) than there are workers or queues of port",
			port->name
		);
	// ports of few queues each are shared out among the workers
	p->share = share_new(workers, p->queues, (uint16_t)(p->queues < workers ? i % workers : 0));
	if (p->share == NULL)
		return port_fail(ret_reason, errno, "no memory for port", port->name);
	conf.rxmode.offloads = dev.rx_offload_capa & RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
	conf.txmode.offloads = dev.tx_offload_capa &
			       (RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_MULTI_SEGS);
	if (cksum_is_broken(&dev))
		conf.txmode.offloads &= ~RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
	err = device_start(p, args, &dev, &conf);
	if (err == 0)
		err = rte_eth_macaddr_get(p->id, &mac);
	if (err != 0)
		return port_fail(ret_reason, -err, "cannot start port", port->name);
	// several addresses' multicast groups; frames of others are dropped and counted
	rte_eth_promiscuous_enable(p->id);
	rte_eth_allmulticast_enable(p->id);
	*info = (struct port_info){.mtu = port->mtu, .vlan = port->vlan};
	memcpy(info->mac, mac.addr_bytes, 6);
	if (conf.txmode.offloads & RTE_ETH_TX_OFFLOAD_TCP_CKSUM)
		info->flags |= PORT_F_TX_TCP_CKSUM;
	if (conf.txmode.offloads & RTE_ETH_TX_OFFLOAD_MULTI_SEGS)
		info->flags |= PORT_F_TX_MULTI_SEGS;
	log_line(
		LOG_NOTICE,
		"port %s: %s, queues %u, workers %u%s",
		port->name,
		dev.driver_name,
		p->queues,
		workers,
		p->rss        ? ", RSS finds a worker that has a queue"
		: workers > 1 ? ", workers steer frames to their owner"
			      : ""
	);
	return 0;
}

int port_start(
	const struct port_start_args *args,
	struct port_info info[PORT_MAX],
	const char **ret_reason
)
{
	for (unsigned i = 0; i < args->cfg->port_count; i++) {
		int err = port_open(args, i, &info[i], ret_reason);

		if (err < 0)
			return err;
	}
	return 0;
}

void port_stop(const struct cfg *cfg)
{
	for (unsigned i = 0; i < cfg->port_count; i++) {
		struct port_state *p = &port_states[i];

		if (p->started) {
			rte_eth_dev_stop(p->id);
			rte_eth_dev_close(p->id);
		}
		p->started = false;
		share_free(p->share);
		p->share = NULL;
	}
}

static uint16_t queue_send(void *up, uint16_t queue, struct rte_mbuf **pkts, uint16_t n)
{
	return rte_eth_tx_burst(((const struct port_state *)up)->id, queue, pkts, n);
}

static uint16_t dpdk_rx(void *dev, uint16_t port, struct rte_mbuf **pkts, uint16_t n)
{
	struct port_state *p = &port_states[port];
	int queue = share_own_queue(p->share, ((struct port_dpdk *)dev)->worker);

	return queue >= 0 ? rte_eth_rx_burst(p->id, (uint16_t)queue, pkts, n) : 0;
}

static uint16_t dpdk_tx(void *dev, uint16_t port, struct rte_mbuf **pkts, uint16_t n)
{
	struct port_state *p = &port_states[port];

	return share_tx(p->share, ((struct port_dpdk *)dev)->worker, pkts, n, queue_send, p);
}

static uint16_t dpdk_run(void *dev, uint16_t port)
{
	struct port_state *p = &port_states[port];

	return share_run(p->share, ((struct port_dpdk *)dev)->worker, queue_send, p);
}

const struct port_ops port_dpdk_ops = {
	.rx_burst = dpdk_rx,
	.tx_burst = dpdk_tx,
	.run = dpdk_run,
};
