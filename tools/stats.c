// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// mailrace-stats SOCKET: the statistics of a running dataplane once, as Prometheus text.

#include "tools/metrics.h"

#include <string.h>
#include <sysexits.h>

int main(int argc, char **argv)
{
	const char *path = argc > 1 ? argv[1] : "/run/mailrace/dataplane.sock";
	struct shm_view view;
	int err;

	if (argc > 2 || path[0] == '-') {
		fprintf(stderr, "usage: mailrace-stats [SOCKET]\n");
		return EX_USAGE;
	}
	err = attach_reader(&view, path);
	if (err < 0) {
		fprintf(stderr, "mailrace-stats: %s: %s\n", path, strerror(-err));
		return EX_UNAVAILABLE;
	}
	metrics_write(&view, stdout);
	shm_view_unmap(&view);
	return EX_OK;
}
