// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Configuration text: refused with errors that name their place, or a model whose blob passes its
// own check and does not differ from a second reading. Input: the text.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/api_request.h"
#include "tests/fuzz/conf.h"
#include "tests/fuzz/fuzz.h"

static struct cfg_errors errs;

static void errors_check(void)
{
	char text[800];

	FUZZ_CHECK(errs.errors <= errs.count);
	for (unsigned i = 0; i < errs.count && i < CFG_MAX_ERRORS; i++) {
		const struct cfg_error *e = &errs.item[i];

		FUZZ_CHECK(strnlen(e->reason, sizeof(e->reason)) < sizeof(e->reason));
		FUZZ_CHECK(strnlen(e->key, sizeof(e->key)) < sizeof(e->key));
		FUZZ_CHECK(e->reason[0] != '\0' && e->file[0] != '\0');
		cfg_error_format(e, text, sizeof(text));
		FUZZ_CHECK(strstr(text, e->file) == text);
	}
}

static void *blob_of(const struct cfg *cfg, size_t *ret_len)
{
	struct cfg_slots *slots =
		cfg_slots_new(cfg->dataplane.backend_slots, cfg->dataplane.service_slots);
	const char *reason = "";
	void *blob = NULL;
	int err;

	FUZZ_CHECK(slots != NULL);
	err = cfg_blob_build(cfg, slots, 1, &blob, ret_len, &errs);
	cfg_slots_free(slots);
	FUZZ_CHECK(err == 0); // the segment is sized from the same file
	err = blob_check(
		blob, *ret_len, cfg->dataplane.backend_slots, cfg->dataplane.service_slots, &reason
	);
	if (err != 0)
		fprintf(stderr, "our own blob: %s\n", reason);
	FUZZ_CHECK(err == 0);
	return blob;
}

// Every backend can be named to the API.
static void names_check(const struct cfg *cfg)
{
	for (unsigned i = 0; i < cfg->pool_count; i++) {
		for (unsigned k = 0; k < cfg->pools[i].backend_count; k++) {
			const char *pool = cfg->pools[i].name,
				   *name = cfg->pools[i].backends[k].name;
			char path[2 * MR_NAME_LEN + 32];
			struct api_request request;

			snprintf(path, sizeof(path), "/v1/backends/%s/%s/drain", pool, name);
			api_request_parse("POST", path, NULL, &request);
			FUZZ_CHECK(request.call == API_BACKEND_DRAIN);
			FUZZ_CHECK(strcmp(request.pool, pool) == 0);
			FUZZ_CHECK(strcmp(request.name, name) == 0);
			for (; *name != '\0'; name++)
				FUZZ_CHECK(*name > ' ' && *name <= '~' && *name != '"');
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *keys[CFG_START_ONLY_MAX], *path;
	struct cfg *cfg, *again;
	size_t len, len_again;
	void *blob, *blob_again;

	if (memmem(data, size, "@include", 8) != NULL)
		return -1; // other files are not the input's
	path = conf_path(data, size);
	cfg = cfg_load(path, &errs);
	FUZZ_CHECK((cfg == NULL) == (errs.errors > 0));
	errors_check();
	if (cfg == NULL)
		return 0;
	names_check(cfg);
	again = cfg_load(path, &errs);
	FUZZ_CHECK(again != NULL && cfg_diff_start_only(cfg, again, keys) == 0);
	blob = blob_of(cfg, &len);
	blob_again = blob_of(again, &len_again);
	FUZZ_CHECK(len == len_again && memcmp(blob, blob_again, len) == 0);
	free(blob);
	free(blob_again);
	cfg_free(again);
	cfg_free(cfg);
	return 0;
}
