// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What the files of the DPDK ports know of each other's. Main thread; the bursts read it.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/port/port.h"
#include "dataplane/port/share.h"

#define PORT_RX_DESCRIPTORS 512
#define PORT_TX_DESCRIPTORS 512
#define PORT_NO_DEVICE UINT16_MAX

struct port_state {
	uint16_t id;     // of DPDK, PORT_NO_DEVICE: none
	uint16_t queues; // in use, for receiving and sending
	bool started;
	bool rss; // the NIC finds the owner's queue
	struct share *share;
	bool link_seen, link_up;
	uint64_t link_changes;
};

extern struct port_state port_states[PORT_MAX];

// Puts what failed and why into ret_reason; returns -err.
int port_fail(const char **ret_reason, int err, const char *what, const char *which);
