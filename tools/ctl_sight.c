// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The commands of mailracectl that look into the traffic. A capture's file is for its maker only:
// it holds mail.

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "tools/ctl.h"
#include "tools/table.h"

static volatile sig_atomic_t interrupted;

static void on_signal(int signal)
{
	interrupted++;
}

static int times_interrupted(void *arg)
{
	return interrupted;
}

void query_add(char path[QUERY_MAX_BYTES], const char *name, const char *value)
{
	size_t used = strlen(path);

	if (value == NULL)
		return;
	used += (size_t)snprintf(
		path + used,
		QUERY_MAX_BYTES - used,
		"%c%s=",
		strchr(path, '?') != NULL ? '&' : '?',
		name
	);
	for (; *value != '\0' && used + 4 < QUERY_MAX_BYTES; value++) {
		unsigned char c = (unsigned char)*value;
		bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
			     (c >= 'A' && c <= 'Z') || strchr("-._~", c) != NULL;

		used += (size_t
		)snprintf(path + used, QUERY_MAX_BYTES - used, plain ? "%c" : "%%%02X", c);
	}
}

// What stands in the file stays until the capture has begun.
static int output_open(const char *file)
{
	if (strcmp(file, "-") == 0)
		return dup(STDOUT_FILENO);
	return open(file, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
}

static int stream_to(const struct options *opt, const char *path, int fd)
{
	const struct api_stream_args args = {
		.socket = opt->socket,
		.path = path,
		.stop_path = "/v1/capture/stop",
		.times_asked = times_interrupted,
		.fd = fd,
	};
	const struct sigaction action = {.sa_handler = on_signal};
	struct api_answer a;
	int status = EX_OK;

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	if (api_stream(&args, &a) < 0) {
		fprintf(stderr, "mailracectl: %s\n", a.error);
		return a.status == 0 ? EX_UNAVAILABLE : EX_IOERR;
	}
	if (a.status != 200) {
		const char *text = json_string_value(json_object_get(a.body, "error"));

		fprintf(stderr, "mailracectl: %s\n", text != NULL ? text : "refused");
		status = a.status == 403 ? EX_NOPERM : EX_REFUSED;
	}
	json_decref(a.body);
	return status;
}

int do_capture(const struct options *opt, char **args)
{
	char path[QUERY_MAX_BYTES];
	const char *output = opt->output != NULL ? opt->output : opt->transcript ? "-" : NULL;
	int fd, status;

	if (args[0] != NULL || output == NULL)
		return usage(EX_USAGE);
	if (!opt->transcript && strcmp(output, "-") == 0 && isatty(STDOUT_FILENO)) {
		fprintf(stderr, "mailracectl: packets are not written to a terminal\n");
		return EX_USAGE;
	}
	fd = output_open(output);
	if (fd < 0) {
		fprintf(stderr, "mailracectl: %s: %s\n", output, strerror(errno));
		return EX_CANTCREAT;
	}
	snprintf(path, sizeof(path), "/v1/%s", opt->transcript ? "transcript" : "capture");
	query_add(path, "client", opt->client);
	query_add(path, "backend", opt->backend);
	query_add(path, "session", opt->session);
	query_add(path, "virtual_service", opt->service);
	query_add(path, "bytes", opt->bytes);
	query_add(path, "seconds", opt->seconds);
	query_add(path, "snap", opt->snap);
	status = stream_to(opt, path, fd);
	if (close(fd) < 0 && status == EX_OK) {
		fprintf(stderr, "mailracectl: %s: %s\n", output, strerror(errno));
		status = EX_IOERR;
	}
	return status;
}

int do_ping(const struct options *opt, char **args)
{
	static const struct column columns[] = {
		{"SEQUENCE", "sequence"},
		{"RESULT", "result"},
		{"TIME", "time_seconds"},
		{"HOP-LIMIT", "hop_limit"},
		{NULL, NULL},
	};
	char path[QUERY_MAX_BYTES] = "/v1/ping";
	struct api_answer a;
	int status;

	if (args[0] == NULL || args[1] != NULL)
		return usage(EX_USAGE);
	query_add(path, "address", args[0]);
	query_add(path, "count", opt->limit);
	status = ask(opt, "POST", path, &a);
	if (status != 0)
		return status;
	if (opt->json || a.status != 200) {
		json_print(a.body);
	} else {
		table_print(stdout, json_object_get(a.body, "replies"), columns);
		printf("%s: %d sent, %d answered\n",
		       args[0],
		       (int)json_integer_value(json_object_get(a.body, "sent")),
		       (int)json_integer_value(json_object_get(a.body, "received")));
	}
	status = a.status == 200 && json_integer_value(json_object_get(a.body, "received")) > 0
			 ? EX_OK
			 : EX_REFUSED;
	json_decref(a.body);
	return status;
}

static void test_print(const json_t *backend)
{
	static const struct column columns[] = {
		{"STEP", "step"},
		{"RESULT", "result"},
		{"TIME", "time_seconds"},
		{"REPLY", "reply"},
		{NULL, NULL},
	};

	printf("%s (%s): %s\n",
	       json_string_value(json_object_get(backend, "backend")),
	       json_string_value(json_object_get(backend, "address")),
	       json_string_value(json_object_get(backend, "result")));
	table_print(stdout, json_object_get(backend, "steps"), columns);
}

int do_send_test(const struct options *opt, char **args)
{
	char path[QUERY_MAX_BYTES] = "/v1/send-test";
	struct api_answer a;
	const json_t *row;
	size_t i;
	int status;

	if (args[0] == NULL || args[1] != NULL || opt->from == NULL || opt->to == NULL)
		return usage(EX_USAGE);
	query_add(path, "virtual_service", args[0]);
	query_add(path, "from", opt->from);
	query_add(path, "to", opt->to);
	query_add(path, "seconds", opt->seconds);
	status = ask(opt, "POST", path, &a);
	if (status != 0)
		return status;
	status = a.status == 200 ? EX_OK : EX_REFUSED;
	json_array_foreach(json_object_get(a.body, "backends"), i, row)
	{
		if (!opt->json)
			test_print(row);
		if (strcmp(json_string_value(json_object_get(row, "result")), "ok") != 0)
			status = EX_REFUSED;
	}
	if (opt->json || a.status != 200)
		json_print(a.body);
	json_decref(a.body);
	return status;
}

// 1 when any of them relays, or one could not be asked.
static int relay_judge(const struct options *opt, const json_t *backends)
{
	const json_t *row;
	int status = EX_OK;
	size_t i;

	json_array_foreach(backends, i, row)
	{
		const json_t *relays = json_object_get(row, "relays");

		if (!json_is_false(relays))
			status = EX_REFUSED;
		if (opt->json)
			continue;
		test_print(row);
		printf("%s: %s\n",
		       json_string_value(json_object_get(row, "backend")),
		       json_is_true(relays)
			       ? "RELAYS: whoever reaches a service of this pool may send "
				 "mail to anywhere through it"
		       : relays != NULL ? "does not relay"
					: "not known: it did not come to RCPT");
	}
	return status;
}

int do_relay_test(const struct options *opt, char **args)
{
	char path[QUERY_MAX_BYTES] = "/v1/relay-test";
	struct api_answer a;
	int status;

	if (args[0] == NULL || args[1] != NULL)
		return usage(EX_USAGE);
	query_add(path, "pool", args[0]);
	query_add(path, "from", opt->from != NULL ? opt->from : "relay-test@example.com");
	query_add(path, "to", opt->to != NULL ? opt->to : "relay-test@example.net");
	query_add(path, "seconds", opt->seconds);
	status = ask(opt, "POST", path, &a);
	if (status != 0)
		return status;
	status = a.status == 200 ? relay_judge(opt, json_object_get(a.body, "backends"))
				 : EX_REFUSED;
	if (opt->json || a.status != 200)
		json_print(a.body);
	json_decref(a.body);
	return status;
}

static bool any_tls(const json_t *connections)
{
	for (size_t i = 0; i < json_array_size(connections); i++)
		if (json_object_get(json_array_get(connections, i), "tls") != NULL)
			return true;
	return false;
}

int show_session(const struct options *opt, const char *id)
{
	static const struct column tls[] = {
		{"LEG", "leg"},
		{"TLS", "tls"},
		{"SUITE", "tls_suite"},
		{"GROUP", "tls_group"},
		{"SERVER-NAME", "server_name"},
		{NULL, NULL},
	};
	static const struct column connections[] = {
		{"LEG", "leg"},
		{"STATE", "state"},
		{"LOCAL", "local"},
		{"REMOTE", "remote"},
		{"RTT", "smoothed_rtt_seconds"},
		{"RTO", "retransmission_timeout_seconds"},
		{"CWND", "congestion_window_bytes"},
		{"SEND-WINDOW", "send_window_bytes"},
		{"RECEIVE-WINDOW", "receive_window_bytes"},
		{"MSS", "mss_bytes"},
		{"RECEIVED", "received_bytes"},
		{"UNACKNOWLEDGED", "unacknowledged_bytes"},
		{NULL, NULL},
	};
	static const struct column events[] = {
		{"LEG", "leg"},
		{"AGE", "age_seconds"},
		{"WHAT", "what"},
		{"STATE", "state"},
		{"SEQUENCE", "sequence"},
		{NULL, NULL},
	};
	struct api_answer a;
	char path[64];
	int status;

	if (strspn(id, "0123456789") != strlen(id))
		return usage(EX_USAGE);
	snprintf(path, sizeof(path), "/v1/sessions/%.20s", id);
	status = ask(opt, "GET", path, &a);
	if (status != 0)
		return status;
	if (opt->json) {
		json_print(a.body);
	} else {
		members_print(stdout, json_object_get(a.body, "session"), "");
		table_print(stdout, json_object_get(a.body, "connections"), connections);
		if (any_tls(json_object_get(a.body, "connections")))
			table_print(stdout, json_object_get(a.body, "connections"), tls);
		table_print(stdout, json_object_get(a.body, "events"), events);
	}
	json_decref(a.body);
	return EX_OK;
}
