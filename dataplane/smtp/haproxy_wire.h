// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Numbers of the PROXY protocol's version 2, as they stand on the wire. For haproxy_*.c and their
// tests.

#pragma once

#include <stdint.h>

#define HAPROXY_SIGNATURE 12
#define HAPROXY_HEAD 16 // signature, command, family, length
#define HAPROXY_TLV_HEAD 3
#define HAPROXY_LOCAL 0x20
#define HAPROXY_PROXY 0x21
#define HAPROXY_UNSPEC 0x00
#define HAPROXY_TCP4 0x11
#define HAPROXY_TCP6 0x21

enum haproxy_tlv {
	HAPROXY_TLV_AUTHORITY = 0x02,
	HAPROXY_TLV_CRC32C = 0x03,
	HAPROXY_TLV_UNIQUE_ID = 0x05,
	HAPROXY_TLV_SSL = 0x20,
	HAPROXY_TLV_SSL_VERSION = 0x21, // these inside of it
	HAPROXY_TLV_SSL_CIPHER = 0x23,
};

enum { // in an SSL TLV
	HAPROXY_SSL = 0x01,
	HAPROXY_SSL_CERT_CONN = 0x02,
	HAPROXY_SSL_CERT_SESS = 0x04,
};

extern const uint8_t haproxy_signature[HAPROXY_SIGNATURE];
