// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// TLS of the simulator's hosts, see secure.h.

#include "tests/sim/kit.h"

#include <stdlib.h>

#define TEXT_MAX (128U << 10)

enum secure_step { S_BANNER, S_EHLO, S_STARTTLS, S_SHAKE, S_TALK, S_STUCK };

struct secure {
	enum secure_step step;
	struct tls_hs *hs;
	struct tls_state st;
	bool told, starttls;
	bool comes_again;         // with the ticket of an earlier session
	struct kit_session *last; // of a client: where its session is kept
	uint32_t written;
	uint8_t raw[TLS_RECORD_MAX + TLS_FLIGHT_MAX];
	uint8_t text[TEXT_MAX]; // for the reader
	uint32_t text_len, text_at;
};

static bool is_server(const struct speaker *sp)
{
	return sp->plan >= SECURE_SERVER;
}

static void shake_start(struct speaker *sp)
{
	struct secure *x = sp->secure;
	unsigned old = rng_below(&sp->sim->rng, KIT_VERSIONS);

	x->told = is_server(sp); // a client speaks first
	x->hs = is_server(sp) ? tls_hs_new(kit.peer_server[old], NULL)
			      : tls_hs_new(kit.peer_client[old], KIT_NAME);
	if (x->hs == NULL)
		abort();
	x->step = S_SHAKE;
	if (is_server(sp))
		return;
	x->last = &kit.last[old];
	x->comes_again = x->last->has && rng_below(&sp->sim->rng, 3) != 0;
	x->last->session.ticket_reception_time = mbedtls_ms_time(); // as old as kit.now_ms says
	if (x->comes_again && mbedtls_ssl_set_session(&x->hs->ssl, &x->last->session) != 0)
		abort();
}

// The box's worker that has the other end.
static uint16_t worker_of(const struct speaker *sp)
{
	struct tcp_info info;

	tcp_info_get(sp->tcp, sp->conn, &info);
	for (unsigned i = 0; i < sp->sim->host_count; i++) {
		const struct sim_host *host = sp->sim->host[i];

		if (ip_addr_eq(&info.remote.addr, &host->addr4.addr) ||
		    ip_addr_eq(&info.remote.addr, &host->addr6.addr))
			return net_owner(
				host->shared,
				&info.local.addr,
				&info.remote.addr,
				info.local.port,
				info.remote.port
			);
	}
	return 0;
}

// A client's handshake is over. On whatever worker it has landed, whatever was reloaded: its ticket
// must have been taken.
static void resumed_judge(struct speaker *sp)
{
	const struct secure *x = sp->secure;
	uint16_t worker = worker_of(sp);

	if (!x->comes_again)
		return;
	if (x->hs->certified)
		sim_fail(sp->sim, "a ticket was not taken", x->st.version, worker);
	if (x->st.version == TLS_V12) {
		kit.resumed.v12++;
		return;
	}
	kit.resumed.v13++;
	kit.resumed.elsewhere += worker != x->last->worker;
	kit.resumed.reloaded += kit.reload[worker] != x->last->reload;
}

// What the next client comes again with.
static void session_keep(struct speaker *sp)
{
	struct kit_session *last = sp->secure->last;

	mbedtls_ssl_session_free(&last->session);
	last->has = mbedtls_ssl_get_session(&sp->secure->hs->ssl, &last->session) == 0;
	last->worker = worker_of(sp);
	last->reload = kit.reload[last->worker];
}

// In TLS 1.3 the ticket is the first that comes behind the handshake: mbedTLS, which is kept for
// it, takes the record in as it came.
static void ticket_take(struct speaker *sp, const uint8_t *record, uint32_t len)
{
	struct tls_hs *hs = sp->secure->hs;
	int err = MBEDTLS_ERR_SSL_WANT_READ;
	uint8_t none;

	hs->step = (struct tls_step){.in = record, .in_len = len};
	for (unsigned i = 0; i < 2 && err == MBEDTLS_ERR_SSL_WANT_READ; i++)
		err = mbedtls_ssl_read(&hs->ssl, &none, 1); // sees what it is, takes it in
	if (err != MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET)
		sim_fail(sp->sim, "no ticket in TLS 1.3", len, (uint64_t)-err);
	else
		session_keep(sp);
	tls_hs_free(hs);
	sp->secure->hs = NULL;
}

static void shake_over(struct speaker *sp)
{
	struct secure *x = sp->secure;

	x->step = sp->plan == SECURE_NO_FINISHED ? S_STUCK : S_TALK;
	if (!is_server(sp)) {
		resumed_judge(sp);
		if (x->st.version == TLS_V12)
			session_keep(sp);
		else if (x->step == S_TALK)
			return; // a ticket follows
	}
	tls_hs_free(x->hs);
	x->hs = NULL;
}

void speaker_open(struct speaker *sp)
{
	if (sp->plan == SECURE_NONE)
		return;
	kit_make();
	sp->secure = calloc(1, sizeof(*sp->secure));
	if (sp->secure == NULL)
		abort();
	if (sp->plan == SECURE_SERVER) {
		shake_start(sp);
	} else if (is_server(sp)) {
		sp->secure->step = S_EHLO;
	} else if (sp->plan == SECURE_IMPLICIT) {
		shake_start(sp);
		speaker_peek(sp, &(const uint8_t *){NULL}, &(uint32_t){0}); // its ClientHello
	}
}

void speaker_close(struct speaker *sp, bool notify)
{
	struct secure *x = sp->secure;
	uint8_t out[TLS_REPLY_MAX];
	uint32_t len;

	if (x == NULL)
		return;
	if (notify && x->step == S_TALK) {
		len = tls_alert_seal(kit.peer, &x->st, TLS_ALERT_CLOSE_NOTIFY, out);
		tcp_tx_write(sp->tcp, sp->conn, out, len);
	}
	tls_hs_free(x->hs);
	free(x);
	sp->secure = NULL;
	sp->plan = SECURE_NONE;
}

static bool record_send(struct speaker *sp, enum tls_type type, const void *data, uint32_t len)
{
	struct secure *x = sp->secure;
	const struct tls_seg seg = {(uint8_t *)(uintptr_t)data, len};
	uint64_t seq = x->st.wr.seq;
	uint8_t out[TLS_RECORD_MAX];
	uint32_t n = tls_record_seal(kit.peer, &x->st, type, &seg, 1, out);

	if (tcp_tx_write(sp->tcp, sp->conn, out, n))
		return true;
	x->st.wr.seq = seq;
	return false;
}

bool speaker_write(struct speaker *sp, const void *data, uint32_t len)
{
	static const uint8_t update[] = {24, 0, 0, 1, 1};
	struct secure *x = sp->secure;

	if (x == NULL || x->step < S_SHAKE)
		return tcp_tx_write(sp->tcp, sp->conn, data, len);
	if (x->step != S_TALK)
		return true; // QUIT of one that is refused: nobody listens
	if (x->written++ % 16 == 5 && x->written < 300 && x->st.version == TLS_V13 &&
	    record_send(sp, TLS_T_HANDSHAKE, update, sizeof(update)))
		tls_half_update(&x->st, &x->st.wr);
	return record_send(sp, TLS_T_DATA, data, len);
}

static void text_put(struct secure *x, const void *data, uint32_t len)
{
	if (x->text_at > 0) {
		memmove(x->text, x->text + x->text_at, x->text_len - x->text_at);
		x->text_len -= x->text_at;
		x->text_at = 0;
	}
	memcpy(x->text + x->text_len, data, len);
	x->text_len += len;
}

// Whatever is held, at most max, in one piece.
static uint32_t raw_gather(struct speaker *sp, uint8_t *out, uint32_t max)
{
	const uint8_t *p;
	uint32_t n = 0, len;

	while (n < max && tcp_rx_peek(sp->tcp, sp->conn, n, &p, &len)) {
		len = len < max - n ? len : max - n;
		memcpy(out + n, p, len);
		n += len;
	}
	return n;
}

static void shake_write(struct speaker *sp, const struct tls_step *step)
{
	struct secure *x = sp->secure;
	uint32_t len = step->out_len;

	if (len == 0)
		return;
	if (sp->plan == SECURE_HALF_HELLO)
		len /= 2;
	if (sp->plan == SECURE_NO_FINISHED && x->told)
		len = 0;
	x->told = true;
	if (len > 0 && !tcp_tx_write(sp->tcp, sp->conn, step->out, len))
		sim_fail(sp->sim, "no room for a flight", len, 0);
}

// False: nothing more to do now.
static bool shake_step(struct speaker *sp)
{
	struct secure *x = sp->secure;
	struct tls_step step = {.in = x->raw};
	struct tls_info info;
	enum tls_result result;

	step.in_len = raw_gather(sp, x->raw, sizeof(x->raw));
	if (step.in_len == 0 && x->told)
		return false;
	result = tls_hs_step(x->hs, &step, &x->st, &info);
	tcp_rx_drop(sp->tcp, sp->conn, step.taken);
	shake_write(sp, &step);
	if (result == TLS_FATAL)
		sim_fail(sp->sim, "the handshake failed", step.failure, step.in_len);
	if (result != TLS_OK)
		return result == TLS_WANT_IN && step.taken > 0;
	shake_over(sp);
	if (sp->plan == SECURE_STARTTLS)
		text_put(x, "220 TLS\r\n", 9);
	return true;
}

static void post_take(struct speaker *sp, const struct tls_opened *opened)
{
	struct secure *x = sp->secure;
	struct tls_reply reply;
	enum tls_result result = tls_post_handle(
		kit.peer, &x->st, opened->type, x->raw + opened->off, opened->len, &reply
	);

	if (result == TLS_FATAL)
		sim_fail(sp->sim, "a record that may not come, or an alert", opened->type, 0);
	if (reply.len > 0 && !tcp_tx_write(sp->tcp, sp->conn, reply.data, reply.len))
		sim_fail(sp->sim, "no room for a record", reply.len, 0);
}

static bool record_read(struct speaker *sp)
{
	struct secure *x = sp->secure;
	uint32_t have = raw_gather(sp, x->raw, TLS_RECORD_MAX), len;
	uint8_t sealed[TLS_RECORD_MAX];
	struct tls_opened opened;
	enum tls_alert alert;

	if (have < TLS_RECORD_HEADER || x->text_len - x->text_at > TEXT_MAX - TLS_PLAIN_MAX)
		return false;
	len = x->st.rd_closed ? 0 : tls_record_length(&x->st, x->raw, &alert);
	if (len == 0) {
		sim_fail(sp->sim, "no record", x->raw[0], have);
		return false;
	}
	if (have < len)
		return false;
	if (x->hs != NULL)
		memcpy(sealed, x->raw, len);
	if (tls_record_open(kit.peer, &x->st, &(struct tls_seg){x->raw, len}, 1, &opened) !=
	    TLS_OK) {
		sim_fail(sp->sim, "a record that does not verify", len, x->st.rd.seq);
		return false;
	}
	tcp_rx_drop(sp->tcp, sp->conn, len);
	if (x->hs != NULL)
		ticket_take(sp, sealed, len);
	if (opened.type == TLS_T_DATA)
		text_put(x, x->raw + opened.off, opened.len);
	else
		post_take(sp, &opened);
	return true;
}

static void garbage_send(struct speaker *sp)
{
	uint8_t out[300];

	for (unsigned i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)rng_next(&sp->sim->rng);
	out[0] = 'M';
	tcp_tx_write(sp->tcp, sp->conn, out, sizeof(out));
}

// The reply to STARTTLS was yes.
static void starttls_yes(struct speaker *sp)
{
	struct secure *x = sp->secure;

	x->step = S_STUCK;
	if (sp->plan == SECURE_INJECT)
		sim_fail(sp->sim, "STARTTLS with a command behind it was accepted", 0, 0);
	else if (sp->plan == SECURE_GARBAGE)
		garbage_send(sp);
	else if (sp->plan != SECURE_INJECT_LATER)
		shake_start(sp);
}

static void say(struct speaker *sp, const char *text)
{
	tcp_tx_write(sp->tcp, sp->conn, text, (uint32_t)strlen(text));
}

// A line before TLS. A reply that is none of those hoped for is the reader's.
static void plain_line(struct speaker *sp, const uint8_t *line, uint32_t len)
{
	struct secure *x = sp->secure;
	bool ok = line[0] == '2', more = line[3] == '-';

	x->starttls = x->starttls || (len >= 14 && memcmp(line + 4, "STARTTLS", 8) == 0);
	if (ok && more)
		return;
	if (!ok) {
		text_put(x, line, len);
		x->step = S_STUCK;
		return;
	}
	switch (x->step) {
	case S_BANNER:
		x->step = S_EHLO;
		say(sp, "EHLO before.tls.example\r\n");
		break;
	case S_EHLO:
		if (!x->starttls)
			sim_fail(sp->sim, "STARTTLS is not offered", 0, 0);
		x->step = S_STARTTLS;
		say(sp,
		    sp->plan == SECURE_INJECT ? "STARTTLS\r\nNOOP injected\r\n" : "STARTTLS\r\n");
		if (sp->plan == SECURE_INJECT_LATER)
			say(sp, "NOOP injected\r\n");
		break;
	default:
		starttls_yes(sp);
		break;
	}
}

static const char *server_answer(const struct speaker *sp, const char *line)
{
	if (strncmp(line, "EHLO ", 5) == 0)
		return sp->plan == SECURE_SERVER_NONE ? "250-plain.example\r\n250 8BITMIME\r\n"
						      : "250-tls.example\r\n250 StartTLS\r\n";
	if (strncmp(line, "STARTTLS\r\n", 10) != 0)
		return NULL;
	return sp->plan == SECURE_SERVER_REFUSE   ? "454 4.7.0 not now\r\n"
	       : sp->plan == SECURE_SERVER_INJECT ? "220 go on\r\n250 injected\r\n"
						  : "220 go on\r\n";
}

// A line that a client says before TLS: QUIT alone is for the reader.
static void server_line(struct speaker *sp, const uint8_t *line, uint32_t len)
{
	struct secure *x = sp->secure;
	const char *answer = server_answer(sp, (const char *)line);

	if (answer != NULL)
		say(sp, answer);
	else if (strncmp((const char *)line, "QUIT\r\n", 6) == 0)
		text_put(x, line, len);
	else
		sim_fail(
			sp->sim, "a command in plain text to a backend with TLS", line[0], line[1]
		);
	if (answer == NULL || line[0] != 'S')
		return;
	if (sp->plan == SECURE_SERVER_STARTTLS)
		shake_start(sp);
	else if (sp->plan == SECURE_SERVER_NONE)
		sim_fail(sp->sim, "STARTTLS that was not offered", 0, 0);
}

static bool plain_read(struct speaker *sp)
{
	struct secure *x = sp->secure;
	uint32_t have = raw_gather(sp, x->raw, 2048);
	const uint8_t *lf = memchr(x->raw, '\n', have);

	if (lf == NULL)
		return false;
	tcp_rx_drop(sp->tcp, sp->conn, (uint32_t)(lf - x->raw) + 1);
	if (is_server(sp))
		server_line(sp, x->raw, (uint32_t)(lf - x->raw) + 1);
	else
		plain_line(sp, x->raw, (uint32_t)(lf - x->raw) + 1);
	return true;
}

static void pull(struct speaker *sp)
{
	bool more = true;

	while (more && sp->sim->failed == NULL) {
		switch (sp->secure->step) {
		case S_TALK:
			more = record_read(sp);
			break;
		case S_SHAKE:
			more = shake_step(sp);
			break;
		case S_STUCK:
			tcp_rx_drop(sp->tcp, sp->conn, tcp_rx_bytes(sp->tcp, sp->conn));
			more = false;
			break;
		default:
			more = plain_read(sp);
			break;
		}
	}
}

bool speaker_ready(struct speaker *sp)
{
	if (sp->secure == NULL)
		return true;
	pull(sp);
	return sp->secure->step != S_SHAKE;
}

bool speaker_peek(struct speaker *sp, const uint8_t **ret, uint32_t *ret_len)
{
	struct secure *x = sp->secure;

	if (x == NULL)
		return tcp_rx_peek(sp->tcp, sp->conn, 0, ret, ret_len);
	pull(sp);
	*ret = x->text + x->text_at;
	*ret_len = x->text_len - x->text_at;
	return *ret_len > 0;
}

void speaker_drop(struct speaker *sp, uint32_t n)
{
	if (sp->secure == NULL)
		tcp_rx_drop(sp->tcp, sp->conn, n);
	else
		sp->secure->text_at += n;
}
