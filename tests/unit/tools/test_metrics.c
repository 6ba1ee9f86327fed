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
#include "common/abi/stats.h"

#define SLOTS 4

static struct {
	struct shm_header head;
	struct shm_worker worker[1];
	struct shm_backend_local local[SLOTS];
	struct shm_backend names[SLOTS];
	struct shm_backend_signals signals[SLOTS];
	struct shm_backend_verdict verdict[SLOTS];
	struct shm_tarpit tarpit[SLOTS];
	struct shm_tarpit_source sources[SHM_TARPIT_SOURCES];
	struct shm_stat_desc desc[4];
	uint64_t counters[2][4]; // of the worker, and of the main thread
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
	segment.head.dir[5] = (struct shm_dir_entry
	){SHM_SEC_STAT_DESC, 4, offsetof(typeof(segment), desc), sizeof(segment.desc[0])};
	segment.head.dir[6] = (struct shm_dir_entry
	){SHM_SEC_COUNTERS, 2, offsetof(typeof(segment), counters), sizeof(segment.counters[0])};
	segment.head.dir[7] = (struct shm_dir_entry){SHM_SEC_CERTIFICATE,
						     1,
						     offsetof(typeof(segment), certificate),
						     sizeof(segment.certificate)};
	segment.head.dir[8] = (struct shm_dir_entry
	){SHM_SEC_TARPIT_BACKEND, 1, offsetof(typeof(segment), tarpit), sizeof(segment.tarpit)};
	segment.head.dir[9] = (struct shm_dir_entry
	){SHM_SEC_TARPIT_SOURCE, 1, offsetof(typeof(segment), sources), sizeof(segment.sources)};
	segment.tarpit[2].events[TARPIT_DISCREDITED] = 3;
	segment.tarpit[2].us[TARPIT_DISCREDITED] = 15020000;
	segment.tarpit[2].interval_ms = 5010;
	segment.sources[SHM_TARPIT_SOURCES - 1].sum.events[TARPIT_DISCREDITED] = 3;
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

static const char *page_write(const char *reload)
{
	static const cookie_io_functions_t io = {.write = on_write};
	const struct shm_view view = {
		.base = (uint8_t *)&segment, .size = sizeof(segment), .header = &segment.head
	};
	FILE *out = fopencookie(NULL, "w", io);

	assert_non_null(out);
	setvbuf(out, NULL, _IONBF, 0);
	page_len = 0;
	reload_at = reload;
	if (segment.head.stat_count > 0)
		metrics_write(&view, out);
	else
		metrics_backends_write(&view, out);
	fclose(out);
	page[page_len] = '\0';
	return page;
}

static const char *page_make(const char *reload)
{
	segment_make();
	return page_write(reload);
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
	assert_non_null(
		strstr(text,
		       "mailrace_backend_tarpit_seconds_total{pool=\"b\",backend=\"2\","
		       "reason=\"ip_discredited\"} 15.020\n")
	);
	assert_non_null(
		strstr(text,
		       "mailrace_source_tarpit_events_total{source=\"others\",reason=\"ip_"
		       "discredited\"} 3\n")
	);
	assert_non_null(strstr(
		text, "mailrace_backend_tarpit_interval_seconds{pool=\"b\",backend=\"2\"} 5.010\n"
	));
	assert_null(strstr(text, "reason=\"relay\""));
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

// Descriptions of counters come from the segment: one without an end, or with lines of its own.
static void descriptions_that_cannot_be_are_left_out(void **state)
{
	static struct {
		struct shm_header head;
		struct shm_stat_desc desc[3];
	} small;
	const struct shm_view view = {
		.base = (uint8_t *)&small, .size = sizeof(small), .header = &small.head
	};
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	small.head.stat_count = 3;
	small.head.dir[0] = (struct shm_dir_entry
	){SHM_SEC_STAT_DESC, 3, offsetof(typeof(small), desc), sizeof(small.desc[0])};
	small.desc[0] = (struct shm_stat_desc){.group = "net", .name = "bad", .help = "A\nup 0\n"};
	small.desc[1] = (struct shm_stat_desc){.group = "net", .help = "B"};
	memset(small.desc[1].name, 'n', sizeof(small.desc[1].name));
	small.desc[2] = (struct shm_stat_desc){.group = "net", .name = "good", .help = "C"};
	metrics_write(&view, out);
	fclose(out);
	assert_null(strstr(text, "mailrace_net_bad"));
	assert_null(strstr(text, "nnn"));
	assert_non_null(strstr(text, "# HELP mailrace_net_good_total C\n"));
	free(text);
}

// Commands of ours to backends are one family, by verb and cause, whatever the names are.
static void commands_have_a_verb_and_a_cause(void **state)
{
	static const char *const names[4] = {
		"ehlo_leg_reopened", "helo_leg_reopened", "rset", "quit_"
	};

	segment_make();
	segment.head.stat_count = 4;
	for (unsigned i = 0; i < 4; i++) {
		memcpy(segment.desc[i].group, "synthetic", 10);
		memcpy(segment.desc[i].name, names[i], strlen(names[i]));
		segment.desc[i].kind = STAT_KIND_COMMAND;
		segment.counters[0][i] = i + 1;
	}
	assert_non_null(
		strstr(page_write(NULL),
		       "# TYPE mailrace_backend_synthetic_commands_total counter\n"
		       "mailrace_backend_synthetic_commands_total{verb=\"ehlo\",cause=\"leg_"
		       "reopened\"} 1\n"
		       "mailrace_backend_synthetic_commands_total{verb=\"helo\",cause=\"leg_"
		       "reopened\"} 2\n"
		       "mailrace_backend_synthetic_commands_total{verb=\"rset\",cause=\"\"} 3\n"
		       "mailrace_backend_synthetic_commands_total{verb=\"quit\",cause=\"\"} 4\n")
	);
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
		cmocka_unit_test(commands_have_a_verb_and_a_cause),
		cmocka_unit_test(a_reload_in_the_middle_harms_nothing),
		cmocka_unit_test(descriptions_that_cannot_be_are_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
