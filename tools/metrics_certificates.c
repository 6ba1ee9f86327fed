// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// When the certificates in use expire. Any process.

#include "tools/metrics.h"

#include <inttypes.h>

#include "common/abi/creds.h"
#include "tools/metrics_rows.h"

void metrics_certificates_write(const struct shm_view *view, FILE *out)
{
	uint64_t generation = __atomic_load_n(&view->header->generation, __ATOMIC_ACQUIRE);
	const struct shm_certificate *cert = shm_view_entry(
		view, SHM_SEC_CERTIFICATE, 0, CREDS_MAX_CERTS * sizeof(struct shm_certificate)
	);
	bool head = false;

	for (unsigned i = 0; cert != NULL && i < CREDS_MAX_CERTS; i++) {
		struct shm_certificate c = cert[i];
		char text[2 * MR_NAME_LEN];

		if (c.generation != generation || c.name[0] == '\0')
			continue;
		c.name[sizeof(c.name) - 1] = '\0';
		if (!head)
			fprintf(out,
				"# HELP mailrace_tls_certificate_not_after_seconds When a "
				"certificate "
				"in use expires, seconds since 1970.\n"
				"# TYPE mailrace_tls_certificate_not_after_seconds gauge\n");
		head = true;
		fprintf(out,
			"mailrace_tls_certificate_not_after_seconds{certificate=\"%s\"} %" PRId64
			"\n",
			label(c.name, text),
			c.not_after);
	}
}
