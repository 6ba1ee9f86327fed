// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026, the Mailrace authors

// What a reload of a large configuration costs, stage by stage: bench-reload [-s SERVICES] [-b
// BACKENDS] [-n ROUNDS]. Makes a file of that size, reads and compiles it, checks the copy; prints
// the least and the median time of each stage. No dataplane, no rights needed; tests/bench/reload
// measures the whole with one.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "config/cfg_read.h"

#define ROUNDS_MAX 1000

enum stage { STAGE_SYNTAX, STAGE_LOAD, STAGE_BUILD, STAGE_COPY, STAGE_CHECK, STAGE_SUM, STAGES };

static const char *const names[STAGES] = {
	"libconfig alone (a part of the next)",
	"file to checked model",
	"slots adopted, blob built",
	"blob copied",
	"copy checked",
	"all but the first",
};

static double seconds[STAGES][ROUNDS_MAX];

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void file_write(FILE *f, unsigned services, unsigned backends)
{
	unsigned each = backends / services;

	fprintf(f, "hostname = \"mx.bench.example\";\ndataplane = { workers = 2; };\n");
	fprintf(f,
		"ports = { lan = { device = \"net_null0,no-rx=1\"; addresses = [ \"10.0.0.10/8\" "
		"]; }; "
		"};\n");
	fprintf(f, "networks = { printers = [ \"10.30.0.0/16\" ]; };\npools = {\n");
	for (unsigned i = 0; i < services; i++) {
		fprintf(f,
			"  pool%u = { scheduler = \"weighted-least-connections\"; probe = { "
			"interval = "
			"\"10s\"; };\n    backends = (\n",
			i);
		for (unsigned k = 0; k < each; k++)
			fprintf(f,
				"      { name = \"mx%u\"; address = \"10.%u.%u.%u:25\"; weight = "
				"100; "
				"max_connections = 20; }%s\n",
				k,
				64 + i / 250,
				i % 250,
				k + 1,
				k + 1 < each ? "," : "");
		fprintf(f, "    ); };\n");
	}
	fprintf(f, "};\nvirtual_services = {\n");
	for (unsigned i = 0; i < services; i++)
		fprintf(f,
			"  service%u = { listen = [ \"10.1.%u.%u:25\" ]; pool = \"pool%u\";\n"
			"    rules = ( { from = \"printers\"; bare_lf = \"restuff\"; } ); };\n",
			i,
			i / 250,
			i % 250 + 1,
			i);
	fprintf(f, "};\n");
}

static int round_run(const char *path, unsigned n, struct cfg_slots *slots, void **last)
{
	static struct cfg_errors errs;
	double t[STAGES + 1];
	struct cfg *cfg;
	config_t file;
	const char *reason;
	void *blob, *copy;
	size_t len;
	int err;

	t[0] = now();
	config_init(&file);
	config_set_destructor(&file, cfg_members_free);
	config_read_file(&file, path);
	config_destroy(&file);
	t[1] = now();
	cfg = cfg_load(path, &errs);
	if (cfg == NULL) {
		cfg_errors_log(&errs);
		return -1;
	}
	t[2] = now();
	if (*last != NULL)
		cfg_slots_adopt(slots, *last);
	err = cfg_blob_build(cfg, slots, n + 1, &blob, &len, &errs);
	if (err < 0)
		return err;
	t[3] = now();
	copy = malloc(len);
	memcpy(copy, blob, len);
	t[4] = now();
	err = blob_check(
		copy, len, cfg->dataplane.backend_slots, cfg->dataplane.service_slots, &reason
	);
	t[5] = now();
	for (unsigned i = 0; i < STAGE_SUM; i++)
		seconds[i][n] = t[i + 1] - t[i];
	seconds[STAGE_SUM][n] = t[5] - t[1];
	free(copy);
	free(*last);
	*last = blob;
	cfg_free(cfg);
	return err;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	unsigned services = 1000, backends = 10000, rounds = 15;
	char path[] = "/tmp/bench-reload-XXXXXX";
	const char *write_to = NULL;
	struct cfg_slots *slots;
	void *last = NULL;
	FILE *f;
	int c, err = 0;

	while ((c = getopt(argc, argv, "s:b:n:w:")) != -1) {
		unsigned v = (unsigned)strtoul(optarg, NULL, 10);

		if (c == 's')
			services = v;
		else if (c == 'b')
			backends = v;
		else if (c == 'n')
			rounds = v;
		else if (c == 'w')
			write_to = optarg;
		else
			return 64;
	}
	if (services == 0 || rounds == 0 || rounds > ROUNDS_MAX)
		return 64;
	f = write_to != NULL ? fopen(write_to, "w") : fdopen(mkstemp(path), "w");
	slots = cfg_slots_new(2 * backends + 64, 2 * services + 64);
	if (f == NULL || slots == NULL)
		return 71;
	file_write(f, services, backends);
	printf("%u services, %u backends, %ld bytes of text, %u rounds; milliseconds\n",
	       services,
	       backends,
	       ftell(f),
	       rounds);
	fclose(f);
	for (unsigned i = 0; i < rounds && err == 0; i++)
		err = round_run(write_to != NULL ? write_to : path, i, slots, &last);
	if (write_to == NULL)
		remove(path);
	for (unsigned i = 0; i < STAGES && err == 0; i++) {
		qsort(seconds[i], rounds, sizeof(double), by_size);
		printf("%-40s least %7.2f  median %7.2f\n",
		       names[i],
		       seconds[i][0] * 1e3,
		       seconds[i][rounds / 2] * 1e3);
	}
	free(last);
	cfg_slots_free(slots);
	return err < 0;
}
