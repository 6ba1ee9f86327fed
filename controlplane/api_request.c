// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// One table of the API's calls, see api_request.h. Pure; no input is too strange for it.

#include "controlplane/api_request.h"

#include <string.h>

#define BACKENDS "/v1/backends/" // POOL/NAME/drain or /enable

static const struct {
	const char *method, *path;
	enum api_call call;
} calls[] = {
	{"GET", "/v1/status", API_STATUS},
	{"GET", "/v1/virtual-services", API_VIRTUAL_SERVICES},
	{"GET", "/v1/pools", API_POOLS},
	{"GET", "/v1/backends", API_BACKENDS},
	{"GET", "/v1/ports", API_PORTS},
	{"GET", "/v1/conflicts", API_CONFLICTS},
	{"GET", "/v1/certificates", API_CERTIFICATES},
	{"GET", "/v1/tarpit", API_TARPIT},
	{"GET", "/v1/workers", API_WORKERS},
	{"GET", "/v1/counters", API_COUNTERS},
	{"GET", "/v1/latency", API_LATENCY},
	{"GET", "/v1/sessions", API_SESSIONS},
	{"GET", "/v1/mail", API_MAIL},
	{"POST", "/v1/capture", API_CAPTURE},
	{"POST", "/v1/capture/stop", API_CAPTURE_STOP},
	{"POST", "/v1/transcript", API_TRANSCRIPT},
	{"POST", "/v1/check", API_CHECK},
	{"POST", "/v1/reload", API_RELOAD},
};

// A decimal number of 1 to API_SESSIONS_LIMIT_MAX and nothing else.
static bool limit_parse(const char *text, uint32_t *ret)
{
	uint32_t n = 0;

	for (unsigned i = 0; text[i] != '\0'; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		n = n * 10 + (uint32_t)(text[i] - '0');
		if (n > API_SESSIONS_LIMIT_MAX)
			return false;
	}
	*ret = n;
	return n > 0;
}

// The part up to the next slash, which may not be empty; *rest goes behind the slash.
static bool part_take(const char **rest, char ret[MR_NAME_LEN])
{
	size_t len = strcspn(*rest, "/");

	if (len == 0 || len >= MR_NAME_LEN || (*rest)[len] != '/')
		return false;
	memcpy(ret, *rest, len);
	ret[len] = '\0';
	*rest += len + 1;
	return true;
}

static enum api_call backend_parse(const char *rest, struct api_request *ret)
{
	if (!part_take(&rest, ret->pool) || !part_take(&rest, ret->name))
		return API_UNKNOWN;
	return strcmp(rest, "drain") == 0    ? API_BACKEND_DRAIN
	       : strcmp(rest, "enable") == 0 ? API_BACKEND_ENABLE
					     : API_UNKNOWN;
}

void api_request_parse(
	const char *method,
	const char *path,
	const char *limit,
	struct api_request *ret
)
{
	bool post = strcmp(method, "POST") == 0;

	*ret = (struct api_request){.limit = API_SESSIONS_LIMIT};
	for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (strcmp(path, calls[i].path) == 0)
			ret->call = strcmp(method, calls[i].method) == 0 ? calls[i].call
									 : API_BAD_METHOD;
	if (strncmp(path, BACKENDS, strlen(BACKENDS)) == 0) {
		ret->call = backend_parse(path + strlen(BACKENDS), ret);
		if (ret->call != API_UNKNOWN && !post)
			ret->call = API_BAD_METHOD;
	}
	if (ret->call == API_SESSIONS && limit != NULL && !limit_parse(limit, &ret->limit))
		ret->call = API_BAD_LIMIT;
	// who wrote to whom is for whom the files are
	ret->changes = (post && ret->call != API_CHECK) || ret->call == API_MAIL;
}
