// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// libcurl over a UNIX socket, see api_client.h.

#include "tools/api_client.h"

#include <curl/curl.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX (256U << 20)
#define WAIT_S 30L

struct buffer {
	char *text;
	size_t len;
};

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct buffer *b = arg;
	size_t len = size * n;
	char *text;

	if (b->len + len > ANSWER_MAX)
		return 0;
	text = realloc(b->text, b->len + len + 1);
	if (text == NULL)
		return 0;
	memcpy(text + b->len, data, len);
	b->text = text;
	b->len += len;
	return len;
}

static bool answer_parse(const struct buffer *body, struct api_answer *ret)
{
	json_error_t error;

	ret->body = body->text != NULL ? json_loadb(body->text, body->len, 0, &error) : NULL;
	if (ret->body == NULL)
		snprintf(ret->error, sizeof(ret->error), "the answer is not JSON");
	return ret->body != NULL;
}

int api_request(const char *socket, const char *method, const char *path, struct api_answer *ret)
{
	CURL *curl = curl_easy_init();
	struct buffer body = {0};
	char url[512];
	CURLcode code;
	bool good = false;

	*ret = (struct api_answer){.error = "no memory"};
	if (curl == NULL)
		return -1;
	snprintf(url, sizeof(url), "http://control%s", path);
	curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, WAIT_S);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	if (strcmp(method, "POST") == 0) {
		curl_easy_setopt(curl, CURLOPT_POST, 1L);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, 0L);
	}
	code = curl_easy_perform(curl);
	if (code == CURLE_COULDNT_CONNECT)
		snprintf(
			ret->error,
			sizeof(ret->error),
			"no control process answers at %s (or it is not for this user)",
			socket
		);
	else if (code != CURLE_OK)
		snprintf(ret->error, sizeof(ret->error), "%s", curl_easy_strerror(code));
	else
		good = answer_parse(&body, ret);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &ret->status);
	curl_easy_cleanup(curl);
	free(body.text);
	return good ? 0 : -1;
}
