// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// The connection to the dataplane, see link.h. Waits at most a second for workers to take over a
// generation.

#include "controlplane/link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/abi/sock.h"
#include "common/abi/stats.h"

#define BUSY_US 1000000U   // in all
#define BUSY_FIRST_US 500U // workers need a turn or two, as a rule
#define BUSY_LONGEST_US 20000U

static bool ring_ok(const struct ctl_ring *ring)
{
	return ring != NULL && (uintptr_t)ring % _Alignof(struct ctl_ring) == 0;
}

bool link_sections(struct link *l)
{
	const struct shm_header *h = l->at.stats.header;

	l->workers = h->workers;
	l->backend_slots = h->backend_slots;
	l->service_slots = h->service_slots;
	if (l->workers == 0 || l->workers > CFG_MAX_WORKERS)
		return false;
	l->backend_ctl = shm_view_entry(
		&l->at.control,
		SHM_SEC_BACKEND_CTL,
		0,
		l->backend_slots * sizeof(struct shm_backend_ctl)
	);
	l->verdicts = shm_view_entry(
		&l->at.control,
		SHM_SEC_BACKEND_VERDICT_CTL,
		0,
		l->backend_slots * sizeof(struct shm_backend_verdict)
	);
	l->state = shm_view_entry(&l->at.control, SHM_SEC_CONTROL_STATE, 0, sizeof(*l->state));
	l->test_mail = shm_view_entry(&l->at.control, SHM_SEC_TEST_MAIL, 0, sizeof(*l->test_mail));
	l->arena = shm_view_entry(&l->at.control, SHM_SEC_BLOB_ARENA, 0, BLOB_MAX_BYTES);
	for (uint32_t i = 0; i < l->workers; i++) {
		l->commands[i] = shm_view_entry(
			&l->at.control, SHM_SEC_CMD_RING, i, sizeof(struct ctl_ring)
		);
		l->events[i] = shm_view_entry(
			&l->at.control, SHM_SEC_EVT_RING, i, sizeof(struct ctl_ring)
		);
		l->backends[i] = shm_view_entry(
			&l->at.stats,
			SHM_SEC_BACKEND_LOCAL,
			i,
			l->backend_slots * sizeof(struct shm_backend_local)
		);
		l->services[i] = shm_view_entry(
			&l->at.stats,
			SHM_SEC_SERVICE_LOCAL,
			i,
			l->service_slots * sizeof(struct shm_service_local)
		);
		if (!ring_ok(l->commands[i]) || !ring_ok(l->events[i]) || l->backends[i] == NULL ||
		    l->services[i] == NULL)
			return false;
	}
	return l->backend_ctl != NULL && l->state != NULL && l->arena != NULL;
}

static int blob_adopt(struct link *l)
{
	const char *reason;
	size_t len = l->at.blob_length;

	if (len < sizeof(struct blob_header) || len > BLOB_MAX_BYTES)
		return -EPROTO;
	l->blob = malloc(len);
	if (l->blob == NULL)
		return -ENOMEM;
	memcpy(l->blob, l->arena, len);
	return blob_check(l->blob, len, l->backend_slots, l->service_slots, &reason) == 0 ? 0
											  : -EPROTO;
}

int link_open(struct link *l, const char *socket_path)
{
	int err;

	*l = (struct link){.at.fd = -1};
	err = attach_control(&l->at, socket_path);
	if (err < 0)
		return err;
	err = link_sections(l) ? blob_adopt(l) : -EPROTO;
	if (err < 0)
		link_close(l);
	return err;
}

void link_close(struct link *l)
{
	if (!link_is_open(l))
		return;
	attach_control_close(&l->at);
	free(l->blob);
	*l = (struct link){.at.fd = -1};
}

bool link_check(struct link *l)
{
	char byte;
	ssize_t n;

	if (!link_is_open(l))
		return false;
	n = recv(l->at.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return true;
	link_close(l);
	return false;
}

static bool publish_send(const struct link *l, struct sock_publish *req, int creds_fd)
{
	struct iovec iov = {req, sizeof(*req)};
	char control[CMSG_SPACE(sizeof(int))] = {0};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *c;

	if (creds_fd >= 0) {
		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &creds_fd, sizeof(int));
	}
	return sendmsg(l->at.fd, &msg, MSG_NOSIGNAL) == sizeof(*req);
}

static int publish_ask(struct link *l, uint32_t len, int creds_fd, struct sock_published *ret)
{
	struct sock_publish req = {.magic = SOCK_MAGIC, .length = len};

	if (!publish_send(l, &req, creds_fd) ||
	    recv(l->at.fd, ret, sizeof(*ret), 0) != sizeof(*ret) || ret->magic != SOCK_MAGIC)
		return -ENOTCONN;
	return ret->code == SOCK_OK ? 0 : ret->code == SOCK_BUSY ? -EBUSY : -EINVAL;
}

int link_publish(
	struct link *l,
	struct blob_header *blob,
	int creds_fd,
	char *reason,
	size_t reason_len
)
{
	struct sock_published answer;
	unsigned wait_us = BUSY_FIRST_US, waited_us = 0;
	int err;

	if (!link_is_open(l))
		return -ENOTCONN;
	memcpy(l->arena, blob, blob->length);
	err = publish_ask(l, blob->length, creds_fd, &answer);
	while (err == -EBUSY && waited_us < BUSY_US) {
		usleep(wait_us);
		waited_us += wait_us;
		wait_us = wait_us < BUSY_LONGEST_US / 2 ? wait_us * 2 : BUSY_LONGEST_US;
		err = publish_ask(l, blob->length, creds_fd, &answer);
	}
	if (err == -ENOTCONN) {
		link_close(l); // what it answers later would be taken for another answer
		return err;
	}
	if (err == -EINVAL)
		snprintf(reason, reason_len, "%.111s", answer.reason);
	if (err == 0) {
		free(l->blob);
		l->blob = blob;
	}
	return err;
}

const struct shm_backend_local *link_backend(const struct link *l, uint32_t worker, uint32_t slot)
{
	if (!link_is_open(l) || slot >= l->backend_slots || worker >= l->workers)
		return NULL;
	return &l->backends[worker][slot];
}

const struct shm_backend_signals *link_signals(const struct link *l, uint32_t worker, uint32_t slot)
{
	const struct shm_backend_signals *s = NULL;

	if (link_is_open(l) && slot < l->backend_slots)
		s = shm_view_entry(
			&l->at.stats, SHM_SEC_BACKEND_SIGNALS, worker, (slot + 1) * sizeof(*s)
		);
	return s != NULL ? &s[slot] : NULL;
}

const struct shm_service_local *link_service(const struct link *l, uint32_t worker, uint32_t slot)
{
	if (!link_is_open(l) || slot >= l->service_slots || worker >= l->workers)
		return NULL;
	return &l->services[worker][slot];
}

bool link_has_last_good(const struct link *l)
{
	const uint64_t *counter = NULL;

	if (link_is_open(l)) // the main thread's stand after the workers'
		counter = shm_view_entry(
			&l->at.stats,
			SHM_SEC_COUNTERS,
			l->workers,
			(STAT_CFG_LAST_GOOD + 1) * sizeof(uint64_t)
		);
	return counter != NULL &&
	       __atomic_load_n(&counter[STAT_CFG_LAST_GOOD], __ATOMIC_RELAXED) != 0;
}

bool link_backend_is_held(const struct link *l, uint32_t slot)
{
	for (uint32_t i = 0; i < l->workers; i++) {
		const struct shm_backend_local *b = link_backend(l, i, slot);

		if (b != NULL && __atomic_load_n(&b->active, __ATOMIC_RELAXED) > 0)
			return true;
	}
	return false;
}

bool link_service_is_held(const struct link *l, uint32_t slot)
{
	for (uint32_t i = 0; i < l->workers; i++) {
		const struct shm_service_local *s = link_service(l, i, slot);

		if (s != NULL && __atomic_load_n(&s->active, __ATOMIC_RELAXED) > 0)
			return true;
	}
	return false;
}
