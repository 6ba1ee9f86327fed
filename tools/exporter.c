// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// mailrace-exporter -c FILE: serves the statistics at exporter.listen for Prometheus. Maps the
// segment anew for each scrape, so a restarted dataplane needs no care; when none is there,
// mailrace_up is 0. Holds nothing that a crash could harm.

#include "tools/metrics.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "common/log.h"
#include "common/user.h"
#include "config/cfg.h"

#define LIVE_BYTES_MAX (256U << 20) // of pages that are being sent

// A page at 10,000 backends is 40 MB, and a reader may take its time.
static size_t live_bytes; // the daemon's only thread

struct page {
	char *text;
	size_t len;
};

static void page_free(void *arg)
{
	struct page *page = arg;

	live_bytes -= page->len;
	free(page->text);
	free(page);
}

static bool page_write(const struct cfg *cfg, struct page *page)
{
	FILE *out = open_memstream(&page->text, &page->len);
	struct shm_view view;
	int err;

	if (out == NULL)
		return false;
	err = attach_reader(&view, cfg->dataplane.socket);
	fprintf(out,
		"# HELP mailrace_up Whether the dataplane answers.\n# TYPE mailrace_up "
		"gauge\nmailrace_up %d\n",
		err == 0);
	if (err == 0) {
		metrics_write(&view, out);
		shm_view_unmap(&view);
	}
	return fclose(out) == 0;
}

static struct MHD_Response *page_make(const struct cfg *cfg)
{
	struct MHD_Response *response = NULL;
	struct page *page = calloc(1, sizeof(*page));

	if (page == NULL)
		return NULL;
	if (page_write(cfg, page))
		response = MHD_create_response_from_buffer_with_free_callback_cls(
			page->len, page->text, page_free, page
		);
	if (response == NULL) {
		free(page->text);
		free(page);
		return NULL;
	}
	live_bytes += page->len;
	MHD_add_response_header(response, "Content-Type", "text/plain; version=0.0.4");
	return response;
}

static struct MHD_Response *text_make(const char *text)
{
	return MHD_create_response_from_buffer(
		strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT
	);
}

static enum MHD_Result
answer(void *arg,
       struct MHD_Connection *connection,
       const char *url,
       const char *method,
       const char *version,
       const char *upload,
       size_t *upload_len,
       void **state)
{
	struct MHD_Response *response;
	unsigned status = MHD_HTTP_OK;
	enum MHD_Result result;

	if (strcmp(method, "GET") != 0 || strcmp(url, "/metrics") != 0) {
		status = MHD_HTTP_NOT_FOUND;
		response = text_make("see /metrics\r\n");
	} else if (live_bytes > LIVE_BYTES_MAX) {
		status = MHD_HTTP_SERVICE_UNAVAILABLE;
		response = text_make("too many pages are being read\r\n");
	} else {
		response = page_make(arg);
	}
	if (response == NULL)
		return MHD_NO;
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static struct MHD_Daemon *listen_at(const struct ip_endpoint *at, struct cfg *cfg)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(at->port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(at->port)};
	bool is_v4 = ip_addr_is_v4(&at->addr);

	if (is_v4)
		v4.sin_addr.s_addr = ip_addr_to_v4(&at->addr);
	memcpy(&v6.sin6_addr, &at->addr, 16);
	return MHD_start_daemon(
		MHD_USE_INTERNAL_POLLING_THREAD | (is_v4 ? 0 : MHD_USE_IPv6),
		at->port,
		NULL,
		NULL,
		answer,
		cfg,
		MHD_OPTION_SOCK_ADDR,
		is_v4 ? (void *)&v4 : (void *)&v6,
		MHD_OPTION_CONNECTION_LIMIT,
		64U,
		MHD_OPTION_CONNECTION_TIMEOUT,
		10U,
		MHD_OPTION_END
	);
}

int main(int argc, char **argv)
{
	struct cfg_errors *errs = calloc(1, sizeof(*errs));
	struct MHD_Daemon *daemon;
	struct cfg *cfg;
	sigset_t set;
	int sig, err;

	log_init("mailrace-exporter", LOG_INFO);
	if (argc != 3 || strcmp(argv[1], "-c") != 0 || errs == NULL) {
		fprintf(stderr, "usage: mailrace-exporter -c FILE\n");
		return EX_USAGE;
	}
	cfg = cfg_load(argv[2], errs);
	if (cfg == NULL) {
		cfg_errors_log(errs);
		return EX_CONFIG;
	}
	free(errs);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	daemon = listen_at(&cfg->exporter.listen, cfg);
	if (daemon == NULL) {
		log_line(LOG_ERROR, "cannot listen at exporter.listen: %s", strerror(errno));
		return EX_UNAVAILABLE;
	}
	err = user_become(cfg->exporter.user);
	if (err < 0)
		log_line(LOG_ERROR, "exporter.user: %s", strerror(-err));
	else
		sigwait(&set, &sig);
	MHD_stop_daemon(daemon);
	cfg_free(cfg);
	return err < 0 ? EX_NOPERM : EX_OK;
}
