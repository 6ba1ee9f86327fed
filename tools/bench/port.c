// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// DPDK below the generator: one lcore, one virtual device, one queue. Main thread.

#include "tools/bench/port.h"

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/bench/options.h"

#define DESCRIPTORS 1024
// A written body is sent from these buffers: the larger they are, the fewer a message takes.
#define SMALL_ROOM (RTE_PKTMBUF_HEADROOM + 4096)
#define MEMORY_BASE_MB 64U
#define WAIT_STEP_US 10000U

static bool eal_start(const struct options *opt, char *program)
{
	// EAL keeps pointers into its arguments
	static char memory[16], cpu[16], vdev[300];
	static char *argv[13];
	char *const args[] = {
		program,
		opt->hugepages ? "--in-memory" : "--no-huge",
		"--no-shconf",
		"--no-pci",
		"--no-telemetry",
		"--iova-mode=va",
		"--log-level=lib.*:error",
		"--log-level=pmd.*:error",
		"-m",
		memory,
		cpu,
		vdev,
		NULL,
	};
	uint64_t bytes = (uint64_t)opt->buffers * (RTE_MBUF_DEFAULT_BUF_SIZE + SMALL_ROOM +
						   3 * (sizeof(struct rte_mbuf) + 128));

	snprintf(memory, sizeof(memory), "%u", MEMORY_BASE_MB + (unsigned)(bytes >> 20));
	snprintf(cpu, sizeof(cpu), "--lcores=0@%u", opt->cpu);
	snprintf(vdev, sizeof(vdev), "--vdev=%s", opt->vdev);
	static_assert(sizeof(argv) == sizeof(args));
	memcpy(argv, args, sizeof(argv));
	return rte_eal_init(sizeof(argv) / sizeof(argv[0]) - 1, argv) >= 0;
}

static bool pools_make(struct port *port, const struct options *opt)
{
	unsigned n = opt->buffers - 1;

	port->pool = rte_pktmbuf_pool_create("frames", n, 256, 0, RTE_MBUF_DEFAULT_BUF_SIZE, 0);
	port->small_pool = rte_pktmbuf_pool_create("small", n, 256, 0, SMALL_ROOM, 0);
	port->ref_pool = rte_pktmbuf_pool_create("refs", n, 256, 0, 0, 0);
	return port->pool != NULL && port->small_pool != NULL && port->ref_pool != NULL;
}

static bool device_start(struct port *port)
{
	struct rte_eth_conf conf = {0};
	struct rte_eth_dev_info dev;
	struct rte_ether_addr mac;
	uint16_t rxd = DESCRIPTORS, txd = DESCRIPTORS;

	if (rte_eth_dev_count_avail() != 1 || rte_eth_dev_info_get(port->id, &dev) != 0)
		return false;
	conf.txmode.offloads = dev.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	if (rte_eth_dev_configure(port->id, 1, 1, &conf) != 0 ||
	    rte_eth_dev_adjust_nb_rx_tx_desc(port->id, &rxd, &txd) != 0 ||
	    rte_eth_rx_queue_setup(port->id, 0, rxd, SOCKET_ID_ANY, NULL, port->pool) != 0 ||
	    rte_eth_tx_queue_setup(port->id, 0, txd, SOCKET_ID_ANY, NULL) != 0 ||
	    rte_eth_dev_start(port->id) != 0 || rte_eth_macaddr_get(port->id, &mac) != 0)
		return false;
	rte_eth_promiscuous_enable(port->id);
	rte_eth_allmulticast_enable(port->id);
	port->info = (struct port_info){.mtu = 1500};
	memcpy(port->info.mac, mac.addr_bytes, sizeof(port->info.mac));
	if (conf.txmode.offloads != 0)
		port->info.flags |= PORT_F_TX_MULTI_SEGS;
	return true;
}

bool port_open(struct port *port, const struct options *opt, char *program)
{
	*port = (struct port){0};
	if (!eal_start(opt, program)) {
		fprintf(stderr, "mailrace-bench: EAL does not start (see above)\n");
		return false;
	}
	if (!pools_make(port, opt) || !device_start(port)) {
		fprintf(stderr, "mailrace-bench: no buffers, or the device does not start\n");
		return false;
	}
	port->ns_per_cycle = 1e9 / (double)rte_get_tsc_hz();
	return true;
}

bool port_wait(const struct port *port, unsigned seconds)
{
	for (unsigned i = 0; i < seconds * (1000000U / WAIT_STEP_US); i++) {
		struct rte_eth_link link;

		if (rte_eth_link_get_nowait(port->id, &link) == 0 &&
		    link.link_status == RTE_ETH_LINK_UP)
			return true;
		usleep(WAIT_STEP_US);
	}
	fprintf(stderr, "mailrace-bench: nobody at the other end of the device\n");
	return false;
}

void port_close(struct port *port)
{
	rte_eth_dev_stop(port->id);
	rte_eth_dev_close(port->id);
	rte_eal_cleanup();
}

uint64_t port_now_ns(const struct port *port)
{
	return (uint64_t)((double)rte_get_tsc_cycles() * port->ns_per_cycle);
}

static uint16_t port_rx(void *dev, uint16_t port, struct rte_mbuf **pkts, uint16_t n)
{
	return rte_eth_rx_burst(((struct port *)dev)->id, 0, pkts, n);
}

static uint16_t port_tx(void *dev, uint16_t port, struct rte_mbuf **pkts, uint16_t n)
{
	return rte_eth_tx_burst(((struct port *)dev)->id, 0, pkts, n);
}

const struct port_ops bench_port_ops = {.rx_burst = port_rx, .tx_burst = port_tx};
