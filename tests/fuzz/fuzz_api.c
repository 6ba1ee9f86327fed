// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Requests to the API: what they ask for, against a reference; and whole HTTP conversations with
// the API of a control process that has no dataplane, cut anywhere: every answer is JSON with a
// status that docs/api.md knows, and afterwards a good request is answered. Input: which of the
// two; method, path and limit, or a cut and the octets.

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"
#include "controlplane/api.h"
#include "controlplane/api_request.h"
#include "tests/fuzz/conf.h"
#include "tests/fuzz/fuzz.h"

#define ROUNDS_MAX 200
#define ANSWER_MAX (256U << 10)

static struct control control;
static struct api *api;

// Names without a slash, then what to do.
static bool reference_backend(const char *path, struct api_request *want)
{
	static const char *const ends[] = {"/drain", "/enable"};
	char text[512];
	char *slash;

	if (strncmp(path, "/v1/backends/", 13) != 0 || strlen(path) >= sizeof(text))
		return false;
	snprintf(text, sizeof(text), "%s", path + 13);
	for (unsigned i = 0; i < 2; i++) {
		size_t end = strlen(text), len = strlen(ends[i]);

		if (end < len || strcmp(text + end - len, ends[i]) != 0)
			continue;
		text[end - len] = '\0';
		slash = strchr(text, '/');
		if (slash == NULL || strchr(slash + 1, '/') != NULL)
			return false;
		*slash = '\0';
		if (text[0] == '\0' || slash[1] == '\0' || strlen(text) >= MR_NAME_LEN ||
		    strlen(slash + 1) >= MR_NAME_LEN)
			return false;
		memcpy(want->pool, text, strlen(text) + 1);
		memcpy(want->name, slash + 1, strlen(slash + 1) + 1);
		want->call = i == 0 ? API_BACKEND_DRAIN : API_BACKEND_ENABLE;
		return true;
	}
	return false;
}

static enum api_call reference_call(const char *path)
{
	static const char *const names[API_CALLS] = {
		[API_STATUS] = "status",
		[API_VIRTUAL_SERVICES] = "virtual-services",
		[API_POOLS] = "pools",
		[API_BACKENDS] = "backends",
		[API_PORTS] = "ports",
		[API_CONFLICTS] = "conflicts",
		[API_WORKERS] = "workers",
		[API_COUNTERS] = "counters",
		[API_LATENCY] = "latency",
		[API_SESSIONS] = "sessions",
		[API_MAIL] = "mail",
		[API_CAPTURE] = "capture",
		[API_CAPTURE_STOP] = "capture/stop",
		[API_TRANSCRIPT] = "transcript",
		[API_CHECK] = "check",
		[API_RELOAD] = "reload",
	};

	for (unsigned i = 0; i < API_CALLS; i++)
		if (names[i] != NULL && strncmp(path, "/v1/", 4) == 0 &&
		    strcmp(path + 4, names[i]) == 0)
			return (enum api_call)i;
	return API_UNKNOWN;
}

static uint32_t reference_limit(const char *text)
{
	char again[16];
	long n = strtol(text, NULL, 10);

	text += strspn(text, "0") < strlen(text) ? strspn(text, "0") : 0; // 007 is 7
	snprintf(again, sizeof(again), "%ld", n);
	return n >= 1 && n <= 100000 && strcmp(text, again) == 0 ? (uint32_t)n : 0;
}

static void request_check(const char *method, const char *path, const char *limit)
{
	struct api_request got, want = {.call = reference_call(path), .limit = 1000};
	bool post = strcmp(method, "POST") == 0, get = strcmp(method, "GET") == 0;

	api_request_parse(method, path, limit, &got);
	if (reference_backend(path, &want))
		want.call = post ? want.call : API_BAD_METHOD;
	else if (want.call >= API_CAPTURE && want.call <= API_RELOAD)
		want.call = post ? want.call : API_BAD_METHOD;
	else if (want.call != API_UNKNOWN)
		want.call = get ? want.call : API_BAD_METHOD;
	if (want.call == API_SESSIONS && limit != NULL) {
		want.limit = reference_limit(limit);
		want.call = want.limit != 0 ? API_SESSIONS : API_BAD_LIMIT;
	}
	FUZZ_CHECK(got.call == want.call);
	FUZZ_CHECK(got.call == API_BAD_LIMIT || got.limit == want.limit);
	FUZZ_CHECK(got.changes == ((post && got.call != API_CHECK) || got.call == API_MAIL));
	if (got.call == API_BACKEND_DRAIN || got.call == API_BACKEND_ENABLE)
		FUZZ_CHECK(strcmp(got.pool, want.pool) == 0 && strcmp(got.name, want.name) == 0);
}

// A text of its own block, the final NUL its last octet.
static char *text_of(struct fuzz_in *in, size_t max, size_t *ret_len)
{
	size_t n;
	const uint8_t *at = fuzz_bytes(in, max, &n);
	char *text = malloc(n + 1);

	if (text == NULL)
		abort();
	memcpy(text, at, n);
	text[n] = '\0';
	*ret_len = n;
	return text;
}

static void parse(struct fuzz_in *in)
{
	static const char *const methods[] = {"GET", "POST", "PUT", ""};
	uint8_t how = fuzz_u8(in);
	size_t n;
	char *limit = how & 4 ? text_of(in, fuzz_u8(in) % 12, &n) : NULL;
	char *rest = text_of(in, in->left, &n), *path = malloc(n + 16);

	if (path == NULL)
		abort();
	snprintf(path, n + 16, "%s%s", how & 8 ? "/v1/backends/" : how & 16 ? "/v1/" : "", rest);
	path = realloc(path, strlen(path) + 1);
	request_check(methods[how & 3], path, limit);
	free(path);
	free(rest);
	free(limit);
}

static void api_end(void)
{
	api_close(api);
	health_free(control.health);
	if (control.cfg != control.started_cfg)
		cfg_free(control.cfg);
	cfg_free(control.started_cfg);
}

static void api_begin(void)
{
	static const char more[] =
		"hostname = \"a\"; control = { socket = \"/tmp/mailrace-fuzz-%d.sock\"; };\n"
		"ports = { p = { device = \"d\"; addresses = [ \"1.2.3.4/8\" ]; }; };\n"
		"pools = { q = { backends = ( { name = \"b\"; address = \"1.1.1.1:1\"; } ); }; };\n"
		"virtual_services = { s = { listen = [ \"1.2.3.4:25\" ]; pool = \"q\"; }; };\n";
	static struct cfg_errors errs;
	char text[1024];
	const char *reason;
	int n;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	n = snprintf(text, sizeof(text), more, (int)getpid());
#pragma GCC diagnostic pop
	log_init("fuzz", LOG_ERROR);
	control.cfg = control.started_cfg = cfg_load(conf_path(text, (size_t)n), &errs);
	control.link.at.fd = -1;
	control.health = health_new();
	FUZZ_CHECK(control.cfg != NULL && control.health != NULL);
	api = api_open(&control, &reason);
	FUZZ_CHECK(api != NULL);
	atexit(api_end);
}

static int client_new(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", control.started_cfg->control.socket);
	FUZZ_CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	return fd;
}

// Says the octets, in two parts, and nothing more; what comes back until the end is in answer.
static size_t talk(const uint8_t *octets, size_t len, size_t cut, char *answer)
{
	int fd = client_new();
	size_t used = 0;
	bool over = false;

	api_run(api);
	if (send(fd, octets, cut, MSG_NOSIGNAL) >= 0)
		api_run(api);
	if (send(fd, octets + cut, len - cut, MSG_NOSIGNAL) >= 0)
		api_run(api);
	shutdown(fd, SHUT_WR);
	for (unsigned i = 0; i < ROUNDS_MAX && !over; i++) {
		ssize_t n = recv(fd, answer + used, ANSWER_MAX - used - 1, MSG_DONTWAIT);

		over = n == 0 || (n < 0 && errno != EAGAIN);
		used += n > 0 ? (size_t)n : 0;
		FUZZ_CHECK(used < ANSWER_MAX - 1);
		api_run(api);
	}
	// Never left waiting, but behind an answer: the rest of a cut-off request, sent together
	// with whole ones, libmicrohttpd keeps for the idle time of 30 s, though the client has
	// ended.
	FUZZ_CHECK(over || used > 0);
	close(fd);
	api_run(api);
	answer[used] = '\0';
	return used;
}

// Joins the chunks of a body in place (RFC 9112 7.1): lists are sent in parts.
static void chunks_join(char *body)
{
	char *to = body, *end;
	unsigned long n;

	for (unsigned i = 0; i < ANSWER_MAX; i++) {
		n = strtoul(body, &end, 16);
		FUZZ_CHECK(end > body && end[0] == '\r' && end[1] == '\n');
		FUZZ_CHECK(n <= strlen(end + 2));
		memmove(to, end + 2, n);
		to += n;
		body = end + 2 + n;
		FUZZ_CHECK(body[0] == '\r' && body[1] == '\n'); // n 0: without trailers
		body += 2;
		if (n == 0)
			break;
	}
	*to = '\0';
}

// One answer, and what may follow it.
static void answer_check(char *answer)
{
	static const unsigned known[] = {200, 400, 403, 404, 405, 422, 503};
	char *body = strstr(answer, "\r\n\r\n");
	const char *chunked = strstr(answer, "Transfer-Encoding: chunked");
	const char *type = strstr(answer, "Content-Type: application/json");
	unsigned status = 0;
	bool ours = false;
	json_t *o;

	if (answer[0] == '\0')
		return; // nothing was asked
	FUZZ_CHECK(sscanf(answer, "HTTP/1.%*1[01] %3u", &status) == 1 && status >= 100);
	if (body == NULL || type == NULL || type > body || body[4] == '\0')
		return; // the library's own
	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		ours = ours || known[i] == status;
	FUZZ_CHECK(ours);
	if (chunked != NULL && chunked < body)
		chunks_join(body + 4);
	o = json_loads(body + 4, JSON_DISABLE_EOF_CHECK, NULL);
	FUZZ_CHECK(o != NULL);
	if (status != 200)
		FUZZ_CHECK(json_is_string(json_object_get(o, "error")) || status == 422);
	json_decref(o);
}

static void conversation(struct fuzz_in *in)
{
	static const char good[] =
		"GET /v1/status HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n";
	static char answer[ANSWER_MAX];
	size_t cut = fuzz_u8(in), n;

	if (api == NULL)
		api_begin();
	cut = cut < in->left ? cut : in->left;
	talk(in->at, in->left, cut, answer);
	answer_check(answer);
	n = talk((const uint8_t *)good, sizeof(good) - 1, 0, answer);
	FUZZ_CHECK(n > 0 && strncmp(answer, "HTTP/1.1 200", 12) == 0);
	answer_check(answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, size};

	if (fuzz_u8(&in) & 1)
		conversation(&in);
	else
		parse(&in);
	return 0;
}
