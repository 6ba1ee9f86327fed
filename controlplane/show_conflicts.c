// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The view of our addresses that other stations have or claim, see show.h.

#include <stdio.h>

#include "controlplane/json_set.h"
#include "controlplane/show.h"

static const char *state_text(uint8_t state)
{
	switch (state) {
	case SHM_CONFLICT_OFF:
		return "off";
	case SHM_CONFLICT_DEFENDED:
		return "defended";
	case SHM_CONFLICT_OVER:
		return "over";
	default:
		return "unknown";
	}
}

json_t *show_conflicts(const struct control *c)
{
	const struct shm_view *stats = &c->link.at.stats;
	json_t *list = json_array();

	for (size_t i = 0; link_is_open(&c->link) && i < SHM_CONFLICTS; i++) {
		const struct shm_conflict *from =
			shm_view_entry(stats, SHM_SEC_CONFLICT, 0, (i + 1) * sizeof(*from));
		char text[IP_ADDR_STRLEN];
		struct shm_conflict e;
		json_t *o;

		if (from == NULL)
			break; // an older dataplane
		e = from[i];
		if (e.state == SHM_CONFLICT_NONE)
			break;
		o = json_object();
		set_text(o, "address", ip_addr_format(&e.addr, text));
		set_uint(o, "port", e.port);
		set_text(o, "state", state_text(e.state));
		snprintf(
			text,
			sizeof(text),
			"%02x:%02x:%02x:%02x:%02x:%02x",
			e.mac[0],
			e.mac[1],
			e.mac[2],
			e.mac[3],
			e.mac[4],
			e.mac[5]
		);
		set_text(o, "mac", text);
		set_uint(o, "heard_total", e.times);
		set_seconds(o, "age_seconds", age(e.last_ns));
		json_array_append_new(list, o);
	}
	return list;
}
