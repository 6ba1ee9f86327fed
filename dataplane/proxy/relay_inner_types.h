// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What the steps of the relay call of each other, by file in the mail's order. For this folder and
// its tests. Worker thread.

#pragma once

#include "dataplane/proxy/dialogue.h"
#include "dataplane/proxy/identity_types.h"
#include "dataplane/proxy/ledger_types.h"
#include "dataplane/proxy/scan_types.h"
#include "dataplane/proxy/shake_types.h"
#include "dataplane/proxy/stall_types.h"

// What a line read gave.
enum line_result { LINE_MORE, LINE_OK, LINE_LONG };

// clients.c
struct client_table *client_table_new(uint32_t sessions);
void client_table_free(struct client_table *t);
size_t client_table_bytes(uint32_t sessions);
uint32_t client_table_sum(const struct client_table *t); // sessions counted
// False when the client has as many sessions open as the limit allows; counts this one otherwise.
bool client_admit(struct relay *r, struct session *s, uint32_t limit, const struct ip_addr *addr);
void client_leave(struct relay *r, struct session *s);
// May the client begin a handshake, by the service's limits?
bool shake_may(
	const struct relay *r,
	const struct blob_service *service,
	const struct ip_addr *addr
);
// It does: the entry that counts it until shake_leave, 0: not counted.
uint32_t
shake_count(struct relay *r, const struct blob_service *service, const struct ip_addr *addr);
void shake_leave(struct relay *r, uint32_t *entry);

// orphan.c: the client's connection is no longer the session's.
void client_forget(struct relay *r, struct session *s);
// The same after a FIN, what it still sends is discarded; close_notify before it.
void client_release(struct relay *r, struct session *s);
// The same of one that counts among its client's sessions until its leg has left.
void client_hang_up(struct relay *r, struct session *s);
// The session is a leg without a client from here on, until its leg ends.
void orphan_count(struct relay *r, struct session *s);
// Never more of a backend's connections than a quarter of its limit.
bool may_abandon(const struct relay *r, uint32_t slot);
// Leaves a leg that is in its greet pause to itself, so that it can end politely. False: no slot.
bool leg_abandon(struct relay *r, struct session *s);
// The same of one that is greeted and owes nothing, with QUIT; without a slot a FIN must do.
void leg_part(struct relay *r, struct session *s);

// locals.c
void locals_build(struct relay *r);
const struct blob_listener *listener_at(const struct relay *r, const struct ip_endpoint *at);

// relay.c
const void *
blob_at(const struct blob_header *blob, const struct blob_array *array, uint32_t index, size_t size
);
// The service in this slot now, NULL when the configuration has it no more.
const struct blob_service *service_at(const struct relay *r, uint32_t slot);
// Likewise a backend.
const struct blob_backend *backend_at(const struct relay *r, uint32_t slot);
enum line_result
relay_line(struct relay *r, struct wire wire, uint32_t max, const char **ret, uint32_t *ret_len);
void session_touch(struct relay *r, struct session *s);
// Everything that can go on now: commands, body, replies. After each event.
void session_run(struct relay *r, struct session *s);
void session_free(struct relay *r, struct session *s);

// accept.c: two of TCP's events
bool accept_syn(
	void *app,
	const struct ip_endpoint *local,
	const struct ip_endpoint *remote,
	struct tcp_listen_info *ret
);
uint32_t accept_session(void *app, struct tcp_conn_id conn, uint32_t cookie);

// ehlo.c: for a leg that opens later
bool ehlo_init(struct relay *r);
size_t ehlo_bytes(const struct relay *r); // reserved
void ehlo_free(struct relay *r);
bool ehlo_keep(struct relay *r, struct session *s, const char *line, uint32_t len);
void ehlo_forget(struct relay *r, struct session *s);
uint32_t ehlo_line(const struct relay *r, const struct session *s, char out[EHLO_LINE_MAX]);
// Keeps any octets in its place, at most EHLO_NAME_MAX, until it is forgotten. False: no room.
bool ehlo_text_put(struct relay *r, struct session *s, const char *text, uint32_t len);
const char *ehlo_text(const struct relay *r, const struct session *s, uint32_t *ret_len);

// say.c: replies of ours
bool session_say(struct relay *r, struct session *s, enum smtp_own own); // now
void session_say_in_turn(
	struct relay *r,
	struct session *s,
	enum smtp_own own
); // after those awaited
// Says 221/421 and closes the client; the leg leaves as its state asks.
void session_close(struct relay *r, struct session *s, enum smtp_own own);
bool pending_push(struct relay *r, struct session *s, unsigned verb);
void pending_pop(struct session *s); // the oldest was answered
// Those of ours whose turn has come. False: no buffer, once more later.
bool pending_flush_own(struct relay *r, struct session *s);
// After leg_forget: the first count replies that the leg owed are ours now.
void pending_own(struct relay *r, struct session *s, enum smtp_own own, unsigned count);

// leg.c
void leg_open(struct relay *r, struct session *s);
void leg_failed(struct relay *r, struct session *s, bool refused_by_reply);
void leg_lost(struct relay *r, struct session *s);
bool awaits_reply_to(const struct session *s, enum smtp_verb verb);
// Has the body been sent whole, and is its reply awaited?
bool awaits_body_reply(const struct session *s);
void leg_eod_judge(struct relay *r, struct session *s); // the leg is given up: counts such
void leg_drop(struct relay *r, struct session *s);      // RST, counts
void leg_forget(struct relay *r, struct session *s);    // gone already
void leg_release(struct relay *r, struct session *s);   // FIN, what still comes is discarded
void leg_let_go(struct relay *r, struct session *s);    // by FIN, or inside a body by RST
void leg_leave(struct relay *r, struct session *s);     // politely, as far as the state lets
void leg_reopen(struct relay *r, struct session *s);
// Is there another backend that may be tried, and that did not fail lately?
bool leg_has_other(struct relay *r, const struct session *s);

// signal.c
void leg_judged(struct relay *r, struct session *s); // greeted: a vote that it is well
// line: a reply's last one, or NULL. SHM_SIGNALS: nothing happens.
void leg_signal(
	struct relay *r,
	struct session *s,
	enum shm_signal signal,
	const char *line,
	uint32_t len
);
// The last line of a greeting.
void banner_judge(
	struct relay *r,
	struct session *s,
	unsigned code,
	const char *line,
	uint32_t len
);
// The backend's connection ended, before leg_lost.
void leg_close_judge(struct relay *r, struct session *s, enum tcp_close_reason reason);
// The last line of a reply to a verb of the client.
void reply_judge(
	struct relay *r,
	struct session *s,
	enum smtp_verb verb,
	unsigned code,
	const char *line,
	uint32_t len
);
// A greeting or a reply to EHLO or MAIL took so long: what drift is judged by, from the client's
// network.
void reply_time_judge(struct relay *r, struct session *s, uint32_t us);
// A line without its end, printable.
void text_keep(char to[64], const char *line, uint32_t len);

// timer.c: after everything that changes who waits for whom
void session_timer(struct relay *r, struct session *s);
void session_timer_fire(void *relay, uint32_t idx); // of its wheel

// wait.c: for a connection to become free. False: not (any longer).
bool leg_wait(struct relay *r, struct session *s);
// A new session goes not before those of its service that wait already.
bool leg_wait_behind(struct relay *r, struct session *s);
void leg_wait_end(struct relay *r, struct session *s);
uint32_t leg_wait_timer_ms(const struct session *s);

// The dialogue is over: waits for the backend's FIN, then the session ends.
void leg_finish(struct relay *r, struct session *s);

// command.c, for offer.c too
bool input_over(struct relay *r, struct session *s);
bool line_swallow(struct relay *r, struct session *s);
bool line_too_long(struct relay *r, struct session *s);
bool line_is_clean(const char *line, uint32_t len);
bool line_is_quit(const char *line, uint32_t len);
bool line_unclean(struct relay *r, struct session *s, const char *line, uint32_t len);
bool command_refuse(
	struct relay *r,
	struct session *s,
	const char *line,
	uint32_t len,
	enum smtp_own own
);

// command.c, body.c, reply.c: each returns true when it made progress
bool command_step(struct relay *r, struct session *s);
bool body_step(struct relay *r, struct session *s);
bool swallow_step(struct relay *r, struct session *s);
// The leg is gone in the middle of a body: the rest is swallowed. owed: replies that were awaited,
// a chunk's own among them.
void body_lost(struct relay *r, struct session *s, enum smtp_own own, unsigned owed);
void body_refuse(struct relay *r, struct session *s, enum smtp_own own);
bool reply_step(struct relay *r, struct session *s);
// What the backend said before its reset, or broke its TLS. False: the leg is taken care of.
bool reply_last_ones(struct relay *r, struct session *s);
bool reply_read_rest(struct relay *r, struct session *s);
// hold.c: room for a whole reply, is the one at the front whole, and after it
void reply_make_room(struct relay *r, struct session *s);
enum smtp_reply_part reply_hold(struct relay *r, struct session *s);
void reply_let_go(struct relay *r, struct session *s);
// The reply of this code (0: of any) at the front, into the relay's scratch: its length once it is
// whole or broken; 0: it is not all there, and there is room for more.
uint32_t reply_collect(struct relay *r, struct session *s, unsigned code, bool *ret_ok);
// What came is no reply.
void reply_broken(struct relay *r, struct session *s);
void reply_line_take(struct relay *r, struct session *s, const char *line, uint32_t len);
// The reply to the oldest command is whole: it is answered no more, its time and code are counted.
void reply_tally(struct relay *r, struct session *s, enum smtp_verb verb, unsigned code);
// The same, and what follows from it. The session may end.
void reply_done(struct relay *r, struct session *s, unsigned code);
// The banner is whole. The session may end.
void banner_take(struct relay *r, struct session *s, unsigned code);
// Greeted, and in TLS if it is to be. False: the session has ended.
bool leg_ready(struct relay *r, struct session *s);

// view.c
void session_view_get(struct relay *r, const struct session *s, struct relay_view *ret);

// orphan.c
void client_gone(struct relay *r, struct session *s);

// probe.c
void probe_start(struct relay *r, const struct ctl_msg *msg);
uint16_t probe_flags(const struct blob_pool *pool); // of the leg, as the pool's legs have them
bool probe_step(struct relay *r, struct session *s);
void probe_end(struct relay *r, struct session *s, enum ctl_probe_result_code code);
// The stage is over, the next one begins.
void probe_stage_next(
	struct relay *r,
	struct session *s,
	uint32_t *ret_us,
	enum ctl_probe_stage stage
);
void relay_event_send(struct relay *r, struct ctl_msg *msg);
void session_report(struct relay *r, const struct session *s, uint32_t request_id);

// test_mail.c: a probe that goes on to send a mail
void test_mail_start(struct relay *r, const struct ctl_msg *msg);
void test_mail_connected(struct relay *r, struct session *s, enum ctl_probe_stage next);
// What follows the good end of a step that is no reply.
void test_mail_step(struct relay *r, struct session *s, enum ctl_probe_stage next);
bool test_mail_reply(struct relay *r, struct session *s); // false: it is over
void test_mail_end(struct relay *r, struct session *s, enum ctl_probe_result_code code);
