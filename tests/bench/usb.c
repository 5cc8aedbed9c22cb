// SPDX-License-Identifier: MIT
/* Reads of null-backed sticks on QEMU's xHCI controller, through xhcid and usbscsid, and what each
 * one costs. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "measurements.h"
#include "rig.h"
#include "syscalls.h"
#include "touched.h"

#define ROUND_NS 200000000u

struct shape {
	const char *disk;
	uint32_t bytes, depth;
	bool sequential;
};

struct reader {
	const struct shape *shape;
	struct client client;
	int calls[RIG_DAEMONS + 1];
};

/* All that is counted, at one moment. */
struct counts {
	uint64_t now, reads;
	double cpu, writes, calls;
};

static int setup(const struct bench_measurement *m, void **state)
{
	struct reader *r = calloc(1, sizeof(*r));
	char path[RIG_PATH];
	int ret = -ENOMEM;

	if (r) {
		r->shape = m->arg;
		snprintf(path, sizeof(path), "%.100s/disk/%s", rig.run_dir, r->shape->disk);
		ret = client_open(&r->client, path, r->shape->bytes, r->shape->depth);
	}
	if (ret) {
		free(r);
		return ret;
	}
	r->client.sequential = r->shape->sequential;
	for (unsigned i = 0; i < rig.ndaemons; i++) {
		r->calls[i] = syscalls_open(rig.daemon[i]);
		bench_pin(rig.daemon[i], BENCH_SERVER_CPU);
	}
	r->calls[rig.ndaemons] = syscalls_open(0);
	*state = r;
	return 0;
}

static void teardown(void *state)
{
	struct reader *r = state;

	client_close(&r->client);
	for (unsigned i = 0; i <= rig.ndaemons; i++)
		close(r->calls[i]);
	free(r);
}

static void count(const struct reader *r, struct counts *c)
{
	c->writes = rig_counter(&rig, "xhcid", "mmio_writes");
	c->cpu = rig_cpu_ns(getpid());
	c->calls = 0;
	for (unsigned i = 0; i < rig.ndaemons; i++)
		c->cpu += rig_cpu_ns(rig.daemon[i]);
	for (unsigned i = 0; i <= rig.ndaemons; i++)
		c->calls += syscalls_read(r->calls[i]);
	c->reads = r->client.done;
	c->now = bench_now();
}

static int read_for(struct reader *r, uint64_t ns)
{
	uint64_t end = bench_now() + ns;
	int ret = 0;

	while (!ret && bench_now() < end)
		ret = client_step(&r->client);
	return ret;
}

/* Of the client's pool, over all that its connection has read. */
static double touched(const struct reader *r)
{
	unsigned long inode = memory_inode(pcidipc_pool_base(r->client.pool));
	double sum = inode ? 0 : NAN;

	for (unsigned i = 0; i < rig.ndaemons; i++)
		sum += memory_touched(rig.daemon[i], inode);
	return sum / ((double)r->client.done * r->shape->bytes);
}

static int one_round(void *state, double *results)
{
	struct reader *r = state;
	struct counts before, after;
	double n;
	int ret = read_for(r, ROUND_NS / 10);

	count(r, &before);
	if (!ret)
		ret = read_for(r, ROUND_NS);
	count(r, &after);
	if (!ret)
		ret = client_drain(&r->client);
	if (ret)
		return ret;
	n = (double)(after.reads - before.reads);
	if (!n)
		return -ETIMEDOUT;
	results[0] = n * 1e9 / (double)(after.now - before.now);
	results[1] = (after.cpu - before.cpu) / n / 1000;
	results[2] = (after.calls - before.calls) / n;
	results[3] = (after.writes - before.writes) / n;
	results[4] = touched(r);
	return 0;
}

#define READS(variable, key, rate, text, unit, ...)                                             \
	const struct bench_measurement variable = {                                             \
		.values =                                                                       \
			(const struct bench_value[]){                                           \
				{key rate, text, unit},                                         \
				{key "_cpu_us", "  CPU time, client and daemons", "us"},        \
				{key "_syscalls", "  system calls, client and daemons", ""},    \
				{key "_register_writes", "  register writes", ""},              \
				{key "_touched_per_byte", "  touched by daemons' CPUs", "B/B"}, \
				{0}},                                                           \
		.arg = &(const struct shape){__VA_ARGS__},                                      \
		.setup = setup,                                                                 \
		.round = one_round,                                                             \
		.teardown = teardown,                                                           \
	}

/* A read is 1 MiB, so that their rate is that of MiB. */
READS(bench_bot_seq, "qemu_bot_seq", "_mib_s", "Bulk-Only, 1 MiB, sequential, depth 4", "MiB/s",
      "bot0", 1u << 20, 4, true);
READS(bench_bot_4k_1, "qemu_bot_4k_qd1", "_iops", "Bulk-Only, 4 KiB, depth 1", "/s", "bot0", 4096,
      1, false);
READS(bench_bot_4k_32, "qemu_bot_4k_qd32", "_iops", "Bulk-Only, 4 KiB, depth 32", "/s", "bot0",
      4096, 32, false);
READS(bench_uas_seq, "qemu_uas_seq", "_mib_s", "UAS, 1 MiB, sequential, depth 4", "MiB/s", "uas0",
      1u << 20, 4, true);
READS(bench_uas_4k_1, "qemu_uas_4k_qd1", "_iops", "UAS, 4 KiB, depth 1", "/s", "uas0", 4096, 1,
      false);
READS(bench_uas_4k_32, "qemu_uas_4k_qd32", "_iops", "UAS, 4 KiB, depth 32", "/s", "uas0", 4096, 32,
      false);
