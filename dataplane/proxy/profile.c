// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What each backend was seen to advertise lately, for the EHLO that is answered before any of them
// has been asked (design: section A, profiles): only what all backends of the service's pool say is
// shown, and where one is not known yet only what we do ourselves. Worker thread.

#include "dataplane/proxy/relay_inner_types.h"

#include <stdio.h>
#include <stdlib.h>

#define STALE_MS 1800000U
#define BACKENDS_MAX 256 // looked at for one EHLO

struct profile {
	uint32_t caps;
	uint32_t learned_ms;
	bool known;
};

struct profile *profiles_new(uint32_t backends)
{
	return calloc(backends, sizeof(struct profile));
}

void profile_learn(struct relay *r, const struct session *s)
{
	r->profile[s->backend_slot] = (struct profile){
		.caps = s->caps,
		.learned_ms = env_now_ms(r->env),
		.known = true,
	};
}

static uint32_t profile_caps(const struct relay *r, const struct session *s)
{
	const struct blob_service *service = service_at(r, s->service_slot);
	uint32_t caps = UINT32_MAX;
	const struct blob_pool *pool;

	if (service == NULL)
		return 0;
	pool = blob_at(r->blob, &r->blob->pools, service->pool, sizeof(*pool));
	if (pool->backend_count == 0 || pool->backend_count > BACKENDS_MAX)
		return 0;
	for (uint32_t i = 0; i < pool->backend_count && caps != 0; i++) {
		const struct blob_backend *b =
			blob_at(r->blob, &r->blob->backends, pool->backends + i, sizeof(*b));
		const struct profile *p = &r->profile[b->slot];

		if (!p->known || env_now_ms(r->env) - p->learned_ms > STALE_MS)
			return 0;
		caps &= p->caps;
	}
	return caps;
}

uint32_t profile_ehlo(const struct relay *r, const struct session *s, char *out, uint32_t room)
{
	uint32_t caps = profile_caps(r, s);
	char size[32] = "";

	if ((caps & SMTP_CAP_SIZE) != 0 && s->max_message_bytes != 0)
		snprintf(size, sizeof(size), "250-SIZE %u\r\n", s->max_message_bytes);
	else if ((caps & SMTP_CAP_SIZE) != 0)
		snprintf(size, sizeof(size), "250-SIZE\r\n");
	return (uint32_t)snprintf(
		out,
		room,
		"250-%s\r\n250-PIPELINING\r\n%s%s%s%s%s%s250-ENHANCEDSTATUSCODES\r\n250 "
		"STARTTLS\r\n",
		r->blob->hostname,
		size,
		(caps & SMTP_CAP_8BITMIME) != 0 ? "250-8BITMIME\r\n" : "",
		(caps & SMTP_CAP_SMTPUTF8) != 0 ? "250-SMTPUTF8\r\n" : "",
		(caps & SMTP_CAP_DSN) != 0 ? "250-DSN\r\n" : "",
		(caps & SMTP_CAP_CHUNKING) != 0 ? "250-CHUNKING\r\n" : "",
		(caps & SMTP_CAP_CHUNKING) != 0 && (caps & SMTP_CAP_BINARYMIME) != 0
			? "250-BINARYMIME\r\n"
			: ""
	);
}
