// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What the files of the classifier share; for dataplane/tarpit only.

#pragma once

#include "dataplane/tarpit/tarpit.h"

#define TICK_US 10000
#define SECOND 100 // ticks
#define EXCHANGE_K (5 * SECOND)
#define POSTFIX_K SECOND
#define POSTSCREEN_K (6 * SECOND)
#define ACK_MAX (30 * SECOND)
#define SURE_MAX 60
#define SURE 3 // of a constant

// learn.c
enum shm_verb_group tarpit_group(const struct tarpit_reply *reply);
// Its delay beyond what is usual, in ticks; 0: not slow.
uint16_t tarpit_delay(const struct tarpit_backend *b, const struct tarpit_reply *reply);
// A reply that was not slow.
void tarpit_usual(struct tarpit_backend *b, const struct tarpit_reply *reply);
// A good reply was slow, by no rule of its session.
void tarpit_slow(struct tarpit_backend *b, enum shm_verb_group group, uint16_t x);
uint32_t tarpit_tolerance(const struct tarpit_backend *b, uint32_t k);
bool tarpit_near(const struct tarpit_backend *b, uint32_t x, uint32_t k);
// The same; a body takes its own time besides.
bool tarpit_near_at(
	const struct tarpit_backend *b,
	enum shm_verb_group group,
	uint32_t x,
	uint32_t k
);
// Is x the ring's constant? Learns it.
bool tarpit_ring_add(
	const struct tarpit_backend *b,
	struct tarpit_ring *ring,
	enum shm_verb_group group,
	uint16_t x
);
// All verbs are slow and by no constant.
bool tarpit_is_overload(const struct tarpit_backend *b);
// It may be: two are.
bool tarpit_is_busy(const struct tarpit_backend *b);

// grow.c: delays that grow with each command of a session. index: TARPIT_GROWS: none.
unsigned tarpit_grow_index(const struct tarpit_reply *reply);
bool tarpit_grows(struct tarpit_backend *b, struct tarpit_leg *leg, unsigned index, uint16_t x);
