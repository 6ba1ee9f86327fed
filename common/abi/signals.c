// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// See signals.h. Constants; any thread.

#include "common/abi/signals.h"

const char *const reason_names[SHM_REASONS] = {
	[SHM_REASON_NONE] = "none",
	[SHM_REASON_PROBE] = "probe",
	[SHM_REASON_MAINTENANCE] = "maintenance",
	[SHM_REASON_FAILING] = "failing",
	[SHM_REASON_PROXY] = "proxy",
	[SHM_REASON_BOUNCES] = "bounces",
	[SHM_REASON_SLOW] = "slow",
};

const char *const signal_names[SHM_SIGNALS] = {
	[SHM_SIGNAL_REFUSED] = "refused",
	[SHM_SIGNAL_TIMEOUT] = "timeout",
	[SHM_SIGNAL_MALFORMED] = "malformed",
	[SHM_SIGNAL_DROPPED] = "dropped",
	[SHM_SIGNAL_BANNER_421] = "banner_421",
	[SHM_SIGNAL_MAIL_421] = "mail_421",
	[SHM_SIGNAL_STORAGE] = "storage",
	[SHM_SIGNAL_SYSTEM] = "system",
	[SHM_SIGNAL_PROXY] = "proxy",
};
