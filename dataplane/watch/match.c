// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The filter: a segment belongs to a session as long as its connection does; before that the
// listener tells the service, after it what was remembered. Worker thread.

#include "dataplane/watch/watch_types.h"

enum match { MATCH_NO, MATCH_YES, MATCH_UNKNOWN };

static bool client_matches(const struct ctl_capture *f, const struct ip_addr *addr)
{
	const struct ip_prefix prefix = {f->client, f->client_len};

	return ip_prefix_contains(&prefix, addr);
}

static bool backend_matches(const struct ctl_capture *f, const struct ip_endpoint *at)
{
	return ip_addr_eq(&f->backend, &at->addr) &&
	       (f->backend_port == 0 || f->backend_port == at->port);
}

static enum match view_match(const struct ctl_capture *f, const struct relay_view *view)
{
	bool unknown = false;

	if (f->session != 0 && f->session != view->id)
		return MATCH_NO;
	if (f->service_slot != 0 && f->service_slot != view->service_slot)
		return MATCH_NO;
	if ((f->flags & CTL_CAPTURE_F_CLIENT) != 0) {
		if (ip_addr_is_unspecified(&view->client))
			unknown = true;
		else if (!client_matches(f, &view->client))
			return MATCH_NO;
	}
	if ((f->flags & CTL_CAPTURE_F_BACKEND) != 0) {
		if (ip_addr_is_unspecified(&view->backend.addr))
			unknown = true;
		else if (!backend_matches(f, &view->backend))
			return MATCH_NO;
	}
	return unknown ? MATCH_UNKNOWN : MATCH_YES;
}

// What matched once does so to its end, when its client may have gone.
bool watch_match_dialogue(struct watch *w, const struct relay_view *view)
{
	uint64_t *shown = &w->shown[view->id % WATCH_TUPLES];
	enum match match = view_match(&w->filter, view);

	if (match == MATCH_YES)
		*shown = view->id;
	return match == MATCH_YES || (match == MATCH_UNKNOWN && *shown == view->id);
}

static struct watch_tuple *
set_of(struct watch *w, const struct ip_endpoint *local, const struct ip_endpoint *remote)
{
	static const struct hash_key key = {0x5741544348, 1};
	uint64_t words[5];

	memcpy(words, local->addr.b, 16);
	memcpy(words + 2, remote->addr.b, 16);
	words[4] = (uint64_t)local->port << 16 | remote->port;
	return &w
			->tuple[hash_siphash13(&key, words, sizeof(words)) %
				(WATCH_TUPLES / WATCH_WAYS) * WATCH_WAYS];
}

static bool endpoint_eq(const struct ip_endpoint *a, const struct ip_endpoint *b)
{
	return a->port == b->port && ip_addr_eq(&a->addr, &b->addr);
}

static struct watch_tuple *
tuple_find(struct watch *w, const struct ip_endpoint *local, const struct ip_endpoint *remote)
{
	struct watch_tuple *set = set_of(w, local, remote);

	for (unsigned i = 0; i < WATCH_WAYS; i++)
		if (set[i].used && endpoint_eq(&set[i].local, local) &&
		    endpoint_eq(&set[i].remote, remote))
			return &set[i];
	return NULL;
}

static void tuple_keep(
	struct watch *w,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	const struct watch_owner *owner
)
{
	struct watch_tuple *t = tuple_find(w, local, remote);
	struct watch_tuple *set = set_of(w, local, remote);

	for (unsigned i = 0; t == NULL && i < WATCH_WAYS; i++)
		t = set[i].used ? NULL : &set[i];
	if (t == NULL)
		t = &set[w->tuple_next++ % WATCH_WAYS];
	*t = (struct watch_tuple){*local, *remote, *owner, true};
}

// No session: a handshake with a listener, or the end of a connection.
static enum match outside_match(
	const struct watch *w,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	struct watch_owner *ret
)
{
	const struct ctl_capture *f = &w->filter;
	uint32_t service = relay_listener_service(w->config.relay, local);

	if (f->session != 0)
		return MATCH_UNKNOWN;
	if (service == 0) {
		if ((f->flags & CTL_CAPTURE_F_CLIENT) != 0 || f->service_slot != 0)
			return MATCH_UNKNOWN;
		if ((f->flags & CTL_CAPTURE_F_BACKEND) == 0)
			return MATCH_YES; // everything
		ret->leg = CAPTURE_LEG_BACKEND;
		return backend_matches(f, remote) ? MATCH_YES : MATCH_NO;
	}
	if ((f->flags & CTL_CAPTURE_F_BACKEND) != 0)
		return MATCH_UNKNOWN;
	if ((f->service_slot != 0 && f->service_slot != service) ||
	    ((f->flags & CTL_CAPTURE_F_CLIENT) != 0 && !client_matches(f, &remote->addr)))
		return MATCH_NO;
	ret->leg = CAPTURE_LEG_CLIENT;
	return MATCH_YES;
}

bool watch_match_tuple(
	struct watch *w,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	struct watch_owner *ret
)
{
	struct watch_tuple *kept = tuple_find(w, local, remote);
	struct relay_view view;
	enum match match;
	uint32_t user;

	*ret = (struct watch_owner){0};
	if (tcp_user_find(w->config.tcp, local, remote, &user)) {
		relay_view_get(w->config.relay, user, &view);
		ret->session = view.id;
		ret->leg = view.is_leg ? CAPTURE_LEG_BACKEND : CAPTURE_LEG_CLIENT;
		match = view_match(&w->filter, &view);
		if (match == MATCH_YES)
			tuple_keep(w, local, remote, ret);
		else if (match == MATCH_NO && kept != NULL)
			kept->used = false; // the ports serve another session now
	} else {
		match = outside_match(w, local, remote, ret);
	}
	if (match == MATCH_NO || (match == MATCH_UNKNOWN && kept == NULL))
		return false;
	if (ret->session == 0 && kept != NULL)
		*ret = kept->owner;
	return true;
}

bool watch_match_addresses(const struct watch *w, const struct net_frame *frame)
{
	const struct ctl_capture *f = &w->filter;

	if (f->session != 0 || f->service_slot != 0)
		return false;
	if ((f->flags & (CTL_CAPTURE_F_CLIENT | CTL_CAPTURE_F_BACKEND)) == 0)
		return true;
	if (frame->kind == NET_FRAME_OTHER)
		return false;
	if ((f->flags & CTL_CAPTURE_F_CLIENT) != 0 && !client_matches(f, &frame->src) &&
	    !client_matches(f, &frame->dst))
		return false;
	return (f->flags & CTL_CAPTURE_F_BACKEND) == 0 || ip_addr_eq(&f->backend, &frame->src) ||
	       ip_addr_eq(&f->backend, &frame->dst);
}
