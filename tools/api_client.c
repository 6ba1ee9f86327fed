// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// libcurl over a UNIX socket, see api_client.h.

#include "tools/api_client.h"

#include <curl/curl.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_MAX (256U << 20)
#define WAIT_S 30L
#define WAIT_TEST_S 900L // a test mail waits for servers

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

static void curl_prepare(CURL *curl, const char *socket, const char *path, bool post)
{
	char url[2048];

	snprintf(url, sizeof(url), "http://control%s", path);
	curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http");
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	if (!post)
		return;
	curl_easy_setopt(curl, CURLOPT_POST, 1L);
	curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, 0L);
}

static void error_fill(struct api_answer *ret, CURLcode code, const char *socket)
{
	if (code == CURLE_COULDNT_CONNECT)
		snprintf(
			ret->error,
			sizeof(ret->error),
			"no control process answers at %s (or it is not for this user)",
			socket
		);
	else
		snprintf(ret->error, sizeof(ret->error), "%s", curl_easy_strerror(code));
}

int api_request(const char *socket, const char *method, const char *path, struct api_answer *ret)
{
	CURL *curl = curl_easy_init();
	struct buffer body = {0};
	CURLcode code;
	bool good = false;

	*ret = (struct api_answer){.error = "no memory"};
	if (curl == NULL)
		return -1;
	curl_prepare(curl, socket, path, strcmp(method, "POST") == 0);
	curl_easy_setopt(
		curl, CURLOPT_TIMEOUT, strstr(path, "-test?") != NULL ? WAIT_TEST_S : WAIT_S
	);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
	code = curl_easy_perform(curl);
	if (code != CURLE_OK)
		error_fill(ret, code, socket);
	else
		good = answer_parse(&body, ret);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &ret->status);
	curl_easy_cleanup(curl);
	free(body.text);
	return good ? 0 : -1;
}

struct stream {
	const struct api_stream_args *args;
	CURL *curl;
	bool stopped, begun;
	struct buffer refusal;
};

static size_t on_piece(char *data, size_t size, size_t n, void *arg)
{
	struct stream *s = arg;
	size_t len = size * n, done = 0;
	long status = 0;

	curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200)
		return on_body(data, size, n, &s->refusal);
	if (!s->begun && ftruncate(s->args->fd, 0) < 0 && errno != EINVAL) // a pipe has no length
		return 0;
	s->begun = true;
	while (done < len) {
		ssize_t w = write(s->args->fd, data + done, len - done);

		if (w <= 0)
			return 0;
		done += (size_t)w;
	}
	return len;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	struct stream *s = arg;
	struct api_answer stopped;

	int asked = s->args->times_asked(s->args->arg);

	if (asked == 0 || (s->stopped && asked == 1))
		return 0;
	if (s->stopped)
		return 1;
	s->stopped = true;
	if (api_request(s->args->socket, "POST", s->args->stop_path, &stopped) < 0)
		return 1;
	json_decref(stopped.body);
	return 0;
}

int api_stream(const struct api_stream_args *args, struct api_answer *ret)
{
	struct stream s = {.args = args, .curl = curl_easy_init()};
	CURLcode code;
	bool good = true;

	*ret = (struct api_answer){.error = "no memory"};
	if (s.curl == NULL)
		return -1;
	curl_prepare(s.curl, args->socket, args->path, true);
	curl_easy_setopt(s.curl, CURLOPT_WRITEFUNCTION, on_piece);
	curl_easy_setopt(s.curl, CURLOPT_WRITEDATA, &s);
	curl_easy_setopt(s.curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(s.curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(s.curl, CURLOPT_XFERINFODATA, &s);
	code = curl_easy_perform(s.curl);
	curl_easy_getinfo(s.curl, CURLINFO_RESPONSE_CODE, &ret->status);
	if (code != CURLE_OK) {
		error_fill(ret, code, args->socket);
		good = false;
	} else if (ret->status != 200) {
		good = answer_parse(&s.refusal, ret);
	}
	curl_easy_cleanup(s.curl);
	free(s.refusal.text);
	return good ? 0 : -1;
}
