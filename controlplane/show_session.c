// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A session as the API shows it, see show.h.

#include <stdio.h>

#include "controlplane/json_set.h"
#include "controlplane/show.h"

static const char *client_state_name(unsigned state)
{
#define CLIENT_STATE(sym, name) name,
#define LEG_STATE(sym, name)
	static const char *const names[] = {
#include "common/abi/session_states.def"
	};
#undef CLIENT_STATE
#undef LEG_STATE

	return state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

static const char *leg_state_name(unsigned state)
{
#define CLIENT_STATE(sym, name)
#define LEG_STATE(sym, name) name,
	static const char *const names[] = {
#include "common/abi/session_states.def"
	};
#undef CLIENT_STATE
#undef LEG_STATE

	return state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

static void session_names(const struct control *c, const struct ctl_session *s, json_t *o)
{
	const struct shm_backend *b = shm_view_entry(
		&c->link.at.stats, SHM_SEC_BACKEND, 0, (s->backend_slot + 1ULL) * sizeof(*b)
	);
	const struct shm_service *v = shm_view_entry(
		&c->link.at.stats, SHM_SEC_SERVICE, 0, (s->service_slot + 1ULL) * sizeof(*v)
	);
	char text[2 * MR_NAME_LEN] = "";

	set_name(o, "virtual_service", v != NULL ? v[s->service_slot].name : "");
	if (b != NULL && s->backend_slot != 0)
		snprintf(
			text,
			sizeof(text),
			"%.63s/%.63s",
			b[s->backend_slot].pool,
			b[s->backend_slot].name
		);
	set_text(o, "backend", text);
}

json_t *show_session(const struct control *c, unsigned worker, const struct ctl_session *s)
{
	json_t *o = json_object();

	set_uint(o, "id", s->id);
	set_uint(o, "worker", worker);
	set_endpoint(o, "client", &s->client, s->client_port);
	set_endpoint(o, "local", &s->local, s->local_port);
	session_names(c, s, o);
	set_text(o, "state", client_state_name(s->state));
	set_text(o, "leg_state", leg_state_name(s->leg_state));
	set_seconds(o, "age_seconds", s->age_ms / 1e3);
	set_seconds(o, "idle_seconds", s->idle_ms / 1e3);
	set_uint(o, "messages", s->messages);
	set_uint(o, "recipients", s->recipients);
	set_uint(o, "message_bytes", s->bytes_from_client);
	return o;
}
