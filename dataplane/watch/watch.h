// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The one who looks on: while control has a capture armed, what matches its filter is copied into
// the worker's capture ring (common/abi/capture.h): frames of both legs as they pass the ports, or
// lines of the dialogue. Nothing of it stands in the way of a packet while none is armed: the
// ports' burst functions are exchanged for ours only as long as they are needed. One worker's
// thread; never allocates after watch_new, never waits; what the ring has no room for is lost and
// counted.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/abi/capture.h"
#include "common/abi/ctl_msg.h"
#include "common/env.h"
#include "dataplane/net/net.h"
#include "dataplane/port/port.h"
#include "dataplane/proxy/relay.h"
#include "dataplane/tcp/tcp.h"

struct watch;

struct watch_config {
	struct worker_env *env;
	struct capture_ring *ring; // NULL: captures are refused
	const struct net_shared *net_shared;
	struct tcp_stack *tcp;
	struct relay *relay;
	const struct port_ops *port_ops; // the real ones
	void *port_dev;
};

struct watch *watch_new(const struct watch_config *config); // NULL + errno
void watch_free(struct watch *watch);

// CTL_CMD_CAPTURE and CTL_CMD_CAPTURE_STOP. A filter that cannot be is refused and counted.
void watch_command(struct watch *watch, const struct ctl_msg *msg);
bool watch_is_armed(const struct watch *watch);
// What the worker is to use now, after each command and each end.
void watch_ports(struct watch *watch, const struct port_ops **ret_ops, void **ret_dev);
// A frame that another worker received and handed to us, its owner; while armed.
void watch_steered(struct watch *watch, uint8_t port, const struct rte_mbuf *m);
// Once a turn while armed. False: the lease, the time or the octets are over, nothing is armed any
// more.
bool watch_turn(struct watch *watch);
