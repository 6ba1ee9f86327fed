// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// `mailracectl check FILE`: reads the file itself, no process need run.

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "config/certs.h"
#include "config/cfg.h"
#include "tools/ctl.h"

static void check_json(const struct cfg_errors *errs, bool good)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < errs->count && i < CFG_MAX_ERRORS; i++) {
		const struct cfg_error *e = &errs->item[i];

		json_array_append_new(
			list,
			json_pack(
				"{s:s,s:s,s:i,s:s,s:s}",
				"severity",
				e->warning ? "warning" : "error",
				"file",
				e->file,
				"line",
				(int)e->line,
				"key",
				e->key,
				"reason",
				e->reason
			)
		);
	}
	list = json_pack("{s:b,s:o}", "good", good, "messages", list);
	json_print(list);
	json_decref(list);
}

int do_check(const struct options *opt, char **args)
{
	struct cfg_errors *errs = calloc(1, sizeof(*errs));
	struct cfg *cfg = errs != NULL ? cfg_load(opt->file, errs) : NULL;
	struct certs *certs = cfg != NULL ? certs_load(cfg, errs, true) : NULL;
	bool good = certs != NULL;
	char text[800];

	if (errs == NULL)
		return EX_OSERR;
	if (opt->json) {
		check_json(errs, good);
	} else {
		for (unsigned i = 0; i < errs->count && i < CFG_MAX_ERRORS; i++)
			fprintf(stderr, "%s\n", cfg_error_format(&errs->item[i], text, sizeof(text))
			);
		if (good)
			printf("%s: good\n", opt->file);
	}
	certs_free(certs);
	cfg_free(cfg);
	free(errs);
	return good ? EX_OK : EX_REFUSED;
}
