// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The views of the box, its services and workers, see show.h. What stands in the segment is read
// through checked entries.

#include "controlplane/show.h"

#include <stdio.h>
#include <unistd.h>

#include "common/abi/stats.h"
#include "controlplane/json_set.h"

static const void *array_of(const struct blob_header *blob, const struct blob_array *array)
{
	return (const uint8_t *)blob + array->off;
}

static json_t *status_dataplane(const struct control *c)
{
	const struct link *l = &c->link;
	const struct shm_header *h;
	uint64_t sessions = 0;
	json_t *o = json_object();

	json_object_set_new(o, "attached", json_boolean(link_is_open(l)));
	if (!link_is_open(l))
		return o;
	h = l->at.stats.header;
	for (uint32_t i = 0; i < l->workers; i++) {
		const struct shm_worker *w =
			shm_view_entry(&l->at.stats, SHM_SEC_WORKER, i, sizeof(*w));

		sessions += w != NULL ? w->sessions : 0;
	}
	set_uint(o, "generation", h->generation);
	json_object_set_new(o, "last_good_configuration", json_boolean(link_has_last_good(l)));
	set_seconds(o, "heartbeat_age_seconds", age(h->heartbeat_ns));
	set_uint(o, "started_unix_seconds", h->started_unix_ns / 1000000000U);
	set_uint(o, "workers", l->workers);
	set_uint(o, "sessions", sessions);
	set_uint(o, "max_sessions", h->max_sessions);
	set_uint(o, "session_bytes", h->session_bytes);
	set_uint(o, "buffers_total", h->buffers_total);
	set_uint(o, "buffers_in_use", h->buffers_in_use);
	return o;
}

static json_t *status_health(const struct control *c)
{
	const struct health_backend *b;
	uint64_t count[SHM_HEALTH_EJECTED + 1] = {0}, draining = 0;
	json_t *o = json_object();

	for (unsigned i = 0; (b = health_at(c->health, i)) != NULL; i++) {
		count[b->health]++;
		draining += b->admin == BLOB_ADMIN_DRAIN;
	}
	for (unsigned i = 0; i <= SHM_HEALTH_EJECTED; i++)
		set_uint(o, health_name((enum shm_health)i), count[i]);
	set_uint(o, "drained_by_operator", draining);
	return o;
}

json_t *show_status(const struct control *c)
{
	json_t *o = json_object(), *control = json_object();

	set_text(control, "configuration", c->cfg->path);
	set_text(control, "hostname", c->cfg->hostname);
	set_uint(control, "pid", (uint64_t)getpid());
	set_seconds(control, "uptime_seconds", age(c->started_ns));
	set_uint(control, "reloads_total", c->reloads);
	set_uint(control, "reloads_refused_total", c->reloads_refused);
	set_text(control, "last_reload_error", c->refused_reason);
	json_object_set_new(o, "control", control);
	json_object_set_new(o, "dataplane", status_dataplane(c));
	json_object_set_new(o, "backends", status_health(c));
	return o;
}

static json_t *listeners_show(const struct blob_header *blob, uint32_t service)
{
	const struct blob_listener *l = array_of(blob, &blob->listeners);
	json_t *list = json_array();
	char text[IP_ENDPOINT_STRLEN];

	for (uint32_t i = 0; i < blob->listeners.count; i++) {
		if (l[i].service == service)
			json_array_append_new(
				list, json_string(ip_endpoint_format(&l[i].addr, l[i].port, text))
			);
	}
	return list;
}

json_t *show_virtual_services(const struct control *c)
{
	const struct blob_header *blob = c->link.blob;
	const struct blob_service *service;
	const struct blob_pool *pool;
	json_t *list = json_array();

	if (!link_is_open(&c->link))
		return list;
	service = array_of(blob, &blob->services);
	pool = array_of(blob, &blob->pools);
	for (uint32_t i = 0; i < blob->services.count; i++) {
		struct shm_service_local sum = {0};
		json_t *o = json_object();

		for (uint32_t w = 0; w < c->link.workers; w++) {
			const struct shm_service_local *s =
				link_service(&c->link, w, service[i].slot);

			if (s == NULL)
				continue;
			sum.active += s->active;
			sum.sessions += s->sessions;
			sum.refused += s->refused;
			sum.messages += s->messages;
			sum.recipients += s->recipients;
			sum.bytes += s->bytes;
			sum.no_backend += s->no_backend;
		}
		set_text(o, "name", service[i].name);
		json_object_set_new(o, "listen", listeners_show(blob, i));
		set_text(o, "pool", pool[service[i].pool].name);
		set_uint(o, "sessions", sum.active);
		set_uint(o, "sessions_total", sum.sessions);
		set_uint(o, "refused_total", sum.refused);
		set_uint(o, "no_backend_total", sum.no_backend);
		set_uint(o, "messages_total", sum.messages);
		set_uint(o, "recipients_total", sum.recipients);
		set_uint(o, "message_bytes_total", sum.bytes);
		json_array_append_new(list, o);
	}
	return list;
}

json_t *show_pools(const struct control *c)
{
	const struct blob_header *blob = c->link.blob;
	const struct blob_backend *backend;
	const struct blob_pool *pool;
	json_t *list = json_array();

	if (!link_is_open(&c->link))
		return list;
	pool = array_of(blob, &blob->pools);
	backend = array_of(blob, &blob->backends);
	for (uint32_t i = 0; i < blob->pools.count; i++) {
		uint64_t active = 0, messages = 0, usable = 0;
		json_t *o = json_object();

		for (uint32_t k = 0; k < pool[i].backend_count; k++) {
			const struct blob_backend *b = &backend[pool[i].backends + k];
			const struct health_backend *h = health_at(c->health, pool[i].backends + k);
			struct shm_backend_local sum = backend_sum(&c->link, b->slot);

			active += sum.active;
			messages += sum.messages;
			usable += h != NULL && health_takes_sessions(h);
		}
		set_text(o, "name", pool[i].name);
		set_text(
			o,
			"scheduler",
			pool[i].scheduler == BLOB_SCHED_WRR ? "weighted-round-robin"
							    : "weighted-least-connections"
		);
		set_uint(o, "backends", pool[i].backend_count);
		set_uint(o, "usable", usable);
		if (pool[i].backup != 0)
			set_text(o, "backup", pool[pool[i].backup - 1].name);
		json_object_set_new(
			o, "backup_in_use", json_boolean(pool[i].backup != 0 && usable == 0)
		);
		json_object_set_new(
			o,
			"soft_bounce",
			json_boolean((pool[i].flags & BLOB_POOL_F_SOFT_BOUNCE) != 0)
		);
		set_uint(o, "connections", active);
		set_uint(o, "messages_total", messages);
		json_array_append_new(list, o);
	}
	return list;
}

static void port_link_show(const struct control *c, unsigned port, json_t *o)
{
	static const char *const spread[] = {"none", "rss", "software"};
	const struct shm_port_link *l =
		shm_view_entry(&c->link.at.stats, SHM_SEC_PORT_LINK, port, sizeof(*l));

	if (l == NULL) // of an older dataplane
		return;
	set_uint(o, "link_changes_total", l->changes);
	if (l->spread < sizeof(spread) / sizeof(spread[0]))
		set_text(o, "spread", spread[l->spread]);
}

json_t *show_ports(const struct control *c)
{
	const struct shm_port *p = NULL;
	json_t *list = json_array();

	for (unsigned i = 0; link_is_open(&c->link); i++) {
		char mac[18];
		json_t *o;

		p = shm_view_entry(&c->link.at.stats, SHM_SEC_PORT, 0, (i + 1) * sizeof(*p));
		if (p == NULL || p[i].name[0] == '\0')
			break;
		p += i;
		o = json_object();
		snprintf(
			mac,
			sizeof(mac),
			"%02x:%02x:%02x:%02x:%02x:%02x",
			p->mac[0],
			p->mac[1],
			p->mac[2],
			p->mac[3],
			p->mac[4],
			p->mac[5]
		);
		set_name(o, "name", p->name);
		set_text(o, "link", p->link_up ? "up" : "down");
		port_link_show(c, i, o);
		set_uint(o, "speed_mbps", p->speed_mbps);
		set_uint(o, "mtu", p->mtu);
		set_uint(o, "queues", p->queues);
		set_text(o, "mac", mac);
		set_uint(o, "receive_packets_total", p->rx_packets);
		set_uint(o, "receive_bytes_total", p->rx_bytes);
		set_uint(o, "receive_missed_total", p->rx_missed);
		set_uint(o, "receive_errors_total", p->rx_errors);
		set_uint(o, "receive_no_buffer_total", p->rx_nombuf);
		set_uint(o, "transmit_packets_total", p->tx_packets);
		set_uint(o, "transmit_bytes_total", p->tx_bytes);
		set_uint(o, "transmit_errors_total", p->tx_errors);
		json_array_append_new(list, o);
	}
	return list;
}

static uint64_t worker_counter(const struct link *l, uint32_t worker, uint32_t stat)
{
	const uint64_t *counter = shm_view_entry(
		&l->at.stats, SHM_SEC_COUNTERS, worker, (stat + 1) * sizeof(uint64_t)
	);

	return counter != NULL ? __atomic_load_n(&counter[stat], __ATOMIC_RELAXED) : 0;
}

json_t *show_workers(const struct control *c)
{
	const struct link *l = &c->link;
	json_t *list = json_array();

	for (uint32_t i = 0; link_is_open(l) && i < l->workers; i++) {
		const struct shm_worker *w =
			shm_view_entry(&l->at.stats, SHM_SEC_WORKER, i, sizeof(*w));
		json_t *o = json_object();

		if (w == NULL) {
			json_decref(o);
			break;
		}
		set_uint(o, "worker", i);
		set_seconds(o, "heartbeat_age_seconds", age(w->heartbeat_ns));
		set_uint(o, "generation", w->seen_generation);
		set_uint(o, "sessions", w->sessions);
		set_uint(o, "connections", w->connections);
		set_uint(o, "half_open", w->half_open);
		set_uint(o, "time_wait", w->time_wait);
		set_seconds(o, "longest_turn_seconds", w->longest_turn_us / 1e6);
		set_seconds(
			o,
			"busy_seconds_total",
			(double)worker_counter(l, i, STAT_WORKER_BUSY_NS) / 1e9
		);
		set_uint(o, "events_lost_total", w->events_lost);
		json_array_append_new(list, o);
	}
	return list;
}

json_t *show_counters(const struct control *c)
{
	const struct link *l = &c->link;
	json_t *o = json_object();

	for (uint32_t i = 0; link_is_open(l) && i < l->at.stats.header->stat_count; i++) {
		const struct shm_stat_desc *d =
			shm_view_entry(&l->at.stats, SHM_SEC_STAT_DESC, i, sizeof(*d));
		uint64_t sum = 0;
		char name[80];

		if (d == NULL)
			break;
		for (uint32_t w = 0; w <= l->workers; w++) // the last one: the main thread
			sum += worker_counter(l, w, i);
		snprintf(name, sizeof(name), "%.15s_%.47s", d->group, d->name);
		set_uint(o, name, sum);
	}
	return o;
}

json_t *show_errors(const struct cfg_errors *errs)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < errs->count && i < CFG_MAX_ERRORS; i++) {
		const struct cfg_error *e = &errs->item[i];
		json_t *o = json_object();

		set_text(o, "severity", e->warning ? "warning" : "error");
		set_text(o, "file", e->file);
		set_uint(o, "line", e->line);
		set_text(o, "key", e->key);
		set_text(o, "reason", e->reason);
		json_array_append_new(list, o);
	}
	return list;
}
