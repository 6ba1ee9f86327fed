// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// See journal_rig.h.

#include "tests/unit/controlplane/journal_rig.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct rig rig;

// A control segment with nothing but the rings.
static void segment_make(void)
{
	size_t head = 4096, stride = (sizeof(struct capture_ring) + 63) / 64 * 64;
	struct shm_header *h;

	rig.segment = aligned_alloc(4096, (head + WORKERS * stride + 4095) / 4096 * 4096);
	assert_non_null(rig.segment);
	memset(rig.segment, 0, head + WORKERS * stride);
	h = (struct shm_header *)rig.segment;
	h->size = head + WORKERS * stride;
	h->workers = WORKERS;
	h->dir[0] = (struct shm_dir_entry){SHM_SEC_LEDGER_RING, WORKERS, head, stride};
	rig.link = (struct link){.workers = WORKERS};
	rig.link.at.control.base = rig.segment;
	rig.link.at.control.size = h->size;
	rig.link.at.control.header = h;
	rig.link.at.stats = rig.link.at.control; // no names in it
	rig.link.at.boot_id = 0x1234abcd;
	for (unsigned i = 0; i < WORKERS; i++) {
		rig.ring[i] = (struct capture_ring *)(rig.segment + head + i * stride);
		capture_writer_init(&rig.out[i], rig.ring[i]);
	}
}

int journal_rig_setup(void **state)
{
	memset(&rig, 0, sizeof(rig));
	snprintf(rig.dir, sizeof(rig.dir), "/tmp/test-journal-XXXXXX");
	assert_non_null(mkdtemp(rig.dir));
	segment_make();
	rig.cfg.ledger.keep = BLOB_LEDGER_FULL;
	rig.cfg.ledger.bytes = 16 << 20;
	rig.cfg.ledger.days = 30;
	snprintf(rig.cfg.ledger.directory, sizeof(rig.cfg.ledger.directory), "%s/mail", rig.dir);
	rig.j = journal_new();
	assert_non_null(rig.j);
	journal_configure(rig.j, &rig.cfg);
	assert_true(rig.j->dir_fd >= 0);
	return 0;
}

int journal_rig_teardown(void **state)
{
	char(*names)[JOURNAL_NAME_LEN];
	int n = journal_list(rig.j->dir_fd, &names);
	char path[256];

	for (int i = 0; i < n; i++)
		unlinkat(rig.j->dir_fd, names[i], 0);
	free(names);
	journal_free(rig.j);
	snprintf(path, sizeof(path), "%s/mail", rig.dir);
	rmdir(path);
	rmdir(rig.dir);
	free(rig.segment);
	return 0;
}

// As a worker does; false: full.
bool tell(unsigned worker, const char *helo, const char *id, const char *from, const char *to)
{
	struct ledger_mail m = {
		.seq = ++rig.seq[worker],
		.bytes = 10,
		.code = 250,
		.enhanced = {2, 0, 0},
		.recipients = 1,
		.accepted = 1,
		.listed = 1,
		.flags = LEDGER_F_ENVELOPE | LEDGER_F_FROM,
		.helo_len = (uint8_t)strlen(helo),
		.queue_id_len = (uint8_t)strlen(id),
		.from_len = (uint8_t)strlen(from),
	};
	const struct ledger_recipient r = {{250, 0}, (uint8_t)strlen(to)};
	struct capture_record record = {
		.time_ns = control_clock_ns(),
		.session = 7,
		.kind = CAPTURE_MAIL,
		.bytes = (uint32_t)(sizeof(m) + sizeof(r) + m.helo_len + m.queue_id_len +
				    m.from_len + r.len),
	};
	struct capture_writer *out = &rig.out[worker];

	ip_addr_parse(worker == 0 ? "192.0.2.1" : "2001:db8::1", &m.client);
	if (!capture_begin(out, &record))
		return false;
	capture_put(out, &m, sizeof(m));
	capture_put(out, helo, m.helo_len);
	capture_put(out, id, m.queue_id_len);
	capture_put(out, from, m.from_len);
	capture_put(out, &r, sizeof(r));
	capture_put(out, to, r.len);
	capture_publish(out, capture_end(out));
	return true;
}

unsigned journal_rig_run(void)
{
	return journal_run(rig.j, &rig.link, control_clock_ns());
}

// All lines of all files, each of them an object.
json_t *journal_rig_lines(void)
{
	char(*names)[JOURNAL_NAME_LEN];
	int n = journal_list(rig.j->dir_fd, &names);
	json_t *all = json_array();

	for (int i = 0; i < n; i++) {
		int fd = openat(rig.j->dir_fd, names[i], O_RDONLY);
		FILE *f = fdopen(fd, "r");
		char *line = NULL;
		size_t room = 0;
		json_error_t error;

		assert_non_null(f);
		while (getline(&line, &room, f) > 0) {
			json_t *o = json_loads(line, 0, &error);

			if (o == NULL)
				fail_msg("%s: %s", error.text, line);
			json_array_append_new(all, o);
		}
		free(line);
		fclose(f);
	}
	free(names);
	return all;
}
