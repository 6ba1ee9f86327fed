// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// mailracectl mail: what the ledger has of mails, the newest first.

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "tools/ctl.h"
#include "tools/table.h"

#define TO_MAX 140

static const struct column mail_columns[] = {
	{"TIME", "time"},
	{"VIRTUAL-SERVICE", "virtual_service"},
	{"CLIENT", "client"},
	{"FROM", "from"},
	{"TO", "to_shown"},
	{"SIZE", "size"},
	{"BACKEND", "backend"},
	{"CODE", "code"},
	{"STATUS", "enhanced"},
	{"QUEUE-ID", "queue_id"},
	{NULL, NULL},
};

// The first recipient with its verdict, if that was none, and how many more there are.
static void to_show(json_t *mail)
{
	const json_t *to = json_object_get(mail, "to"), *first = json_array_get(to, 0);
	long long all = json_integer_value(json_object_get(mail, "recipients"));
	long long code = json_integer_value(json_object_get(first, "code"));
	const char *address = json_string_value(json_object_get(first, "address"));
	char text[TO_MAX], verdict[16] = "", more[32] = "";

	if (address == NULL)
		address = "";
	if (first != NULL && code / 100 != 2)
		snprintf(verdict, sizeof(verdict), " (%lld)", code);
	if (first != NULL ? all > 1 : all > 0)
		snprintf(
			more,
			sizeof(more),
			"%s%lld",
			first != NULL ? " +" : "",
			all - (first != NULL)
		);
	snprintf(text, sizeof(text), "%.90s%s%s", address, verdict, more);
	json_object_set_new(mail, "to_shown", json_string(text));
}

static void mails_print(json_t *answer)
{
	json_t *mails = json_object_get(answer, "mails"), *mail;
	const char *back = json_string_value(json_object_get(answer, "reaches_back_to"));
	size_t i;

	json_array_foreach(mails, i, mail)
	{
		to_show(mail);
	}
	if (json_array_size(mails) > 0)
		table_print(stdout, mails, mail_columns);
	if (json_is_true(json_object_get(answer, "truncated")))
		printf("(there are more: -n LIMIT)\n");
	printf("%zu found; the ledger reaches back to %s\n",
	       json_array_size(mails),
	       back != NULL ? back : "nothing yet");
}

int do_mail(const struct options *opt, char **args)
{
	char path[QUERY_MAX_BYTES] = "/v1/mail";
	struct api_answer a;
	int status;

	if (args[0] != NULL)
		return usage(EX_USAGE);
	query_add(path, "from", opt->from);
	query_add(path, "to", opt->to);
	query_add(path, "queue_id", opt->queue_id);
	query_add(path, "client", opt->client);
	query_add(path, "backend", opt->backend);
	query_add(path, "since", opt->since);
	query_add(path, "until", opt->until);
	query_add(path, "limit", opt->limit);
	status = ask(opt, "GET", path, &a);
	if (status != 0)
		return status;
	if (a.status != 200) {
		const char *text = json_string_value(json_object_get(a.body, "error"));

		fprintf(stderr, "mailracectl: %s\n", text != NULL ? text : "refused");
	} else if (opt->json) {
		json_print(a.body);
	} else {
		mails_print(a.body);
	}
	json_decref(a.body);
	return a.status == 200 ? EX_OK : EX_REFUSED;
}
