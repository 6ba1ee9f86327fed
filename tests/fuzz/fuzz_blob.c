// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// A blob that somebody else has written: refused with a reason, or good for all that reads it: the
// relay's tables, policies, choices of backends, the table of slots. Input: patches of a good blob
// (place, length, octets), whether its sum is made right again, where it is cut; or the whole blob.

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "dataplane/proxy/relay_inner_types.h"
#include "tests/fuzz/conf.h"
#include "tests/fuzz/fuzz.h"

struct reader {
	struct worker_env env;
	uint64_t stats[STAT_COUNT];
	struct shm_backend_local backends[CONF_SLOTS];
	struct shm_service_local services[CONF_SLOTS];
	struct shm_backend_ctl ctl[CONF_SLOTS];
	struct relay *relay;
};

static void names_read(const char *name)
{
	FUZZ_CHECK(name[0] != '\0' && strnlen(name, MR_NAME_LEN) < MR_NAME_LEN);
}

static void sources_read(const struct blob_header *blob, uint32_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		const struct blob_source *s = blob_at(blob, &blob->sources, first + i, sizeof(*s));
		volatile uint8_t octet = s->addr.b[15];

		(void)octet;
	}
}

static void policy_read(const struct blob_header *blob, const struct blob_policy *p)
{
	if (p->sources != UINT32_MAX)
		sources_read(blob, p->sources, p->source_count);
}

static void services_read(struct reader *r, const struct blob_header *blob)
{
	for (uint32_t i = 0; i < blob->listeners.count; i++) {
		const struct blob_listener *l = blob_at(blob, &blob->listeners, i, sizeof(*l));
		const struct ip_endpoint local = {l->addr, l->port};
		struct tcp_listen_info info;

		FUZZ_CHECK(relay_is_local(r->relay, &l->addr));
		FUZZ_CHECK(relay_tcp_ops.on_syn(r->relay, &local, &local, &info));
		FUZZ_CHECK(info.cookie > 0 && info.cookie < CONF_SLOTS);
		FUZZ_CHECK(service_at(r->relay, info.cookie) != NULL);
	}
	for (uint32_t i = 0; i < blob->services.count; i++) {
		const struct blob_service *s = blob_at(blob, &blob->services, i, sizeof(*s));

		names_read(s->name);
		for (unsigned v6 = 0; v6 < 2; v6++) {
			struct ip_addr client = ip_addr_from_v4(0x0100a8c0U);

			if (v6)
				memset(client.b, 0x20, sizeof(client.b));
			policy_read(blob, policy_for(r->relay, s, &client));
		}
	}
	for (uint32_t i = 0; i < blob->sources.count; i++) {
		const struct blob_source *s = blob_at(blob, &blob->sources, i, sizeof(*s));

		FUZZ_CHECK(relay_is_local(r->relay, &s->addr));
	}
}

static bool pool_has(const struct blob_pool *p, uint32_t backend)
{
	return backend - p->backends < p->backend_count;
}

static bool backup_has(const struct blob_header *blob, const struct blob_pool *p, uint32_t backend)
{
	return p->backup != 0 &&
	       pool_has(blob_at(blob, &blob->pools, p->backup - 1U, sizeof(*p)), backend);
}

static void pools_read(struct reader *r, const struct blob_header *blob)
{
	const struct lb_view view = {
		.blob = blob,
		.ctl = r->ctl,
		.local = r->backends,
		.slots = CONF_SLOTS,
		.workers = 1,
		.now_ns = r->env.now_ns,
	};

	for (uint32_t i = 0; i < blob->pools.count; i++) {
		const struct blob_pool *p = blob_at(blob, &blob->pools, i, sizeof(*p));
		uint32_t tried[LB_MAX_TRIED];

		names_read(p->name);
		sources_read(blob, p->sources, p->source_count);
		for (unsigned n = 0; n < LB_MAX_TRIED; n++) {
			uint32_t index = lb_pick(r->relay->lb, &view, i, tried, n);
			const struct blob_backend *b;

			if (index == LB_NONE || index == LB_FULL)
				break;
			FUZZ_CHECK(pool_has(p, index) || backup_has(blob, p, index));
			b = blob_at(blob, &blob->backends, index, sizeof(*b));
			FUZZ_CHECK(b->weight > 0 && b->admin == BLOB_ADMIN_ENABLED);
			tried[n] = b->slot;
		}
	}
}

static void slots_read(const struct blob_header *blob)
{
	struct cfg_slots *slots = cfg_slots_new(CONF_SLOTS, CONF_SLOTS);

	if (slots == NULL)
		abort();
	cfg_slots_adopt(slots, blob);
	cfg_slots_free(slots);
}

static void blob_use(const struct blob_header *blob, const uint8_t *seed)
{
	static struct reader reader;
	struct relay_config config = {
		.env = &reader.env,
		.max_sessions = 4,
		.shm =
			{
				.backends = reader.backends,
				.services = reader.services,
				.backend_ctl = reader.ctl,
				.backend_slots = CONF_SLOTS,
				.service_slots = CONF_SLOTS,
			},
	};

	memset(&reader, 0, sizeof(reader));
	// what control writes beside the blob is as little to be trusted
	for (size_t i = 0; i < sizeof(reader.ctl); i++)
		((uint8_t *)reader.ctl)[i] = seed[i % 4];
	reader.env = (struct worker_env){.now_ns = 1000, .count = 1, .stats = reader.stats};
	rng_seed(&reader.env.rng, 1);
	reader.relay = relay_new(&config);
	if (reader.relay == NULL)
		abort();
	relay_generation(reader.relay, blob, NULL);
	FUZZ_CHECK(blob->hostname[0] != '\0');
	FUZZ_CHECK(memchr(blob->hostname, '\0', sizeof(blob->hostname)) != NULL);
	services_read(&reader, blob);
	pools_read(&reader, blob);
	slots_read(blob);
	relay_free(reader.relay);
}

static uint8_t *patched(struct fuzz_in *in, uint8_t how, size_t *len)
{
	static struct blob_header *good;
	static size_t good_len;
	uint8_t *blob;

	if (good == NULL)
		good = conf_blob(&good_len);
	blob = fuzz_copy(good, good_len);
	*len = good_len;
	while (in->left > 3) {
		size_t at = fuzz_u16(in) % good_len, n;
		const uint8_t *octets = fuzz_bytes(in, fuzz_u8(in) % 16 + 1U, &n);

		n = n < good_len - at ? n : good_len - at;
		memcpy(blob + at, octets, n);
	}
	if (how & 2)
		*len -= fuzz_u8(in);
	return blob;
}

static void sum_repair(uint8_t *copy, size_t len)
{
	struct blob_header *h = (struct blob_header *)copy;

	if (len < sizeof(*h))
		return;
	h->length = (uint32_t)len;
	h->crc32 = 0;
	h->crc32 = (uint32_t)crc32(0, copy, (uInt)len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t quiet[4];
	struct fuzz_in in = {data, size};
	uint8_t how = fuzz_u8(&in);
	const char *reason = NULL;
	uint8_t *blob, *copy;
	size_t len = in.left, n;
	const uint8_t *seed = how & 8 ? fuzz_bytes(&in, 4, &n) : quiet;
	int err;

	if ((how & 8) != 0 && n < 4)
		return -1;
	blob = how & 1 ? NULL : patched(&in, how, &len);
	copy = fuzz_copy(blob != NULL ? blob : in.at, len = blob != NULL ? len : in.left);
	free(blob);
	if ((how & 4) == 0)
		sum_repair(copy, len);
	err = blob_check(copy, len, CONF_SLOTS, CONF_SLOTS, &reason);
	FUZZ_CHECK((err == 0) == (reason == NULL) && (err == 0 || reason[0] != '\0'));
	if (err == 0)
		blob_use((const struct blob_header *)copy, seed);
	fuzz_free(copy, len);
	return 0;
}
