// SPDX-License-Identifier: MIT
/* Several clients at once, each a process: what they get together, and what a modest one gets
 * beside a greedy one. */
#include "measurements.h"

#include <time.h>
#include <unistd.h>

#include "client.h"
#include "rig.h"
#include "serialdisk.h"

#define ROUND_NS 200000000
#define BYTES 512
#define IN_FLIGHT 128 /* all clients together: what is measured is their number */
#define MAX_CLIENTS 64

static void sleep_ns(long ns)
{
	struct timespec t = {.tv_nsec = ns};

	nanosleep(&t, NULL);
}

static int spawn_clients(struct client_process *clients, const char *disk, unsigned n,
			 uint32_t depth)
{
	for (unsigned i = 0; i < n; i++) {
		int ret = client_spawn(&clients[i], disk, BYTES, depth);

		if (!ret)
			continue;
		while (i--)
			client_kill(&clients[i]);
		return ret;
	}
	return 0;
}

static double completed(const struct client_process *clients, unsigned n)
{
	double sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += (double)atomic_load(&clients[i].shared->done);
	return sum;
}

static int first_error(const struct client_process *clients, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (clients[i].shared->error)
			return clients[i].shared->error;
	return 0;
}

/* Reads per second that the first `counted` of n clients get while all of them run. */
static int run_clients(struct client_process *clients, unsigned n, unsigned counted,
		       double *per_second)
{
	double before, after;
	uint64_t start, end;

	for (unsigned i = 0; i < n; i++)
		bench_go(&clients[i].process);
	sleep_ns(ROUND_NS / 10);
	before = completed(clients, counted);
	start = bench_now();
	sleep_ns(ROUND_NS);
	after = completed(clients, counted);
	end = bench_now();
	for (unsigned i = 0; i < n; i++)
		bench_park(&clients[i].process);
	*per_second = (after - before) * 1e9 / (double)(end - start);
	return first_error(clients, n);
}

/* ---- the total ---- */

static int setup(const struct bench_measurement *m, void **state)
{
	bench_pin(rig.nvmed, BENCH_SERVER_CPU);
	*state = (void *)m->arg;
	return 0;
}

static void teardown(void *state)
{
	(void)state;
}

static int total_of(const char *disk, unsigned n, double *result)
{
	struct client_process clients[MAX_CLIENTS];
	int ret = spawn_clients(clients, disk, n, IN_FLIGHT / n);

	if (ret)
		return ret;
	ret = run_clients(clients, n, n, result);
	for (unsigned i = 0; i < n; i++)
		client_kill(&clients[i]);
	return ret;
}

/* Connected in the round: clients that only are there must not slow the other measurements. */
static int total(void *state, double *results)
{
	return total_of(rig.disk, *(const unsigned *)state, &results[0]);
}

/* The same on a disk that costs no CPU: what is left is the clients' own. */
static int serial_total(void *state, double *results)
{
	struct bench_process disk;
	char path[RIG_PATH];
	int ret;

	snprintf(path, sizeof(path), "%s/serial", bench_options.tmp);
	ret = serial_disk_start(&disk, path);
	if (ret)
		return ret;
	ret = total_of(path, *(const unsigned *)state, &results[0]);
	bench_kill(&disk);
	unlink(path);
	return ret;
}

#define TOTAL(variable, key, n, run, text)                                              \
	const struct bench_measurement variable = {                                     \
		.values = (const struct bench_value[]){{key "_iops", text, "/s"}, {0}}, \
		.arg = &(const unsigned){n},                                            \
		.setup = setup,                                                         \
		.round = run,                                                           \
		.teardown = teardown,                                                   \
	}

TOTAL(bench_clients_1, "nvme_clients_1", 1, total, "reads of 1 client, 128 in flight");
TOTAL(bench_clients_8, "nvme_clients_8", 8, total, "reads of 8 clients, 128 in flight");
TOTAL(bench_clients_64, "nvme_clients_64", 64, total, "reads of 64 clients, 128 in flight");
TOTAL(bench_serial_1, "serial_clients_1", 1, serial_total, "1 client of a disk that costs no CPU");
TOTAL(bench_serial_8, "serial_clients_8", 8, serial_total, "8 clients of one that costs no CPU");
TOTAL(bench_serial_64, "serial_clients_64", 64, serial_total,
      "64 clients of one that costs no CPU");

/* ---- one at depth 1, beside another ---- */

static int beside(void *state, double *results)
{
	struct client_process clients[2];
	int ret = client_spawn(&clients[0], rig.disk, BYTES, 1);

	if (ret)
		return ret;
	ret = client_spawn(&clients[1], rig.disk, BYTES, *(const unsigned *)state);
	if (!ret) {
		ret = run_clients(clients, 2, 1, &results[0]);
		client_kill(&clients[1]);
	}
	client_kill(&clients[0]);
	return ret;
}

const struct bench_measurement bench_beside_equal = {
	.values =
		(const struct bench_value[]){
			{"nvme_beside_equal_iops", "the same, beside one of depth 1", "/s"}, {0}},
	.arg = &(const unsigned){1},
	.setup = setup,
	.round = beside,
	.teardown = teardown,
};

const struct bench_measurement bench_beside_greedy = {
	.values = (const struct bench_value[]){{"nvme_beside_greedy_iops",
						"depth 1, beside a client of depth 128", "/s"},
					       {0}},
	.arg = &(const unsigned){128},
	.setup = setup,
	.round = beside,
	.teardown = teardown,
};
