// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Unit tests of certificates as files, made by openssl here: what is taken, what is refused and
// why, the bundle and its check, the memory of keys.

#include "config/certs.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/mailrace-certs-XXXXXX";
static struct cfg_errors errs;

// Runs in the folder; the shell only here, on texts of ours.
static void shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void shell(const char *format, ...)
{
	char command[1024], line[1200];
	va_list ap;

	va_start(ap, format);
	vsnprintf(command, sizeof(command), format, ap);
	va_end(ap);
	snprintf(line, sizeof(line), "cd %s && { %s; } >log 2>&1", dir, command);
	if (system(line) != 0)
		fail_msg("%s", command);
}

#define EC "-newkey ec -pkeyopt ec_paramgen_curve:P-256"

static int certificates_make(void **state)
{
	if (mkdtemp(dir) == NULL)
		return -1;
	shell("openssl req -x509 " EC
	      " -nodes -keyout root.key -out root.pem -days 90 -subj /CN=Root");
	shell("openssl req -x509 -CA root.pem -CAkey root.key " EC
	      " -nodes -keyout mid.key -out mid.pem -days 80 -subj /CN=Mid "
	      "-addext basicConstraints=critical,CA:TRUE");
	shell("openssl req -x509 -CA mid.pem -CAkey mid.key " EC
	      " -nodes -keyout leaf.key -out leaf.pem -days 70 -subj '/O=Example/CN=mx' "
	      "-addext basicConstraints=CA:FALSE "
	      "-addext subjectAltName=DNS:mx.example,DNS:*.mail.example");
	shell("openssl req -x509 -newkey rsa:2048 -nodes -keyout rsa.key -out rsa.pem -days 70 "
	      "-subj /CN=rsa -addext subjectAltName=DNS:rsa.example");
	shell("openssl req -x509 -newkey rsa:1024 -nodes -keyout weak.key -out weak.pem -days 70 "
	      "-subj /CN=weak -addext subjectAltName=DNS:weak.example");
	shell("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-521 -nodes -keyout "
	      "p521.key "
	      "-out p521.pem -days 70 -subj /CN=p521 -addext subjectAltName=DNS:p.example");
	shell("openssl req -x509 " EC
	      " -nodes -keyout old.key -out old.pem -not_before 20200101000000Z "
	      "-not_after 20200201000000Z -subj /CN=old -addext subjectAltName=DNS:old.example");
	shell("openssl req -x509 " EC
	      " -nodes -keyout soon.key -out soon.pem -days 3 -subj /CN=soon "
	      "-addext subjectAltName=DNS:soon.example");
	shell("openssl ec -in leaf.key -aes128 -passout pass:x -out locked.key");
	shell("cat leaf.pem mid.pem root.pem >chain.pem; cat leaf.pem root.pem mid.pem "
	      ">disorder.pem");
	// the same name, another key: the signature does not fit
	shell("openssl req -x509 " EC
	      " -nodes -keyout mid2.key -out mid2.pem -days 80 -subj /CN=Mid; "
	      "cat leaf.pem mid2.pem >forged.pem");
	shell("{ cat leaf.pem; echo '-----BEGIN CERTIFICATE-----'; echo AAAA; "
	      "echo '-----END CERTIFICATE-----'; } >half.pem; echo hello >words; : >empty; "
	      "head -c 300000 /dev/zero | tr '\\0' a >large; printf 'a\\0b' >binary");
	return 0;
}

static int folder_remove(void **state)
{
	char line[256];

	snprintf(line, sizeof(line), "rm -r %s", dir);
	return system(line);
}

static struct cfg *config(const char *chain, const char *key, const char *pool)
{
	static char text[4096];
	struct cfg *cfg;

	snprintf(
		text,
		sizeof(text),
		"hostname = \"mx\";\n"
		"ports = { lan = { device = \"net_tap0\"; addresses = [ \"192.0.2.1/24\" ]; }; };\n"
		"certificates = { mail = { chain = \"%s/%s\"; key = \"%s/%s\"; }; };\n"
		"pools = { p = { %s backends = ( { name = \"x\"; address = \"192.0.2.9:25\"; } ); "
		"}; };\n"
		"virtual_services = { s = { pool = \"p\"; listen = [ \"192.0.2.5:587\" ]; tls = { "
		"mode "
		"= \"implicit\"; certificates = [ \"mail\" ]; }; }; };\n",
		dir,
		chain,
		dir,
		key,
		pool
	);
	cfg = cfg_parse(text, "t.conf", &errs);
	assert_non_null(cfg);
	assert_int_equal(errs.count, 0);
	return cfg;
}

static struct certs *load(const char *chain, const char *key)
{
	struct cfg *cfg = config(chain, key, "");
	struct certs *certs = certs_load(cfg, &errs, false);

	cfg_free(cfg);
	return certs;
}

static void refused(const char *chain, const char *key, const char *reason)
{
	struct certs *certs = load(chain, key);
	unsigned i = 0;

	if (certs != NULL)
		fail_msg("%s was taken", chain);
	while (i + 1 < errs.count && errs.item[i].warning)
		i++;
	assert_true(errs.errors > 0);
	assert_string_equal(errs.item[i].key, "certificates.mail");
	assert_int_equal(errs.item[i].line, 3);
	if (strstr(errs.item[i].reason, reason) == NULL)
		fail_msg("%s: %s", chain, errs.item[i].reason);
}

static void warned(const char *chain, const char *key, const char *reason)
{
	struct certs *certs = load(chain, key);

	assert_non_null(certs);
	assert_non_null(certs->bundle);
	assert_int_equal(errs.errors, 0);
	assert_true(errs.count > 0 && errs.item[0].warning);
	if (strstr(errs.item[0].reason, reason) == NULL)
		fail_msg("%s: %s", chain, errs.item[0].reason);
	certs_free(certs);
}

static void good_ones_are_taken_and_told(void **state)
{
	struct certs *certs = load("chain.pem", "leaf.key");
	const struct certs_info *i;
	const char *reason;

	assert_non_null(certs);
	assert_int_equal(errs.count, 0);
	assert_int_equal(certs->count, 1);
	i = &certs->info[0];
	assert_string_equal(i->name, "mail");
	assert_string_equal(i->subject, "O=Example, CN=mx");
	assert_string_equal(i->issuer, "CN=Mid");
	assert_string_equal(i->names, "mx.example *.mail.example");
	assert_string_equal(i->key, "ECDSA P-256");
	assert_int_equal(i->chain_length, 3);
	assert_int_equal(i->not_after - i->not_before, 70 * 86400);
	assert_int_equal(certs->tls.servers, 1);
	assert_int_equal(certs->tls.clients, 0);
	assert_int_equal(creds_check(certs->bundle, certs->bundle_len, &certs->tls, &reason), 0);
	certs_free(certs);
	certs = load("rsa.pem", "rsa.key");
	assert_non_null(certs);
	assert_int_equal(errs.count, 0);
	assert_string_equal(certs->info[0].key, "RSA 2048");
	certs_free(certs);
}

static void bad_ones_are_refused(void **state)
{
	refused("missing.pem", "leaf.key", "missing.pem: No such file");
	refused("leaf.pem", "missing.key", "missing.key: No such file");
	refused("leaf.pem", "rsa.key", "is not the key of the first certificate");
	refused("leaf.pem", "mid.key", "is not the key of the first certificate");
	refused("leaf.pem", "locked.key", "password");
	refused("leaf.pem", "leaf.pem", "no private key");
	refused("words", "leaf.key", "no certificate");
	refused("leaf.key", "leaf.key", "no certificate");
	refused("half.pem", "leaf.key", "not readable");
	refused("empty", "leaf.key", "is empty");
	refused("large", "leaf.key", "is too large");
	refused("leaf.pem", "large", "is too large");
	refused("binary", "leaf.key", "is no text");
	refused(".", "leaf.key", "is no plain file");
	refused("weak.pem", "weak.key", "RSA 1024");
	refused("p521.pem", "p521.key", "ECDSA 521");
	refused("disorder.pem", "leaf.key", "certificate 1 of the chain is not issued by");
	refused("forged.pem", "leaf.key", "is not signed by the one behind it");
	shell("mkfifo fifo"); // does not wait for a writer
	refused("fifo", "leaf.key", "is no plain file");
}

static void dates_are_warned_of(void **state)
{
	warned("old.pem", "old.key", "HAS EXPIRED");
	warned("soon.pem", "soon.key", "expires in ");
	warned("root.pem", "root.key", "names no host");
	shell("cp leaf.key open.key; chmod 644 open.key");
	warned("leaf.pem", "open.key", "everybody may read");
}

static void files_of_others_are_left_out_of_a_check(void **state)
{
	struct cfg *cfg = config("leaf.pem", "leaf.key", "");
	struct certs *certs;

	if (geteuid() == 0 && seteuid(65534) < 0)
		skip();
	certs = certs_load(cfg, &errs, false);
	assert_null(certs);
	errs = (struct cfg_errors){0};
	certs = certs_load(cfg, &errs, true);
	assert_int_equal(seteuid(getuid()), 0);
	assert_non_null(certs);
	assert_null(certs->bundle);
	assert_non_null(strstr(errs.item[0].reason, "Permission denied: not checked"));
	certs_free(certs);
	cfg_free(cfg);
}

static void credentials_of_pools_stand_in_the_bundle(void **state)
{
	char pool[256];
	struct cfg *cfg;
	struct certs *certs;
	const struct creds_header *h;
	const struct creds_client *c;
	const char *reason;

	snprintf(
		pool,
		sizeof(pool),
		"tls = { mode = \"starttls\"; ca = \"%s/root.pem\"; name = \"ex.example\"; "
		"certificate "
		"= \"mail\"; };",
		dir
	);
	cfg = config("leaf.pem", "leaf.key", pool);
	certs = certs_load(cfg, &errs, false);
	assert_non_null(certs);
	assert_int_equal(creds_check(certs->bundle, certs->bundle_len, &certs->tls, &reason), 0);
	h = certs->bundle;
	c = (const struct creds_client *)((const uint8_t *)h + h->clients.off);
	assert_int_equal(h->clients.count, 1);
	assert_int_equal(c->verify, CREDS_VERIFY_NAME);
	assert_string_equal(c->name, "ex.example");
	assert_int_equal(c->cert, 1);
	assert_non_null(strstr((const char *)h + c->ca.off, "BEGIN CERTIFICATE"));
	certs_free(certs);
	cfg_free(cfg);
	snprintf(pool, sizeof(pool), "tls = { mode = \"starttls\"; ca = \"%s/words\"; };", dir);
	cfg = config("leaf.pem", "leaf.key", pool);
	assert_null(certs_load(cfg, &errs, false));
	assert_non_null(strstr(errs.item[0].reason, "words: no certificate"));
	cfg_free(cfg);
}

static struct certs *load_tickets(const char *file)
{
	struct cfg *cfg = config("leaf.pem", "leaf.key", "");
	struct certs *certs;

	snprintf(cfg->tickets.key_file, sizeof(cfg->tickets.key_file), "%s/%s", dir, file);
	certs = certs_load(cfg, &errs, false);
	cfg_free(cfg);
	return certs;
}

static void the_secret_of_tickets_stands_in_the_bundle(void **state)
{
	struct certs *plain = load("leaf.pem", "leaf.key"), *one, *same, *two;
	const struct creds_header *p = plain->bundle, *a, *b;
	uint8_t digest[32], data[100] = {0};

	shell("head -c 100 /dev/zero >t1; head -c 101 /dev/zero >t2; head -c 31 /dev/zero >short; "
	      "chmod 600 t1 t2");
	one = load_tickets("t1"); // binary, NULs and all
	assert_int_equal(errs.count, 0);
	same = load_tickets("t1");
	two = load_tickets("t2");
	a = one->bundle;
	b = two->bundle;
	assert_int_equal(p->tickets.shared, 0);
	assert_int_equal(p->tickets.rotation_s, 12 * 3600);
	assert_int_equal(a->tickets.shared, 1);
	certs_digest(data, 100, digest);
	assert_memory_equal(a->tickets.secret, digest, 32);
	assert_memory_not_equal(b->tickets.secret, digest, 32);
	assert_memory_equal(one->tls.digest, same->tls.digest, 32);
	assert_memory_not_equal(one->tls.digest, two->tls.digest, 32);
	assert_true(plain->tls.recipe != one->tls.recipe && one->tls.recipe != two->tls.recipe);
	certs_free(plain);
	certs_free(one);
	certs_free(same);
	certs_free(two);
	assert_null(load_tickets("short"));
	assert_non_null(strstr(errs.item[0].reason, "31 bytes, wants 32 or more"));
	assert_string_equal(errs.item[0].key, "tls_tickets.key_file");
	assert_null(load_tickets("large"));
	assert_non_null(strstr(errs.item[0].reason, "too large"));
	assert_null(load_tickets("nowhere"));
	assert_non_null(strstr(errs.item[0].reason, "No such file"));
}

// One large CA that many services use: small to hand over, much to parse.
static void what_workers_parse_has_a_limit(void **state)
{
	static char text[65536];
	struct cfg *cfg;
	size_t n;

	shell("for i in $(seq 800); do cat root.pem; done >cas.pem");
	n = (size_t)snprintf(
		text,
		sizeof(text),
		"hostname = \"mx\";\n"
		"ports = { lan = { device = \"net_tap0\"; addresses = [ \"192.0.2.1/24\" ]; }; };\n"
		"pools = {"
	);
	for (unsigned i = 0; i < 12; i++)
		n += (size_t)snprintf(
			text + n,
			sizeof(text) - n,
			" p%u = { tls = { mode = \"starttls\"; ca = \"%s/cas.pem\"; name = "
			"\"x%u\"; }; "
			"backends = ( { name = \"x\"; address = \"192.0.2.9:25\"; } ); };\n",
			i,
			dir,
			i
		);
	snprintf(
		text + n,
		sizeof(text) - n,
		"};\nvirtual_services = { s = { pool = \"p0\"; listen = [ \"192.0.2.5:587\" ]; }; "
		"};\n"
	);
	cfg = cfg_parse(text, "t.conf", &errs);
	assert_non_null(cfg);
	assert_int_equal(cfg->tls_client_count, 12);
	assert_null(certs_load(cfg, &errs, false));
	assert_non_null(strstr(errs.item[0].reason, "more than 4 MiB"));
	cfg_free(cfg);
}

// What control may have written: no field leads out of the bundle.
static void no_damaged_bundle_passes_or_reads_beyond(void **state)
{
	struct certs *certs = load("chain.pem", "leaf.key");
	size_t len = certs->bundle_len, structures;
	uint8_t *copy = malloc(len);
	const struct creds_header *h = certs->bundle;
	const char *reason;
	unsigned refusals = 0;

	structures = h->clients.off;
	for (size_t i = 0; i < structures; i++) {
		for (unsigned k = 0; k < 3; k++) {
			memcpy(copy, certs->bundle, len);
			copy[i] = k == 0 ? 0xff : k == 1 ? copy[i] ^ 1 : 0x80;
			refusals += creds_check(copy, len, &certs->tls, &reason) < 0;
		}
	}
	assert_true(refusals > 100);
	for (size_t i = 0; i < len; i += i < 300 ? 1 : 97) {
		uint8_t *shorter = malloc(i + 1); // sanitizers see a read beyond

		memcpy(shorter, certs->bundle, i);
		assert_int_equal(creds_check(shorter, i, &certs->tls, &reason), -EINVAL);
		free(shorter);
	}
	certs->tls.servers = 2;
	assert_int_equal(creds_check(certs->bundle, len, &certs->tls, &reason), -EINVAL);
	free(copy);
	certs_free(certs);
}

static void the_memfd_is_sealed_and_the_same(void **state)
{
	struct certs *certs = load("leaf.pem", "leaf.key");
	struct certs *again = load("leaf.pem", "leaf.key");
	struct certs *other = load("rsa.pem", "rsa.key");
	int fd = certs_memfd(certs);
	uint8_t *got = malloc(certs->bundle_len);

	assert_true(fd >= 0);
	assert_memory_equal(certs->tls.digest, again->tls.digest, 32);
	assert_memory_not_equal(certs->tls.digest, other->tls.digest, 32);
	assert_true(certs->tls.recipe == again->tls.recipe);
	assert_true(certs->tls.recipe != other->tls.recipe);
	assert_int_equal(pread(fd, got, certs->bundle_len, 0), certs->bundle_len);
	assert_memory_equal(got, certs->bundle, certs->bundle_len);
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(ftruncate(fd, 10), -1);
	assert_int_equal(ftruncate(fd, 1 << 20), -1);
	assert_ptr_equal(mmap(NULL, 1, PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	close(fd);
	certs_keys_wipe(certs);
	assert_null(certs->bundle);
	assert_int_equal(certs_memfd(certs), -ENOENT);
	free(got);
	certs_free(certs);
	certs_free(again);
	certs_free(other);
}

// The kernel says of each mapping whether it is dumped ("dd": it is not).
static void memory_of_keys_is_not_dumped(void **state)
{
	uint8_t *secret = secret_new(8192);
	FILE *f = fopen("/proc/self/smaps", "r");
	bool inside = false, found = false;
	char line[512];

	assert_non_null(secret);
	assert_non_null(f);
	memset(secret, 1, 8192);
	while (fgets(line, sizeof(line), f) != NULL) {
		unsigned long from, to;

		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = from <= (uintptr_t)secret && (uintptr_t)secret < to;
		if (inside && strncmp(line, "VmFlags:", 8) == 0)
			found = strstr(line, " dd") != NULL;
	}
	fclose(f);
	assert_true(found);
	secret_free(secret, 8192);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_ones_are_taken_and_told),
		cmocka_unit_test(bad_ones_are_refused),
		cmocka_unit_test(dates_are_warned_of),
		cmocka_unit_test(files_of_others_are_left_out_of_a_check),
		cmocka_unit_test(credentials_of_pools_stand_in_the_bundle),
		cmocka_unit_test(the_secret_of_tickets_stands_in_the_bundle),
		cmocka_unit_test(what_workers_parse_has_a_limit),
		cmocka_unit_test(no_damaged_bundle_passes_or_reads_beyond),
		cmocka_unit_test(the_memfd_is_sealed_and_the_same),
		cmocka_unit_test(memory_of_keys_is_not_dumped),
	};

	return cmocka_run_group_tests(tests, certificates_make, folder_remove);
}
