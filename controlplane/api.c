// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The API, see api.h: one answer for each call of api_request.h. A session list suspends its
// request until the workers have answered.

#include "controlplane/api.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/unix_listen.h"
#include "common/user.h"
#include "controlplane/api_request.h"
#include "controlplane/api_types.h"
#include "controlplane/json_set.h"
#include "controlplane/parts.h"
#include "controlplane/show.h"

#define CONNECTIONS_MAX 64
#define IDLE_S 30
#define BODY_MAX 4096 // requests carry no body today

static json_t *error_object(const char *text)
{
	return json_pack("{s:s}", "error", text);
}

static json_t *do_reload(struct control *c, unsigned *status)
{
	struct cfg_errors *errs = calloc(1, sizeof(*errs));
	json_t *o = json_object();
	int err = errs != NULL ? control_reload(c, errs) : -ENOMEM;

	*status = err == 0 ? MHD_HTTP_OK : MHD_HTTP_UNPROCESSABLE_CONTENT;
	json_object_set_new(o, "reloaded", json_boolean(err == 0));
	if (link_is_open(&c->link))
		json_object_set_new(
			o, "generation", json_integer((json_int_t)c->link.blob->generation)
		);
	if (errs != NULL)
		json_object_set_new(o, "messages", show_errors(errs));
	set_seconds(o, "read_seconds", (double)c->read_ns / 1e9);
	set_seconds(o, "publish_seconds", (double)c->publish_ns / 1e9);
	free(errs);
	return o;
}

// The file as a reload would find it, without reloading.
static json_t *do_check(struct control *c, unsigned *status)
{
	struct cfg_errors *errs = calloc(1, sizeof(*errs));
	struct cfg *cfg = errs != NULL ? cfg_load(c->cfg->path, errs) : NULL;
	struct creds creds = CREDS_NONE;
	bool good = cfg != NULL && creds_load(cfg, errs, &creds) == 0;
	json_t *o = json_object();

	*status = good ? MHD_HTTP_OK : MHD_HTTP_UNPROCESSABLE_CONTENT;
	json_object_set_new(o, "good", json_boolean(good));
	if (errs != NULL)
		json_object_set_new(o, "messages", show_errors(errs));
	creds_release(&creds);
	cfg_free(cfg);
	free(errs);
	return o;
}

// What is answered at once, whole or in parts.
static const struct {
	json_t *(*show)(const struct control *c);
	json_t *(*act)(struct control *c, unsigned *status);
	parts_entry *entry;
} handlers[API_CALLS] = {
	[API_STATUS] = {.show = show_status},
	[API_VIRTUAL_SERVICES] = {.show = show_virtual_services},
	[API_POOLS] = {.show = show_pools},
	[API_BACKENDS] = {.entry = show_backend},
	[API_PORTS] = {.show = show_ports},
	[API_CONFLICTS] = {.show = show_conflicts},
	[API_CERTIFICATES] = {.show = show_certificates},
	[API_TARPIT] = {.show = show_tarpit},
	[API_WORKERS] = {.show = show_workers},
	[API_COUNTERS] = {.show = show_counters},
	[API_LATENCY] = {.entry = show_latency},
	[API_CHECK] = {.act = do_check},
	[API_RELOAD] = {.act = do_reload},
};

static bool is_allowed(const struct api *api, int fd, bool changes)
{
	uid_t peer = peer_user(fd);

	if (peer == USER_NO_ID)
		return false;
	if (peer == 0 || peer == geteuid() || peer_in_group(fd, api->admin_group))
		return true;
	return !changes && peer_in_group(fd, api->read_group);
}

static enum MHD_Result
send_response(struct MHD_Connection *connection, unsigned status, struct MHD_Response *response)
{
	enum MHD_Result result;

	if (response == NULL)
		return MHD_NO;
	MHD_add_response_header(response, "Content-Type", "application/json");
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

enum MHD_Result api_send(struct MHD_Connection *connection, unsigned status, json_t *o)
{
	char *text = o != NULL ? json_dumps(o, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) : NULL;
	struct MHD_Response *response;

	json_decref(o);
	if (text == NULL)
		return MHD_NO;
	response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
	if (response == NULL)
		free(text);
	return send_response(connection, status, response);
}

enum MHD_Result api_send_error(struct MHD_Connection *connection, unsigned status, const char *text)
{
	return api_send(connection, status, error_object(text));
}

// First call: asks the workers; second one, when they have answered: sends.
static enum MHD_Result sessions_answer(
	struct api *api,
	struct MHD_Connection *connection,
	struct request *req,
	uint32_t limit
)
{
	json_t *o;

	if (req->list == NULL) {
		req->list = sessions_begin(&api->sessions, api->control, limit);
		if (req->list == NULL)
			return api_send_error(
				connection, MHD_HTTP_SERVICE_UNAVAILABLE, "too many lists under way"
			);
		if (!req->list->done) {
			req->list->owner = connection;
			MHD_suspend_connection(connection);
			return MHD_YES;
		}
	}
	o = json_pack(
		"{s:O,s:b}", "sessions", req->list->entries, "truncated", req->list->truncated
	);
	return api_send(connection, MHD_HTTP_OK, o);
}

static enum MHD_Result
backend_change(struct api *api, struct MHD_Connection *connection, const struct api_request *want)
{
	bool drain = want->call == API_BACKEND_DRAIN;
	struct health_backend *b = health_find(api->control->health, want->pool, want->name);

	if (b == NULL)
		return api_send_error(connection, MHD_HTTP_NOT_FOUND, "no such backend");
	health_admin_set(&api->control->link, b, drain ? BLOB_ADMIN_DRAIN : BLOB_ADMIN_ENABLED);
	return api_send(
		connection,
		MHD_HTTP_OK,
		json_pack(
			"{s:s,s:s,s:s}",
			"pool",
			want->pool,
			"name",
			want->name,
			"admin",
			drain ? "drain" : "enable"
		)
	);
}

static enum MHD_Result call_answer(
	struct api *api,
	struct MHD_Connection *connection,
	struct request *req,
	const struct api_request *want
)
{
	unsigned status = MHD_HTTP_OK;
	json_t *o;

	switch (want->call) {
	case API_UNKNOWN:
		return api_send_error(connection, MHD_HTTP_NOT_FOUND, "no such resource");
	case API_BAD_METHOD:
		return api_send_error(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "method");
	case API_BAD_LIMIT:
		return api_send_error(connection, MHD_HTTP_BAD_REQUEST, "limit: 1 to 100000");
	case API_SESSIONS:
		return sessions_answer(api, connection, req, want->limit);
	case API_MAIL:
		return api_mail_answer(api, connection);
	case API_CAPTURE:
	case API_TRANSCRIPT:
		return api_stream_answer(api, connection, req, want->call == API_TRANSCRIPT);
	case API_CAPTURE_STOP:
		return api_stream_stop(api, connection);
	case API_BACKEND_DRAIN:
	case API_BACKEND_ENABLE:
		return backend_change(api, connection, want);
	default:
		break;
	}
	if (handlers[want->call].entry != NULL)
		return send_response(
			connection, status, parts_response(api->control, handlers[want->call].entry)
		);
	o = handlers[want->call].show != NULL ? handlers[want->call].show(api->control)
					      : handlers[want->call].act(api->control, &status);
	return api_send(connection, status, o);
}

static enum MHD_Result route_answer(
	struct api *api,
	struct MHD_Connection *connection,
	struct request *req,
	const char *method,
	const char *url
)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	const char *limit = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "limit");
	struct api_request want;
	enum MHD_Result result;
	bool known = false;

	api_request_parse(method, url, limit, &want);
	if (info == NULL || !is_allowed(api, info->connect_fd, want.changes))
		return api_send_error(connection, MHD_HTTP_FORBIDDEN, "not allowed for this user");
	result = api_inquiry_answer(api, connection, req, method, url, &known);
	return known ? result : call_answer(api, connection, req, &want);
}

static enum MHD_Result
answer(void *arg,
       struct MHD_Connection *connection,
       const char *url,
       const char *method,
       const char *version,
       const char *upload,
       size_t *upload_len,
       void **state)
{
	struct request *req = *state;

	if (req == NULL) {
		*state = calloc(1, sizeof(*req));
		return *state != NULL ? MHD_YES : MHD_NO;
	}
	if (*upload_len > 0) {
		req->body += *upload_len;
		*upload_len = 0;
		return req->body <= BODY_MAX ? MHD_YES : MHD_NO;
	}
	return route_answer(arg, connection, req, method, url);
}

static void completed(
	void *arg,
	struct MHD_Connection *connection,
	void **state,
	enum MHD_RequestTerminationCode why
)
{
	struct request *req = *state;

	if (req == NULL)
		return;
	if (req->list != NULL)
		sessions_end(req->list);
	if (req->inquiry != NULL)
		inquiry_end(req->inquiry);
	if (req->stream != NULL)
		stream_end(req->stream);
	free(req);
	*state = NULL;
}

static bool daemon_start(struct api *api)
{
	const union MHD_DaemonInfo *info;

	api->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME,
		0,
		NULL,
		NULL,
		answer,
		api,
		MHD_OPTION_LISTEN_SOCKET,
		api->listen_fd,
		MHD_OPTION_NOTIFY_COMPLETED,
		completed,
		api,
		MHD_OPTION_CONNECTION_LIMIT,
		CONNECTIONS_MAX,
		MHD_OPTION_CONNECTION_TIMEOUT,
		IDLE_S,
		MHD_OPTION_END
	);
	if (api->daemon == NULL)
		return false;
	info = MHD_get_daemon_info(api->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	api->epoll_fd = info != NULL ? info->epoll_fd : -1;
	return api->epoll_fd >= 0;
}

struct api *api_open(struct control *c, const char **ret_reason)
{
	struct api *api = calloc(1, sizeof(*api));

	*ret_reason = "no memory";
	if (api == NULL)
		return NULL;
	api->control = c;
	api->listen_fd = -1;
	api->sessions.next_id = (uint32_t)control_clock_ns(); // not that of a process before us
	api->inquiries.next_id = api->sessions.next_id;
	snprintf(api->path, sizeof(api->path), "%s", c->cfg->control.socket);
	if (!group_find(c->cfg->control.read_group, &api->read_group)) {
		*ret_reason = "control.read_group: no such group";
	} else if (!group_find(c->cfg->control.admin_group, &api->admin_group)) {
		*ret_reason = "control.admin_group: no such group";
	} else {
		bool groups = api->read_group != USER_NO_ID || api->admin_group != USER_NO_ID;

		api->listen_fd = unix_listen(api->path, SOCK_STREAM, groups ? 0666 : 0600);
		if (api->listen_fd == -EADDRINUSE)
			*ret_reason = "another control process is running on this socket";
		else if (api->listen_fd == -ENOTSOCK)
			*ret_reason = "control.socket names a file that is not a socket";
		else if (api->listen_fd < 0)
			*ret_reason = strerror(-api->listen_fd);
		else if (daemon_start(api))
			return api;
	}
	api_close(api);
	return NULL;
}

void api_close(struct api *api)
{
	if (api == NULL)
		return;
	for (unsigned i = 0; i < SESSIONS_LISTS_MAX; i++)
		if (api->sessions.list[i].owner != NULL)
			MHD_resume_connection(api->sessions.list[i].owner);
	api_stream_resume(api);
	api_inquiry_run(api, true);
	if (api->daemon != NULL)
		MHD_stop_daemon(api->daemon); // closes the socket
	else if (api->listen_fd >= 0)
		close(api->listen_fd);
	if (api->listen_fd >= 0)
		unlink(api->path);
	free(api);
}

int api_fd(const struct api *api)
{
	return api->epoll_fd;
}

int api_wait_ms(struct api *api, int at_most)
{
	MHD_UNSIGNED_LONG_LONG ms;

	if (MHD_get_timeout(api->daemon, &ms) == MHD_YES && ms < (unsigned)at_most)
		at_most = (int)ms;
	return (sessions_are_waiting(&api->sessions) || api->stream.used ||
		inquiries_are_waiting(&api->inquiries)) &&
			       at_most > 2
		       ? 2
		       : at_most;
}

void api_event(void *up, const struct ctl_msg *msg)
{
	struct api *api = up;

	sessions_event(&api->sessions, api->control, msg);
	inquiries_event(&api->inquiries, api->control, msg);
}

void api_run(struct api *api)
{
	sessions_run(&api->sessions, api->control, control_clock_ns());
	for (unsigned i = 0; i < SESSIONS_LISTS_MAX; i++) {
		struct session_list *list = &api->sessions.list[i];

		if (list->used && list->done && list->owner != NULL) {
			MHD_resume_connection(list->owner);
			list->owner = NULL; // once
		}
	}
	api_inquiry_run(api, false);
	api_stream_run(api);
	MHD_run(api->daemon);
}
