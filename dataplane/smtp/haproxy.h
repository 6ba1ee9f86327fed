// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The PROXY protocol of HAProxy, versions 1 and 2 (its doc/proxy-protocol.txt): what stands before
// a dialogue and says who the client is. Pure functions.

#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/addr.h"

#define HAPROXY_V1_MAX 107  // CRLF included
#define HAPROXY_IN_MAX 4096 // of version 2 that we read, TLVs included
#define HAPROXY_OUT_MAX 448 // of any header that we write: less than any MSS
#define HAPROXY_NAME_MAX 255
#define HAPROXY_ID_MAX 32

// What a header says. Texts end in NUL and are not NULL; empty: left out.
struct haproxy_facts {
	struct ip_endpoint client, local; // local: where it connected
	const char *authority;            // the name it asked for in TLS
	const char *unique_id;
	bool tls;                            // it is in TLS, and the rest is of that
	bool certificate, resumed, verified; // of the client: shown now or in the session resumed
	const char *version, *cipher;
};

// Each returns the length.
uint32_t haproxy_write_v1(const struct haproxy_facts *facts, char out[HAPROXY_OUT_MAX]);
// With CRC32c.
uint32_t haproxy_write_v2(const struct haproxy_facts *facts, uint8_t out[HAPROXY_OUT_MAX]);
// Of a connection for no client.
uint32_t haproxy_write_local(uint8_t out[HAPROXY_OUT_MAX]);

enum haproxy_result {
	HAPROXY_MORE,      // not whole yet
	HAPROXY_NAMED,     // client and local are set
	HAPROXY_UNNAMED,   // LOCAL, UNKNOWN: the connection is its own
	HAPROXY_NONE,      // these octets are no header
	HAPROXY_MALFORMED, // they begin like one
	HAPROXY_LONG,
	HAPROXY_CHECKSUM,
	HAPROXY_FAMILY, // of no TCP connection
};
struct haproxy_header {
	struct ip_endpoint client, local;
	uint32_t len; // octets of it, where it is NAMED or UNNAMED
	uint8_t version;
};
// The header at the front of what came, as strictly as its document; what the TLVs say is not
// taken over, but a wrong CRC32c is seen. Never looks beyond len.
enum haproxy_result haproxy_read(const uint8_t *data, uint32_t len, struct haproxy_header *ret);

// CRC32c (RFC 4960 appendix B), from 0 on.
uint32_t haproxy_crc32c(uint32_t crc, const void *data, uint32_t len);
