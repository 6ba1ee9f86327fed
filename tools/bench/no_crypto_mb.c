// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// Preloaded into a dataplane that is measured as on a processor without AVX512-IFMA: its engine is
// libcrypto then.

int mbx_is_crypto_mb_applicable(unsigned long long algorithms);

int mbx_is_crypto_mb_applicable(unsigned long long algorithms)
{
	return 0;
}
