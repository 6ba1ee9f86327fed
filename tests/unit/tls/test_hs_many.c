// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Many handshakes at once: they share batches, and those given up while they wait harm nobody.

#include "tests/unit/tls/peer.h"
#include "tls/pk_hooks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct tls_engine *engine;
static struct tls_helpers *helpers; // NULL: the engine does all itself
static struct peer_cert certs[2];   // EC, RSA

#define MANY 60

struct crowd {
	struct side side[MANY];
	struct peer peer[MANY];
	unsigned done, failed;
};

static void
crowd_take(struct crowd *c, unsigned i, enum tls_result result, const struct tls_step *step)
{
	peer_give(&c->peer[i], step->out, step->out_len);
	c->side[i].done = result == TLS_OK;
	c->done += result == TLS_OK;
	c->failed += result == TLS_FATAL;
}

static void crowd_finished(void *up, struct tls_hs *hs)
{
	struct crowd *c = up;

	for (unsigned i = 0; i < MANY; i++) {
		struct tls_step step;

		if (c->side[i].hs == hs)
			crowd_take(
				c,
				i,
				tls_hs_result(hs, &step, &c->side[i].state, &c->side[i].info),
				&step
			);
	}
}

// One turn: every side is shown what its peer has sent, then the queue is flushed.
static void crowd_turn(struct crowd *c)
{
	for (unsigned i = 0; i < MANY; i++) {
		struct side *s = &c->side[i];
		struct tls_step step;
		enum tls_result result;

		SSL_do_handshake(c->peer[i].ssl);
		s->in_len += peer_take(&c->peer[i], s->in + s->in_len, sizeof(s->in) - s->in_len);
		if (s->done || s->in_len == 0 || s->hs == NULL)
			continue;
		step = (struct tls_step){.in = s->in, .in_len = s->in_len};
		result = tls_hs_step(s->hs, &step, &s->state, &s->info);
		memmove(s->in, s->in + step.taken, s->in_len - step.taken);
		s->in_len -= step.taken;
		if (result != TLS_WAIT)
			crowd_take(c, i, result, &step);
	}
	tls_engine_flush(engine);
	if (helpers == NULL)
		return;
	for (unsigned i = 0; i < 100000 && tls_engine_busy(engine); i++) {
		tls_engine_turn(engine);
		tls_engine_flush(engine);
		usleep(10); // the helper's core may be busy
	}
}

static struct crowd *crowd_new(void)
{
	struct crowd *c = calloc(1, sizeof(*c));
	struct tls_creds *creds[2];

	assert_non_null(c);
	for (unsigned k = 0; k < 2; k++) {
		struct tls_creds_config config = {
			.server = true,
			.pairs = &certs[k].pair,
			.pair_count = 1,
			.max_handshakes = MANY,
		};
		char why[128];

		creds[k] = tls_creds_new(engine, &config, why);
		assert_non_null(creds[k]);
	}
	for (unsigned i = 0; i < MANY; i++) {
		peer_new(&c->peer[i], false, NULL, i % 2 == 0 ? TLS1_3_VERSION : TLS1_2_VERSION);
		c->side[i].hs = tls_hs_new(creds[i % 3 == 0], NULL);
		assert_non_null(c->side[i].hs);
	}
	tls_creds_put(creds[0]); // freed with their last handshake
	tls_creds_put(creds[1]);
	tls_engine_finished_set(engine, crowd_finished, c);
	return c;
}

static void crowd_free(struct crowd *c)
{
	for (unsigned i = 0; i < MANY; i++) {
		tls_hs_free(c->side[i].hs);
		peer_free(&c->peer[i]);
	}
	tls_engine_finished_set(engine, NULL, NULL);
	free(c);
}

static void many_at_once_share_batches(void **state)
{
	struct crowd *c = crowd_new();
	const struct pk_counts *counts = &tls_engine_queue(engine)->counts;
	uint64_t full = counts->fill[PK_LANES];

	for (unsigned turn = 0; turn < 100 && c->done < MANY; turn++)
		crowd_turn(c);
	assert_int_equal(c->done, MANY);
	assert_int_equal(c->failed, 0);
	for (unsigned i = 0; i < MANY; i++)
		sides_talk(engine, &c->side[i], &c->peer[i]);
	if (tls_engine_queue(engine)->engine != NULL)
		assert_true(counts->fill[PK_LANES] > full);
	crowd_free(c);
}

static void those_given_up_while_they_wait(void **state)
{
	struct crowd *c = crowd_new();
	unsigned left = 0;

	for (unsigned i = 0; i < MANY; i++) {
		struct side *s = &c->side[i];
		struct tls_step step;

		SSL_do_handshake(c->peer[i].ssl);
		s->in_len = peer_take(&c->peer[i], s->in, sizeof(s->in));
		step = (struct tls_step){.in = s->in, .in_len = s->in_len};
		if (tls_hs_step(s->hs, &step, &s->state, &s->info) == TLS_WAIT && i % 2 == 0) {
			tls_hs_free(s->hs); // the client has gone
			s->hs = NULL;
			left++;
		}
	}
	if (tls_engine_queue(engine)->engine != NULL) {
		assert_true(left > 0);
		assert_true(tls_engine_busy(engine)); // whoever waits, a worker must flush
	}
	tls_engine_drain(engine);
	assert_false(tls_engine_busy(engine));
	crowd_free(c);
}

static void contexts_for_reuse_go_little_by_little(void **state)
{
	struct tls_creds_config config = {
		.server = true, .pairs = &certs[0].pair, .pair_count = 1, .max_handshakes = 5
	};
	char why[128];
	struct tls_creds *creds = tls_creds_new(engine, &config, why);
	struct tls_hs *hs[5];

	assert_non_null(creds);
	assert_int_equal(tls_creds_thin(creds, 9), 0);
	for (unsigned i = 0; i < 5; i++)
		assert_non_null(hs[i] = tls_hs_new(creds, NULL));
	for (unsigned i = 0; i < 5; i++)
		tls_hs_free(hs[i]);
	assert_int_equal(tls_creds_thin(creds, 0), 0);
	assert_int_equal(tls_creds_thin(creds, 3), 3);
	assert_int_equal(tls_creds_thin(creds, 3), 2);
	assert_int_equal(tls_creds_thin(creds, 3), 0);
	for (unsigned i = 0; i < 5; i++)
		assert_non_null(hs[i] = tls_hs_new(creds, NULL));
	assert_null(tls_hs_new(creds, NULL));
	tls_creds_put(creds); // those under way keep it; none of them waits for reuse
	for (unsigned i = 0; i < 4; i++)
		tls_hs_free(hs[i]);
	assert_int_equal(tls_creds_thin(creds, 9), 0);
	tls_hs_free(hs[4]);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_at_once_share_batches),
		cmocka_unit_test(those_given_up_while_they_wait),
		cmocka_unit_test(contexts_for_reuse_go_little_by_little),
	};
	int failed;

	if (argc != 2)
		return 64;
	helpers = argv[1][1] == 'h' ? helped_new() : NULL;
	engine = tls_engine_new((enum pk_engine_id)(argv[1][0] - '0'));
	if (engine == NULL)
		return 1;
	if (helpers != NULL)
		tls_engine_helpers_set(engine, helpers, 0);
	peer_cert_make(&certs[0], PEER_EC256, "mx.lab.example");
	peer_cert_make(&certs[1], PEER_RSA2048, "mx.lab.example");
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	printf("engine %s: stacks used to %zu bytes\n",
	       tls_engine_name(engine),
	       tls_engine_stack_used(engine));
	peer_cert_free(&certs[0]);
	peer_cert_free(&certs[1]);
	if (helpers != NULL)
		helped_free(helpers);
	tls_engine_free(engine);
	return failed;
}
