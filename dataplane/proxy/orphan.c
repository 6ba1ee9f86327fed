// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A client that has gone: inside a body its leg is reset (C16); otherwise the leg is kept until
// what it owes has been read, then left with QUIT, so that no backend ever sees us leave under a
// tarpit (Z5). Worker thread.

#include "dataplane/proxy/session_types.h"

void client_gone(struct relay *r, struct session *s)
{
	if ((s->flags & (SESSION_F_SAID_QUIT | SESSION_F_CLOSING)) == 0)
		stat_inc(r->env, STAT_SESSION_CLIENT_GONE);
	if (s->state == RELAY_S_DATA || s->state == RELAY_S_BDAT)
		stat_inc(r->env, STAT_SESSION_CLIENT_GONE_IN_BODY);
	leg_leave(r, s);
	if (s->leg.v == 0)
		session_free(r, s);
}
