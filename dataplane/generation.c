// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Generations: from our own file at start, later from control. Each is checked, handed to the
// workers as one pointer, and the one before is freed when all have passed. Main thread.

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/dataplane.h"

#define STEP_MAX (1U << 20) // between two generations

static const void *array_of(const struct blob_header *blob, const struct blob_array *array)
{
	return (const uint8_t *)blob + array->off;
}

// Names of the slots, for everybody who reads the statistics.
static void names_publish(const struct dataplane *dp, const struct blob_header *blob)
{
	const struct blob_backend *backend = array_of(blob, &blob->backends);
	const struct blob_service *service = array_of(blob, &blob->services);
	const struct blob_pool *pool = array_of(blob, &blob->pools);

	for (uint32_t i = 0; i < blob->backends.count; i++, backend++) {
		struct shm_backend *to = &shm_backend_names(&dp->shm)[backend->slot];

		memcpy(to->pool, pool[backend->pool].name, sizeof(to->pool));
		memcpy(to->name, backend->name, sizeof(to->name));
		to->addr = backend->addr;
		to->port = backend->port;
		to->weight = backend->weight;
		to->max_connections = backend->max_connections;
		__atomic_store_n(&to->generation, blob->generation, __ATOMIC_RELEASE);
	}
	for (uint32_t i = 0; i < blob->services.count; i++, service++) {
		struct shm_service *to = &shm_service_names(&dp->shm)[service->slot];

		memcpy(to->name, service->name, sizeof(to->name));
		memcpy(to->pool, pool[service->pool].name, sizeof(to->pool));
		__atomic_store_n(&to->generation, blob->generation, __ATOMIC_RELEASE);
	}
}

// Takes the blob over.
int generation_install(struct dataplane *dp, void *blob, size_t len, const char **ret_reason)
{
	const struct blob_header *h = blob;
	int err = blob_check(blob, len, dp->shm.backend_slots, dp->shm.service_slots, ret_reason);

	if (err == 0 && dp->blob != NULL &&
	    (h->generation <= dp->generation || h->generation - dp->generation > STEP_MAX)) {
		*ret_reason = "generation does not rise, or too far for others to come";
		err = -EINVAL;
	}
	if (err < 0) {
		free(blob);
		return err;
	}
	shm_main_add(&dp->shm, STAT_CFG_GENERATIONS, 1);
	shm_main_set(&dp->shm, STAT_CFG_LAST_GOOD, 0);
	dp->generation = h->generation;
	dp->old_blob = dp->blob;
	dp->blob = blob;
	names_publish(dp, dp->blob);
	for (unsigned i = 0; i < dp->cfg->dataplane.workers; i++)
		atomic_store_explicit(&dp->lcore[i].next, dp->blob, memory_order_release);
	return 0;
}

static void slots_hold(struct dataplane *dp)
{
	for (uint32_t slot = 1; slot < dp->shm.backend_slots; slot++) {
		uint32_t active = 0;

		for (unsigned i = 0; i < dp->shm.workers; i++)
			active += shm_backends_at(&dp->shm, i)[slot].active;
		cfg_slots_hold(dp->slots, CFG_SLOT_BACKEND, slot, active > 0);
	}
	for (uint32_t slot = 1; slot < dp->shm.service_slots; slot++) {
		uint32_t active = 0;

		for (unsigned i = 0; i < dp->shm.workers; i++)
			active += shm_services_at(&dp->shm, i)[slot].active;
		cfg_slots_hold(dp->slots, CFG_SLOT_SERVICE, slot, active > 0);
	}
}

int generation_from_file(struct dataplane *dp, const struct cfg *cfg, struct cfg_errors *errs)
{
	const char *reason;
	void *blob;
	size_t len;
	int err;

	if (dp->old_blob != NULL)
		return -EBUSY; // the last one is still being taken over
	if (dp->blob != NULL) {
		cfg_slots_adopt(dp->slots, dp->blob);
		slots_hold(dp);
	}
	err = cfg_blob_build(cfg, dp->slots, dp->generation + 1, &blob, &len, errs);
	return err < 0 ? err : generation_install(dp, blob, len, &reason);
}

int generation_from_control(
	struct dataplane *dp,
	const uint8_t *arena,
	uint32_t len,
	const char **ret_reason
)
{
	void *blob;

	*ret_reason = "";
	if (dp->old_blob != NULL)
		return -EBUSY;
	if (len < sizeof(struct blob_header) || len > BLOB_MAX_BYTES) {
		*ret_reason = "length";
		return -EINVAL;
	}
	blob = malloc(len);
	if (blob == NULL)
		return -ENOMEM;
	memcpy(blob, arena, len); // what is checked is our copy
	return generation_install(dp, blob, len, ret_reason);
}

void generation_reap(struct dataplane *dp)
{
	for (unsigned i = 0; i < dp->cfg->dataplane.workers; i++)
		if (__atomic_load_n(
			    &shm_worker_at(&dp->shm, i)->seen_generation, __ATOMIC_ACQUIRE
		    ) != dp->generation)
			return;
	free(dp->old_blob);
	dp->old_blob = NULL;
	__atomic_store_n(&dp->shm.header->generation, dp->generation, __ATOMIC_RELEASE);
}

void health_publish(struct dataplane *dp)
{
	const struct shm_backend_ctl *ctl = shm_backend_ctl_at(&dp->shm);
	const struct shm_backend_verdict *verdict = shm_verdicts_ctl(&dp->shm);
	struct shm_backend_verdict *shown = shm_verdicts(&dp->shm);
	struct shm_backend *to = shm_backend_names(&dp->shm);
	const struct blob_backend *b = array_of(dp->blob, &dp->blob->backends);
	uint64_t seen =
		__atomic_load_n(&shm_control_state_at(&dp->shm)->heartbeat_ns, __ATOMIC_RELAXED);

	__atomic_store_n(&dp->shm.header->control_heartbeat_ns, seen, __ATOMIC_RELAXED);
	for (uint32_t i = 0; i < dp->blob->backends.count; i++, b++) {
		// once each: control may write meanwhile
		uint8_t health = __atomic_load_n(&ctl[b->slot].health, __ATOMIC_RELAXED);
		uint8_t admin = __atomic_load_n(&ctl[b->slot].admin, __ATOMIC_RELAXED);

		const struct shm_backend_verdict v = verdict[b->slot];

		shown[b->slot] = (struct shm_backend_verdict){
			.reason = v.reason < SHM_REASONS ? v.reason : SHM_REASON_NONE,
			.drift_permille = v.drift_permille,
			.ejections = v.ejections,
		};
		to[b->slot].health = health <= SHM_HEALTH_EJECTED ? health : SHM_HEALTH_UNKNOWN;
		to[b->slot].admin = b->admin != BLOB_ADMIN_ENABLED || admin == BLOB_ADMIN_DRAIN
					    ? BLOB_ADMIN_DRAIN
					    : BLOB_ADMIN_ENABLED;
	}
}
