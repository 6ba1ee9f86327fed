// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Test mails for the operator: an SMTP client like a probe's, from the source addresses that the
// service's legs have and with their TLS, that goes on to MAIL, RCPT, DATA and one short message,
// and tells each step. A step that is refused is followed by QUIT; so is RCPT when there is no
// message, which tells whether a backend relays. One mail a worker at a time, to any number of
// backends. Worker thread.

#include <stdio.h>
#include <string.h>

#include "dataplane/proxy/relay_inner_types.h"

#define TIMEOUT_DEFAULT_MS 30000
#define TIMEOUT_MAX_MS 600000

static void step_tell(
	struct relay *r,
	const struct session *s,
	enum ctl_probe_result_code code,
	uint32_t time_us,
	bool last
)
{
	struct ctl_msg msg = {
		.type = CTL_EVT_TEST,
		.length = sizeof(msg.test_step),
		.request_id = s->probe.request_id,
		.test_step =
			{
				.backend_slot = s->backend_slot,
				.time_us = time_us,
				.reply = s->reply_code,
				.step = s->probe.stage,
				.code = (uint8_t)code,
				.last = last,
			},
	};

	memcpy(msg.test_step.text, r->probe_text, sizeof(msg.test_step.text) - 1);
	relay_event_send(r, &msg);
}

static void not_begun(struct relay *r, const struct ctl_msg *msg)
{
	const struct session none = {
		.backend_slot = msg->test.backend_slot,
		.probe = {.request_id = msg->request_id},
	};

	stat_inc(r->env, STAT_PROBE_NO_RESOURCE);
	r->probe_text[0] = '\0';
	step_tell(r, &none, CTL_PROBE_NO_RESOURCE, 0, true);
}

static bool address_is_good(const char address[256])
{
	uint32_t n = (uint32_t)strnlen(address, 256);

	for (uint32_t i = 0; i < n && n < 256; i++)
		if (address[i] <= ' ' || address[i] > '~' || address[i] == '<' || address[i] == '>')
			return false;
	return n < 256;
}

// Whole lines, and none that ends the data or would need a dot more.
static bool message_is_good(const struct ctl_test_mail *mail)
{
	bool begin = true;

	if (mail->length == 0)
		return true; // none is sent
	if (mail->length < 2 || mail->length > sizeof(mail->message))
		return false;
	for (uint32_t i = 0; i < mail->length; i++) {
		char c = mail->message[i];

		if (c == '\r' && i + 1 < mail->length && mail->message[i + 1] == '\n') {
			i++;
			begin = true;
			continue;
		}
		if (c == '\r' || c == '\n' || c == '\0' || (begin && c == '.'))
			return false;
		begin = false;
	}
	return begin;
}

// Control may go on changing its copy: what is checked and sent is ours.
static bool mail_take(struct relay *r, uint32_t id)
{
	if (r->tests > 0 && r->test_id == id)
		return true;
	if (r->tests > 0 || r->config.shm.test_mail == NULL)
		return false;
	memcpy(&r->test_mail, r->config.shm.test_mail, sizeof(r->test_mail));
	r->test_id = id;
	return address_is_good(r->test_mail.from) && address_is_good(r->test_mail.to) &&
	       r->test_mail.to[0] != '\0' && message_is_good(&r->test_mail);
}

static const struct blob_backend *backend_of(const struct relay *r, const struct ctl_test *want)
{
	const struct blob_backend *b;

	if (r->blob == NULL || want->generation != r->blob->generation ||
	    want->backend_index >= r->blob->backends.count)
		return NULL;
	b = blob_at(r->blob, &r->blob->backends, want->backend_index, sizeof(*b));
	return b->slot == want->backend_slot ? b : NULL;
}

static struct ip_addr
source_of(const struct relay *r, const struct blob_pool *pool, const struct ip_addr *backend)
{
	for (uint32_t i = 0; i < pool->source_count; i++) {
		const struct blob_source *src =
			blob_at(r->blob, &r->blob->sources, pool->sources + i, sizeof(*src));

		if (ip_addr_is_v4(&src->addr) == ip_addr_is_v4(backend))
			return src->addr;
	}
	return (struct ip_addr){0};
}

void test_mail_start(struct relay *r, const struct ctl_msg *msg)
{
	const struct blob_backend *b = backend_of(r, &msg->test);
	uint32_t idx = b != NULL && mail_take(r, msg->request_id) ? idpool_get(&r->ids) : 0;
	struct tcp_connect_args args = {.rcv_window = SESSION_WINDOW_COMMAND};
	const struct blob_pool *pool;
	struct session *s;

	if (idx == 0) {
		not_begun(r, msg);
		return;
	}
	pool = blob_at(r->blob, &r->blob->pools, b->pool, sizeof(*pool));
	s = session_of(r, idx);
	*s = (struct session){
		.id = session_id_new(r),
		.state = RELAY_S_PROBE,
		.backend_slot = b->slot,
		.probe = {.request_id = msg->request_id, .test = true},
		.leg_state = LEG_S_CONNECTING,
		.leg_flags = probe_flags(pool),
		.leg_since_ms = env_now_ms(r->env),
	};
	s->probe.mark_us = relay_now_us(r);
	s->probe.timeout_ms = msg->test.timeout_ms == 0               ? TIMEOUT_DEFAULT_MS
			      : msg->test.timeout_ms < TIMEOUT_MAX_MS ? msg->test.timeout_ms
								      : TIMEOUT_MAX_MS;
	args.local = source_of(r, pool, &b->addr);
	args.remote = (struct ip_endpoint){b->addr, b->port};
	args.user = idx | TCP_USER_LEG;
	args.syn_timeout_ms = pool->connect_timeout_ms;
	if (tcp_connect(r->tcp, &args, &s->leg) != 0) {
		s->leg.v = 0;
		session_free(r, s);
		not_begun(r, msg);
		return;
	}
	r->tests++;
	stat_inc(r->env, STAT_TEST_MAIL_SENT);
	session_timer(r, s);
}

// The step's end is told, the next one begins.
static void step_next(
	struct relay *r,
	struct session *s,
	enum ctl_probe_result_code code,
	enum ctl_probe_stage stage
)
{
	uint32_t now = relay_now_us(r);

	step_tell(r, s, code, now - s->probe.mark_us, false);
	s->probe.mark_us = now;
	s->probe.stage = (uint8_t)stage;
	s->leg_since_ms = env_now_ms(r->env);
}

void test_mail_connected(struct relay *r, struct session *s, enum ctl_probe_stage next)
{
	r->probe_text[0] = '\0';
	step_next(r, s, CTL_PROBE_OK, next);
}

void test_mail_step(struct relay *r, struct session *s, enum ctl_probe_stage next)
{
	step_next(r, s, CTL_PROBE_OK, next);
}

// What is said after a good reply, and what then is awaited. Returns the length.
static uint32_t next_say(struct relay *r, const struct session *s, enum ctl_probe_stage *ret)
{
	const struct ctl_test_mail *mail = &r->test_mail;
	char *out = r->out;

	switch (s->probe.stage) {
	case CTL_STAGE_BANNER:
		*ret = CTL_STAGE_EHLO;
		return (uint32_t)snprintf(out, RELAY_SCRATCH, "EHLO %s\r\n", r->blob->hostname);
	case CTL_STAGE_EHLO:
		if (probe_wants_starttls(s)) {
			*ret = CTL_STAGE_STARTTLS;
			return (uint32_t)snprintf(out, RELAY_SCRATCH, "STARTTLS\r\n");
		}
		*ret = CTL_STAGE_MAIL;
		return (uint32_t)snprintf(out, RELAY_SCRATCH, "MAIL FROM:<%s>\r\n", mail->from);
	case CTL_STAGE_MAIL:
		*ret = CTL_STAGE_RCPT;
		return (uint32_t)snprintf(out, RELAY_SCRATCH, "RCPT TO:<%s>\r\n", mail->to);
	case CTL_STAGE_RCPT:
		if (mail->length == 0)
			break;
		*ret = CTL_STAGE_DATA;
		return (uint32_t)snprintf(out, RELAY_SCRATCH, "DATA\r\n");
	case CTL_STAGE_DATA:
		*ret = CTL_STAGE_END_OF_DATA;
		memcpy(out, mail->message, mail->length);
		memcpy(out + mail->length, ".\r\n", 3);
		return mail->length + 3;
	default:
		break;
	}
	*ret = CTL_STAGE_QUIT;
	return (uint32_t)snprintf(out, RELAY_SCRATCH, "QUIT\r\n");
}

static enum ctl_probe_result_code reply_judged(const struct session *s)
{
	bool good = s->reply_code / 100 == 2;

	switch (s->probe.stage) {
	case CTL_STAGE_BANNER:
		good = s->reply_code == 220;
		break;
	case CTL_STAGE_DATA:
		good = s->reply_code / 100 == 3; // whatever it means: a body follows
		break;
	case CTL_STAGE_EHLO:
		if (good && probe_wants_starttls(s) && (s->leg_flags & SESSION_LEG_F_OFFERED) == 0)
			return CTL_PROBE_NO_STARTTLS;
		break;
	case CTL_STAGE_STARTTLS:
		if (s->reply_code != 220)
			return CTL_PROBE_NO_STARTTLS;
		break;
	default:
		break;
	}
	return good ? CTL_PROBE_OK : CTL_PROBE_REPLY;
}

bool test_mail_reply(struct relay *r, struct session *s)
{
	enum ctl_probe_result_code code = reply_judged(s);
	enum ctl_probe_stage next = CTL_STAGE_QUIT;
	uint32_t n;

	if (s->probe.stage == CTL_STAGE_QUIT) {
		probe_end(r, s, CTL_PROBE_OK);
		return false;
	}
	if (s->probe.stage == CTL_STAGE_STARTTLS && code == CTL_PROBE_OK)
		return probe_starttls_begin(r, s);
	if (code == CTL_PROBE_OK) {
		n = next_say(r, s, &next);
	} else {
		n = (uint32_t)snprintf(r->out, RELAY_SCRATCH, "QUIT\r\n");
	}
	step_next(r, s, code, next);
	if (wire_tx_write(r, wire_leg(s), r->out, n))
		return true;
	probe_end(r, s, CTL_PROBE_NO_RESOURCE);
	return false;
}

void test_mail_end(struct relay *r, struct session *s, enum ctl_probe_result_code code)
{
	r->tests--;
	if (code != CTL_PROBE_OK)
		s->reply_code = 0; // that was of a step before
	step_tell(r, s, code, relay_now_us(r) - s->probe.mark_us, true);
}
