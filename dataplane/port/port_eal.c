// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// EAL from the configuration: memory, devices, and one lcore a worker. Main thread, once.

#include "dataplane/port/port_dpdk.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_thread.h>

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EAL_ARGS_MAX 48

static char fail_text[256];

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
	if (err < 0) {
		*ret_reason = "the CPUs that this process may use cannot be told";
		return err;
	}
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
	if (rte_eal_init(eal.argc, eal.argv) < 0) {
		snprintf(
			fail_text,
			sizeof(fail_text),
			"EAL does not start (memory, hugepages or a port's device, see above): %s",
			strerror(rte_errno)
		);
		*ret_reason = fail_text;
		return -rte_errno;
	}
	return 0;
}

int port_thread_start(
	struct port_thread *ret,
	const char *name,
	uint32_t (*run)(void *arg),
	void *arg
)
{
	rte_thread_t id;
	int err = rte_thread_create_control(&id, name, run, arg);

	ret->id = id.opaque_id;
	return err;
}

void port_thread_join(struct port_thread thread)
{
	rte_thread_join((rte_thread_t){.opaque_id = thread.id}, NULL);
}
