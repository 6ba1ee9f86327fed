// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Captures and transcripts over the API: what is asked for, and an answer that goes on while its
// reader takes it. A connection waits suspended while there is nothing to send; whether its other
// end is still there is then looked at here.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "controlplane/api_types.h"

#define BYTES_DEFAULT (64ULL << 20)
#define BYTES_MIN 8192
#define BYTES_MAX (1ULL << 40)
#define SECONDS_DEFAULT 60
#define SECONDS_MAX 3600
#define SNAP_MIN 64

struct query_parse {
	const struct control *control;
	struct stream_query *query;
	char error[128]; // empty: good
};

static bool number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	char *end;

	errno = 0;
	*ret = strtoull(text, &end, 10);
	return errno == 0 && *text >= '0' && *text <= '9' && *end == '\0' && *ret >= min &&
	       *ret <= max;
}

static bool client_parse(struct query_parse *p, const char *text)
{
	struct ctl_capture *f = &p->query->filter;
	struct ip_prefix prefix;

	if (ip_prefix_parse(text, &prefix) < 0)
		return false;
	f->client = prefix.addr;
	f->client_len = prefix.len;
	f->flags |= CTL_CAPTURE_F_CLIENT;
	return true;
}

// POOL/NAME, or a NAME that stands for one address only.
static bool backend_named(const struct control *c, const char *text, struct ip_endpoint *ret)
{
	const struct blob_header *blob = c->link.blob;
	const struct blob_backend *b =
		(const struct blob_backend *)((const uint8_t *)blob + blob->backends.off);
	const char *name = strchr(text, '/');
	bool found = false;

	for (uint32_t i = 0; i < blob->backends.count; i++, b++) {
		const struct health_backend *h = health_at(c->health, i);

		if (h == NULL || strcmp(h->name, name != NULL ? name + 1 : text) != 0 ||
		    (name != NULL && (strlen(h->pool) != (size_t)(name - text) ||
				      strncmp(h->pool, text, (size_t)(name - text)) != 0)))
			continue;
		if (found && (!ip_addr_eq(&ret->addr, &b->addr) || ret->port != b->port))
			return false; // several
		*ret = (struct ip_endpoint){b->addr, b->port};
		found = true;
	}
	return found;
}

static bool backend_parse(struct query_parse *p, const char *text)
{
	struct ctl_capture *f = &p->query->filter;
	struct ip_endpoint at = {0};

	if (ip_addr_parse(text, &at.addr) < 0 && ip_endpoint_parse(text, &at) < 0 &&
	    (!link_is_open(&p->control->link) || !backend_named(p->control, text, &at)))
		return false;
	f->backend = at.addr;
	f->backend_port = at.port;
	f->flags |= CTL_CAPTURE_F_BACKEND;
	return true;
}

static bool service_parse(struct query_parse *p, const char *text)
{
	const struct blob_header *blob = p->control->link.blob;
	const struct blob_service *s;

	if (!link_is_open(&p->control->link))
		return false;
	s = (const struct blob_service *)((const uint8_t *)blob + blob->services.off);
	for (uint32_t i = 0; i < blob->services.count; i++)
		if (strcmp(s[i].name, text) == 0)
			p->query->filter.service_slot = s[i].slot;
	return p->query->filter.service_slot != 0;
}

static bool session_parse(struct query_parse *p, const char *text)
{
	return number_parse(text, 1, UINT64_MAX, &p->query->filter.session);
}

static bool bytes_parse(struct query_parse *p, const char *text)
{
	return number_parse(text, BYTES_MIN, BYTES_MAX, &p->query->bytes);
}

static bool seconds_parse(struct query_parse *p, const char *text)
{
	uint64_t n;
	bool good = number_parse(text, 1, SECONDS_MAX, &n);

	p->query->seconds = good ? (uint32_t)n : 0;
	return good;
}

static bool snap_parse(struct query_parse *p, const char *text)
{
	uint64_t n;
	bool good = number_parse(text, SNAP_MIN, CAPTURE_SNAP_MAX, &n);

	p->query->filter.snap = good ? (uint32_t)n : 0;
	return good;
}

static const struct {
	const char *name;
	bool (*parse)(struct query_parse *p, const char *text);
	const char *reason;
} parameters[] = {
	{"client", client_parse, "client: an address or a prefix"},
	{"backend", backend_parse, "backend: no such, or several; an address, NAME or POOL/NAME"},
	{"session", session_parse, "session: a number"},
	{"virtual_service", service_parse, "virtual_service: no such"},
	{"bytes", bytes_parse, "bytes: 8192 to 2^40"},
	{"seconds", seconds_parse, "seconds: 1 to 3600"},
	{"snap", snap_parse, "snap: 64 to 16384"},
};
#define PARAMETERS (sizeof(parameters) / sizeof(parameters[0]))

// An unknown one is refused: a filter misspelt would show the mail of others.
static enum MHD_Result
parameter_take(void *arg, enum MHD_ValueKind kind, const char *key, const char *value)
{
	struct query_parse *p = arg;
	size_t used = strlen(p->query->text);

	for (unsigned i = 0; i < PARAMETERS; i++) {
		if (strcmp(key, parameters[i].name) != 0)
			continue;
		if (value == NULL || !parameters[i].parse(p, value))
			snprintf(p->error, sizeof(p->error), "%s", parameters[i].reason);
		else
			snprintf(
				p->query->text + used,
				sizeof(p->query->text) - used,
				" %s %.60s",
				key,
				value
			);
		return p->error[0] == '\0' ? MHD_YES : MHD_NO;
	}
	snprintf(p->error, sizeof(p->error), "%.40s: no such parameter", key);
	return MHD_NO;
}

static ssize_t on_read(void *arg, uint64_t position, char *out, size_t room)
{
	struct api *api = arg;
	size_t n;

	if (api->stream_gone)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (api->stream_off == api->stream_len) {
		ssize_t got = stream_read(&api->stream, api->stream_out, sizeof(api->stream_out));

		if (got < 0)
			return MHD_CONTENT_READER_END_OF_STREAM;
		api->stream_off = 0;
		api->stream_len = (size_t)got;
	}
	n = api->stream_len - api->stream_off;
	if (n == 0) {
		api->stream_suspended = true;
		MHD_suspend_connection(api->stream_connection);
		return 0;
	}
	n = n < room ? n : room;
	memcpy(out, api->stream_out + api->stream_off, n);
	api->stream_off += n;
	return (ssize_t)n;
}

enum MHD_Result api_stream_answer(
	struct api *api,
	struct MHD_Connection *connection,
	struct request *req,
	bool dialogue
)
{
	struct stream_query query = {
		.bytes = BYTES_DEFAULT,
		.seconds = SECONDS_DEFAULT,
		.filter.snap = CAPTURE_SNAP_MAX,
		.filter.flags = dialogue ? CTL_CAPTURE_F_DIALOGUE : 0,
	};
	struct query_parse parse = {.control = api->control, .query = &query};
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct MHD_Response *response;
	enum MHD_Result result;
	const char *reason;

	snprintf(
		query.text, sizeof(query.text), "mailrace %s:", dialogue ? "transcript" : "capture"
	);
	MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, parameter_take, &parse);
	if (parse.error[0] != '\0')
		return api_send_error(connection, MHD_HTTP_BAD_REQUEST, parse.error);
	reason = stream_begin(&api->stream, api->control, &query);
	if (reason != NULL)
		return api_send_error(connection, MHD_HTTP_SERVICE_UNAVAILABLE, reason);
	req->stream = &api->stream;
	api->stream_connection = connection;
	api->stream_fd = info->connect_fd;
	api->stream_suspended = api->stream_gone = false;
	api->stream_off = api->stream_len = 0;
	response = MHD_create_response_from_callback(
		MHD_SIZE_UNKNOWN, STREAM_BLOCK, on_read, api, NULL
	);
	if (response == NULL)
		return MHD_NO; // ends the request, and with it the capture
	MHD_add_response_header(
		response, "Content-Type", dialogue ? "text/plain" : "application/x-pcapng"
	);
	result = MHD_queue_response(connection, MHD_HTTP_OK, response);
	MHD_destroy_response(response);
	return result;
}

enum MHD_Result api_stream_stop(struct api *api, struct MHD_Connection *connection)
{
	bool running = api->stream.used;

	if (running)
		stream_stop(&api->stream);
	return api_send(connection, MHD_HTTP_OK, json_pack("{s:b}", "stopped", running));
}

static bool reader_has_gone(const struct api *api)
{
	char byte;

	return recv(api->stream_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

void api_stream_run(struct api *api)
{
	struct stream *s = &api->stream;

	if (!s->used)
		return;
	stream_run(s, control_clock_ns());
	if (!api->stream_suspended)
		return;
	api->stream_gone = reader_has_gone(api);
	if (api->stream_gone || stream_is_ready(s))
		api_stream_resume(api);
}

void api_stream_resume(struct api *api)
{
	if (api->stream_suspended)
		MHD_resume_connection(api->stream_connection);
	api->stream_suspended = false;
}
