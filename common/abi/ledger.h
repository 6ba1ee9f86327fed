// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What a worker tells control of each mail that a backend answered at its end of data: records
// CAPTURE_MAIL of a ring like a capture's (capture.h), one ring a worker. Lossy: a full ring, which
// is a control process that is slow or not there, loses the record and counts it, and no mail
// waits. Control goes on where its head stands in the ring, also a control process that was started
// anew; seq tells it what it has written already. Nothing of AUTH is ever in it.

#pragma once

#include <stdint.h>

#include "common/abi/capture.h"
#include "common/addr.h"

#define LEDGER_HELO_MAX 64
#define LEDGER_ADDRESS_MAX 255 // octets of one; RFC 5321 4.5.3.1.3: 256 with its angles
#define LEDGER_QUEUE_ID_MAX 100
#define LEDGER_MESSAGE_ID_MAX 128
#define LEDGER_LIST_MAX 1024 // octets of sender and recipients together

enum ledger_flag {
	LEDGER_F_ENVELOPE = 1 << 0,    // else all buffers were in use: client as far as it is still
				       // there, no addresses, no counts of recipients
	LEDGER_F_HELO_CUT = 1 << 1,    // only the head of it follows
	LEDGER_F_FROM_CUT = 1 << 2,    // likewise, or nothing: it could not be told
	LEDGER_F_TO_CUT = 1 << 3,      // recipients are left out of the list, or of one its end
	LEDGER_F_ID_CUT = 1 << 4,      // queue id or Message-ID
	LEDGER_F_FROM = 1 << 5,        // addresses = "none": neither it nor recipients
	LEDGER_F_CLIENT_GONE = 1 << 6, // it left before the reply: it will send the mail again
	LEDGER_F_SOFTENED = 1 << 7,    // the client was told 4xx (soft_bounce)
	LEDGER_F_PASSED = 1 << 8,      // mode passthrough: lines that came in parts are not kept
	LEDGER_F_FROM_EITHER = 1 << 9, // a second MAIL came before the reply to it
};

// Behind the head: HELO name, queue id, Message-ID, sender, then `listed` recipients, each of
// struct ledger_recipient and its octets.
struct ledger_mail {
	uint64_t seq; // of this worker in this run of the dataplane, from 1; one that is missing
		      // was lost
	struct ip_addr client; // unspecified: not known
	uint32_t service_slot, backend_slot;
	uint32_t bytes;                // of the message
	uint32_t session_ms, reply_us; // since the session began; from the end of data to its reply
	uint16_t code;                 // the backend's
	uint16_t enhanced[3];          // all 0: none
	uint16_t client_tls, client_suite; // version (0: none) and IANA number, when MAIL came
	uint16_t backend_tls, backend_suite;
	uint16_t recipients, accepted; // all that were asked for; of these those with 2xx
	uint16_t listed;
	uint16_t flags; // LEDGER_F_*
	uint8_t helo_len, queue_id_len, message_id_len, from_len;
};
static_assert(sizeof(struct ledger_mail) == 72, "ABI");

#define LEDGER_VERDICT_OURS 0x8000U // of Mailrace, not of the backend (C5)

struct ledger_recipient {
	uint8_t code[2]; // of the reply to RCPT, little-endian, LEDGER_VERDICT_OURS; 0: unanswered
	uint8_t len;
};

#define LEDGER_RECORD_MAX \
	(sizeof(struct ledger_mail) + LEDGER_HELO_MAX + LEDGER_QUEUE_ID_MAX + \
	 LEDGER_MESSAGE_ID_MAX + LEDGER_LIST_MAX)
static_assert(LEDGER_RECORD_MAX <= CAPTURE_SNAP_MAX, "of the ring");
