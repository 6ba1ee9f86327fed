// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The ledger's records of one worker: one for each mail that a backend answered and no other, in
// order, whole, and with a verdict for each recipient that agrees with what is counted.

#include "tests/sim/records.h"

#include <string.h>

#include "common/abi/ledger.h"
#include "common/abi/stats.h"

void records_init(struct records *r, struct capture_ring *ring)
{
	*r = (struct records){.ring = ring};
	capture_reader_resume(&r->reader, ring);
}

// Up to the end of the record, octet by octet; those accepted.
static unsigned
recipients_read(struct sim *sim, const struct ledger_mail *m, const uint8_t *at, const uint8_t *end)
{
	struct ledger_recipient rcpt;
	unsigned accepted = 0;

	for (unsigned i = 0; i < m->listed; i++) {
		if ((size_t)(end - at) < sizeof(rcpt))
			sim_fail(sim, "ledger: recipients beyond the record", m->seq, i);
		memcpy(&rcpt, at, sizeof(rcpt));
		at += sizeof(rcpt) + rcpt.len;
		accepted += (rcpt.code[0] | rcpt.code[1] << 8) / 100 == 2;
		if (at > end)
			sim_fail(sim, "ledger: an address beyond the record", m->seq, i);
	}
	if (at != end)
		sim_fail(sim, "ledger: octets behind the recipients", m->seq, (uint64_t)(end - at));
	return accepted;
}

static void record_read(struct sim *sim, struct records *r, const struct capture_record *record)
{
	uint8_t copy[LEDGER_RECORD_MAX];
	struct ledger_mail m;
	unsigned accepted;

	if (record->kind != CAPTURE_MAIL || record->bytes < sizeof(m) ||
	    record->bytes > sizeof(copy) || record->session == 0)
		sim_fail(sim, "ledger: no record of a mail", record->kind, record->bytes);
	capture_take(&r->reader, copy, record->bytes);
	memcpy(&m, copy, sizeof(m));
	if (m.seq != ++r->seq)
		sim_fail(sim, "ledger: a record is missing", m.seq, r->seq);
	r->bodies_ok += m.code / 100 == 2;
	r->bodies_refused += m.code / 100 != 2;
	if (m.code < 200 || m.code > 599 || m.accepted > m.recipients || m.listed > m.recipients)
		sim_fail(sim, "ledger: counts that cannot be", m.code, m.accepted);
	accepted = recipients_read(
		sim,
		&m,
		copy + sizeof(m) + m.helo_len + m.queue_id_len + m.message_id_len + m.from_len,
		copy + record->bytes
	);
	if ((m.flags & LEDGER_F_TO_CUT) == 0 && accepted != m.accepted)
		sim_fail(
			sim, "ledger: verdicts that differ from their count", accepted, m.accepted
		);
}

void records_check(struct sim *sim, struct records *r, const uint64_t *stats, bool on)
{
	struct capture_record record;

	while (capture_peek(&r->reader, &record)) {
		record_read(sim, r, &record);
		capture_skip(&r->reader, &record);
	}
	if (on && (r->bodies_ok != stats[STAT_SESSION_MESSAGES] ||
		   r->bodies_refused != stats[STAT_SESSION_MESSAGES_REFUSED]))
		sim_fail(
			sim,
			"ledger: not one record a mail",
			r->bodies_ok + r->bodies_refused,
			stats[STAT_SESSION_MESSAGES] + stats[STAT_SESSION_MESSAGES_REFUSED]
		);
	if (!on && r->seq != 0)
		sim_fail(sim, "ledger: a record though it is off", r->seq, 0);
}
