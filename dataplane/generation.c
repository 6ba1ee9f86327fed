// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Generations: from our own file at start, later from control. Each is checked, handed to the
// workers as one pointer to configuration and credentials, and the one before is freed when all
// have passed. Main thread.

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

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

static void certificates_publish(const struct dataplane *dp)
{
	struct shm_certificate *to = shm_certificates(&dp->shm);

	for (unsigned i = 0; dp->credentials != NULL && i < dp->credentials->cert_count; i++) {
		memcpy(to[i].name, dp->credentials->cert[i].name, sizeof(to[i].name));
		to[i].not_after = dp->credentials->cert[i].not_after;
		__atomic_store_n(&to[i].generation, dp->generation, __ATOMIC_RELEASE);
	}
}

static struct credentials *
credentials_make(struct dataplane *dp, const struct bundle *bundle, const char **ret_reason)
{
	unsigned n = dp->cfg->dataplane.workers;
	struct tls_engine *engine[CFG_MAX_WORKERS];
	const struct credentials_config config = {
		.engine = engine,
		.workers = n,
		.max_handshakes = dp->cfg->dataplane.max_tls_handshakes,
		.before = dp->credentials,
	};
	struct credentials *made;

	for (unsigned i = 0; i < n; i++)
		engine[i] = dp->lcore[i].engine;
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); // keys are in memory from here on
	made = credentials_new(&config, bundle, dp->credentials_reason);
	*ret_reason = dp->credentials_reason;
	return made;
}

// What a blob that has been checked needs: the credentials in force if they are the same, or others
// out of the bundle, or none.
static int credentials_find(
	struct dataplane *dp,
	const struct blob_tls *tls,
	const struct bundle *bundle,
	struct credentials **ret,
	const char **ret_reason
)
{
	uint8_t digest[32];

	*ret = NULL;
	if (tls->servers + tls->clients == 0)
		return 0;
	*ret_reason = "the dataplane was started without TLS (dataplane.max_tls_connections): "
		      "restart it";
	if (dp->lcore[0].engine == NULL)
		return -EINVAL;
	if (dp->credentials != NULL &&
	    memcmp(dp->credentials->digest, tls->digest, sizeof(tls->digest)) == 0) {
		*ret = dp->credentials;
		return 0;
	}
	*ret_reason = "credentials: they did not come with the generation";
	if (bundle == NULL || bundle->data == NULL)
		return -EINVAL;
	*ret_reason = "credentials: they are not those of the generation";
	certs_digest(bundle->data, bundle->len, digest);
	if (memcmp(digest, tls->digest, sizeof(digest)) != 0 ||
	    creds_check(bundle->data, bundle->len, tls, ret_reason) < 0)
		return -EINVAL;
	*ret = credentials_make(dp, bundle, ret_reason);
	return *ret != NULL ? 0 : -EINVAL;
}

// The workers take both over as one pointer each.
static void generation_hand_out(struct dataplane *dp)
{
	unsigned at = (unsigned)(++dp->handed_out % 2);

	for (unsigned i = 0; i < dp->cfg->dataplane.workers; i++) {
		struct lcore *l = &dp->lcore[i];

		l->generation[at] = (struct lcore_generation){
			.blob = dp->blob,
			.tls = dp->credentials != NULL ? &dp->credentials->set[i] : NULL,
		};
		atomic_store_explicit(&l->next, &l->generation[at], memory_order_release);
	}
}

int generation_install(
	struct dataplane *dp,
	void *blob,
	size_t len,
	const struct bundle *bundle,
	const char **ret_reason
)
{
	const struct blob_header *h = blob;
	struct credentials *credentials = NULL;
	int err = blob_check(blob, len, dp->shm.backend_slots, dp->shm.service_slots, ret_reason);

	if (err == 0 && dp->blob != NULL &&
	    (h->generation <= dp->generation || h->generation - dp->generation > STEP_MAX)) {
		*ret_reason = "generation does not rise, or too far for others to come";
		err = -EINVAL;
	}
	if (err == 0)
		err = credentials_find(dp, &h->tls, bundle, &credentials, ret_reason);
	if (err < 0) {
		free(blob);
		return err;
	}
	shm_main_add(&dp->shm, STAT_CFG_GENERATIONS, 1);
	shm_main_set(&dp->shm, STAT_CFG_LAST_GOOD, 0);
	dp->generation = h->generation;
	dp->old_blob = dp->blob;
	dp->blob = blob;
	if (credentials != dp->credentials) {
		shm_main_add(&dp->shm, STAT_TLS_CREDENTIALS, 1);
		if (credentials != NULL)
			shm_main_add(&dp->shm, STAT_TLS_PARSED, credentials->parsed);
		dp->old_credentials = dp->credentials;
		dp->credentials = credentials;
		if (credentials != NULL) // made of this bundle
			tickets_configure(
				dp, &((const struct creds_header *)bundle->data)->tickets
			);
	}
	names_publish(dp, dp->blob);
	certificates_publish(dp);
	generation_hand_out(dp);
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

// Not all workers have the last one yet, the first one included: each must have taken what it is
// to give back.
static bool is_being_taken(const struct dataplane *dp)
{
	return dp->blob != NULL && dp->shm.header->generation != dp->generation;
}

int generation_from_file(
	struct dataplane *dp,
	const struct cfg *cfg,
	const struct certs *certs,
	struct cfg_errors *errs,
	const char **ret_reason
)
{
	const struct bundle bundle = {.data = certs->bundle, .len = certs->bundle_len};
	void *blob;
	size_t len;
	int err;

	*ret_reason = "the last generation is still being taken over";
	if (is_being_taken(dp))
		return -EBUSY;
	if (dp->blob != NULL) {
		cfg_slots_adopt(dp->slots, dp->blob);
		slots_hold(dp);
	}
	*ret_reason = "the file";
	err = cfg_blob_build(cfg, dp->slots, dp->generation + 1, &blob, &len, errs);
	if (err < 0)
		return err;
	blob_tls_set(blob, certs->tls.digest, certs->tls.recipe);
	return generation_install(dp, blob, len, &bundle, ret_reason);
}

int generation_from_control(
	struct dataplane *dp,
	const uint8_t *arena,
	uint32_t len,
	int creds_fd,
	const char **ret_reason
)
{
	struct bundle bundle = {0};
	void *blob;
	int err;

	*ret_reason = "";
	if (is_being_taken(dp))
		return -EBUSY;
	if (len < sizeof(struct blob_header) || len > BLOB_MAX_BYTES) {
		*ret_reason = "length";
		return -EINVAL;
	}
	blob = malloc(len);
	if (blob == NULL)
		return -ENOMEM;
	memcpy(blob, arena, len); // what is checked is our copy
	err = creds_fd >= 0 ? bundle_take(creds_fd, &bundle, ret_reason) : 0;
	if (err == 0)
		err = generation_install(dp, blob, len, &bundle, ret_reason);
	else
		free(blob);
	bundle_release(&bundle);
	if (err < 0 && strncmp(*ret_reason, "credentials", 11) == 0)
		shm_main_add(&dp->shm, STAT_TLS_BAD_CREDENTIALS, 1);
	return err;
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
	credentials_free(dp->old_credentials, true);
	dp->old_credentials = NULL;
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
