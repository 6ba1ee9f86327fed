// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Segments of a hostile dataplane, and events of hostile workers: refused at attach, or read by the
// views of the API and by the exporter without a step outside. Input: limit of a session list, the
// size cut off, patches (which segment, place, length, octets), then messages of the event ring.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "controlplane/sessions.h"
#include "controlplane/show.h"
#include "tests/fuzz/conf.h"
#include "tests/fuzz/fuzz.h"
#include "tools/metrics.h"

#define WORKERS 2
#define SLOTS 5 // those of conf_blob() and one
#define STATS 3

static struct {
	struct shm_header head;
	struct shm_stat_desc desc[STATS];
	struct shm_worker worker[WORKERS];
	uint64_t counters[WORKERS][STATS];
	struct shm_backend_local backend_local[WORKERS][SLOTS];
	struct shm_service_local service_local[WORKERS][SLOTS];
	struct shm_port port[2];
	struct shm_backend backend[SLOTS];
	struct shm_service service[SLOTS];
	struct shm_tarpit tarpit[SLOTS];
	struct shm_tarpit_source source[SHM_TARPIT_SOURCES];
} good;

struct rings {
	struct shm_header head;
	struct shm_backend_ctl ctl[SLOTS];
	struct shm_control_state state;
	_Alignas(64) struct ctl_ring commands[WORKERS], events[WORKERS];
	uint8_t arena[BLOB_MAX_BYTES];
};
static struct rings *rings; // once: its header is put right again after each input
static struct shm_header rings_head;
static struct control control;
static size_t blob_len;

static void dir_add(struct shm_header *h, uint32_t type, uint32_t count, size_t off, size_t stride)
{
	for (unsigned i = 0; i < SHM_DIR_ENTRIES; i++) {
		if (h->dir[i].type == 0) {
			h->dir[i] = (struct shm_dir_entry){type, count, off, stride};
			return;
		}
	}
}

static struct shm_header header(uint64_t magic, uint64_t size)
{
	return (struct shm_header){
		.magic = magic,
		.abi_major = MR_ABI_MAJOR,
		.size_of_header = sizeof(struct shm_header),
		.size = size,
		.generation = 7,
		.workers = WORKERS,
		.backend_slots = SLOTS,
		.service_slots = SLOTS,
		.stat_count = STATS,
		.max_sessions = 100,
	};
}

#define ADD(h, of, type, count, member, stride) \
	dir_add(h, type, count, offsetof(of, member), stride)

static void stats_make(void)
{
	struct shm_header *h = &good.head;

	*h = header(SHM_STATS_MAGIC, sizeof(good));
	ADD(h, typeof(good), SHM_SEC_STAT_DESC, STATS, desc, sizeof(good.desc[0]));
	ADD(h, typeof(good), SHM_SEC_WORKER, WORKERS, worker, sizeof(good.worker[0]));
	ADD(h, typeof(good), SHM_SEC_COUNTERS, WORKERS, counters, sizeof(good.counters[0]));
	ADD(h,
	    typeof(good),
	    SHM_SEC_BACKEND_LOCAL,
	    WORKERS,
	    backend_local,
	    sizeof(good.backend_local[0]));
	ADD(h,
	    typeof(good),
	    SHM_SEC_SERVICE_LOCAL,
	    WORKERS,
	    service_local,
	    sizeof(good.service_local[0]));
	ADD(h, typeof(good), SHM_SEC_PORT, 1, port, sizeof(good.port));
	ADD(h, typeof(good), SHM_SEC_BACKEND, 1, backend, sizeof(good.backend));
	ADD(h, typeof(good), SHM_SEC_SERVICE, 1, service, sizeof(good.service));
	ADD(h, typeof(good), SHM_SEC_TARPIT_BACKEND, 1, tarpit, sizeof(good.tarpit));
	ADD(h, typeof(good), SHM_SEC_TARPIT_SERVICE, 1, tarpit, sizeof(good.tarpit));
	ADD(h, typeof(good), SHM_SEC_TARPIT_SOURCE, 1, source, sizeof(good.source));
	for (unsigned i = 0; i < STATS; i++)
		good.desc[i] = (struct shm_stat_desc){.group = "net",
						      .name = {'a', (char)('a' + i)},
						      .kind = i,
						      .help = "What is counted."};
	snprintf(good.port[0].name, sizeof(good.port[0].name), "lan");
	for (unsigned i = 1; i < 4; i++) {
		good.backend[i].generation = good.service[i].generation = 7;
		snprintf(good.backend[i].pool, MR_NAME_LEN, "pool%u", i / 2);
		snprintf(good.backend[i].name, MR_NAME_LEN, "mx%u", i);
		snprintf(good.service[i].name, MR_NAME_LEN, "in%u", i);
		good.tarpit[i].events[i] = good.source[i].sum.events[i] = i;
		good.source[i].addr.b[15] = (uint8_t)i;
		good.backend_local[0][i].latency[i].count = 3;
		good.backend_local[0][i].latency[i].bucket[i * 20] = 3;
	}
}

static void rings_make(void)
{
	struct shm_header *h;

	rings = aligned_alloc(64, sizeof(*rings));
	if (rings == NULL)
		abort();
	memset(rings, 0, sizeof(*rings));
	h = &rings->head;
	*h = header(SHM_CONTROL_MAGIC, sizeof(*rings));
	ADD(h, struct rings, SHM_SEC_BACKEND_CTL, 1, ctl, sizeof(rings->ctl));
	ADD(h, struct rings, SHM_SEC_CONTROL_STATE, 1, state, sizeof(rings->state));
	ADD(h, struct rings, SHM_SEC_CMD_RING, WORKERS, commands, sizeof(rings->commands[0]));
	ADD(h, struct rings, SHM_SEC_EVT_RING, WORKERS, events, sizeof(rings->events[0]));
	ADD(h, struct rings, SHM_SEC_BLOB_ARENA, 1, arena, BLOB_MAX_BYTES);
	rings_head = *h;
}

static void begin(void)
{
	static const char text[] =
		"hostname = \"a\"; ports = { p = { device = \"d\"; addresses = [ \"1.2.3.4/8\" ]; "
		"}; };\n"
		"pools = { mail = { probe = { }; backends = (\n"
		"  { name = \"mx1\"; address = \"1.1.1.1:1\"; } ); }; };\n"
		"virtual_services = { s = { listen = [ \"1.2.3.4:25\" ]; pool = \"mail\"; }; };\n";
	static struct cfg_errors errs;

	log_init("fuzz", LOG_ERROR);
	stats_make();
	rings_make();
	control.link.blob = conf_blob(&blob_len);
	control.cfg = control.started_cfg = cfg_load(conf_path(text, sizeof(text) - 1), &errs);
	control.tarpit = tarpit_log_new();
	FUZZ_CHECK(control.cfg != NULL && control.tarpit != NULL);
}

static void show(json_t *o)
{
	char *text;

	FUZZ_CHECK(o != NULL);
	text = json_dumps(o, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
	FUZZ_CHECK(text != NULL);
	free(text);
	json_decref(o);
}

// The exporter's page: lines of the text format and nothing between them.
static void page(const struct shm_view *view)
{
	size_t len = 0;
	char *text = NULL;
	FILE *out = open_memstream(&text, &len);

	FUZZ_CHECK(out != NULL);
	metrics_write(view, out);
	fclose(out);
	for (const char *line = text; *line != '\0';) {
		const char *end = strchr(line, '\n');

		FUZZ_CHECK(end != NULL && end > line);
		FUZZ_CHECK(
			strncmp(line, "# HELP mailrace_", 16) == 0 ||
			strncmp(line, "# TYPE mailrace_", 16) == 0 ||
			(strncmp(line, "mailrace_", 9) == 0 &&
			 memchr(line, ' ', (size_t)(end - line)) != NULL)
		);
		line = end + 1;
	}
	FUZZ_CHECK(strlen(text) == len);
	free(text);
}

static void session(void *up, const struct ctl_msg *msg)
{
	sessions_event(up, &control, msg);
}

// What the workers say: any message, into the ring that they write.
static void events(struct fuzz_in *in)
{
	static struct sessions sessions;
	struct session_list *list;
	uint64_t now = 1000000000U;

	memset(&sessions, 0, sizeof(sessions));
	list = sessions_begin(&sessions, &control, fuzz_u8(in) + 1U);
	FUZZ_CHECK(list != NULL && json_array_size(list->entries) == 0);
	health_run(control.health, &control.link, now);
	for (unsigned i = 0; in->left > 0 && i < 300; i++) {
		struct ctl_msg msg = {0};
		uint8_t how = fuzz_u8(in);
		size_t n;
		const uint8_t *octets = fuzz_bytes(in, how & 1 ? sizeof(msg.body) : 12, &n);

		memcpy(msg.body, octets, n);
		msg.type = how & 2   ? CTL_EVT_PROBE
			   : how & 4 ? CTL_EVT_SESSION
				     : CTL_EVT_SESSION_END;
		msg.request_id = how & 8 ? fuzz_u32(in)
				 : msg.type == CTL_EVT_PROBE
					 ? health_at(control.health, 0)->request_id
					 : list->request_id;
		if ((how & 16) != 0 && msg.type == CTL_EVT_PROBE)
			msg.probe_result.backend_slot = health_at(control.health, 0)->slot;
		ctl_ring_put(control.link.events[0], &msg);
		if ((how & 32) != 0)
			rings->events[0].tail = fuzz_u32(in);
		control_events(&control, session, &sessions, now);
	}
	health_run(control.health, &control.link, now << 10);
	sessions_run(&sessions, &control, UINT64_MAX);
	FUZZ_CHECK(list->done);
	show(json_incref(list->entries));
	sessions_end(list);
}

// A list that is sent in parts.
static void show_list(bool (*entry)(const struct control *c, unsigned i, json_t *out))
{
	json_t *list = json_array();

	for (unsigned i = 0; entry(&control, i, list); i++)
		;
	show(list);
}

static void views(void)
{
	show(show_status(&control));
	show(show_virtual_services(&control));
	show(show_pools(&control));
	show_list(show_backend);
	show(show_ports(&control));
	show(show_conflicts(&control));
	control.tarpit->look_ns = 0;
	tarpit_log_run(control.tarpit, &control.link, 1, control.tarpit->now_s + 7);
	show(show_tarpit(&control));
	show(show_workers(&control));
	show(show_counters(&control));
	show_list(show_latency);
}

// As link_open does after the socket has answered.
static bool attached(struct link *l)
{
	const char *reason;

	return shm_view_ok(&l->at.stats, SHM_STATS_MAGIC) &&
	       shm_view_ok(&l->at.control, SHM_CONTROL_MAGIC) && link_sections(l) &&
	       blob_check(l->blob, blob_len, l->backend_slots, l->service_slots, &reason) == 0;
}

static void patch(struct fuzz_in *in, uint8_t *stats, size_t stats_len)
{
	unsigned patches = fuzz_u8(in) % 16;

	for (unsigned i = 0; i < patches; i++) {
		uint16_t where = fuzz_u16(in);
		bool of_rings = where & 1;
		size_t room = of_rings ? sizeof(rings->head) : stats_len, n;
		const uint8_t *octets = fuzz_bytes(in, fuzz_u8(in) % 16 + 1U, &n);
		size_t at = (where >> 1) % room;

		n = n < room - at ? n : room - at;
		memcpy((of_rings ? (uint8_t *)rings : stats) + at, octets, n);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = {data, size};
	struct link *l = &control.link;
	size_t len;
	uint8_t *stats;

	if (rings == NULL)
		begin();
	len = sizeof(good) -
	      (fuzz_u8(&in) & 1 ? fuzz_u16(&in) % (sizeof(good) - sizeof(good.head)) : 0);
	stats = fuzz_copy(&good, len);
	((struct shm_header *)stats)->size = len;
	for (unsigned i = 0; i < WORKERS; i++) {
		rings->commands[i].head = rings->commands[i].tail = 0;
		rings->events[i].head = rings->events[i].tail = 0;
	}
	memset(rings->ctl, 0, sizeof(rings->ctl));
	rings->head = rings_head;
	patch(&in, stats, len);
	l->at.stats = (struct shm_view){stats, len, (const struct shm_header *)stats};
	l->at.control = (struct shm_view){(uint8_t *)rings, sizeof(*rings), &rings->head};
	l->at.fd = 0; // attached
	if (shm_view_ok(&l->at.stats, SHM_STATS_MAGIC))
		page(&l->at.stats);
	if (attached(l)) {
		control.health = health_new();
		FUZZ_CHECK(health_configure(control.health, control.cfg, l, 1000) == 0);
		events(&in);
		views();
		health_free(control.health);
	}
	fuzz_free(stats, len);
	return 0;
}
