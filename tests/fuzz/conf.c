// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Configuration text in memory, see conf.h.

#include "tests/fuzz/conf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

static const char small_conf[] =
	"hostname = \"mail.example.com\";\n"
	"ports = { lan = { device = \"net_tap0,iface=mr0\"; addresses = [ \"10.0.0.1/24\" ]; }; "
	"};\n"
	"networks = { printers = [ \"10.30.0.0/16\", \"2001:db8:7::/48\" ]; };\n"
	"source_addresses = { out = [ \"10.0.0.21\", \"2001:db8::21\" ]; };\n"
	"pools = {\n"
	"  mail = { source = \"out\"; backends = (\n"
	"    { name = \"mx1\"; address = \"10.0.0.51:25\"; },\n"
	"    { name = \"mx2\"; address = \"[2001:db8::52]:25\"; weight = 7; } ); };\n"
	"  other = { scheduler = \"weighted-round-robin\"; backends = (\n"
	"    { name = \"mx3\"; address = \"10.0.0.53:25\"; drain = true; } ); };\n"
	"};\n"
	"virtual_services = {\n"
	"  in = { listen = [ \"10.0.0.25:25\", \"[2001:db8::25]:25\" ]; pool = \"mail\";\n"
	"    rules = ( { from = \"printers\"; bare_lf = \"restuff\"; source = \"out\"; } ); };\n"
	"  sub = { listen = [ \"10.0.0.25:587\" ]; pool = \"other\"; };\n"
	"};\n";

const char *conf_path(const void *text, size_t len)
{
	static char path[40];
	static int fd = -1;

	if (fd < 0)
		fd = memfd_create("mailrace.conf", 0);
	if (fd < 0 || ftruncate(fd, 0) < 0 || pwrite(fd, text, len, 0) != (ssize_t)len)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return path;
}

struct blob_header *conf_blob(size_t *ret_len)
{
	static struct cfg_errors errs;
	struct cfg *cfg = cfg_load(conf_path(small_conf, sizeof(small_conf) - 1), &errs);
	struct cfg_slots *slots = cfg_slots_new(CONF_SLOTS, CONF_SLOTS);
	void *blob = NULL;

	FUZZ_CHECK(cfg != NULL && slots != NULL);
	FUZZ_CHECK(cfg_blob_build(cfg, slots, 7, &blob, ret_len, &errs) == 0);
	cfg_slots_free(slots);
	cfg_free(cfg);
	return blob;
}
