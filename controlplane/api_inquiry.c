// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Questions to the workers over the API: the first call asks, the connection waits suspended, the
// second one answers.

#include <stdlib.h>
#include <string.h>

#include "controlplane/api_types.h"

#define PING_COUNT 4
#define TEST_SECONDS 30
#define TEST_SECONDS_MAX 60

static struct inquiry *
neighbors_begin(struct api *api, struct MHD_Connection *connection, const char **ret_reason)
{
	return inquiry_table(&api->inquiries, api->control, CTL_TABLE_NEIGHBORS);
}

static struct inquiry *
routes_begin(struct api *api, struct MHD_Connection *connection, const char **ret_reason)
{
	return inquiry_table(&api->inquiries, api->control, CTL_TABLE_ROUTES);
}

static struct inquiry *
memory_begin(struct api *api, struct MHD_Connection *connection, const char **ret_reason)
{
	return inquiry_table(&api->inquiries, api->control, CTL_TABLE_MEMORY);
}

static const char *parameter(struct MHD_Connection *connection, const char *name)
{
	return MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, name);
}

static const char *ping_check(const struct api *api, struct MHD_Connection *connection)
{
	const char *addr = parameter(connection, "address");
	const char *count = parameter(connection, "count");
	struct ip_addr at;
	unsigned long n = count != NULL ? strtoul(count, NULL, 10) : PING_COUNT;

	if (addr == NULL || ip_addr_parse(addr, &at) < 0)
		return "address: an IPv4 or IPv6 address";
	return n >= 1 && n <= INQUIRY_PINGS_MAX ? NULL : "count: 1 to 20";
}

static struct inquiry *
ping_begin(struct api *api, struct MHD_Connection *connection, const char **ret_reason)
{
	const char *count = parameter(connection, "count");
	struct ip_addr at;

	ip_addr_parse(parameter(connection, "address"), &at);
	return inquiry_ping(
		&api->inquiries,
		api->control,
		&at,
		count != NULL ? (unsigned)strtoul(count, NULL, 10) : PING_COUNT
	);
}

static const char *mail_check(struct MHD_Connection *connection, const char *where)
{
	const char *seconds = parameter(connection, "seconds");
	unsigned long n = seconds != NULL ? strtoul(seconds, NULL, 10) : TEST_SECONDS;

	if (parameter(connection, where) == NULL || parameter(connection, "from") == NULL ||
	    parameter(connection, "to") == NULL)
		return "virtual_service (of a relay test: pool), from, to: needed";
	return n >= 1 && n <= TEST_SECONDS_MAX ? NULL : "seconds: 1 to 60";
}

static const char *test_check(const struct api *api, struct MHD_Connection *connection)
{
	return mail_check(connection, "virtual_service");
}

static const char *relay_check(const struct api *api, struct MHD_Connection *connection)
{
	return mail_check(connection, "pool");
}

static struct test_mail_args test_args(struct MHD_Connection *connection)
{
	const char *seconds = parameter(connection, "seconds");

	return (struct test_mail_args){
		.from = parameter(connection, "from"),
		.to = parameter(connection, "to"),
		.seconds = seconds != NULL ? (unsigned)strtoul(seconds, NULL, 10) : TEST_SECONDS,
	};
}

static struct inquiry *
test_begin(struct api *api, struct MHD_Connection *connection, const char **ret_reason)
{
	struct test_mail_args args = test_args(connection);

	args.service = parameter(connection, "virtual_service");
	return inquiry_test(&api->inquiries, api->control, &args, ret_reason);
}

static struct inquiry *
relay_begin(struct api *api, struct MHD_Connection *connection, const char **ret_reason)
{
	struct test_mail_args args = test_args(connection);

	args.pool = parameter(connection, "pool");
	return inquiry_test(&api->inquiries, api->control, &args, ret_reason);
}

static const struct {
	const char *method, *path;
	const char *(*check)(const struct api *api, struct MHD_Connection *connection);
	struct inquiry *(*begin)(
		struct api *api,
		struct MHD_Connection *connection,
		const char **ret_reason
	);
} questions[] = {
	{"GET", "/v1/neighbors", NULL, neighbors_begin},
	{"GET", "/v1/routes", NULL, routes_begin},
	{"GET", "/v1/memory", NULL, memory_begin},
	{"POST", "/v1/ping", ping_check, ping_begin},
	{"POST", "/v1/send-test", test_check, test_begin},
	{"POST", "/v1/relay-test", relay_check, relay_begin},
};
#define QUESTIONS (sizeof(questions) / sizeof(questions[0]))
#define SESSION_PATH "/v1/sessions/" // ID

static enum MHD_Result
inquiry_answer(struct MHD_Connection *connection, const struct inquiry *inquiry)
{
	if (inquiry->error != NULL)
		return api_send_error(connection, MHD_HTTP_SERVICE_UNAVAILABLE, inquiry->error);
	if (inquiry->table == CTL_TABLE_SESSION &&
	    json_object_get(inquiry->answer, "session") == NULL)
		return api_send_error(connection, MHD_HTTP_NOT_FOUND, "no such session");
	return api_send(connection, MHD_HTTP_OK, json_incref(inquiry->answer));
}

// The first call: answers at once, or later.
static enum MHD_Result
inquiry_wait(struct MHD_Connection *connection, struct request *req, const char *reason)
{
	if (req->inquiry == NULL)
		return api_send_error(connection, MHD_HTTP_SERVICE_UNAVAILABLE, reason);
	if (req->inquiry->done)
		return inquiry_answer(connection, req->inquiry);
	req->inquiry->owner = connection;
	MHD_suspend_connection(connection);
	return MHD_YES;
}

static enum MHD_Result session_answer(
	struct api *api,
	struct MHD_Connection *connection,
	struct request *req,
	const char *text
)
{
	char *end;
	uint64_t id = strtoull(text, &end, 10);

	if (req->inquiry != NULL)
		return inquiry_answer(connection, req->inquiry);
	if (*text < '0' || *text > '9' || *end != '\0' || id == 0)
		return api_send_error(connection, MHD_HTTP_NOT_FOUND, "no such session");
	req->inquiry = inquiry_session(&api->inquiries, api->control, id);
	return inquiry_wait(connection, req, "too many questions under way");
}

enum MHD_Result api_inquiry_answer(
	struct api *api,
	struct MHD_Connection *connection,
	struct request *req,
	const char *method,
	const char *url,
	bool *ret_known
)
{
	unsigned i = 0;
	const char *wrong, *reason = "too many questions under way";

	*ret_known = true;
	if (strcmp(method, "GET") == 0 && strncmp(url, SESSION_PATH, strlen(SESSION_PATH)) == 0)
		return session_answer(api, connection, req, url + strlen(SESSION_PATH));
	while (i < QUESTIONS &&
	       (strcmp(url, questions[i].path) != 0 || strcmp(method, questions[i].method) != 0))
		i++;
	*ret_known = i < QUESTIONS;
	if (!*ret_known)
		return MHD_NO;
	if (req->inquiry != NULL)
		return inquiry_answer(connection, req->inquiry);
	wrong = questions[i].check != NULL ? questions[i].check(api, connection) : NULL;
	if (wrong != NULL)
		return api_send_error(connection, MHD_HTTP_BAD_REQUEST, wrong);
	req->inquiry = questions[i].begin(api, connection, &reason);
	return inquiry_wait(connection, req, reason);
}

void api_inquiry_run(struct api *api, bool all)
{
	inquiries_run(&api->inquiries, api->control, control_clock_ns());
	for (unsigned k = 0; k < INQUIRIES_MAX; k++) {
		struct inquiry *i = &api->inquiries.item[k];

		if (i->used && i->owner != NULL && (i->done || all)) {
			MHD_resume_connection(i->owner);
			i->owner = NULL; // once
		}
	}
}
