// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What the files of the API share; for controlplane/api*.c only.

#pragma once

#include <microhttpd.h>

#include <jansson.h>

#include "controlplane/api.h"
#include "controlplane/inquiry.h"
#include "controlplane/sessions.h"
#include "controlplane/stream.h"

struct api {
	struct control *control;
	struct MHD_Daemon *daemon;
	int listen_fd, epoll_fd;
	gid_t read_group, admin_group;
	struct sessions sessions;
	struct inquiries inquiries;
	struct stream stream;
	struct MHD_Connection *stream_connection; // of its reader
	int stream_fd;
	bool stream_suspended, stream_gone; // until there is something to send; the reader is
	size_t stream_off, stream_len;      // of what was read and is not sent
	char stream_out[STREAM_BLOCK];
	char path[108];
};

// One request, from its first line to its answer.
struct request {
	size_t body;
	struct session_list *list;
	struct inquiry *inquiry;
	struct stream *stream;
};

// api.c: o is taken.
enum MHD_Result api_send(struct MHD_Connection *connection, unsigned status, json_t *o);
enum MHD_Result
api_send_error(struct MHD_Connection *connection, unsigned status, const char *text);

// api_inquiry.c: questions to the workers. *ret_known: this was one.
enum MHD_Result api_inquiry_answer(
	struct api *api,
	struct MHD_Connection *connection,
	struct request *req,
	const char *method,
	const char *url,
	bool *ret_known
);
void api_inquiry_run(struct api *api, bool all); // all: before the daemon stops

// api_mail.c: the ledger.
enum MHD_Result api_mail_answer(struct api *api, struct MHD_Connection *connection);

// api_stream.c: captures and transcripts.
enum MHD_Result api_stream_answer(
	struct api *api,
	struct MHD_Connection *connection,
	struct request *req,
	bool dialogue
);
enum MHD_Result api_stream_stop(struct api *api, struct MHD_Connection *connection);
void api_stream_run(struct api *api);
void api_stream_resume(struct api *api); // before the daemon stops
