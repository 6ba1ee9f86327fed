// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Certificates renewed every 10 ms under two thousand handshakes: files, control's reading and
// checking, the sealed bundle, parsing for each worker, and workers that take what is new between
// two turns, but no sockets. Each client is shown the certificate that was in force when its
// handshake began; what has not changed is not parsed again. 10 ms are those of the workers'
// running time, and it is running time that is judged: main's for a renewal and a worker's until it
// has taken it (not with an argument, for builds that are slow by design). So whatever else a
// machine has to do does not matter.

#include "config/certs.h"
#include "dataplane/credentials.h"
#include "tests/unit/tls/peer.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define WORKERS 2
#define FLIGHT 1000       // of a worker
#define A_TURN 8          // seats of them
#define EVERY_NS 10000000 // a renewal
#define RENEWALS 100
#define UNTIMED 30
#define KINDS 3 // of certificates: the one that is renewed (two of them, in turn), another

static const char *const names[KINDS] = {"mail.example", "mail.example", "other.example"};
static struct peer_cert certs[KINDS];
static char dir[] = "/tmp/mailrace-swap-XXXXXX";
static struct cfg_errors errs;

// What workers are given.
struct generation {
	const struct tls_set *set;
	unsigned number, mail; // mail: which of certs is the service's
};

struct seat {
	SSL *client;
	struct tls_hs *hs;
	struct tls_state state;
	unsigned expects; // certificate
	uint8_t in[4096];
	uint32_t in_len;
	bool client_done, server_done;
};

struct worker {
	pthread_t thread;
	bool runs;
	struct tls_engine *engine;
	SSL_CTX *ctx; // of its clients
	struct generation *_Atomic next;
	struct generation *taken;
	const struct tls_set *leaving;
	_Atomic unsigned seen; // generation
	uint64_t seen_ns;      // running time then
	_Atomic uint64_t done, failed, wrong;
	_Atomic unsigned under_way;
	struct seat seat[FLIGHT];
	unsigned at;
};

static struct worker workers[WORKERS];
static atomic_bool stop;

static uint64_t ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static void seat_begin(struct worker *w, struct seat *s, unsigned i)
{
	bool mail = i % 2 == 0;

	*s = (struct seat){
		.client = SSL_new(w->ctx),
		.hs = tls_hs_new(w->taken->set->server[0], NULL),
		.expects = mail ? w->taken->mail : 2,
	};
	if (s->client == NULL || s->hs == NULL)
		abort();
	tls_hs_user_set(s->hs, i);
	SSL_set_bio(s->client, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	SSL_set_connect_state(s->client);
	SSL_set_tlsext_host_name(s->client, names[s->expects]);
	atomic_fetch_add(&w->under_way, 1);
}

static void seat_end(struct worker *w, struct seat *s)
{
	const X509 *shown = SSL_get0_peer_certificate(s->client);

	if (shown == NULL || X509_cmp(shown, certs[s->expects].crt) != 0)
		atomic_fetch_add(&w->wrong, 1);
	SSL_free(s->client);
	tls_hs_free(s->hs);
	*s = (struct seat){0};
	atomic_fetch_sub(&w->under_way, 1);
	atomic_fetch_add(&w->done, 1);
}

static void give(struct worker *w, struct seat *s, enum tls_result r, const struct tls_step *step)
{
	if (step->out_len > 0 &&
	    BIO_write(SSL_get_rbio(s->client), step->out, (int)step->out_len) < 0)
		abort();
	s->server_done = r == TLS_OK;
	if (r == TLS_FATAL)
		atomic_fetch_add(&w->failed, 1);
}

static void on_finished(void *up, struct tls_hs *hs)
{
	struct worker *w = up;
	struct seat *s = &w->seat[tls_hs_user(hs)];
	struct tls_step step;
	struct tls_info info;

	give(w, s, tls_hs_result(hs, &step, &s->state, &info), &step);
}

static void seat_step(struct worker *w, struct seat *s)
{
	struct tls_step step;
	struct tls_info info;
	enum tls_result r;
	int n;

	s->client_done = SSL_do_handshake(s->client) == 1 || s->client_done;
	n = BIO_read(SSL_get_wbio(s->client), s->in + s->in_len, (int)(sizeof(s->in) - s->in_len));
	s->in_len += n > 0 ? (uint32_t)n : 0;
	if (s->server_done || s->in_len == 0)
		return;
	step = (struct tls_step){.in = s->in, .in_len = s->in_len};
	r = tls_hs_step(s->hs, &step, &s->state, &info);
	memmove(s->in, s->in + step.taken, s->in_len - step.taken);
	s->in_len -= step.taken;
	if (r != TLS_WAIT)
		give(w, s, r, &step);
}

// Between two turns, as dataplane/lcore.c does it.
static void generation_take(struct worker *w)
{
	struct generation *next = atomic_load_explicit(&w->next, memory_order_acquire);

	if (next != w->taken) {
		w->leaving = w->taken != NULL ? w->taken->set : NULL;
		w->taken = next;
	}
	if (w->leaving != NULL) {
		if (!credentials_thin(w->leaving))
			return;
		credentials_put(w->leaving);
		w->leaving = NULL;
	}
	if (atomic_load_explicit(&w->seen, memory_order_relaxed) == next->number)
		return;
	w->seen_ns = ns(CLOCK_THREAD_CPUTIME_ID);
	atomic_store_explicit(&w->seen, next->number, memory_order_release);
}

static void turn(struct worker *w)
{
	tls_engine_turn(w->engine);
	for (unsigned k = 0; k < A_TURN; k++, w->at = (w->at + 1) % FLIGHT) {
		struct seat *s = &w->seat[w->at];

		if (s->client_done && s->server_done)
			seat_end(w, s);
		if (s->client == NULL && !atomic_load(&stop))
			seat_begin(w, s, w->at);
		if (s->client != NULL)
			seat_step(w, s);
	}
	tls_engine_flush(w->engine);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	while (!atomic_load(&stop) || atomic_load(&w->under_way) > 0) {
		generation_take(w);
		if (atomic_load(&w->failed) + atomic_load(&w->wrong) > 0)
			break;
		turn(w);
	}
	return NULL;
}

static void file_write(const char *name, const struct tls_pem *pem)
{
	char from[128], to[128];
	FILE *f;

	snprintf(from, sizeof(from), "%s/new", dir);
	snprintf(to, sizeof(to), "%s/%s", dir, name);
	f = fopen(from, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(pem->data, 1, pem->len - 1, f), pem->len - 1);
	fclose(f);
	assert_int_equal(rename(from, to), 0);
}

static void pair_write(const char *name, const struct peer_cert *cert)
{
	char file[64];

	snprintf(file, sizeof(file), "%s.pem", name);
	file_write(file, &cert->pair.chain);
	snprintf(file, sizeof(file), "%s.key", name);
	file_write(file, &cert->pair.key);
}

static const char *config_write(void)
{
	static char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/mailrace.conf", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f,
		"hostname = \"mx\";\n"
		"ports = { lan = { device = \"net_tap0\"; addresses = [ \"192.0.2.1/24\" ]; }; };\n"
		"certificates = { mail = { chain = \"%s/mail.pem\"; key = \"%s/mail.key\"; };\n"
		"  other = { chain = \"%s/other.pem\"; key = \"%s/other.key\"; }; };\n"
		"pools = { p = { backends = ( { name = \"x\"; address = \"192.0.2.9:25\"; } ); "
		"}; };\n"
		"virtual_services = { s = { pool = \"p\"; listen = [ \"192.0.2.5:465\" ];\n"
		"  tls = { mode = \"implicit\"; certificates = [ \"mail\", \"other\" ]; }; }; };\n",
		dir,
		dir,
		dir,
		dir);
	fclose(f);
	return path;
}

// Control's part: a sealed descriptor of what the files say now.
static int bundle_make(const char *path)
{
	struct cfg *cfg = cfg_load(path, &errs);
	struct certs *loaded;
	int fd;

	assert_non_null(cfg);
	loaded = certs_load(cfg, &errs, false);
	assert_non_null(loaded);
	fd = certs_memfd(loaded);
	assert_true(fd >= 0);
	certs_free(loaded);
	cfg_free(cfg);
	return fd;
}

// The main thread's of the dataplane.
static struct credentials *credentials_make(int fd, const struct credentials *before)
{
	struct tls_engine *engine[WORKERS];
	struct credentials_config config = {
		.engine = engine,
		.workers = WORKERS,
		.max_handshakes = WORKERS * FLIGHT,
		.before = before,
	};
	struct blob_tls tls = {.servers = 1};
	struct credentials *made;
	struct bundle bundle;
	const char *reason;
	char why[192];

	for (unsigned i = 0; i < WORKERS; i++)
		engine[i] = workers[i].engine;
	assert_int_equal(bundle_take(fd, &bundle, &reason), 0);
	close(fd);
	certs_digest(bundle.data, bundle.len, tls.digest);
	assert_int_equal(creds_check(bundle.data, bundle.len, &tls, &reason), 0);
	made = credentials_new(&config, &bundle, why);
	assert_non_null(made);
	bundle_release(&bundle);
	return made;
}

struct swap {
	const char *path;
	struct credentials *in_force;
	struct generation generation[2][WORKERS];
	unsigned number;
	uint64_t main_ns, worker_ns; // running time that the last one took
};

static uint64_t worker_ns(const struct worker *w)
{
	clockid_t clock;

	return w->runs && pthread_getcpuclockid(w->thread, &clock) == 0 ? ns(clock) : 0;
}

static void swap_wait(struct swap *s, unsigned i, uint64_t given_ns)
{
	const struct worker *w = &workers[i];

	while (atomic_load_explicit(&w->seen, memory_order_acquire) != s->number) {
		assert_int_equal(atomic_load(&w->failed) + atomic_load(&w->wrong), 0);
		usleep(100);
	}
	if (w->seen_ns - given_ns > s->worker_ns)
		s->worker_ns = w->seen_ns - given_ns;
}

static void swap_next(struct swap *s)
{
	unsigned mail = s->number++ % 2;
	struct credentials *before = s->in_force;
	uint64_t start, given[WORKERS];

	pair_write("mail", &certs[mail]);
	start = ns(CLOCK_THREAD_CPUTIME_ID);
	s->in_force = credentials_make(bundle_make(s->path), before);
	s->main_ns = ns(CLOCK_THREAD_CPUTIME_ID) - start;
	s->worker_ns = 0;
	assert_int_equal(s->in_force->parsed, before == NULL ? 2 * WORKERS : WORKERS);
	for (unsigned i = 0; i < WORKERS; i++) {
		struct generation *g = &s->generation[s->number % 2][i];

		*g = (struct generation){&s->in_force->set[i], s->number, mail};
		given[i] = worker_ns(&workers[i]);
		atomic_store_explicit(&workers[i].next, g, memory_order_release);
	}
	for (unsigned i = 0; i < WORKERS && before != NULL; i++)
		swap_wait(s, i, given[i]);
	credentials_free(before, true);
}

static unsigned under_way(void)
{
	return atomic_load(&workers[0].under_way) + atomic_load(&workers[1].under_way);
}

static uint64_t done_sum(void)
{
	return atomic_load(&workers[0].done) + atomic_load(&workers[1].done);
}

static void workers_start(void)
{
	for (unsigned i = 0; i < WORKERS; i++) {
		struct worker *w = &workers[i];

		w->ctx = SSL_CTX_new(TLS_client_method());
		tls_engine_finished_set(w->engine, on_finished, w);
		assert_int_equal(pthread_create(&w->thread, NULL, work, w), 0);
		w->runs = true;
	}
	while (under_way() < WORKERS * FLIGHT)
		usleep(1000);
}

static int workers_end(void **state)
{
	atomic_store(&stop, true);
	for (unsigned i = 0; i < WORKERS; i++) {
		if (workers[i].runs)
			pthread_join(workers[i].thread, NULL);
		SSL_CTX_free(workers[i].ctx);
	}
	return 0;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

// One every 10 ms as far as that goes. The median of what they took.
static uint64_t renew(struct swap *s, unsigned count)
{
	uint64_t took[RENEWALS], parts[2] = {0}, start = worker_ns(&workers[0]), due = start;

	for (unsigned i = 0; i < count; i++, due += EVERY_NS) {
		while (worker_ns(&workers[0]) < due)
			usleep(200);
		swap_next(s);
		took[i] = s->main_ns + s->worker_ns;
		parts[0] += s->main_ns;
		parts[1] += s->worker_ns;
	}
	qsort(took, count, sizeof(took[0]), by_size);
	printf("%u renewals, one in %.1f ms of a worker's running time: %.2f ms of main for each, "
	       "%.2f ms until a worker had it\n",
	       count,
	       (double)(worker_ns(&workers[0]) - start) / 1e6 / count,
	       (double)parts[0] / 1e6 / count,
	       (double)parts[1] / 1e6 / count);
	return took[count / 2];
}

static bool untimed;

static void renewed_every_10_ms_under_2000_handshakes(void **state)
{
	struct swap s = {.path = config_write()};
	uint64_t before, median;

	pair_write("other", &certs[2]);
	swap_next(&s);
	workers_start();
	before = done_sum();
	median = renew(&s, untimed ? UNTIMED : RENEWALS);
	while (done_sum() < before + WORKERS * FLIGHT) // all that saw the first one, at least
		usleep(1000);
	printf("%llu handshakes ended meanwhile, %u under way\n",
	       (unsigned long long)(done_sum() - before),
	       under_way());
	assert_true(untimed || median < EVERY_NS);
	workers_end(NULL);
	for (unsigned i = 0; i < WORKERS; i++) {
		workers[i].runs = false;
		workers[i].ctx = NULL;
		assert_int_equal(atomic_load(&workers[i].failed), 0);
		assert_int_equal(atomic_load(&workers[i].wrong), 0);
	}
	credentials_free(s.in_force, false);
}

// What credentials share goes with the last of them, whichever that is.
static void what_is_shared_outlives_those_before(void **state)
{
	struct swap s = {.path = config_write()};
	struct credentials *a, *b, *c;
	struct tls_hs *hs;

	pair_write("mail", &certs[0]);
	pair_write("other", &certs[2]);
	a = credentials_make(bundle_make(s.path), NULL);
	assert_int_equal(a->parsed, 2 * WORKERS);
	hs = tls_hs_new(a->set[0].server[0], NULL);
	pair_write("other", &certs[1]);
	b = credentials_make(bundle_make(s.path), a);
	assert_int_equal(b->parsed, WORKERS);
	credentials_free(a, false); // a handshake still has its own
	pair_write("mail", &certs[1]);
	c = credentials_make(bundle_make(s.path), b); // both names have one certificate now
	assert_int_equal(c->parsed, 0);
	credentials_free(c, false); // refused, say
	pair_write("mail", &certs[0]);
	pair_write("other", &certs[2]);
	c = credentials_make(bundle_make(s.path), b);
	assert_int_equal(c->parsed, WORKERS); // gone with a, but for the handshake
	credentials_free(b, false);
	tls_hs_free(hs);
	credentials_free(c, false);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_shared_outlives_those_before),
		cmocka_unit_test_teardown(renewed_every_10_ms_under_2000_handshakes, workers_end),
	};
	char line[256];
	int failed;

	untimed = argc > 1;
	if (mkdtemp(dir) == NULL)
		return 1;
	for (unsigned i = 0; i < KINDS; i++)
		peer_cert_make(&certs[i], PEER_EC256, names[i]);
	for (unsigned i = 0; i < WORKERS; i++) {
		workers[i].engine = tls_engine_new(PK_ENGINE_MBX);
		if (workers[i].engine == NULL)
			return 1;
	}
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	for (unsigned i = 0; i < WORKERS; i++)
		tls_engine_free(workers[i].engine);
	for (unsigned i = 0; i < KINDS; i++)
		peer_cert_free(&certs[i]);
	snprintf(line, sizeof(line), "rm -r %s", dir);
	return system(line) != 0 ? 1 : failed;
}
