// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Test mails and relay tests, see inquiry.h: a pool, backend by backend, a few at a time on one
// worker. What each step took and what the server said is the answer.

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "controlplane/inquiry.h"
#include "controlplane/json_set.h"

#define AT_ONCE 8
#define STEPS 12 // and the connection's
#define NS_A_MS 1000000ULL

static const struct blob_service *service_find(const struct blob_header *blob, const char *name)
{
	const struct blob_service *s =
		(const struct blob_service *)((const uint8_t *)blob + blob->services.off);

	for (uint32_t i = 0; i < blob->services.count; i++)
		if (strcmp(s[i].name, name) == 0)
			return &s[i];
	return NULL;
}

// That is named, or the named service's. NULL: there is none, and why.
static const struct blob_pool *pool_find(
	const struct blob_header *blob,
	const struct test_mail_args *args,
	const char **ret_reason
)
{
	const struct blob_pool *p =
		(const struct blob_pool *)((const uint8_t *)blob + blob->pools.off);

	if (args->pool == NULL) {
		const struct blob_service *service = service_find(blob, args->service);

		*ret_reason = "no such virtual service";
		return service != NULL ? &p[service->pool] : NULL;
	}
	for (uint32_t i = 0; i < blob->pools.count; i++)
		if (strcmp(p[i].name, args->pool) == 0)
			return &p[i];
	*ret_reason = "no such pool";
	return NULL;
}

// As the workers check it.
static bool address_is_good(const char *address)
{
	for (const char *p = address; *p != '\0'; p++)
		if (*p <= ' ' || *p > '~' || *p == '<' || *p == '>')
			return false;
	return strlen(address) < sizeof(((struct ctl_test_mail *)NULL)->from);
}

static bool mail_compose(
	struct ctl_test_mail *mail,
	const struct control *c,
	const struct test_mail_args *args,
	uint32_t id
)
{
	time_t now = time(NULL);
	char date[64];
	struct tm tm;
	int n;

	*mail = (struct ctl_test_mail){0};
	gmtime_r(&now, &tm);
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S +0000", &tm); // the C locale's names
	snprintf(mail->from, sizeof(mail->from), "%s", args->from);
	snprintf(mail->to, sizeof(mail->to), "%s", args->to);
	if (args->pool != NULL)
		return true; // no message
	n = snprintf(
		mail->message,
		sizeof(mail->message),
		"Date: %s\r\nFrom: <%s>\r\nTo: <%s>\r\nSubject: Mailrace test mail %08x\r\n"
		"Message-ID: <test.%08x.%lld@%s>\r\nAuto-Submitted: auto-generated\r\n"
		"X-Mailrace-Test: %s\r\n\r\n"
		"This mail was sent by mailracectl send-test to try a backend of the\r\n"
		"virtual service %s. It may be deleted.\r\n",
		date,
		args->from,
		args->to,
		(unsigned)id,
		(unsigned)id,
		(long long)now,
		c->cfg->hostname,
		args->service,
		args->service
	);
	mail->length = (uint32_t)n;
	return n > 0 && (size_t)n < sizeof(mail->message);
}

static void backend_send(struct inquiry *i, const struct control *c)
{
	const struct blob_header *blob = c->link.blob;
	const struct blob_backend *b =
		(const struct blob_backend *)((const uint8_t *)blob + blob->backends.off) +
		i->test.first + i->test.sent;
	struct ctl_msg msg = {
		.type = CTL_CMD_TEST_MAIL,
		.length = sizeof(msg.test),
		.generation = i->test.generation,
		.test =
			{
				.backend_slot = b->slot,
				.backend_index = i->test.first + i->test.sent,
				.generation = i->test.generation,
				.timeout_ms = i->test.timeout_ms,
			},
	};
	json_t *o = json_object();

	set_text(o, "backend", b->name);
	set_endpoint(o, "address", &b->addr, b->port);
	json_object_set_new(o, "steps", json_array());
	json_array_append_new(json_object_get(i->answer, "backends"), o);
	i->test.row[i->test.sent] = o;
	i->test.slot[i->test.sent] = b->slot;
	i->test.sent++;
	inquiry_send(i, c, &msg, (uint64_t)i->test.timeout_ms * STEPS * NS_A_MS);
}

static void pump(struct inquiry *i, const struct control *c)
{
	if (!i->done && i->test.generation != c->link.blob->generation) {
		inquiry_finish(i, "the configuration was changed meanwhile: try again");
		return;
	}
	while (!i->done && i->test.sent < i->test.count && i->test.sent - i->test.ended < AT_ONCE)
		backend_send(i, c);
	if (!i->done && i->test.ended == i->test.count)
		inquiry_finish(i, NULL);
}

// Why a test cannot begin, NULL: it can.
static const char *
obstacle_find(const struct inquiries *q, const struct control *c, const struct test_mail_args *args)
{
	const struct blob_pool *pool;
	const char *reason;

	if (!link_is_open(&c->link))
		return "no dataplane is running";
	if (c->link.test_mail == NULL)
		return "the running dataplane has no test mails";
	for (unsigned k = 0; k < INQUIRIES_MAX; k++)
		if (q->item[k].used && q->item[k].kind == INQUIRY_TEST)
			return "another test mail is under way";
	pool = pool_find(c->link.blob, args, &reason);
	if (pool == NULL)
		return reason;
	if (!address_is_good(args->from) || !address_is_good(args->to) || args->to[0] == '\0')
		return "from, to: addresses without brackets, of printable ASCII";
	if (pool->backend_count == 0 || pool->backend_count > INQUIRY_BACKENDS_MAX)
		return "the pool has no backends, or more than 64";
	return NULL;
}

struct inquiry *inquiry_test(
	struct inquiries *q,
	const struct control *c,
	const struct test_mail_args *args,
	const char **ret_reason
)
{
	const struct blob_pool *pool;
	struct inquiry *i;

	*ret_reason = obstacle_find(q, c, args);
	if (*ret_reason != NULL)
		return NULL;
	*ret_reason = "too many questions under way";
	i = inquiry_begin(q, json_object());
	if (i == NULL)
		return NULL;
	pool = pool_find(c->link.blob, args, ret_reason);
	i->kind = INQUIRY_TEST;
	i->worker = i->request_id % c->link.workers;
	i->test.relay = args->pool != NULL;
	i->test.first = pool->backends;
	i->test.count = pool->backend_count;
	i->test.timeout_ms = args->seconds * 1000;
	i->test.generation = c->link.blob->generation;
	if (args->pool == NULL)
		set_text(i->answer, "virtual_service", args->service);
	set_text(i->answer, "pool", pool->name);
	json_object_set_new(i->answer, "backends", json_array());
	if (!mail_compose(c->link.test_mail, c, args, i->request_id)) {
		inquiry_end(i);
		*ret_reason = "the addresses and names are too long for the mail";
		return NULL;
	}
	pump(i, c);
	return i;
}

static void step_add(json_t *row, const struct ctl_test_step *step, bool relay)
{
	json_t *o = json_object();

	set_text(o, "step", health_stage_name(step->step));
	set_text(o, "result", health_result_name(step->code));
	set_uint(o, "reply_code", step->reply);
	set_text(o, "reply", step->text);
	set_seconds(o, "time_seconds", step->time_us / 1e6);
	json_array_append_new(json_object_get(row, "steps"), o);
	if (step->code != CTL_PROBE_OK && json_object_get(row, "result") == NULL) {
		set_text(row, "result", health_result_name(step->code)); // the first fault
		set_text(row, "step", health_stage_name(step->step));
	}
	if (step->step == (relay ? CTL_STAGE_RCPT : CTL_STAGE_END_OF_DATA))
		set_text(row, "reply", step->text);
	if (relay && step->step == CTL_STAGE_RCPT && step->reply != 0)
		json_object_set_new(row, "relays", json_boolean(step->reply / 100 == 2));
}

void test_mail_event(struct inquiry *i, const struct control *c, const struct ctl_msg *msg)
{
	struct ctl_test_step step = msg->test_step;
	uint32_t k = 0;

	if (msg->type != CTL_EVT_TEST)
		return;
	step.text[sizeof(step.text) - 1] = '\0';
	while (k < i->test.sent && (i->test.slot[k] != step.backend_slot || i->test.over[k]))
		k++;
	if (k == i->test.sent)
		return;
	step_add(i->test.row[k], &step, i->test.relay);
	if (!step.last)
		return;
	if (json_object_get(i->test.row[k], "result") == NULL)
		set_text(i->test.row[k], "result", "ok");
	i->test.over[k] = true;
	i->test.ended++;
	pump(i, c);
}
