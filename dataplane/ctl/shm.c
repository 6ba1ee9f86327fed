// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The segments' layout and mapping. Sections are aligned to cache lines so that no two writers
// share one.

#include "dataplane/ctl/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/abi/creds.h"

#define SHM_ALIGN 64U

static struct shm_dir_entry *dir_of(uint8_t *base, uint32_t type)
{
	struct shm_header *h = (struct shm_header *)base;

	for (unsigned i = 0; i < SHM_DIR_ENTRIES; i++)
		if (h->dir[i].type == type)
			return &h->dir[i];
	return NULL;
}

static uint64_t align_up(uint64_t n)
{
	return (n + SHM_ALIGN - 1) / SHM_ALIGN * SHM_ALIGN;
}

struct section {
	uint32_t type, count;
	uint64_t stride;
};

// Fills the directory; returns the segment's size.
static uint64_t layout(struct shm_header *h, const struct section *sections, unsigned n)
{
	uint64_t off = align_up(sizeof(*h));

	for (unsigned i = 0; i < n; i++) {
		uint64_t stride = align_up(sections[i].stride);

		h->dir[i] = (struct shm_dir_entry){
			.type = sections[i].type,
			.count = sections[i].count,
			.off = off,
			.stride = stride,
		};
		off += stride * sections[i].count;
	}
	return align_up(off);
}

// A memfd is made with mode 0777, so whoever holds a read-only descriptor could open it again for
// writing through /proc: the mode is narrowed, and seals (F_SEAL_FUTURE_WRITE) forbid any writable
// mapping but the one made here.
static int segment_make(
	const char *name,
	const struct shm_header *h,
	int seals,
	int *ret_fd,
	uint8_t **ret_base
)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *base = MAP_FAILED;
	int err;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)h->size) == 0 && fchmod(fd, S_IRUSR | S_IWUSR) == 0)
		base = mmap(NULL, h->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL | seals) < 0) {
		err = -errno;
		if (base != MAP_FAILED)
			munmap(base, h->size);
		close(fd);
		return err;
	}
	memcpy(base, h, sizeof(*h));
	*ret_fd = fd;
	*ret_base = base;
	return 0;
}

static void descriptions_fill(struct shm *shm)
{
	struct shm_dir_entry *e = dir_of(shm->stats, SHM_SEC_STAT_DESC);

	for (unsigned i = 0; i < STAT_COUNT; i++) {
		struct shm_stat_desc *d =
			(struct shm_stat_desc *)(shm->stats + e->off + i * e->stride);

		snprintf(d->group, sizeof(d->group), "%s", stat_descs[i].group);
		snprintf(d->name, sizeof(d->name), "%s", stat_descs[i].name);
		snprintf(d->help, sizeof(d->help), "%s", stat_descs[i].help);
		d->kind = (uint32_t)stat_descs[i].kind;
	}
}

// What tells this run from others.
static int boot_stamp(struct shm_header *h)
{
	struct timespec now;

	if (getrandom(&h->boot_id, sizeof(h->boot_id), 0) != sizeof(h->boot_id))
		return -EIO;
	clock_gettime(CLOCK_REALTIME, &now);
	h->started_unix_ns = (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
	return 0;
}

// The segment that the control process writes; the header is that of the statistics, but for this.
static int control_make(struct shm *shm, struct shm_header h)
{
	uint32_t workers = shm->workers, backend_slots = shm->backend_slots;
	const struct section control[] = {
		{SHM_SEC_BACKEND_CTL, 1, backend_slots * sizeof(struct shm_backend_ctl)},
		{SHM_SEC_CONTROL_STATE, 1, sizeof(struct shm_control_state)},
		{SHM_SEC_CMD_RING, workers, sizeof(struct ctl_ring)},
		{SHM_SEC_EVT_RING, workers, sizeof(struct ctl_ring)},
		{SHM_SEC_BLOB_ARENA, 1, BLOB_MAX_BYTES},
		{SHM_SEC_BACKEND_VERDICT_CTL, 1, backend_slots * sizeof(struct shm_backend_verdict)
		},
		{SHM_SEC_CAPTURE_RING, workers, sizeof(struct capture_ring)},
		{SHM_SEC_TEST_MAIL, 1, sizeof(struct ctl_test_mail)},
		{SHM_SEC_LEDGER_RING, workers, sizeof(struct capture_ring)},
	};
	int err;

	memset(h.dir, 0, sizeof(h.dir));
	h.magic = SHM_CONTROL_MAGIC;
	h.size = layout(&h, control, sizeof(control) / sizeof(control[0]));
	for (unsigned i = 0; i < sizeof(control) / sizeof(control[0]); i++)
		shm->control_off[control[i].type - SHM_SEC_BACKEND_CTL] = h.dir[i].off;
	err = segment_make("mailrace-control", &h, 0, &shm->control_fd, &shm->control);
	if (err < 0)
		return err;
	shm->control_bytes = h.size;
	shm->control_header = h;
	return 0;
}

int shm_init(struct shm *shm, uint32_t workers, uint32_t backend_slots, uint32_t service_slots)
{
	const struct section stats[] = {
		{SHM_SEC_STAT_DESC, STAT_COUNT, sizeof(struct shm_stat_desc)},
		{SHM_SEC_WORKER, workers, sizeof(struct shm_worker)},
		{SHM_SEC_COUNTERS, workers + 1, STAT_COUNT * sizeof(uint64_t)},
		{SHM_SEC_BACKEND_LOCAL, workers, backend_slots * sizeof(struct shm_backend_local)},
		{SHM_SEC_SERVICE_LOCAL, workers, service_slots * sizeof(struct shm_service_local)},
		{SHM_SEC_PORT, 1, SHM_PORTS * sizeof(struct shm_port)},
		{SHM_SEC_BACKEND, 1, backend_slots * sizeof(struct shm_backend)},
		{SHM_SEC_SERVICE, 1, service_slots * sizeof(struct shm_service)},
		{SHM_SEC_CERTIFICATE, 1, CREDS_MAX_CERTS * sizeof(struct shm_certificate)},
		{SHM_SEC_CONFLICT, 1, SHM_CONFLICTS * sizeof(struct shm_conflict)},
		{SHM_SEC_BACKEND_SIGNALS,
		 workers,
		 backend_slots * sizeof(struct shm_backend_signals)},
		{SHM_SEC_BACKEND_VERDICT, 1, backend_slots * sizeof(struct shm_backend_verdict)},
		{SHM_SEC_PORT_LINK, SHM_PORTS, sizeof(struct shm_port_link)},
		{SHM_SEC_TARPIT_BACKEND, workers, backend_slots * sizeof(struct shm_tarpit)},
		{SHM_SEC_TARPIT_SERVICE, workers, service_slots * sizeof(struct shm_tarpit)},
		{SHM_SEC_TARPIT_SOURCE,
		 workers,
		 SHM_TARPIT_SOURCES * sizeof(struct shm_tarpit_source)},
	};
	struct shm_header h = {
		.magic = SHM_STATS_MAGIC,
		.abi_major = MR_ABI_MAJOR,
		.abi_minor = MR_ABI_MINOR,
		.size_of_header = sizeof(h),
		.workers = workers,
		.backend_slots = backend_slots,
		.service_slots = service_slots,
		.stat_count = STAT_COUNT,
	};
	char path[64];
	int err;

	*shm = (struct shm){.stats_fd = -1, .stats_ro_fd = -1, .control_fd = -1};
	shm->workers = workers;
	shm->backend_slots = backend_slots;
	shm->service_slots = service_slots;
	err = boot_stamp(&h);
	if (err < 0)
		return err;
	h.size = layout(&h, stats, sizeof(stats) / sizeof(stats[0]));
	err = segment_make(
		"mailrace-statistics", &h, F_SEAL_FUTURE_WRITE, &shm->stats_fd, &shm->stats
	);
	if (err < 0)
		return err;
	shm->stats_bytes = h.size;
	shm->header = (struct shm_header *)shm->stats;
	err = control_make(shm, h);
	if (err < 0)
		return err;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", shm->stats_fd);
	shm->stats_ro_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (shm->stats_ro_fd < 0)
		return -errno;
	descriptions_fill(shm);
	return 0;
}

void shm_control_header_restore(const struct shm *shm)
{
	memcpy(shm->control, &shm->control_header, sizeof(shm->control_header));
}

void shm_fini(struct shm *shm)
{
	if (shm->stats != NULL)
		munmap(shm->stats, shm->stats_bytes);
	if (shm->control != NULL)
		munmap(shm->control, shm->control_bytes);
	if (shm->stats_fd >= 0)
		close(shm->stats_fd);
	if (shm->stats_ro_fd >= 0)
		close(shm->stats_ro_fd);
	if (shm->control_fd >= 0)
		close(shm->control_fd);
}

static void *stats_at(const struct shm *shm, uint32_t type, unsigned worker)
{
	const struct shm_dir_entry *e = dir_of(shm->stats, type);

	return shm->stats + e->off + worker * e->stride;
}

struct shm_worker *shm_worker_at(const struct shm *shm, unsigned worker)
{
	return stats_at(shm, SHM_SEC_WORKER, worker);
}

uint64_t *shm_counters_at(const struct shm *shm, unsigned worker)
{
	return stats_at(shm, SHM_SEC_COUNTERS, worker);
}

void shm_main_add(const struct shm *shm, enum stat_id stat, uint64_t n)
{
	shm_main_set(shm, stat, shm_counters_at(shm, shm->workers)[stat] + n);
}

void shm_main_set(const struct shm *shm, enum stat_id stat, uint64_t value)
{
	__atomic_store_n(&shm_counters_at(shm, shm->workers)[stat], value, __ATOMIC_RELAXED);
}

struct shm_backend_local *shm_backends_at(const struct shm *shm, unsigned worker)
{
	return stats_at(shm, SHM_SEC_BACKEND_LOCAL, worker);
}

struct shm_backend_signals *shm_signals_at(const struct shm *shm, unsigned worker)
{
	return stats_at(shm, SHM_SEC_BACKEND_SIGNALS, worker);
}

struct shm_tarpit *shm_tarpit_backends_at(const struct shm *shm, unsigned worker)
{
	return stats_at(shm, SHM_SEC_TARPIT_BACKEND, worker);
}

struct shm_tarpit *shm_tarpit_services_at(const struct shm *shm, unsigned worker)
{
	return stats_at(shm, SHM_SEC_TARPIT_SERVICE, worker);
}

struct shm_tarpit_source *shm_tarpit_sources_at(const struct shm *shm, unsigned worker)
{
	return stats_at(shm, SHM_SEC_TARPIT_SOURCE, worker);
}

struct shm_backend_verdict *shm_verdicts(const struct shm *shm)
{
	return stats_at(shm, SHM_SEC_BACKEND_VERDICT, 0);
}

struct shm_service_local *shm_services_at(const struct shm *shm, unsigned worker)
{
	return stats_at(shm, SHM_SEC_SERVICE_LOCAL, worker);
}

struct shm_port *shm_ports(const struct shm *shm)
{
	return stats_at(shm, SHM_SEC_PORT, 0);
}

struct shm_port_link *shm_port_link_at(const struct shm *shm, unsigned port)
{
	return stats_at(shm, SHM_SEC_PORT_LINK, port);
}

struct shm_backend *shm_backend_names(const struct shm *shm)
{
	return stats_at(shm, SHM_SEC_BACKEND, 0);
}

struct shm_service *shm_service_names(const struct shm *shm)
{
	return stats_at(shm, SHM_SEC_SERVICE, 0);
}

struct shm_certificate *shm_certificates(const struct shm *shm)
{
	return stats_at(shm, SHM_SEC_CERTIFICATE, 0);
}

struct shm_conflict *shm_conflicts(const struct shm *shm)
{
	return stats_at(shm, SHM_SEC_CONFLICT, 0);
}

static void *control_at(const struct shm *shm, uint32_t type, uint64_t off)
{
	return shm->control + shm->control_off[type - SHM_SEC_BACKEND_CTL] + off;
}

struct shm_backend_ctl *shm_backend_ctl_at(const struct shm *shm)
{
	return control_at(shm, SHM_SEC_BACKEND_CTL, 0);
}

const struct shm_backend_verdict *shm_verdicts_ctl(const struct shm *shm)
{
	return control_at(shm, SHM_SEC_BACKEND_VERDICT_CTL, 0);
}

const struct shm_control_state *shm_control_state_at(const struct shm *shm)
{
	return control_at(shm, SHM_SEC_CONTROL_STATE, 0);
}

struct ctl_ring *shm_commands_at(const struct shm *shm, unsigned worker)
{
	return control_at(shm, SHM_SEC_CMD_RING, worker * align_up(sizeof(struct ctl_ring)));
}

struct ctl_ring *shm_events_at(const struct shm *shm, unsigned worker)
{
	return control_at(shm, SHM_SEC_EVT_RING, worker * align_up(sizeof(struct ctl_ring)));
}

uint8_t *shm_arena(const struct shm *shm)
{
	return control_at(shm, SHM_SEC_BLOB_ARENA, 0);
}

struct capture_ring *shm_capture_at(const struct shm *shm, unsigned worker)
{
	return control_at(
		shm, SHM_SEC_CAPTURE_RING, worker * align_up(sizeof(struct capture_ring))
	);
}

struct capture_ring *shm_ledger_at(const struct shm *shm, unsigned worker)
{
	return control_at(shm, SHM_SEC_LEDGER_RING, worker * align_up(sizeof(struct capture_ring)));
}

const struct ctl_test_mail *shm_test_mail(const struct shm *shm)
{
	return control_at(shm, SHM_SEC_TEST_MAIL, 0);
}
