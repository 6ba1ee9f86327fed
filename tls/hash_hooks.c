// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The other redirections (see pk_hooks.c for how): hashes by libcrypto, which knows the processor's
// SHA instructions, and the key schedule of TLS 1.3 without PSA's key slots, their mutex and their
// memory. Only while a handshake of an engine runs; else, and for other algorithms, the library's
// own.
//
// | symbols | instead | why |
// |---|---|---|
// | mbedtls_sha256_update, _finish, mbedtls_sha512_update, _finish | libcrypto | no SHA-NI in
// mbedTLS 3.6 on x86 | | psa_crypto_init | nothing after the first | called for every handshake |
// | psa_hash_compute | SHA-256, SHA-384 at once | transcript hashes |
// | psa_import_key, psa_mac_compute, (psa_destroy_key) | one HMAC key | Finished |
// | psa_key_derivation_setup, _input_bytes, _output_bytes, _abort | HKDF at the output | RFC
// 8446 7.1 |

#include "tls/pk_hooks.h"

#include <string.h>

#include <mbedtls/sha256.h>
#include <mbedtls/sha512.h>
#include <openssl/sha.h>
#include <psa/crypto.h>

#pragma GCC diagnostic ignored \
	"-Wdeprecated-declarations" // SHA256_Update and its kin: no fetch, no malloc

#define BLOCK_MAX 128
#define DIGEST_MAX 64
#define MAC_ID 0x90000000U // beyond PSA's key identifiers and those of pk_hooks.c

static struct {
	int (*sha256_update)(mbedtls_sha256_context *, const unsigned char *, size_t);
	int (*sha256_finish)(mbedtls_sha256_context *, unsigned char *);
	int (*sha512_update)(mbedtls_sha512_context *, const unsigned char *, size_t);
	int (*sha512_finish)(mbedtls_sha512_context *, unsigned char *);
	psa_status_t (*crypto_init)(void);
	psa_status_t (*hash_compute)(psa_algorithm_t, const uint8_t *, size_t, uint8_t *, size_t, size_t *);
	psa_status_t (*import_key)(const psa_key_attributes_t *, const uint8_t *, size_t, mbedtls_svc_key_id_t *);
	psa_status_t (*mac_compute)(mbedtls_svc_key_id_t, psa_algorithm_t, const uint8_t *, size_t, uint8_t *, size_t, size_t *);
	psa_status_t (*kdf_setup)(psa_key_derivation_operation_t *, psa_algorithm_t);
	psa_status_t (*kdf_input)(
		psa_key_derivation_operation_t *,
		psa_key_derivation_step_t,
		const uint8_t *,
		size_t
	);
	psa_status_t (*kdf_output)(psa_key_derivation_operation_t *, uint8_t *, size_t);
	psa_status_t (*kdf_abort)(psa_key_derivation_operation_t *);
} real;

bool hash_hooks_init(void)
{
	static const struct hook_row rows[] = {
#define ROW(symbol, member) {symbol, __builtin_offsetof(typeof(real), member)}
		ROW("mbedtls_sha256_update", sha256_update),
		ROW("mbedtls_sha256_finish", sha256_finish),
		ROW("mbedtls_sha512_update", sha512_update),
		ROW("mbedtls_sha512_finish", sha512_finish),
		ROW("psa_crypto_init", crypto_init),
		ROW("psa_hash_compute", hash_compute),
		ROW("psa_import_key", import_key),
		ROW("psa_mac_compute", mac_compute),
		ROW("psa_key_derivation_setup", kdf_setup),
		ROW("psa_key_derivation_input_bytes", kdf_input),
		ROW("psa_key_derivation_output_bytes", kdf_output),
		ROW("psa_key_derivation_abort", kdf_abort),
#undef ROW
	};

	return hooks_find(rows, sizeof(rows) / sizeof(rows[0]), &real);
}

static struct tls_engine *redirects(void)
{
	if (__builtin_expect(real.kdf_abort == NULL, 0))
		hash_hooks_init();
	return tls_current != NULL && tls_engine_queue(tls_current)->engine != NULL ? tls_current
										    : NULL;
}

// The library's context in libcrypto's form and back: both are state, length and an open block.
static void sha256_take(SHA256_CTX *to, const mbedtls_sha256_context *from)
{
	uint64_t bits = ((uint64_t)from->total[1] << 32 | from->total[0]) << 3;

	memcpy(to->h, from->state, sizeof(to->h));
	memcpy(to->data, from->buffer, sizeof(to->data));
	to->Nl = (SHA_LONG)bits;
	to->Nh = (SHA_LONG)(bits >> 32);
	to->num = from->total[0] & 63;
	to->md_len = from->is224 ? SHA224_DIGEST_LENGTH : SHA256_DIGEST_LENGTH;
}

int mbedtls_sha256_update(mbedtls_sha256_context *ctx, const unsigned char *data, size_t len)
{
	uint64_t total;
	SHA256_CTX c;

	if (redirects() == NULL)
		return real.sha256_update(ctx, data, len);
	sha256_take(&c, ctx);
	SHA256_Update(&c, data, len);
	memcpy(ctx->state, c.h, sizeof(c.h));
	memcpy(ctx->buffer, c.data, sizeof(c.data));
	total = ((uint64_t)ctx->total[1] << 32 | ctx->total[0]) + len;
	ctx->total[0] = (uint32_t)total;
	ctx->total[1] = (uint32_t)(total >> 32);
	return 0;
}

int mbedtls_sha256_finish(mbedtls_sha256_context *ctx, unsigned char *out)
{
	SHA256_CTX c;

	if (redirects() == NULL)
		return real.sha256_finish(ctx, out);
	sha256_take(&c, ctx);
	SHA256_Final(out, &c);
	return 0;
}

static void sha512_take(SHA512_CTX *to, const mbedtls_sha512_context *from)
{
	memcpy(to->h, from->state, sizeof(to->h));
	memcpy(to->u.p, from->buffer, sizeof(to->u.p));
	to->Nl = from->total[0] << 3;
	to->Nh = from->total[1] << 3 | from->total[0] >> 61;
	to->num = from->total[0] & 127;
	to->md_len = from->is384 ? SHA384_DIGEST_LENGTH : SHA512_DIGEST_LENGTH;
}

int mbedtls_sha512_update(mbedtls_sha512_context *ctx, const unsigned char *data, size_t len)
{
	SHA512_CTX c;

	if (redirects() == NULL)
		return real.sha512_update(ctx, data, len);
	sha512_take(&c, ctx);
	SHA512_Update(&c, data, len);
	memcpy(ctx->state, c.h, sizeof(c.h));
	memcpy(ctx->buffer, c.u.p, sizeof(c.u.p));
	ctx->total[0] += len;
	ctx->total[1] += ctx->total[0] < len;
	return 0;
}

int mbedtls_sha512_finish(mbedtls_sha512_context *ctx, unsigned char *out)
{
	SHA512_CTX c;

	if (redirects() == NULL)
		return real.sha512_finish(ctx, out);
	sha512_take(&c, ctx);
	SHA512_Final(out, &c);
	return 0;
}

// SHA-256 or SHA-384 over pieces, and HMAC (RFC 2104) on it.
struct digest {
	bool is384;
	union {
		SHA256_CTX s256;
		SHA512_CTX s512;
	};
};

static unsigned digest_len(psa_algorithm_t hash)
{
	return hash == PSA_ALG_SHA_256 ? 32 : hash == PSA_ALG_SHA_384 ? 48 : 0;
}

static void digest_begin(struct digest *d, psa_algorithm_t hash)
{
	d->is384 = hash == PSA_ALG_SHA_384;
	if (d->is384)
		SHA384_Init(&d->s512);
	else
		SHA256_Init(&d->s256);
}

static void digest_add(struct digest *d, const uint8_t *data, size_t len)
{
	if (len == 0)
		return;
	if (d->is384)
		SHA384_Update(&d->s512, data, len);
	else
		SHA256_Update(&d->s256, data, len);
}

static void digest_end(struct digest *d, uint8_t *out)
{
	if (d->is384)
		SHA384_Final(out, &d->s512);
	else
		SHA256_Final(out, &d->s256);
}

struct piece {
	const uint8_t *data;
	size_t len;
};

static void
hmac(psa_algorithm_t hash, struct piece key, const struct piece *in, unsigned count, uint8_t *out)
{
	unsigned block = hash == PSA_ALG_SHA_384 ? 128 : 64, len = digest_len(hash);
	uint8_t pad[BLOCK_MAX] = {0}, inner[DIGEST_MAX];
	struct digest d;

	digest_begin(&d, hash);
	if (key.len > block) {
		digest_add(&d, key.data, key.len);
		digest_end(&d, pad);
		digest_begin(&d, hash);
	} else if (key.len > 0) {
		memcpy(pad, key.data, key.len);
	}
	for (unsigned i = 0; i < block; i++)
		pad[i] ^= 0x36;
	digest_add(&d, pad, block);
	for (unsigned i = 0; i < count; i++)
		digest_add(&d, in[i].data, in[i].len);
	digest_end(&d, inner);
	for (unsigned i = 0; i < block; i++)
		pad[i] ^= 0x36 ^ 0x5c;
	digest_begin(&d, hash);
	digest_add(&d, pad, block);
	digest_add(&d, inner, len);
	digest_end(&d, out);
	explicit_bzero(pad, sizeof(pad));
}

psa_status_t psa_crypto_init(void)
{
	if (redirects() != NULL)
		return PSA_SUCCESS; // an engine exists, so it was called
	return real.crypto_init();
}

psa_status_t psa_hash_compute(
	psa_algorithm_t alg,
	const uint8_t *in,
	size_t len,
	uint8_t *out,
	size_t size,
	size_t *ret_len
)
{
	struct digest d;

	if (redirects() == NULL || digest_len(alg) == 0 || size < digest_len(alg))
		return real.hash_compute(alg, in, len, out, size, ret_len);
	digest_begin(&d, alg);
	digest_add(&d, in, len);
	digest_end(&d, out);
	*ret_len = digest_len(alg);
	return PSA_SUCCESS;
}

// The HMAC key of a Finished: imported, used and destroyed without a wait in between.
psa_status_t psa_import_key(
	const psa_key_attributes_t *a,
	const uint8_t *data,
	size_t len,
	mbedtls_svc_key_id_t *id
)
{
	struct tls_engine *e = redirects();
	struct hash_scratch *x = e != NULL ? tls_engine_scratch(e) : NULL;

	if (x == NULL || x->mac_used || len > sizeof(x->mac_key) ||
	    psa_get_key_type(a) != PSA_KEY_TYPE_HMAC)
		return real.import_key(a, data, len, id);
	memcpy(x->mac_key, data, len);
	x->mac_len = len;
	x->mac_used = true;
	*id = MAC_ID;
	return PSA_SUCCESS;
}

bool hash_key_destroy(mbedtls_svc_key_id_t id)
{
	struct tls_engine *e = redirects();

	if (e == NULL || id != MAC_ID)
		return false;
	explicit_bzero(tls_engine_scratch(e)->mac_key, sizeof(tls_engine_scratch(e)->mac_key));
	tls_engine_scratch(e)->mac_used = false;
	return true;
}

psa_status_t psa_mac_compute(
	mbedtls_svc_key_id_t id,
	psa_algorithm_t alg,
	const uint8_t *in,
	size_t len,
	uint8_t *out,
	size_t size,
	size_t *ret_len
)
{
	struct tls_engine *e = redirects();
	psa_algorithm_t hash = PSA_ALG_HMAC_GET_HASH(alg);
	const struct piece text = {in, len};

	if (e == NULL || id != MAC_ID)
		return real.mac_compute(id, alg, in, len, out, size, ret_len);
	if (digest_len(hash) == 0 || size < digest_len(hash))
		return PSA_ERROR_NOT_SUPPORTED;
	hmac(hash,
	     (struct piece){tls_engine_scratch(e)->mac_key, tls_engine_scratch(e)->mac_len},
	     &text,
	     1,
	     out);
	*ret_len = digest_len(hash);
	return PSA_SUCCESS;
}

// HKDF: the inputs are kept as they were given, which libmbedtls leaves standing until the output;
// no wait lies between.
psa_status_t psa_key_derivation_setup(psa_key_derivation_operation_t *op, psa_algorithm_t alg)
{
	struct tls_engine *e = redirects();
	struct hash_scratch *x = e != NULL ? tls_engine_scratch(e) : NULL;

	if (x == NULL || x->kdf != NULL || digest_len(PSA_ALG_GET_HASH(alg)) == 0 ||
	    !(PSA_ALG_IS_HKDF_EXPAND(alg) || PSA_ALG_IS_HKDF_EXTRACT(alg)))
		return real.kdf_setup(op, alg);
	x->kdf = op;
	x->alg = alg;
	x->secret = x->salt = x->info = NULL;
	x->secret_len = x->salt_len = x->info_len = 0;
	return PSA_SUCCESS;
}

psa_status_t psa_key_derivation_input_bytes(
	psa_key_derivation_operation_t *op,
	psa_key_derivation_step_t step,
	const uint8_t *data,
	size_t len
)
{
	struct tls_engine *e = redirects();
	struct hash_scratch *x = e != NULL ? tls_engine_scratch(e) : NULL;

	if (x == NULL || x->kdf != op)
		return real.kdf_input(op, step, data, len);
	if (step == PSA_KEY_DERIVATION_INPUT_SECRET) {
		x->secret = data;
		x->secret_len = len;
	} else if (step == PSA_KEY_DERIVATION_INPUT_SALT) {
		x->salt = data;
		x->salt_len = len;
	} else {
		x->info = data;
		x->info_len = len;
	}
	return PSA_SUCCESS;
}

// RFC 5869 2.2, 2.3.
psa_status_t
psa_key_derivation_output_bytes(psa_key_derivation_operation_t *op, uint8_t *out, size_t len)
{
	struct tls_engine *e = redirects();
	struct hash_scratch *x = e != NULL ? tls_engine_scratch(e) : NULL;
	uint8_t t[DIGEST_MAX], counter = 0;
	unsigned size;
	psa_algorithm_t hash;

	if (x == NULL || x->kdf != op)
		return real.kdf_output(op, out, len);
	hash = PSA_ALG_GET_HASH(x->alg);
	size = digest_len(hash);
	if (PSA_ALG_IS_HKDF_EXTRACT(x->alg)) {
		const struct piece secret = {x->secret, x->secret_len};

		hmac(hash, (struct piece){x->salt, x->salt_len}, &secret, 1, t);
		memcpy(out, t, len < size ? len : size);
		return PSA_SUCCESS;
	}
	for (size_t done = 0; done < len && counter < 255;) {
		const struct piece in[] = {
			{t, counter > 0 ? size : 0}, {x->info, x->info_len}, {&counter, 1}
		};
		size_t take = len - done < size ? len - done : size;

		counter++;
		hmac(hash, (struct piece){x->secret, x->secret_len}, in, 3, t);
		memcpy(out + done, t, take);
		done += take;
	}
	return PSA_SUCCESS;
}

psa_status_t psa_key_derivation_abort(psa_key_derivation_operation_t *op)
{
	struct tls_engine *e = redirects();
	struct hash_scratch *x = e != NULL ? tls_engine_scratch(e) : NULL;

	if (x == NULL || x->kdf != op)
		return real.kdf_abort(op);
	x->kdf = NULL;
	return PSA_SUCCESS;
}
