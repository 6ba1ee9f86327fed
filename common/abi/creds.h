// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The bundle of credentials that goes with a generation: certificates, private keys, CAs and how
// they are used, made by whoever read the files (config/certs.c). Control hands it over as a sealed
// memfd (sock.h); it is tied to its generation by the digest in the blob, never stands in the
// shared segments and is never written to a disk. Offsets from its start, fixed widths, no
// pointers; the dataplane copies it, then checks the copy (config/creds_check.c). Texts are PEM
// with their final NUL.

#pragma once

#include <stdint.h>

#include "common/abi/blob.h"

#define CREDS_MAGIC 0x44524332U // "2CRD"
#define CREDS_MAX_BYTES (16U << 20)
#define CREDS_MAX_CERTS 256    // certificates
#define CREDS_MAX_SETS 256     // credentials of servers, and as many of clients
#define CREDS_MAX_OF_SERVER 16 // certificates of one service
#define CREDS_MAX_CHAIN (256U << 10)
#define CREDS_MAX_KEY (64U << 10)
#define CREDS_MAX_CA (1U << 20)
#define CREDS_MAX_PARSED \
	(4U << 20) // of texts, as often as they are used: each worker parses so much
#define CREDS_PIN_LEN 32
#define CREDS_TICKET_SECRET_LEN 32
#define CREDS_ROTATION_MIN_S 10
#define CREDS_ROTATION_MAX_S 86400

// The same numbers as tls/hs.h.
enum creds_client_auth { CREDS_AUTH_NONE = 0, CREDS_AUTH_REQUEST = 1, CREDS_AUTH_REQUIRE = 2 };
enum creds_verify {
	CREDS_VERIFY_NONE = 0,
	CREDS_VERIFY_CA = 1,
	CREDS_VERIFY_NAME = 2,
	CREDS_VERIFY_PIN = 3,
};

// How session tickets are made (docs/decisions/0014).
struct creds_tickets {
	uint32_t rotation_s; // a key seals so long, and opens as long again
	uint32_t shared;     // 1: keys are made of the secret, 0: by each dataplane for itself
	uint8_t secret[CREDS_TICKET_SECRET_LEN];
};
static_assert(sizeof(struct creds_tickets) == 40, "ABI");

struct creds_header {
	uint32_t magic;
	uint32_t length; // whole bundle
	struct creds_tickets tickets;
	struct blob_array certs;   // struct creds_cert
	struct blob_array refs;    // uint32_t: indices into certs
	struct blob_array servers; // struct creds_server
	struct blob_array clients; // struct creds_client
};
static_assert(sizeof(struct creds_header) == 8 + 40 + 4 * 8, "ABI");

struct creds_text {
	uint32_t off;
	uint32_t len; // NUL counted; 0: none
};

struct creds_cert {
	char name[MR_NAME_LEN];
	int64_t not_after; // seconds since 1970
	struct creds_text chain, key;
};
static_assert(sizeof(struct creds_cert) == 64 + 8 + 16, "ABI");

struct creds_server {
	uint32_t refs, ref_count; // at least one
	struct creds_text ca;     // of clients
	uint32_t client_auth;     // enum creds_client_auth
	uint32_t tickets;         // 1: sessions may be resumed
};
static_assert(sizeof(struct creds_server) == 24, "ABI");

struct creds_client {
	uint32_t verify; // enum creds_verify
	uint32_t cert;   // 1 + index into certs: what we show; 0: nothing
	struct creds_text ca;
	uint8_t pin[CREDS_PIN_LEN]; // SHA-256 of the backend's SubjectPublicKeyInfo
	char name[256];             // that the backend must have; empty: its own of the generation
};
static_assert(sizeof(struct creds_client) == 16 + 32 + 256, "ABI");
