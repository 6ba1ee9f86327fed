// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Unit tests of the keys about TLS: what they become in the model and the blob, what is refused and
// what is only warned of.

#include "config/cfg.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#define CERTS \
	"a = { chain = \"/a.pem\"; key = \"/a.key\"; }; b = { chain = \"/b\"; key = \"/c\"; };"
#define PIN "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"

static struct cfg_errors errs;

// A file with these pieces: more of dataplane, of the pool, of the service.
static struct cfg *
load(const char *certs, const char *dataplane, const char *pool, const char *service)
{
	static char text[8192];

	snprintf(
		text,
		sizeof(text),
		"hostname = \"mx\";\n"
		"dataplane = { workers = 2; max_sessions = 500; %s };\n"
		"ports = { lan = { device = \"net_tap0\"; addresses = [ \"192.0.2.1/24\" ]; }; };\n"
		"networks = { some = [ \"198.51.100.0/24\" ]; };\n"
		"certificates = { %s };\n"
		"pools = { p = { %s backends = ( { name = \"x\"; address = \"192.0.2.9:25\"; } ); "
		"}; };\n"
		"virtual_services = { s = { pool = \"p\"; %s }; };\n",
		dataplane,
		certs,
		pool,
		service
	);
	return cfg_parse(text, "t.conf", &errs);
}

static void refused(struct cfg *cfg, const char *key, const char *reason)
{
	assert_null(cfg);
	assert_true(errs.errors > 0);
	for (unsigned i = 0; i < errs.count; i++)
		if (!errs.item[i].warning) {
			assert_string_equal(errs.item[i].key, key);
			assert_non_null(strstr(errs.item[i].reason, reason));
			return;
		}
	fail();
}

static void service_refused(const char *tls, const char *key, const char *reason)
{
	char text[512];

	snprintf(text, sizeof(text), "listen = [ \"192.0.2.5:587\" ]; tls = { %s };", tls);
	refused(load(CERTS, "", "", text), key, reason);
}

static void pool_refused(const char *tls, const char *key, const char *reason)
{
	char text[512];

	snprintf(text, sizeof(text), "tls = { %s };", tls);
	refused(load(CERTS, "", text, "listen = [ \"192.0.2.5:587\" ];"), key, reason);
}

static void warned(struct cfg *cfg, const char *reason)
{
	assert_non_null(cfg);
	assert_int_equal(errs.count, 1);
	assert_true(errs.item[0].warning);
	assert_true(errs.item[0].line > 0);
	assert_non_null(strstr(errs.item[0].reason, reason));
	cfg_free(cfg);
}

static void *blob_of(const struct cfg *cfg, size_t *len)
{
	struct cfg_slots *slots = cfg_slots_new(100, 100);
	void *blob;

	assert_non_null(cfg);
	assert_int_equal(cfg_blob_build(cfg, slots, 1, &blob, len, &errs), 0);
	cfg_slots_free(slots);
	return blob;
}

#define LISTEN "listen = [ \"192.0.2.5:587\" ]; "

static void limits_refused(const char *limits, const char *key, const char *reason)
{
	char text[512], path[128];

	snprintf(text, sizeof(text), LISTEN "limits = { %s };", limits);
	snprintf(path, sizeof(path), "virtual_services.s.limits.%s", key);
	refused(load(CERTS, "", "", text), path, reason);
}

static void limits_of_handshakes(void **state)
{
	static const struct {
		const char *limits;
		uint32_t at_once, a_second, queue_ms;
		enum blob_tls_overflow overflow;
	} row[] = {
		{LISTEN, 256, 1000, 30000, BLOB_OVERFLOW_HOLD},
		{LISTEN "limits = { recipients = 100; };", 256, 1000, 30000, BLOB_OVERFLOW_HOLD},
		{LISTEN
		 "limits = { tls_handshakes_per_client = 0; tls_handshakes_per_second = 0; };",
		 0,
		 0,
		 30000,
		 BLOB_OVERFLOW_HOLD},
		{LISTEN
		 "limits = { tls_handshakes_per_client = 7; tls_handshakes_per_second = 4000; "
		 "tls_queue_timeout = \"2s\"; tls_overflow = \"plaintext\"; };",
		 7,
		 4000,
		 2000,
		 BLOB_OVERFLOW_PLAINTEXT},
	};

	for (unsigned i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct cfg *cfg = load(CERTS, "", "", row[i].limits);
		const struct blob_service *s;
		struct blob_header *h;
		const char *reason;
		uint8_t *blob;
		size_t len;

		assert_non_null(cfg);
		blob = blob_of(cfg, &len);
		h = (struct blob_header *)blob;
		s = (const struct blob_service *)(blob + h->services.off);
		assert_int_equal(blob_check(blob, len, 100, 100, &reason), 0);
		assert_int_equal(s->shakes_per_client, row[i].at_once);
		assert_int_equal(s->shakes_per_second, row[i].a_second);
		assert_int_equal(s->tls_queue_ms, row[i].queue_ms);
		assert_int_equal(s->tls_overflow, row[i].overflow);
		free(blob);
		cfg_free(cfg);
	}
	limits_refused("tls_queue_timeout = \"5m\";", "tls_queue_timeout", "at most 4m");
	limits_refused(
		"tls_handshakes_per_second = 4001;",
		"tls_handshakes_per_second",
		"between 0 and 4000"
	);
	limits_refused("tls_overflow = \"none\";", "tls_overflow", "values it can have");
	warned(load(CERTS,
		    "",
		    "",
		    LISTEN "tls = { mode = \"starttls-required\"; certificates = [ \"a\" ]; }; "
			   "limits = { tls_overflow = \"plaintext\"; };"),
	       "helps nobody");
}

static void modes_reach_the_blob(void **state)
{
	struct cfg *cfg = load(
		CERTS,
		"",
		"tls = { mode = \"starttls\"; verify = \"pin\"; pin = \"" PIN "\"; };",
		"listen = [ \"192.0.2.5:587\" ]; tls = { mode = \"starttls-required\"; "
		"certificates = [ \"b\", \"a\" ]; }; rules = ( { from = \"some\"; tls = { mode = "
		"\"passthrough\"; }; }, { from = \"some\"; tls = { mode = \"implicit\"; "
		"certificates = [ \"a\" ]; client_certificates = \"require\"; ca = \"/ca\"; }; }, "
		"{ from = \"some\"; tls = { mode = \"starttls-optional\"; }; }, "
		"{ from = \"some\"; tls = { mode = \"off\"; }; } );"
	);
	const struct blob_service *s;
	const struct blob_rule *r;
	const struct blob_pool *p;
	struct blob_header *h;
	const char *reason;
	uint8_t *blob;
	size_t len;

	assert_non_null(cfg);
	assert_int_equal(errs.count, 0);
	assert_int_equal(cfg->tls_server_count, 2);
	assert_int_equal(cfg->tls_servers[0].certificates[0], 1);
	assert_int_equal(cfg->tls_servers[0].certificates[1], 0);
	assert_int_equal(cfg->tls_servers[1].client_auth, CREDS_AUTH_REQUIRE);
	assert_string_equal(cfg->tls_servers[1].ca, "/ca");
	assert_true(cfg->tls_servers[0].tickets && cfg->tls_servers[1].tickets);
	assert_int_equal(cfg->tickets.rotation_s, 12 * 3600);
	assert_string_equal(cfg->tickets.key_file, "");
	assert_int_equal(cfg->tls_client_count, 1);
	assert_int_equal(cfg->tls_clients[0].verify, CREDS_VERIFY_PIN);
	assert_int_equal(cfg->tls_clients[0].pin[15], 0xff);
	assert_int_equal(cfg->tls_clients[0].pin[31], 0xff);
	assert_int_equal(cfg->dataplane.max_tls_connections, 500);
	blob = blob_of(cfg, &len);
	h = (struct blob_header *)blob;
	s = (const struct blob_service *)(blob + h->services.off);
	r = (const struct blob_rule *)(blob + h->rules.off);
	p = (const struct blob_pool *)(blob + h->pools.off);
	assert_int_equal(h->tls.servers, 2);
	assert_int_equal(h->tls.clients, 1);
	assert_int_equal(s->policy.tls_mode, BLOB_TLS_STARTTLS_REQUIRED);
	assert_int_equal(s->policy.tls_server, 1);
	assert_int_equal(r[0].policy.tls_mode, BLOB_TLS_PASSTHROUGH);
	assert_int_equal(r[0].policy.tls_server, 0);
	assert_int_equal(r[1].policy.tls_mode, BLOB_TLS_IMPLICIT);
	assert_int_equal(r[1].policy.tls_server, 2);
	assert_int_equal(r[2].policy.tls_mode, BLOB_TLS_STARTTLS_OPTIONAL);
	assert_int_equal(r[2].policy.tls_server, 1); // the service's certificates
	assert_int_equal(r[3].policy.tls_server, 0);
	assert_int_equal(p->tls_mode, BLOB_LEG_STARTTLS);
	assert_int_equal(p->tls_client, 1);
	assert_int_equal(blob_check(blob, len, 100, 100, &reason), 0);
	free(blob);
	cfg_free(cfg);
}

static void crc_set(struct blob_header *h)
{
	h->crc32 = 0;
	h->crc32 = (uint32_t)crc32(0, (const Bytef *)h, h->length);
}

// A byte of the blob set to a value, with a right checksum: the check must find it.
static void blob_refused(uint8_t *blob, size_t len, uint8_t *at, uint8_t value, const char *why)
{
	uint8_t was = *at;
	const char *reason;

	*at = value;
	crc_set((struct blob_header *)blob);
	assert_int_equal(blob_check(blob, len, 100, 100, &reason), -EINVAL);
	assert_string_equal(reason, why);
	*at = was;
	crc_set((struct blob_header *)blob);
	assert_int_equal(blob_check(blob, len, 100, 100, &reason), 0);
}

static void a_blob_names_no_credentials_that_are_not_there(void **state)
{
	struct cfg *cfg =
		load(CERTS,
		     "",
		     "tls = { mode = \"implicit\"; verify = \"none\"; };",
		     "listen = [ \"192.0.2.5:587\" ]; tls = { mode = \"implicit\"; certificates = "
		     "[ \"a\" ]; };");
	struct blob_service *s;
	struct blob_header *h;
	struct blob_pool *p;
	uint8_t *blob;
	size_t len;

	blob = blob_of(cfg, &len);
	h = (struct blob_header *)blob;
	s = (struct blob_service *)(blob + h->services.off);
	p = (struct blob_pool *)(blob + h->pools.off);
	blob_refused(blob, len, &s->policy.tls_mode, 5, "service's policy or timeouts");
	blob_refused(blob, len, &s->policy.tls_mode, BLOB_TLS_OFF, "service's policy or timeouts");
	blob_refused(
		blob, len, (uint8_t *)&s->policy.tls_server, 0, "service's policy or timeouts"
	);
	blob_refused(
		blob, len, (uint8_t *)&s->policy.tls_server, 2, "service's policy or timeouts"
	);
	blob_refused(blob, len, (uint8_t *)&s->tls_overflow, 2, "service's limits of handshakes");
	blob_refused(
		blob,
		len,
		(uint8_t *)&s->shakes_per_second + 1,
		0xff,
		"service's limits of handshakes"
	);
	blob_refused(blob, len, &p->tls_mode, 3, "pool's TLS");
	blob_refused(blob, len, &p->tls_mode, 0, "pool's TLS");
	blob_refused(blob, len, (uint8_t *)&p->tls_client, 0, "pool's TLS");
	blob_refused(blob, len, (uint8_t *)&p->tls_client, 2, "pool's TLS");
	blob_refused(blob, len, (uint8_t *)&h->tls.servers + 1, 255, "number of TLS credentials");
	free(blob);
	cfg_free(cfg);
}

static void a_ledger_is_read(void **state)
{
	static const char one[] = "listen = [ \"192.0.2.5:25\" ];";
	struct cfg *cfg = load("", "", "", one), *next;
	struct cfg_slots *slots = cfg_slots_new(16, 16);
	const char *keys[CFG_START_ONLY_MAX];
	void *blob;
	size_t len;

	assert_int_equal(cfg->ledger.keep, BLOB_LEDGER_OFF);
	next = load("}; ledger = {", "", "", one);
	assert_int_equal(next->ledger.keep, BLOB_LEDGER_FULL);
	assert_string_equal(next->ledger.directory, "/var/lib/mailrace/mail");
	assert_true(next->ledger.bytes == 1 << 30 && next->ledger.days == 30);
	assert_int_equal(cfg_diff_start_only(cfg, next, keys), 1);
	assert_string_equal(keys[0], "ledger");
	assert_int_equal(cfg_diff_start_only(next, cfg, keys), 0);
	cfg_free(next);
	cfg_free(cfg);
	cfg =
		load("}; ledger = { addresses = \"domain\"; directory = \"/d\"; size = \"16M\"; "
		     "days = 7;",
		     "",
		     "",
		     one);
	assert_true(cfg->ledger.bytes == 16 << 20 && cfg->ledger.days == 7);
	assert_string_equal(cfg->ledger.directory, "/d");
	assert_int_equal(cfg_blob_build(cfg, slots, 7, &blob, &len, &errs), 0);
	assert_int_equal(((struct blob_header *)blob)->ledger, BLOB_LEDGER_DOMAIN);
	blob_refused(
		blob,
		len,
		(uint8_t *)&((struct blob_header *)blob)->ledger,
		BLOB_LEDGER_FULL + 1,
		"ledger"
	);
	free(blob);
	cfg_free(cfg);
	cfg_slots_free(slots);
	refused(load("}; ledger = { addresses = \"some\";", "", "", one),
		"ledger.addresses",
		"one of the values");
	refused(load("}; ledger = { size = \"15M\";", "", "", one), "ledger.size", "16M");
	refused(load("}; ledger = { days = 0;", "", "", one), "ledger.days", "between");
	refused(load("}; ledger = { directory = \"d\";", "", "", one),
		"ledger.directory",
		"begins with /");
}

static void tickets_are_read(void **state)
{
	struct cfg *cfg = load(
		CERTS "}; tls_tickets = { rotation = \"90s\"; key_file = \"/k\";",
		"",
		"",
		"listen = [ \"192.0.2.5:587\" ]; tls = { mode = \"implicit\"; certificates = "
		"[ \"a\" ]; tickets = false; }; rules = ( { from = \"some\"; tls = { tickets = "
		"true; }; } );"
	);

	assert_non_null(cfg);
	assert_int_equal(cfg->tickets.rotation_s, 90);
	assert_string_equal(cfg->tickets.key_file, "/k");
	assert_int_equal(cfg->tls_server_count, 2);
	assert_false(cfg->tls_servers[0].tickets);
	assert_true(cfg->tls_servers[1].tickets);
	cfg_free(cfg);
	refused(load("}; tls_tickets = { rotation = \"9s\";",
		     "",
		     "",
		     "listen = [ \"192.0.2.5:25\" ];"),
		"tls_tickets.rotation",
		"10s to 24h");
	refused(load("}; tls_tickets = { rotation = \"25h\";",
		     "",
		     "",
		     "listen = [ \"192.0.2.5:25\" ];"),
		"tls_tickets.rotation",
		"24 hours");
	refused(load("}; tls_tickets = { key_file = \"k\";",
		     "",
		     "",
		     "listen = [ \"192.0.2.5:25\" ];"),
		"tls_tickets.key_file",
		"begins with /");
}

static void what_cannot_be_is_refused(void **state)
{
	service_refused("mode = \"tls\";", "virtual_services.s.tls.mode", "\"tls\" is not one");
	service_refused("mode = \"implicit\";", "virtual_services.s.tls", "wants certificates");
	service_refused(
		"mode = \"starttls-optional\"; certificates = [ ];",
		"virtual_services.s.tls",
		"wants certificates"
	);
	service_refused(
		"mode = \"implicit\"; certificates = [ \"c\" ];",
		"virtual_services.s.tls.certificates",
		"\"c\" is not among certificates"
	);
	service_refused(
		"certificate = \"a\";", "virtual_services.s.tls.certificate", "unknown key"
	);
	service_refused(
		"mode = \"implicit\"; certificates = [ \"a\" ]; client_certificates = \"require\";",
		"virtual_services.s.tls",
		"wants a ca"
	);
	service_refused(
		"mode = \"implicit\"; certificates = [ \"a\" ]; ca = \"ca.pem\";",
		"virtual_services.s.tls.ca",
		"begins with /"
	);
	pool_refused("mode = \"tls\";", "pools.p.tls.mode", "is not one of");
	pool_refused("mode = \"starttls\";", "pools.p.tls", "wants a ca"); // verify is "name"
	pool_refused("mode = \"starttls\"; verify = \"pin\";", "pools.p.tls", "wants a pin");
	pool_refused(
		"mode = \"starttls\"; verify = \"pin\"; pin = \"12\";", "pools.p.tls.pin", "64 hex"
	);
	pool_refused(
		"mode = \"starttls\"; verify = \"ca\"; ca = \"/c\"; pin = \"" PIN "\";",
		"pools.p.tls.pin",
		"only"
	);
	pool_refused(
		"mode = \"implicit\"; verify = \"none\"; ca = \"/c\";", "pools.p.tls.ca", "only"
	);
	pool_refused(
		"mode = \"implicit\"; verify = \"none\"; certificate = \"z\";",
		"pools.p.tls.certificate",
		"not among certificates"
	);
	refused(load("a = { chain = \"/a\"; };", "", "", "listen = [ \"192.0.2.5:25\" ];"),
		"certificates.a",
		"key is missing");
	refused(load(CERTS,
		     "max_tls_connections = 0;",
		     "",
		     "listen = [ \"192.0.2.5:587\" ]; tls = { mode = \"implicit\"; certificates = "
		     "[ "
		     "\"a\" ]; };"),
		"",
		"max_tls_connections = 0");
	refused(load(CERTS,
		     "",
		     "tls = { mode = \"implicit\"; verify = \"none\"; };",
		     "listen = [ \"192.0.2.5:25\" ]; tls = { mode = \"passthrough\"; };"),
		"virtual_services.s",
		"passthrough leaves TLS");
}

static void what_standards_advise_against_is_warned_of(void **state)
{
	const char *const service = "listen = [ \"192.0.2.5:%d\" ]; tls = { mode = \"%s\"; "
				    "certificates = [ \"a\" ]; };";
	char text[256];

	snprintf(text, sizeof(text), service, 25, "starttls-required");
	warned(load(CERTS, "", "", text), "RFC 3207");
	snprintf(text, sizeof(text), service, 25, "implicit");
	warned(load(CERTS, "", "", text), "port 25");
	snprintf(text, sizeof(text), service, 465, "starttls-optional");
	warned(load(CERTS, "", "", text), "RFC 8314");
	snprintf(text, sizeof(text), service, 587, "starttls-required");
	warned(load(CERTS, "", "tls = { mode = \"starttls\"; verify = \"none\"; };", text),
	       "whoever answers");
	snprintf(text, sizeof(text), service, 465, "implicit");
	cfg_free(load(CERTS, "", "", text));
	assert_int_equal(errs.count, 0);
}

static void room_for_tls_is_taken_when_there_is_tls(void **state)
{
	struct cfg *none = load("", "", "", "listen = [ \"192.0.2.5:25\" ];");
	struct cfg *later =
		load("", "max_tls_connections = 90;", "", "listen = [ \"192.0.2.5:25\" ];");

	assert_non_null(none);
	assert_non_null(later);
	assert_int_equal(none->dataplane.max_tls_connections, 0);
	assert_int_equal(none->dataplane.max_tls_handshakes, 2048);
	assert_int_equal(later->dataplane.max_tls_connections, 90);
	cfg_free(none);
	cfg_free(later);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(limits_of_handshakes),
		cmocka_unit_test(modes_reach_the_blob),
		cmocka_unit_test(a_blob_names_no_credentials_that_are_not_there),
		cmocka_unit_test(a_ledger_is_read),
		cmocka_unit_test(tickets_are_read),
		cmocka_unit_test(what_cannot_be_is_refused),
		cmocka_unit_test(what_standards_advise_against_is_warned_of),
		cmocka_unit_test(room_for_tls_is_taken_when_there_is_tls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
