// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A session as someone who looks on sees it, see relay.h. Changes nothing. Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

void session_view_get(struct relay *r, const struct session *s, struct relay_view *ret)
{
	struct tcp_info info;

	*ret = (struct relay_view){.id = s->id, .service_slot = s->service_slot};
	if (s->client.v != 0) {
		tcp_info_get(r->tcp, s->client, &info);
		ret->client = info.remote.addr;
	}
	if (s->leg.v != 0) {
		tcp_info_get(r->tcp, s->leg, &info);
		ret->backend = info.remote;
	}
}

void relay_view_get(struct relay *r, uint32_t user, struct relay_view *ret)
{
	session_view_get(r, session_of(r, user & ~TCP_USER_LEG), ret);
	ret->is_leg = (user & TCP_USER_LEG) != 0;
}

uint32_t relay_listener_service(const struct relay *r, const struct ip_endpoint *local)
{
	const struct blob_listener *l = r->blob != NULL ? listener_at(r, local) : NULL;
	const struct blob_service *service;

	if (l == NULL)
		return 0;
	service = blob_at(r->blob, &r->blob->services, l->service, sizeof(*service));
	return service->slot;
}
