// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What workers tell of backends that do what none should: into the log, with the session, at most
// once in ten seconds a backend. Main thread of control.

#include <string.h>

#include "common/log.h"
#include "controlplane/health.h"

#define LOG_NS 10000000000ULL

static struct health_backend *backend_in(struct health *h, uint32_t slot)
{
	struct health_backend *b = NULL;

	for (unsigned i = 0; (b = health_at(h, i)) != NULL; i++)
		if (b->slot == slot)
			return b;
	return NULL;
}

static const char *kind_words(uint32_t kind)
{
	return kind == CTL_ALARM_DESYNC
		       ? "desync: a reply without a command; both connections were closed"
	       : kind == CTL_ALARM_INJECTION
		       ? "injection: octets behind its reply to STARTTLS; the connection was left"
	       : kind == CTL_ALARM_XCLIENT
		       ? "XCLIENT is not offered to us, or refused; the connection was left"
		       : NULL;
}

void health_alarm(struct health *h, const struct ctl_msg *msg, uint64_t now_ns)
{
	struct ctl_alarm a = msg->alarm;
	struct health_backend *b = backend_in(h, a.backend_slot);
	char client[IP_ADDR_STRLEN] = "a client that has gone";

	if (b == NULL || kind_words(a.kind) == NULL)
		return;
	if (b->alarm_log_ns != 0 && now_ns - b->alarm_log_ns < LOG_NS) {
		b->alarms++;
		return;
	}
	if (!ip_addr_is_unspecified(&a.client))
		ip_addr_format(&a.client, client);
	a.text[sizeof(a.text) - 1] = '\0';
	for (char *p = a.text; *p != '\0'; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	log_line(
		LOG_WARNING,
		"backend %s/%s: %s (session %llu of %s, %u more not logged since the last)%s%s",
		b->pool,
		b->name,
		kind_words(a.kind),
		(unsigned long long)a.session,
		client,
		b->alarms,
		a.text[0] != '\0' ? ": " : "",
		a.text
	);
	b->alarm_log_ns = now_ns;
	b->alarms = 0;
}
