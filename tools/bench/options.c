// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The command line of mailrace-bench. Main thread.

#include "tools/bench/options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static void usage(FILE *out)
{
	fprintf(out,
		"usage: mailrace-bench --vdev DEVICE --target ADDR:PORT... --backend ADDR:PORT... "
		"[options]\n"
		"  --vdev DEVICE       net_memif0,role=client,... or net_af_packet0,... or "
		"net_tap0,...\n"
		"  --target A:P        service that the clients call (up to 8)\n"
		"  --backend A:P       server that it balances over (up to 64)\n"
		"  --own4 A/L --own6 A/L   address of the port, the clients' gateway "
		"(10.99.0.1/24, fd99::1/64)\n"
		"  --clients4 P --clients6 P --client-count N   addresses of the clients "
		"(10.98.0.0/16, fd98::/64, 1000)\n"
		"  -c N                sessions at a time (64)\n"
		"  --rate N            sessions begun a second, whatever becomes of them (open "
		"loop)\n"
		"  -n N, -t S          ends after N sessions, after S seconds (-n 1000)\n"
		"  -m N, -r N          messages a session, recipients a message (1, 1)\n"
		"  -s BYTES[-BYTES]    size of a message (4096)\n"
		"  --pipelining, --bdat\n"
		"  --tls 12|13         STARTTLS with that version; --resume: with the last "
		"ticket\n"
		"  --wave N            ClientHellos that are sent together\n"
		"  --hold N            first opens N sessions that stay idle after EHLO until the "
		"end\n"
		"  --delay MS          of each reply of the backends\n"
		"  --timeout S         of each reply to a client (30)\n"
		"  --buffers N, --hugepages, --cpu N, --idle-sleep, --seed N, -o FILE (JSON)\n");
}

static bool number(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	char *end;

	*ret = strtoull(text, &end, 10);
	if (text[0] >= '0' && text[0] <= '9' && *end == '\0' && *ret >= min && *ret <= max)
		return true;
	fprintf(stderr,
		"mailrace-bench: %s: a number of %llu to %llu is wanted\n",
		text,
		(unsigned long long)min,
		(unsigned long long)max);
	return false;
}

static bool number32(const char *text, uint32_t min, uint32_t max, uint32_t *ret)
{
	uint64_t n;

	if (!number(text, min, max, &n))
		return false;
	*ret = (uint32_t)n;
	return true;
}

static bool endpoint_add(const char *text, struct ip_endpoint *list, unsigned *count, unsigned max)
{
	if (*count < max && ip_endpoint_parse(text, &list[*count]) == 0) {
		(*count)++;
		return true;
	}
	fprintf(stderr, "mailrace-bench: %s: not ADDR:PORT, or too many of them\n", text);
	return false;
}

static bool prefix(const char *text, struct ip_prefix *ret)
{
	if (ip_prefix_parse(text, ret) == 0)
		return true;
	fprintf(stderr, "mailrace-bench: %s: not ADDR/LENGTH\n", text);
	return false;
}

static bool size_range(char *text, struct options *o)
{
	char *dash = text;

	while (*dash != '\0' && *dash != '-')
		dash++;
	if (*dash == '-') {
		*dash = '\0';
		if (!number32(dash + 1, OPTIONS_SIZE_MIN, OPTIONS_SIZE_MAX, &o->size_max))
			return false;
	}
	if (!number32(text, OPTIONS_SIZE_MIN, OPTIONS_SIZE_MAX, &o->size_min))
		return false;
	if (o->size_max < o->size_min)
		o->size_max = o->size_min;
	return true;
}

enum {
	OPT_VDEV = 256,
	OPT_TARGET,
	OPT_BACKEND,
	OPT_OWN4,
	OPT_OWN6,
	OPT_CLIENTS4,
	OPT_CLIENTS6,
	OPT_CLIENT_COUNT,
	OPT_RATE,
	OPT_PIPELINING,
	OPT_BDAT,
	OPT_TLS,
	OPT_RESUME,
	OPT_WAVE,
	OPT_HOLD,
	OPT_DELAY,
	OPT_TIMEOUT,
	OPT_BUFFERS,
	OPT_HUGEPAGES,
	OPT_CPU,
	OPT_IDLE_SLEEP,
	OPT_SEED,
};

static const struct option long_options[] = {
	{"vdev", required_argument, NULL, OPT_VDEV},
	{"target", required_argument, NULL, OPT_TARGET},
	{"backend", required_argument, NULL, OPT_BACKEND},
	{"own4", required_argument, NULL, OPT_OWN4},
	{"own6", required_argument, NULL, OPT_OWN6},
	{"clients4", required_argument, NULL, OPT_CLIENTS4},
	{"clients6", required_argument, NULL, OPT_CLIENTS6},
	{"client-count", required_argument, NULL, OPT_CLIENT_COUNT},
	{"rate", required_argument, NULL, OPT_RATE},
	{"pipelining", no_argument, NULL, OPT_PIPELINING},
	{"bdat", no_argument, NULL, OPT_BDAT},
	{"tls", required_argument, NULL, OPT_TLS},
	{"resume", no_argument, NULL, OPT_RESUME},
	{"wave", required_argument, NULL, OPT_WAVE},
	{"hold", required_argument, NULL, OPT_HOLD},
	{"delay", required_argument, NULL, OPT_DELAY},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{"buffers", required_argument, NULL, OPT_BUFFERS},
	{"hugepages", no_argument, NULL, OPT_HUGEPAGES},
	{"cpu", required_argument, NULL, OPT_CPU},
	{"idle-sleep", no_argument, NULL, OPT_IDLE_SLEEP},
	{"seed", required_argument, NULL, OPT_SEED},
	{NULL, 0, NULL, 0},
};

// Where the packets go; true when the option was one of these.
static bool network_option(int c, char *arg, struct options *o, bool *ret_ok)
{
	switch (c) {
	case OPT_VDEV:
		o->vdev = arg;
		break;
	case OPT_TARGET:
		*ret_ok = endpoint_add(arg, o->target, &o->target_count, OPTIONS_TARGETS);
		break;
	case OPT_BACKEND:
		*ret_ok = endpoint_add(arg, o->backend, &o->backend_count, OPTIONS_BACKENDS);
		break;
	case OPT_OWN4:
		*ret_ok = prefix(arg, &o->own4);
		break;
	case OPT_OWN6:
		*ret_ok = prefix(arg, &o->own6);
		break;
	case OPT_CLIENTS4:
		*ret_ok = prefix(arg, &o->clients4);
		break;
	case OPT_CLIENTS6:
		*ret_ok = prefix(arg, &o->clients6);
		break;
	case OPT_CLIENT_COUNT:
		*ret_ok = number32(arg, 1, 65000, &o->client_count);
		break;
	default:
		return false;
	}
	return true;
}

// How the process runs; true when the option was one of these.
static bool process_option(int c, char *arg, struct options *o, bool *ret_ok)
{
	switch (c) {
	case OPT_BUFFERS:
		*ret_ok = number32(arg, 4096, OPTIONS_BUFFERS_MAX, &o->buffers);
		break;
	case OPT_HUGEPAGES:
		o->hugepages = true;
		break;
	case OPT_CPU:
		*ret_ok = number32(arg, 0, 1023, &o->cpu);
		break;
	case OPT_IDLE_SLEEP:
		o->idle_sleep = true;
		break;
	case OPT_SEED:
		*ret_ok = number(arg, 0, UINT64_MAX, &o->seed);
		break;
	case 'o':
		o->output = arg;
		break;
	default:
		return false;
	}
	return true;
}

static bool load_option(int c, char *arg, struct options *o)
{
	switch (c) {
	case 'c':
		return number32(arg, 0, OPTIONS_SESSIONS_MAX, &o->concurrent);
	case 'n':
		return number(arg, 1, OPTIONS_MESSAGES_MAX, &o->sessions);
	case 't':
		return number(arg, 1, 86400, &o->seconds);
	case 'm':
		return number32(arg, 1, 1000, &o->messages);
	case 'r':
		return number32(arg, 1, 100, &o->recipients);
	case 's':
		return size_range(arg, o);
	case OPT_RATE:
		return number32(arg, 1, 10000000, &o->rate);
	case OPT_PIPELINING:
		o->pipelining = true;
		return true;
	case OPT_BDAT:
		o->bdat = true;
		return true;
	case OPT_TLS:
		return number32(arg, 12, 13, &o->tls);
	case OPT_RESUME:
		o->resume = true;
		return true;
	case OPT_WAVE:
		return number32(arg, 1, OPTIONS_SESSIONS_MAX, &o->wave);
	case OPT_HOLD:
		return number32(arg, 1, OPTIONS_SESSIONS_MAX, &o->hold);
	case OPT_DELAY:
		return number32(arg, 1, 600000, &o->delay_ms);
	case OPT_TIMEOUT:
		return number32(arg, 1, 3600, &o->timeout_s);
	default:
		usage(c == 'h' ? stdout : stderr);
		return false;
	}
}

static bool complete(struct options *o)
{
	if (o->vdev == NULL || o->target_count == 0 || o->backend_count == 0) {
		fprintf(stderr, "mailrace-bench: --vdev, --target and --backend are wanted\n");
		return false;
	}
	if (o->concurrent == 0 && o->hold == 0) {
		fprintf(stderr, "mailrace-bench: -c 0 without --hold does nothing\n");
		return false;
	}
	if (o->sessions == 0 && o->seconds == 0)
		o->sessions = 1000;
	if (o->size_max < o->size_min)
		o->size_max = o->size_min;
	return true;
}

bool options_parse(int argc, char **argv, struct options *o)
{
	int c;

	*o = (struct options){
		.buffers = 32768,
		.client_count = 1000,
		.concurrent = 64,
		.messages = 1,
		.recipients = 1,
		.size_min = 4096,
		.timeout_s = 30,
		.seed = 1,
	};
	if (!prefix("10.99.0.1/24", &o->own4) || !prefix("fd99::1/64", &o->own6) ||
	    !prefix("10.98.0.0/16", &o->clients4) || !prefix("fd98::/64", &o->clients6))
		return false;
	while ((c = getopt_long(argc, argv, "c:n:t:m:r:s:o:h", long_options, NULL)) != -1) {
		bool ok = true;

		if (!network_option(c, optarg, o, &ok) && !process_option(c, optarg, o, &ok))
			ok = load_option(c, optarg, o);
		if (!ok)
			return false;
	}
	if (optind < argc) {
		usage(stderr);
		return false;
	}
	return complete(o);
}
