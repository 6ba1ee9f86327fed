// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The exporter's page while the configuration changes under it: the stream that the page is written
// to lets a reload happen in the middle.

#include "tools/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/abi/creds.h"
#include "common/abi/hist.h"

#define SLOTS 4

static struct {
	struct shm_header head;
	struct shm_worker worker[1];
	struct shm_backend_local local[SLOTS];
	struct shm_backend names[SLOTS];
	struct shm_backend_signals signals[SLOTS];
	struct shm_backend_verdict verdict[SLOTS];
	struct shm_certificate certificate[CREDS_MAX_CERTS];
} segment;
static const char *reload_at; // when this is written, the first backend leaves the configuration
static char page[1 << 16];
static size_t page_len;

static ssize_t on_write(void *arg, const char *data, size_t len)
{
	if (reload_at != NULL && memmem(data, len, reload_at, strlen(reload_at)) != NULL)
		segment.names[2].generation = segment.names[3].generation =
			++segment.head.generation;
	assert_true(page_len + len < sizeof(page));
	memcpy(page + page_len, data, len);
	page_len += len;
	return (ssize_t)len;
}

static void segment_make(void)
{
	static const char *const pools[SLOTS] = {"", "a", "b", "a"};

	memset(&segment, 0, sizeof(segment));
	segment.head.workers = 1;
	segment.head.backend_slots = SLOTS;
	segment.head.generation = 7;
	segment.head.dir[0] = (struct shm_dir_entry
	){SHM_SEC_WORKER, 1, offsetof(typeof(segment), worker), sizeof(struct shm_worker)};
	segment.head.dir[1] = (struct shm_dir_entry
	){SHM_SEC_BACKEND_LOCAL, 1, offsetof(typeof(segment), local), sizeof(segment.local)};
	segment.head.dir[2] = (struct shm_dir_entry
	){SHM_SEC_BACKEND, 1, offsetof(typeof(segment), names), sizeof(segment.names)};
	segment.head.dir[3] = (struct shm_dir_entry
	){SHM_SEC_BACKEND_SIGNALS, 1, offsetof(typeof(segment), signals), sizeof(segment.signals)};
	segment.head.dir[4] = (struct shm_dir_entry
	){SHM_SEC_BACKEND_VERDICT, 1, offsetof(typeof(segment), verdict), sizeof(segment.verdict)};
	segment.head.dir[5] = (struct shm_dir_entry){SHM_SEC_CERTIFICATE,
						     1,
						     offsetof(typeof(segment), certificate),
						     sizeof(segment.certificate)};
	segment.certificate[0] =
		(struct shm_certificate){.name = "mail", .not_after = 2000000000, .generation = 7};
	segment.certificate[1] = (struct shm_certificate
	){.name = "of before", .not_after = 1900000000, .generation = 6};
	segment.certificate[2] =
		(struct shm_certificate){.name = "a\"b\\", .not_after = -5, .generation = 7};
	segment.names[2].health = SHM_HEALTH_EJECTED;
	segment.verdict[2] = (struct shm_backend_verdict
	){.reason = SHM_REASON_BOUNCES, .drift_permille = 1500, .ejections = 3};
	segment.verdict[3].reason = 250; // control may write anything
	segment.signals[2].signal[SHM_SIGNAL_PROXY] = 4;
	segment.signals[2].rcpt_votes = 9;
	segment.signals[2].eod_bounces = 8;
	for (unsigned i = 1; i < SLOTS; i++) {
		segment.names[i].generation = 7;
		segment.names[i].pool[0] = pools[i][0];
		segment.names[i].name[0] = (char)('0' + i);
		hist_add(&segment.local[i].latency[SHM_VERB_MAIL], 3000);
	}
}

static const char *page_make(const char *reload)
{
	static const cookie_io_functions_t io = {.write = on_write};
	const struct shm_view view = {
		.base = (uint8_t *)&segment, .size = sizeof(segment), .header = &segment.head
	};
	FILE *out = fopencookie(NULL, "w", io);

	assert_non_null(out);
	setvbuf(out, NULL, _IONBF, 0);
	segment_make();
	page_len = 0;
	reload_at = reload;
	metrics_backends_write(&view, out);
	fclose(out);
	page[page_len] = '\0';
	return page;
}

static void pools_are_the_sums_of_their_backends(void **state)
{
	const char *text = page_make(NULL);

	assert_non_null(
		strstr(text, "mailrace_pool_reply_seconds_count{pool=\"a\",verb=\"mail\"} 2\n")
	);
	assert_non_null(
		strstr(text, "mailrace_pool_reply_seconds_count{pool=\"b\",verb=\"mail\"} 1\n")
	);
	assert_non_null(strstr(
		text,
		"mailrace_backend_reply_seconds_count{pool=\"a\",backend=\"3\",verb=\"mail\"} 1\n"
	));
}

// A bucket shown is a whole number of those counted, and there are 20 at most.
static void buckets_shown_are_edges(void **state)
{
	const char *at = page_make(NULL);
	unsigned n = 0;

	while ((at = strstr(at, "{pool=\"b\",verb=\"mail\",le=\"")) != NULL) {
		double le = strtod(strchr(strstr(at, "le="), '"') + 1, NULL);
		bool found = le > 1e9; // +Inf

		for (unsigned i = 0; i < SHM_HIST_BUCKETS && !found; i++) {
			double edge = (double)hist_edge_us(i) / 1e6;

			found = edge > le * 0.999999 && edge < le * 1.000001;
		}
		assert_true(found);
		at++;
		n++;
	}
	assert_in_range(n, 10, 20);
}

static void why_a_backend_is_out(void **state)
{
	static const char *const lines[] = {
		"mailrace_backend_up{pool=\"b\",backend=\"2\"} 0\n",
		"mailrace_backend_out{pool=\"b\",backend=\"2\",reason=\"bounces\"} 1\n",
		"mailrace_backend_ejections_total{pool=\"b\",backend=\"2\"} 3\n",
		"mailrace_backend_reply_drift_ratio{pool=\"b\",backend=\"2\"} 1.500\n",
		"mailrace_backend_signals_total{pool=\"b\",backend=\"2\",signal=\"proxy\"} 4\n",
		"mailrace_backend_votes_total{pool=\"b\",backend=\"2\",at=\"rcpt\"} 9\n",
		"mailrace_backend_bounces_total{pool=\"b\",backend=\"2\",at=\"end_of_data\"} 8\n",
	};
	const char *text = page_make(NULL);

	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		assert_non_null(strstr(text, lines[i]));
	assert_null(strstr(text, "backend=\"3\",reason="));
	assert_null(strstr(text, "signal=\"refused\""));
}

static void a_reload_in_the_middle_harms_nothing(void **state)
{
	static const char *const places[] = {
		"mailrace_backend_up",
		"mailrace_backend_out",
		"mailrace_backend_signals_total",
		"mailrace_backend_reply_seconds",
		"# TYPE mailrace_pool_reply_seconds",
		"mailrace_pool_reply_seconds_bucket",
		"mailrace_pool_reply_seconds_count",
	};

	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		assert_non_null(strstr(page_make(places[i]), "# TYPE mailrace_pool_reply_seconds"));
}

static void certificates_in_use_are_shown(void **state)
{
	const struct shm_view view = {
		.base = (uint8_t *)&segment, .size = sizeof(segment), .header = &segment.head
	};
	char *text;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	segment_make();
	metrics_certificates_write(&view, out);
	fclose(out);
	assert_non_null(strstr(
		text,
		"\nmailrace_tls_certificate_not_after_seconds{certificate=\"mail\"} 2000000000\n"
	));
	assert_non_null(strstr(text, "{certificate=\"a\\\"b\\\\\"} -5\n"));
	assert_null(strstr(text, "of before"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(certificates_in_use_are_shown),
		cmocka_unit_test(pools_are_the_sums_of_their_backends),
		cmocka_unit_test(buckets_shown_are_edges),
		cmocka_unit_test(why_a_backend_is_out),
		cmocka_unit_test(a_reload_in_the_middle_harms_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
