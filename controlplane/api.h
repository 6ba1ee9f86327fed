// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// HTTP/JSON on a UNIX socket (docs/api.md). Who may look and who may change things is told by the
// peer's credentials. Main thread of control, never blocks.

#pragma once

#include "controlplane/control.h"

struct api;

// Listens at the configuration's control.socket. NULL and a reason.
struct api *api_open(struct control *c, const char **ret_reason);
void api_close(struct api *api);
int api_fd(const struct api *api);             // readable when there is work
int api_wait_ms(struct api *api, int at_most); // until there may be work besides
void api_run(struct api *api);
// An event of a worker that belongs to a session list; up is the api.
void api_event(void *up, const struct ctl_msg *msg);
