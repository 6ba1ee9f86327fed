// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// DPDK for tests: packet buffers in ordinary memory, no devices, no files left behind. Once a
// process, before the first pool.

#pragma once

#include <rte_eal.h>

#include <stdbool.h>
#include <stdio.h>

static inline bool eal_start(unsigned megabytes)
{
	char size[12];
	char *argv[] = {
		"test",
		"--no-huge",
		"--no-shconf",
		"--no-pci",
		"--no-telemetry",
		"-m",
		size,
		"-l",
		"0",
		"--log-level=lib.eal:error",
		NULL,
	};

	snprintf(size, sizeof(size), "%u", megabytes);
	return rte_eal_init(10, argv) >= 0;
}
