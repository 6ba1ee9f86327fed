// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A new client: which listener and policy are its, our banner (or passthrough), and its backend leg
// opened at once. Where it comes from a network whose connections begin with a PROXY header, all
// that is for the client which that names. Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

static bool policy_can(const struct relay *r, const struct blob_policy *policy)
{
	return policy->tls_mode < BLOB_TLS_STARTTLS_OPTIONAL || policy_creds(r, policy) != NULL;
}

bool accept_syn(
	void *app,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	struct tcp_listen_info *ret
)
{
	const struct relay *r = app;
	const struct blob_listener *l = listener_at(r, local);
	const struct blob_service *service;

	if (l == NULL)
		return false;
	service = blob_at(r->blob, &r->blob->services, l->service, sizeof(*service));
	if (!policy_can(r, &service->policy))
		return false; // S1: closed until its certificates are there
	// the slot: the service's index may be another one when the handshake ends
	*ret = (struct tcp_listen_info){.cookie = service->slot,
					.rcv_window = SESSION_WINDOW_COMMAND};
	return true;
}

const struct blob_rule *
rule_for(const struct relay *r, uint32_t first, uint32_t count, const struct ip_addr *client)
{
	for (uint32_t i = 0; i < count; i++) {
		const struct blob_rule *rule =
			blob_at(r->blob, &r->blob->rules, first + i, sizeof(*rule));

		for (uint32_t k = 0; k < rule->prefix_count; k++) {
			const struct blob_prefix *p =
				blob_at(r->blob, &r->blob->prefixes, rule->prefixes + k, sizeof(*p)
				);
			struct ip_prefix prefix = {p->addr, p->len};

			if (ip_prefix_contains(&prefix, client))
				return rule;
		}
	}
	return NULL;
}

const struct blob_policy *
policy_for(const struct relay *r, const struct blob_service *service, const struct ip_addr *client)
{
	const struct blob_rule *rule = rule_for(r, service->rules, service->rule_count, client);

	return rule != NULL ? &rule->policy : &service->policy;
}

// Must a connection from there begin with a PROXY header?
static bool
wants_header(const struct relay *r, const struct blob_service *service, const struct ip_addr *peer)
{
	uint32_t first = service->rules + service->rule_count;

	return service->header_rules > 0 && rule_for(r, first, service->header_rules, peer) != NULL;
}

const struct blob_policy *session_policy(const struct relay *r, const struct session *s)
{
	const struct blob_service *service = service_at(r, s->service_slot);
	struct session_client who;

	if (service == NULL || service->rule_count == 0)
		return service != NULL ? &service->policy : NULL;
	session_client_get(r, s, &who);
	return policy_for(r, service, &who.remote.addr);
}

static void session_greet(struct relay *r, struct session *s, const struct blob_policy *policy)
{
	if (policy->tls_mode == BLOB_TLS_PASSTHROUGH) {
		s->state = RELAY_S_PASS;
		stat_inc(r->env, STAT_SESSION_PASSTHROUGH);
		return;
	}
	if (policy->tls_mode == BLOB_TLS_IMPLICIT) {
		s->state = RELAY_S_TLS;
		session_run(r, s); // the banner follows the handshake
		return;
	}
	if (wire_rx_bytes(r, wire_client(s)) > 0) {
		stat_inc(r->env, STAT_SESSION_EARLY_TALKER);
		if (policy->early_talker == BLOB_EARLY_REJECT) {
			session_close(r, s, SMTP_OWN_EARLY_TALKER);
			return;
		}
	}
	session_say(r, s, SMTP_OWN_BANNER);
	if (policy->tls_mode == BLOB_TLS_OFF)
		return;
	s->state = RELAY_S_OFFER;
	s->flags |= SESSION_F_OFFERED;
	if (policy->tls_mode == BLOB_TLS_STARTTLS_REQUIRED)
		s->flags |= SESSION_F_TLS_ONLY;
}

// Where TLS comes first there is no line to say it in: it would cost a handshake to refuse.
static void
refuse(struct relay *r, struct session *s, const struct blob_policy *policy, enum smtp_own own)
{
	if (policy->tls_mode != BLOB_TLS_IMPLICIT) {
		session_close(r, s, own);
		return;
	}
	stat_inc(r->env, smtp_own_stat(own));
	client_release(r, s);
	session_free(r, s);
}

static void welcome(struct relay *r, struct session *s, const struct blob_policy *policy)
{
	uint64_t id = s->id;

	session_greet(r, s, policy);
	if (s->id == id && s->client.v != 0 &&
	    (s->state == RELAY_S_COMMAND || s->state == RELAY_S_PASS))
		leg_open(r, s);
}

void session_welcome(struct relay *r, struct session *s)
{
	const struct blob_policy *policy = session_policy(r, s);

	if (policy == NULL || r->draining) // since it came
		session_close(r, s, SMTP_OWN_DRAIN);
	else if (!policy_can(r, policy))
		session_close(r, s, SMTP_OWN_TLS_BUSY);
	else
		welcome(r, s, policy);
}

void session_admit(struct relay *r, struct session *s)
{
	const struct blob_service *service = service_at(r, s->service_slot);
	const struct blob_policy *policy;
	struct session_client who;

	if (service == NULL) { // gone while the header was awaited
		session_close(r, s, SMTP_OWN_DRAIN);
		return;
	}
	session_client_get(r, s, &who);
	policy = policy_for(r, service, &who.remote.addr);
	s->bare_lf = policy->bare_lf;
	if (r->draining) {
		refuse(r, s, policy, SMTP_OWN_DRAIN);
		return;
	}
	if (service->sessions_per_client != 0 &&
	    !client_admit(r, s, service->sessions_per_client, &who.remote.addr)) {
		r->config.shm.services[s->service_slot].refused++;
		refuse(r, s, policy, SMTP_OWN_CLIENT_LIMIT);
		return;
	}
	if (!policy_can(r, policy)) { // that of a rule
		refuse(r, s, policy, SMTP_OWN_TLS_BUSY);
		return;
	}
	if (!stall_admit(r, s, service, &who.remote.addr))
		welcome(r, s, policy);
}

uint32_t accept_session(void *app, struct tcp_conn_id conn, uint32_t cookie)
{
	struct relay *r = app;
	const struct blob_service *service = service_at(r, cookie);
	uint32_t idx = service != NULL ? idpool_get(&r->ids) : 0;
	struct session *s = session_of(r, idx);
	uint64_t id = session_id_new(r);
	struct tcp_info info;

	if (idx == 0) {
		stat_inc(r->env, STAT_SESSION_NO_SLOT);
		return TCP_USER_REFUSE;
	}
	*s = (struct session){
		.client = conn,
		.id = id,
		.service_slot = (uint16_t)service->slot,
		.max_message_bytes = service->max_message_bytes,
		.max_recipients =
			(uint16_t)(service->max_recipients < UINT16_MAX ? service->max_recipients
									: UINT16_MAX),
		.started_ms = env_now_ms(r->env),
		.touched_ms = env_now_ms(r->env),
	};
	stat_inc(r->env, STAT_SESSION_ACCEPTED);
	r->config.shm.services[s->service_slot].active++;
	r->config.shm.services[s->service_slot].sessions++;
	tcp_info_get(r->tcp, conn, &info);
	if (wants_header(r, service, &info.remote.addr))
		s->state = RELAY_S_HEADER; // on_data goes on with it
	else
		session_admit(r, s);
	if (s->id == id)
		session_timer(r, s);
	return idx;
}
