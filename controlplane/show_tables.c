// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Rows of the tables that workers send, see inquiry.h.

#include <stdio.h>

#include "controlplane/inquiry.h"
#include "controlplane/json_set.h"

#define BITS_V4 96 // of the 128-bit form before an IPv4 address

static void set_port(json_t *o, const struct control *c, unsigned port)
{
	const struct shm_port *p =
		shm_view_entry(&c->link.at.stats, SHM_SEC_PORT, 0, (port + 1ULL) * sizeof(*p));

	set_text(o, "port", p != NULL ? p[port].name : "");
}

static void set_addr(json_t *o, const char *key, const struct ip_addr *addr)
{
	char text[IP_ADDR_STRLEN];

	set_text(o, key, ip_addr_is_unspecified(addr) ? "" : ip_addr_format(addr, text));
}

json_t *show_neighbor(const struct control *c, const struct ctl_neighbor *n)
{
	static const char *const states[] = {"incomplete", "reachable", "stale", "probe"};
	json_t *o = json_object();
	char mac[18];

	snprintf(
		mac,
		sizeof(mac),
		"%02x:%02x:%02x:%02x:%02x:%02x",
		n->mac[0],
		n->mac[1],
		n->mac[2],
		n->mac[3],
		n->mac[4],
		n->mac[5]
	);
	set_addr(o, "address", &n->addr);
	set_port(o, c, n->port);
	set_text(o, "mac", n->state == CTL_NEIGHBOR_INCOMPLETE ? "" : mac);
	set_text(o, "state", n->state < 4 ? states[n->state] : "unknown");
	set_seconds(o, "age_seconds", n->age_ms / 1e3);
	return o;
}

json_t *show_route(const struct control *c, const struct ctl_route *r)
{
	json_t *o = json_object();
	char addr[IP_ADDR_STRLEN], text[IP_ADDR_STRLEN + 5];
	struct ip_addr network = r->prefix;
	bool v4 = ip_addr_is_v4(&r->prefix);
	unsigned len = r->len <= 128 ? r->len : 128;

	for (unsigned bit = len; bit < 128; bit++)
		network.b[bit / 8] &= (uint8_t)~(0x80U >> bit % 8);
	ip_addr_format(&network, addr);
	snprintf(text, sizeof(text), "%s/%u", addr, v4 && len >= BITS_V4 ? len - BITS_V4 : len);
	set_text(o, "destination", text);
	set_addr(o, "gateway", &r->next_hop);
	set_port(o, c, r->port);
	set_addr(o, "source", &r->source);
	set_uint(o, "mtu", r->mtu);
	return o;
}

static const char *leg_name(unsigned leg)
{
	return leg == CAPTURE_LEG_CLIENT ? "client" : "backend";
}

json_t *show_connection(const struct ctl_connection *n)
{
	char state[sizeof(n->state)];
	json_t *o = json_object();

	snprintf(state, sizeof(state), "%.15s", n->state);
	set_text(o, "leg", leg_name(n->leg));
	set_text(o, "state", state);
	set_endpoint(o, "local", &n->local, n->local_port);
	set_endpoint(o, "remote", &n->remote, n->remote_port);
	set_seconds(o, "smoothed_rtt_seconds", n->srtt_us / 1e6);
	set_seconds(o, "retransmission_timeout_seconds", n->rto_ms / 1e3);
	set_uint(o, "congestion_window_bytes", n->cwnd_bytes);
	set_uint(o, "send_window_bytes", n->snd_wnd);
	set_uint(o, "receive_window_bytes", n->rcv_wnd);
	set_uint(o, "mss_bytes", n->mss);
	set_uint(o, "received_bytes", n->received_bytes);
	set_uint(o, "unacknowledged_bytes", n->unacknowledged_bytes);
	return o;
}

const char *show_suite(uint16_t suite)
{
	static const struct {
		uint16_t number;
		const char *name; // IANA's
	} names[] = {
		{0x1301, "TLS_AES_128_GCM_SHA256"},
		{0x1302, "TLS_AES_256_GCM_SHA384"},
		{0x1303, "TLS_CHACHA20_POLY1305_SHA256"},
		{0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"},
		{0xc02c, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"},
		{0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"},
		{0xc030, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"},
		{0xcca8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"},
		{0xcca9, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"},
	};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].number == suite)
			return names[i].name;
	return "unknown";
}

void show_tls(json_t *o, const struct ctl_tls *t)
{
	static const char *const groups[] = {"unknown", "X25519", "P-256", "P-384"};
	char name[sizeof(t->name)];

	if (o == NULL)
		return;
	if (t->shaking != 0) {
		set_text(o, "tls", "handshake");
		return;
	}
	set_text(o, "tls", t->version == 0x0304 ? "1.3" : t->version == 0x0303 ? "1.2" : "unknown");
	set_text(o, "tls_suite", show_suite(t->suite));
	set_text(o, "tls_group", groups[t->group <= CTL_TLS_GROUP_P384 ? t->group : 0]);
	if (t->leg == CAPTURE_LEG_CLIENT)
		json_object_set_new(o, "server_name_known", json_boolean(t->known != 0));
	snprintf(name, sizeof(name), "%.95s", t->name);
	for (char *p = name; *p != '\0'; p++)
		if (*p < '!' || *p > '~') // what a client said
			*p = '?';
	if (name[0] != '\0')
		set_text(o, "server_name", name);
}

json_t *show_trace(const struct ctl_trace *t)
{
	char what[sizeof(t->what)], state[sizeof(t->state)];
	json_t *o = json_object();

	snprintf(what, sizeof(what), "%.15s", t->what);
	snprintf(state, sizeof(state), "%.15s", t->state);
	set_text(o, "leg", leg_name(t->leg));
	set_text(o, "what", what);
	set_text(o, "state", state);
	set_seconds(o, "age_seconds", t->age_ms / 1e3);
	set_uint(o, "sequence", t->seq);
	return o;
}

static json_t *memory_row(const char *what, const char *where, uint64_t used, uint64_t limit)
{
	json_t *o = json_object();

	set_text(o, "what", what);
	set_text(o, "where", where);
	set_uint(o, "used", used);
	set_uint(o, "limit", limit);
	return o;
}

json_t *show_memory(unsigned worker, const struct ctl_memory *m)
{
	char what[sizeof(m->name)], where[32];
	json_t *o;

	snprintf(what, sizeof(what), "%.31s", m->name);
	snprintf(where, sizeof(where), "worker %u", worker);
	o = memory_row(what, where, m->used, m->limit);
	set_uint(o, "object_bytes", m->object_bytes);
	set_uint(o, "bytes", m->limit * m->object_bytes);
	return o;
}

void show_memory_shared(const struct control *c, json_t *list)
{
	const struct shm_header *h;
	json_t *o;

	if (!link_is_open(&c->link))
		return;
	h = c->link.at.stats.header;
	json_array_append_new(
		list, memory_row("packet-buffers", "all", h->buffers_in_use, h->buffers_total)
	);
	o = memory_row("statistics", "shared", c->link.at.stats.size, c->link.at.stats.size);
	set_uint(o, "object_bytes", 1);
	set_uint(o, "bytes", c->link.at.stats.size);
	json_array_append_new(list, o);
	o = memory_row("control", "shared", c->link.at.control.size, c->link.at.control.size);
	set_uint(o, "object_bytes", 1);
	set_uint(o, "bytes", c->link.at.control.size);
	json_array_append_new(list, o);
	o = memory_row("configuration", "generation", c->link.blob->length, BLOB_MAX_BYTES);
	set_uint(o, "object_bytes", 1);
	set_uint(o, "bytes", c->link.blob->length);
	json_array_append_new(list, o);
}
