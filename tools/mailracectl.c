// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// mailracectl: the operator's command. An unprivileged client of control's API; what it shows comes
// as JSON (-j) or as a table. `check FILE` reads the file itself and needs no running process.

#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "config/cfg.h"
#include "tools/ctl.h"
#include "tools/table.h"

static const struct column service_columns[] = {
	{"NAME", "name"},
	{"LISTEN", "listen"},
	{"POOL", "pool"},
	{"SESSIONS", "sessions"},
	{"TOTAL", "sessions_total"},
	{"REFUSED", "refused_total"},
	{"NO-BACKEND", "no_backend_total"},
	{"MESSAGES", "messages_total"},
	{"RECIPIENTS", "recipients_total"},
	{NULL, NULL},
};
static const struct column pool_columns[] = {
	{"NAME", "name"},
	{"SCHEDULER", "scheduler"},
	{"BACKENDS", "backends"},
	{"USABLE", "usable"},
	{"BACKUP", "backup"},
	{"IN-USE", "backup_in_use"},
	{"CONNECTIONS", "connections"},
	{"MESSAGES", "messages_total"},
	{NULL, NULL},
};
static const struct column backend_columns[] = {
	{"POOL", "pool"},
	{"NAME", "name"},
	{"ADDRESS", "address"},
	{"WEIGHT", "weight"},
	{"HEALTH", "health"},
	{"REASON", "reason"},
	{"ADMIN", "admin"},
	{"CONNECTIONS", "connections"},
	{"SESSIONS", "sessions_total"},
	{"MESSAGES", "messages_total"},
	{"REFUSED", "connect_refused_total"},
	{"TIMEOUTS", "connect_timeouts_total"},
	{"4XX", "replies_4xx_total"},
	{"5XX", "replies_5xx_total"},
	{"EJECTIONS", "ejections_total"},
	{"DRIFT", "reply_drift"},
	{"PROBE", "probe.result"},
	{"REPLY", "probe.reply"},
	{"SAID", "said"},
	{NULL, NULL},
};
static const struct column port_columns[] = {
	{"NAME", "name"},
	{"LINK", "link"},
	{"CHANGES", "link_changes_total"},
	{"MBIT/S", "speed_mbps"},
	{"MTU", "mtu"},
	{"QUEUES", "queues"},
	{"SPREAD", "spread"},
	{"MAC", "mac"},
	{"RX-PACKETS", "receive_packets_total"},
	{"RX-MISSED", "receive_missed_total"},
	{"RX-ERRORS", "receive_errors_total"},
	{"RX-NO-BUFFER", "receive_no_buffer_total"},
	{"TX-PACKETS", "transmit_packets_total"},
	{"TX-ERRORS", "transmit_errors_total"},
	{NULL, NULL},
};
static const struct column conflict_columns[] = {
	{"ADDRESS", "address"},
	{"PORT", "port"},
	{"STATE", "state"},
	{"MAC", "mac"},
	{"HEARD", "heard_total"},
	{"AGE", "age_seconds"},
	{NULL, NULL},
};
static const struct column certificate_columns[] = {
	{"NAME", "name"},
	{"SUBJECT", "subject"},
	{"HOST-NAMES", "host_names"},
	{"KEY", "key"},
	{"NOT-AFTER", "not_after"},
	{"EXPIRES-IN", "expires_in_seconds"},
	{"USED-BY", "used_by"},
	{NULL, NULL},
};
static const struct column worker_columns[] = {
	{"WORKER", "worker"},
	{"SESSIONS", "sessions"},
	{"CONNECTIONS", "connections"},
	{"HALF-OPEN", "half_open"},
	{"TIME-WAIT", "time_wait"},
	{"GENERATION", "generation"},
	{"LONGEST-TURN", "longest_turn_seconds"},
	{"HEARTBEAT", "heartbeat_age_seconds"},
	{NULL, NULL},
};
static const struct column session_columns[] = {
	{"ID", "id"},
	{"WORKER", "worker"},
	{"CLIENT", "client"},
	{"VIRTUAL-SERVICE", "virtual_service"},
	{"BACKEND", "backend"},
	{"STATE", "state"},
	{"LEG", "leg_state"},
	{"AGE", "age_seconds"},
	{"IDLE", "idle_seconds"},
	{"MESSAGES", "messages"},
	{"RECIPIENTS", "recipients"},
	{NULL, NULL},
};
static const struct column latency_columns[] = {
	{"POOL", "pool"},
	{"BACKEND", "backend"},
	{"VERB", "verb"},
	{"COUNT", "count"},
	{"MEAN", "mean_seconds"},
	{"P50", "p50_seconds"},
	{"P90", "p90_seconds"},
	{"P99", "p99_seconds"},
	{NULL, NULL},
};
static const struct column neighbor_columns[] = {
	{"ADDRESS", "address"},
	{"PORT", "port"},
	{"MAC", "mac"},
	{"STATE", "state"},
	{"AGE", "age_seconds"},
	{NULL, NULL},
};
static const struct column route_columns[] = {
	{"DESTINATION", "destination"},
	{"GATEWAY", "gateway"},
	{"PORT", "port"},
	{"SOURCE", "source"},
	{"MTU", "mtu"},
	{NULL, NULL},
};
static const struct column memory_columns[] = {
	{"WHAT", "what"},
	{"WHERE", "where"},
	{"USED", "used"},
	{"LIMIT", "limit"},
	{"OBJECT", "object_bytes"},
	{"BYTES", "bytes"},
	{NULL, NULL},
};
static const struct column message_columns[] = {
	{"SEVERITY", "severity"},
	{"FILE", "file"},
	{"LINE", "line"},
	{"KEY", "key"},
	{"REASON", "reason"},
	{NULL, NULL},
};

static const struct view {
	const char *name, *path;
	const char *member;           // of the answer that holds the rows, NULL: the answer itself
	const struct column *columns; // NULL: members, one a line
} views[] = {
	{"virtual-services", "/v1/virtual-services", NULL, service_columns},
	{"pools", "/v1/pools", NULL, pool_columns},
	{"backends", "/v1/backends", NULL, backend_columns},
	{"ports", "/v1/ports", NULL, port_columns},
	{"conflicts", "/v1/conflicts", NULL, conflict_columns},
	{"certificates", "/v1/certificates", NULL, certificate_columns},
	{"workers", "/v1/workers", NULL, worker_columns},
	{"sessions", "/v1/sessions", "sessions", session_columns},
	{"counters", "/v1/counters", NULL, NULL},
	{"latency", "/v1/latency", NULL, latency_columns},
	{"neighbors", "/v1/neighbors", NULL, neighbor_columns},
	{"routes", "/v1/routes", NULL, route_columns},
	{"memory", "/v1/memory", NULL, memory_columns},
};
#define VIEWS (sizeof(views) / sizeof(views[0]))

int usage(int status)
{
	FILE *out = status == EX_OK ? stdout : stderr;

	fprintf(out,
		"usage: mailracectl [-j] [-s SOCKET] COMMAND\n"
		"  status                          the processes, sessions, backends' health\n"
		"  show virtual-services|pools|backends|workers|latency\n"
		"  show ports|conflicts|neighbors|routes|memory\n"
		"  show certificates               host names, keys, when they expire, who uses "
		"them\n"
		"  show sessions [-n LIMIT]        sessions open now (1000)\n"
		"  show session ID                 one, with its connections and what became of "
		"them\n"
		"  show counters [-a]              those that are not 0, or all\n"
		"  tarpit                          who waited for slow replies, why, and what to "
		"do\n"
		"  tarpit compare FILE [POOL/BACKEND]\n"
		"                                  the same beside an Exchange server's "
		"SmtpReceive "
		"log\n"
		"  check [-c FILE]                 reads the file and says what is wrong\n"
		"  reload                          makes the file the configuration in force\n"
		"  drain POOL/BACKEND              no new sessions there\n"
		"  enable POOL/BACKEND             takes sessions again\n"
		"  ping ADDRESS [-n COUNT]         echo requests of the dataplane\n"
		"  send-test VIRTUAL-SERVICE --from ADDRESS --to ADDRESS [--time SECONDS]\n"
		"                                  a test mail to each of its backends, step by "
		"step\n"
		"  relay-test POOL [--from ADDRESS] [--to ADDRESS] [--time SECONDS]\n"
		"                                  whether its backends relay mail of strangers "
		"that comes from here\n"
		"  mail [--from A] [--to A] [--queue-id ID] [--client ADDRESS|PREFIX] [--backend "
		"B]\n"
		"       [--since TIME] [--until TIME] [-n LIMIT]\n"
		"                                  mails that the ledger has, the newest first "
		"(20)\n"
		"  capture [FILTER] -w FILE        copies packets of both legs into a pcapng file\n"
		"  capture --transcript [FILTER]   the dialogue, without bodies and AUTH data\n"
		"    FILTER: --client ADDRESS|PREFIX  --backend NAME|ADDRESS  --session ID\n"
		"      --virtual-service NAME  --bytes N  --time SECONDS  --snap N\n"
		"  -j  JSON   -s  socket of the API (/run/mailrace/control.sock)\n"
		"exit status: 0, 1 refused, 64 usage, 69 no control process\n");
	return status;
}

void json_print(const json_t *o)
{
	json_dumpf(o, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
	putchar('\n');
}

// 0, or an exit status after a message.
int ask(const struct options *opt, const char *method, const char *path, struct api_answer *a)
{
	if (api_request(opt->socket, method, path, a) < 0) {
		fprintf(stderr, "mailracectl: %s\n", a->error);
		return EX_UNAVAILABLE;
	}
	if (a->status == 403 || a->status == 404 || a->status >= 500) {
		const char *text = json_string_value(json_object_get(a->body, "error"));

		fprintf(stderr, "mailracectl: %s\n", text != NULL ? text : "refused");
		json_decref(a->body);
		return a->status == 403 ? EX_NOPERM : EX_REFUSED;
	}
	return 0;
}

static void zeros_remove(json_t *o)
{
	const char *key;
	json_t *v;
	void *next;

	json_object_foreach_safe(o, next, key, v)
	{
		if (json_integer_value(v) == 0)
			json_object_del(o, key);
	}
}

static int do_status(const struct options *opt, char **args)
{
	struct api_answer a;
	int status = ask(opt, "GET", "/v1/status", &a);

	if (status != 0)
		return status;
	if (opt->json)
		json_print(a.body);
	else
		members_print(stdout, a.body, "");
	json_decref(a.body);
	return EX_OK;
}

static int do_show(const struct options *opt, char **args)
{
	const struct view *view = NULL;
	struct api_answer a;
	const json_t *rows;
	char path[64];
	int status;

	for (unsigned i = 0; i < VIEWS; i++)
		if (args[0] != NULL && strcmp(args[0], views[i].name) == 0)
			view = &views[i];
	if (args[0] != NULL && strcmp(args[0], "session") == 0 && args[1] != NULL)
		return args[2] == NULL ? show_session(opt, args[1]) : usage(EX_USAGE);
	if (view == NULL || args[1] != NULL)
		return usage(EX_USAGE);
	snprintf(
		path,
		sizeof(path),
		"%s%s%.20s",
		view->path,
		opt->limit != NULL ? "?limit=" : "",
		opt->limit != NULL ? opt->limit : ""
	);
	status = ask(opt, "GET", path, &a);
	if (status != 0)
		return status;
	if (view->columns == NULL && !opt->all)
		zeros_remove(a.body);
	rows = view->member != NULL ? json_object_get(a.body, view->member) : a.body;
	if (a.status != 200 || opt->json) {
		json_print(a.body);
	} else if (view->columns == NULL) {
		members_print(stdout, rows, "");
	} else {
		table_print(stdout, rows, view->columns);
		if (json_is_true(json_object_get(a.body, "truncated")))
			printf("(there are more: -n LIMIT)\n");
	}
	json_decref(a.body);
	return a.status == 200 ? EX_OK : EX_REFUSED;
}

static int do_reload(const struct options *opt, char **args)
{
	struct api_answer a;
	int status = ask(opt, "POST", "/v1/reload", &a);
	const json_t *messages, *generation;

	if (status != 0)
		return status;
	messages = json_object_get(a.body, "messages");
	generation = json_object_get(a.body, "generation");
	if (opt->json) {
		json_print(a.body);
	} else {
		if (json_array_size(messages) > 0)
			table_print(a.status == 200 ? stdout : stderr, messages, message_columns);
		if (a.status != 200)
			fprintf(stderr, "refused: the configuration in force stays\n");
		else if (generation != NULL)
			printf("generation %" PRId64 " is in force\n",
			       (int64_t)json_integer_value(generation));
		else
			printf("accepted: no dataplane is there yet\n");
	}
	status = a.status == 200 ? EX_OK : EX_REFUSED;
	json_decref(a.body);
	return status;
}

static int backend_change(const struct options *opt, char **args, const char *verb)
{
	struct api_answer a;
	char path[256];
	int status;

	if (args[0] == NULL || args[1] != NULL || strchr(args[0], '/') == NULL)
		return usage(EX_USAGE);
	snprintf(path, sizeof(path), "/v1/backends/%.200s/%s", args[0], verb);
	status = ask(opt, "POST", path, &a);
	if (status != 0)
		return status;
	if (opt->json)
		json_print(a.body);
	else
		printf("%s: %s\n", args[0], verb);
	json_decref(a.body);
	return EX_OK;
}

static int do_drain(const struct options *opt, char **args)
{
	return backend_change(opt, args, "drain");
}

static int do_enable(const struct options *opt, char **args)
{
	return backend_change(opt, args, "enable");
}

static const struct command {
	const char *name;
	int (*run)(const struct options *opt, char **args);
} commands[] = {
	{"status", do_status},
	{"show", do_show},
	{"check", do_check},
	{"reload", do_reload},
	{"drain", do_drain},
	{"enable", do_enable},
	{"capture", do_capture},
	{"ping", do_ping},
	{"send-test", do_send_test},
	{"relay-test", do_relay_test},
	{"mail", do_mail},
	{"tarpit", do_tarpit},
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

// Options may follow the command.
static const struct option long_options[] = {
	{"client", required_argument, NULL, 'C'},
	{"backend", required_argument, NULL, 'B'},
	{"session", required_argument, NULL, 'I'},
	{"virtual-service", required_argument, NULL, 'V'},
	{"bytes", required_argument, NULL, 'N'},
	{"time", required_argument, NULL, 'T'},
	{"snap", required_argument, NULL, 'S'},
	{"transcript", no_argument, NULL, 'R'},
	{"from", required_argument, NULL, 'F'},
	{"to", required_argument, NULL, 'D'},
	{"queue-id", required_argument, NULL, 'Q'},
	{"since", required_argument, NULL, 'A'},
	{"until", required_argument, NULL, 'U'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

static bool option_take(struct options *opt, int c)
{
	const struct {
		int c;
		const char **to;
	} texts[] = {
		{'s', &opt->socket},
		{'c', &opt->file},
		{'n', &opt->limit},
		{'w', &opt->output},
		{'C', &opt->client},
		{'B', &opt->backend},
		{'I', &opt->session},
		{'V', &opt->service},
		{'N', &opt->bytes},
		{'T', &opt->seconds},
		{'S', &opt->snap},
		{'F', &opt->from},
		{'D', &opt->to},
		{'Q', &opt->queue_id},
		{'A', &opt->since},
		{'U', &opt->until},
	};
	const struct {
		int c;
		bool *to;
	} switches[] = {
		{'j', &opt->json},
		{'a', &opt->all},
		{'R', &opt->transcript},
	};

	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (texts[i].c == c) {
			*texts[i].to = optarg;
			return true;
		}
	}
	for (unsigned i = 0; i < sizeof(switches) / sizeof(switches[0]); i++) {
		if (switches[i].c == c) {
			*switches[i].to = true;
			return true;
		}
	}
	return false;
}

int main(int argc, char **argv)
{
	struct options opt = {
		.socket = "/run/mailrace/control.sock",
		.file = CFG_DEFAULT_PATH,
	};
	int c;

	while ((c = getopt_long(argc, argv, "jas:c:n:w:h", long_options, NULL)) != -1)
		if (!option_take(&opt, c))
			return usage(c == 'h' ? EX_OK : EX_USAGE);
	for (unsigned i = 0; optind < argc && i < COMMANDS; i++)
		if (strcmp(argv[optind], commands[i].name) == 0)
			return commands[i].run(&opt, argv + optind + 1);
	return usage(EX_USAGE);
}
