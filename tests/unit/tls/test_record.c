// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Records: the trace of RFC 8448 3, every suite both ways over any pieces, tampering at every byte,
// what comes after the handshake.

#include "tls/engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct {
	uint16_t suite, version;
} suites[] = {
	{0x1301, TLS_V13},
	{0x1302, TLS_V13},
	{0x1303, TLS_V13},
	{0xc02b, TLS_V12},
	{0xc02c, TLS_V12},
	{0xcca9, TLS_V12},
	{0xc02f, TLS_V12},
	{0xc030, TLS_V12},
	{0xcca8, TLS_V12},
};
#define SUITES (sizeof(suites) / sizeof(suites[0]))

static struct tls_engine *engine;

static void hex(const char *text, uint8_t *out)
{
	char two[3] = "";

	for (; text[0] != '\0'; text += 2) {
		two[0] = text[0];
		two[1] = text[1];
		*out++ = (uint8_t)strtoul(two, NULL, 16);
	}
}

// Both ends of a session with random secrets.
static void pair_make(unsigned suite, struct tls_state *client, struct tls_state *server)
{
	struct tls_secrets x = {.suite = suites[suite].suite, .version = suites[suite].version};
	uint8_t *secret[] = {x.client, x.server_secret, x.master};

	for (unsigned i = 0; i < 3; i++)
		for (unsigned k = 0; k < 48; k++)
			secret[i][k] = (uint8_t)random();
	x.rd_seq = x.wr_seq = x.version == TLS_V12 ? 1 : 0;
	assert_true(tls_state_derive(client, &x));
	x.server = true;
	assert_true(tls_state_derive(server, &x));
}

// The record in a block of its own, cut into up to n pieces; opened there.
static enum tls_result open_in_pieces(
	struct tls_state *st,
	const uint8_t *record,
	uint32_t len,
	unsigned pieces,
	struct tls_opened *ret,
	uint8_t *ret_plain
)
{
	struct tls_seg segs[TLS_SEGS_MAX];
	uint32_t at = 0, n = 0;
	uint8_t *block = malloc(len);
	enum tls_result result;

	assert_non_null(block);
	memcpy(block, record, len);
	for (; at < len && n < pieces; n++) {
		uint32_t left = len - at;

		segs[n] = (struct tls_seg){block + at, left};
		if (n + 1 < pieces && left > 1)
			segs[n].len = 1 + (uint32_t)random() % left;
		at += segs[n].len;
	}
	result = tls_record_open(engine, st, segs, n, ret);
	if (result == TLS_OK)
		memcpy(ret_plain, block + ret->off, ret->len);
	free(block);
	return result;
}

static void the_trace_of_rfc_8448(void **state)
{
	static const char client_record[] =
		"1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395b"
		"d5"
		"4a9a20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4";
	static const char server_record[] =
		"17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc"
		"60"
		"2dcb501a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d";
	struct tls_secrets x = {.suite = 0x1301, .version = TLS_V13, .server = true};
	uint8_t plain[50], out[200], want[200], record[200];
	const struct tls_seg seg = {plain, sizeof(plain)};
	struct tls_state st;
	struct tls_opened opened;

	for (unsigned i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)i;
	hex("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5", x.client);
	hex("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643", x.server_secret);
	x.wr_seq = 1; // one ticket was sent
	assert_true(tls_state_derive(&st, &x));
	hex("9f02283b6c9c07efc26bb9f2ac92e356", want);
	assert_memory_equal(st.wr.key, want, 16);
	hex("5b78923dee08579033e523d9", want);
	assert_memory_equal(st.rd.iv, want, 12);
	hex(client_record, record);
	assert_int_equal(open_in_pieces(&st, record, 72, 5, &opened, out), TLS_OK);
	assert_int_equal(opened.type, TLS_T_DATA);
	assert_int_equal(opened.len, 50);
	assert_memory_equal(out, plain, 50);
	hex(server_record, want);
	assert_int_equal(tls_record_seal(engine, &st, TLS_T_DATA, &seg, 1, record), 72);
	assert_memory_equal(record, want, 72);
}

static void every_suite_over_any_pieces(void **state)
{
	static uint8_t text[TLS_PLAIN_MAX], record[TLS_RECORD_MAX], out[TLS_PLAIN_MAX];

	srandom(5);
	for (unsigned i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)random();
	for (unsigned s = 0; s < SUITES; s++) {
		struct tls_state client, server;

		pair_make(s, &client, &server);
		for (unsigned i = 0; i < 300; i++) {
			uint32_t n =
				i == 0   ? TLS_PLAIN_MAX
				: i < 20 ? i - 1
					 : (uint32_t)random() % (i % 8 == 0 ? TLS_PLAIN_MAX : 200);
			uint32_t cut = n > 0 ? (uint32_t)random() % n : 0, len;
			const struct tls_seg segs[2] = {{text, cut}, {text + cut, n - cut}};
			struct tls_opened opened;
			enum tls_alert alert;
			bool up = i % 2 == 0;
			struct tls_state *from = up ? &client : &server,
					 *to = up ? &server : &client;

			len = tls_record_seal(engine, from, TLS_T_DATA, segs, 2, record);
			assert_in_range(len, n + 1, n + TLS_SEAL_OVERHEAD);
			assert_int_equal(tls_record_length(to, record, &alert), len);
			assert_int_equal(
				open_in_pieces(
					to, record, len, 1 + (unsigned)random() % 12, &opened, out
				),
				TLS_OK
			);
			assert_int_equal(opened.type, TLS_T_DATA);
			assert_int_equal(opened.len, n);
			assert_memory_equal(out, text, n);
		}
	}
}

static void tampered_at_any_byte(void **state)
{
	uint8_t text[40] = "MAIL FROM:<a@b.example>\r\n", record[100], bad[100], out[100];
	const struct tls_seg seg = {text, 25};

	for (unsigned s = 0; s < SUITES; s++) {
		struct tls_state client, server, again;
		struct tls_opened opened;
		uint32_t len;

		pair_make(s, &client, &server);
		len = tls_record_seal(engine, &client, TLS_T_DATA, &seg, 1, record);
		for (unsigned i = 0; i < len; i++) {
			if (i == 3 || i == 4) // a length that does not match is no record at all
				continue;
			memcpy(bad, record, len);
			bad[i] ^= 1U << (i % 8);
			again = server;
			assert_int_equal(
				open_in_pieces(&again, bad, len, 3, &opened, out), TLS_FATAL
			);
			assert_int_equal(opened.alert, TLS_ALERT_BAD_RECORD_MAC);
		}
		again = server;
		again.rd.seq++; // a record left out
		assert_int_equal(open_in_pieces(&again, record, len, 1, &opened, out), TLS_FATAL);
		assert_int_equal(open_in_pieces(&server, record, len, 1, &opened, out), TLS_OK);
		assert_int_equal( // the same once more
			open_in_pieces(&server, record, len, 1, &opened, out),
			TLS_FATAL
		);
		for (unsigned n = 0; n < 30; n++)
			assert_int_equal(
				open_in_pieces(&server, record, n, 1, &opened, out), TLS_FATAL
			);
	}
}

static void headers_that_may_not_come(void **state)
{
	struct tls_state client, server;
	enum tls_alert alert;
	uint8_t h[5] = {23, 3, 3, 0, 30};

	pair_make(0, &client, &server);
	assert_int_equal(tls_record_length(&server, h, &alert), 35);
	h[0] = 22; // in the clear after a 1.3 handshake
	assert_int_equal(tls_record_length(&server, h, &alert), 0);
	assert_int_equal(alert, TLS_ALERT_UNEXPECTED_MESSAGE);
	h[0] = 20;
	assert_int_equal(tls_record_length(&server, h, &alert), 0);
	h[0] = 'E'; // plain SMTP
	assert_int_equal(tls_record_length(&server, h, &alert), 0);
	h[0] = 23;
	h[3] = 0x41;
	h[4] = 1; // 16,641
	assert_int_equal(tls_record_length(&server, h, &alert), 0);
	assert_int_equal(alert, TLS_ALERT_RECORD_OVERFLOW);
	h[4] = 0;
	assert_int_equal(tls_record_length(&server, h, &alert), 16645);
	h[3] = 0;
	h[4] = 16; // no type
	assert_int_equal(tls_record_length(&server, h, &alert), 0);
	assert_int_equal(alert, TLS_ALERT_DECODE_ERROR);
	pair_make(3, &client, &server);
	h[0] = 22;
	h[4] = 30;
	assert_int_equal(tls_record_length(&server, h, &alert), 35); // 1.2: may be a renegotiation
	h[0] = 20;
	assert_int_equal(tls_record_length(&server, h, &alert), 0);
}

static void padding_and_empty_records_of_13(void **state)
{
	uint8_t inner[64] = "hello", record[128], out[128];
	struct tls_state client, server;
	struct tls_opened opened;

	pair_make(0, &client, &server);
	inner[5] = 23; // the type ourselves, padding behind it: sealed as if it were 1.2's layout
	{
		const struct tls_seg seg = {inner, 40};
		uint32_t len = tls_record_seal(engine, &client, (enum tls_type)0, &seg, 1, record);

		assert_int_equal(open_in_pieces(&server, record, len, 4, &opened, out), TLS_OK);
		assert_int_equal(opened.len, 5);
		assert_int_equal(opened.type, TLS_T_DATA);
	}
	memset(inner, 0, sizeof(inner));
	{
		const struct tls_seg seg = {inner, 40};
		uint32_t len = tls_record_seal(engine, &client, (enum tls_type)0, &seg, 1, record);

		assert_int_equal(open_in_pieces(&server, record, len, 4, &opened, out), TLS_FATAL);
		assert_int_equal(opened.alert, TLS_ALERT_UNEXPECTED_MESSAGE); // no type at all
	}
	for (unsigned i = 0; i < 32; i++)
		assert_true(tls_data_budget(&server, 0));
	assert_true(tls_data_budget(&server, 1));
	for (unsigned i = 0; i < 32; i++)
		assert_true(tls_data_budget(&server, 0));
	assert_false(tls_data_budget(&server, 0));
}

// A record of one side, read and handled by the other.
static enum tls_result
post(struct tls_state *to, const uint8_t *record, uint32_t len, struct tls_reply *reply)
{
	struct tls_opened opened;
	uint8_t out[200];

	assert_int_equal(open_in_pieces(to, record, len, 2, &opened, out), TLS_OK);
	return tls_post_handle(engine, to, opened.type, out, opened.len, reply);
}

static void keys_are_updated_both_ways(void **state)
{
	uint8_t update[5] = {24, 0, 0, 1, 1}, record[100], text[4] = "abc", out[100];
	const struct tls_seg seg = {update, 5}, data = {text, 3};

	for (unsigned s = 0; s < 3; s++) {
		struct tls_state client, server;
		struct tls_reply reply, none;
		struct tls_opened opened;
		uint32_t len;

		pair_make(s, &client, &server);
		len = tls_record_seal(engine, &client, TLS_T_HANDSHAKE, &seg, 1, record);
		assert_true(tls_half_update(&client, &client.wr));
		assert_int_equal(post(&server, record, len, &reply), TLS_OK);
		assert_true(reply.len > 0);
		assert_int_equal(post(&client, reply.data, reply.len, &none), TLS_OK);
		assert_int_equal(none.len, 0); // an answer asks for none
		len = tls_record_seal(engine, &client, TLS_T_DATA, &data, 1, record);
		assert_int_equal(open_in_pieces(&server, record, len, 1, &opened, out), TLS_OK);
		len = tls_record_seal(engine, &server, TLS_T_DATA, &data, 1, record);
		assert_int_equal(open_in_pieces(&client, record, len, 1, &opened, out), TLS_OK);
		for (unsigned i = 0; i < 31; i++) {
			len = tls_record_seal(engine, &client, TLS_T_HANDSHAKE, &seg, 1, record);
			assert_true(tls_half_update(&client, &client.wr));
			assert_int_equal(post(&server, record, len, &reply), TLS_OK);
		}
		len = tls_record_seal(engine, &client, TLS_T_HANDSHAKE, &seg, 1, record);
		assert_int_equal(post(&server, record, len, &reply), TLS_FATAL); // too many
	}
}

static void alerts_and_renegotiation(void **state)
{
	uint8_t hello[40] = {1, 0, 0, 36}, alert[2] = {1, 0}, record[100];
	const struct tls_seg reneg = {hello, 40}, close = {alert, 2}, odd = {alert, 1};
	struct tls_state client, server, again;
	struct tls_reply reply, end;
	uint32_t len;

	pair_make(3, &client, &server); // 1.2
	len = tls_record_seal(engine, &client, TLS_T_HANDSHAKE, &reneg, 1, record);
	assert_int_equal(post(&server, record, len, &reply), TLS_OK);
	assert_int_equal(post(&client, reply.data, reply.len, &end), TLS_OK); // a warning
	len = tls_record_seal(engine, &client, TLS_T_ALERT, &close, 1, record);
	again = server;
	assert_int_equal(post(&again, record, len, &reply), TLS_CLOSED);
	assert_true(again.rd_closed);
	pair_make(0, &client, &server); // 1.3
	again = client;
	len = tls_record_seal(engine, &client, TLS_T_HANDSHAKE, &reneg, 1, record);
	assert_int_equal(post(&server, record, len, &reply), TLS_FATAL);
	assert_int_equal(post(&again, reply.data, reply.len, &end), TLS_FATAL);
	assert_int_equal(
		tls_record_seal(engine, &server, TLS_T_DATA, &odd, 1, record), 0
	); // closed
	pair_make(0, &client, &server);
	len = tls_record_seal(engine, &client, TLS_T_ALERT, &odd, 1, record);
	assert_int_equal(post(&server, record, len, &reply), TLS_FATAL);
	pair_make(1, &client, &server);
	len = tls_alert_seal(engine, &server, TLS_ALERT_CLOSE_NOTIFY, record);
	assert_int_equal(post(&client, record, len, &reply), TLS_CLOSED);
}

static void sequence_numbers_end(void **state)
{
	struct tls_state client, server;
	uint8_t record[100], text[4] = "abc";
	const struct tls_seg seg = {text, 3};

	pair_make(0, &client, &server);
	client.wr.seq = (1ULL << 24) - 1;
	assert_true(tls_record_seal(engine, &client, TLS_T_DATA, &seg, 1, record) > 0);
	assert_int_equal(tls_record_seal(engine, &client, TLS_T_DATA, &seg, 1, record), 0);
	tls_state_clear(&client);
	for (unsigned i = 0; i < sizeof(client); i++)
		assert_int_equal(((const uint8_t *)&client)[i], 0);
}

static void foreign_suites_are_refused(void **state)
{
	struct tls_secrets x = {.suite = 0xc009, .version = TLS_V12}; // CBC
	struct tls_state st;

	assert_false(tls_state_derive(&st, &x));
	x.suite = 0x1301; // of 1.3 only
	assert_false(tls_state_derive(&st, &x));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_trace_of_rfc_8448),
		cmocka_unit_test(every_suite_over_any_pieces),
		cmocka_unit_test(tampered_at_any_byte),
		cmocka_unit_test(headers_that_may_not_come),
		cmocka_unit_test(padding_and_empty_records_of_13),
		cmocka_unit_test(keys_are_updated_both_ways),
		cmocka_unit_test(alerts_and_renegotiation),
		cmocka_unit_test(sequence_numbers_end),
		cmocka_unit_test(foreign_suites_are_refused),
	};
	int failed;

	engine = tls_engine_new(PK_ENGINE_MBX);
	if (engine == NULL)
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	tls_engine_free(engine);
	return failed;
}
