// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Members of the views' objects, see json_set.h.

#include "controlplane/json_set.h"

#include <string.h>

#include "controlplane/control.h"

void set_uint(json_t *to, const char *key, uint64_t n)
{
	json_object_set_new(to, key, json_integer((json_int_t)n));
}

void set_text(json_t *to, const char *key, const char *text)
{
	json_object_set_new(to, key, json_string(text));
}

void set_name(json_t *to, const char *key, const char name[MR_NAME_LEN])
{
	json_object_set_new(to, key, json_stringn(name, strnlen(name, MR_NAME_LEN)));
}

void set_seconds(json_t *to, const char *key, double seconds)
{
	json_object_set_new(to, key, json_real(seconds));
}

double age(uint64_t since_ns)
{
	uint64_t now = control_clock_ns();

	return now > since_ns ? (double)(now - since_ns) / 1e9 : 0;
}

void set_endpoint(json_t *to, const char *key, const struct ip_addr *addr, uint16_t port)
{
	char text[IP_ENDPOINT_STRLEN];

	set_text(to, key, ip_endpoint_format(addr, port, text));
}
