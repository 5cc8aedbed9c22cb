// SPDX-License-Identifier: MIT
/* One client's random reads, and what each one costs: CPU time, system calls, register writes. */
#include "measurements.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "rig.h"
#include "syscalls.h"

#define ROUND_NS 100000000u

struct shape {
	uint32_t bytes, depth;
};

struct reader {
	struct client client;
	int own_calls, nvmed_calls;
};

/* All that is counted, at one moment. */
struct counts {
	uint64_t now, reads;
	double cpu, pcid_cpu, calls;
};

static int setup(const struct bench_measurement *m, void **state)
{
	const struct shape *shape = m->arg;
	struct reader *r = calloc(1, sizeof(*r));
	int ret = r ? client_open(&r->client, rig.disk, shape->bytes, shape->depth) : -ENOMEM;

	if (ret) {
		free(r);
		return ret;
	}
	r->own_calls = syscalls_open(0);
	r->nvmed_calls = syscalls_open(rig.nvmed);
	bench_pin(rig.nvmed, BENCH_SERVER_CPU);
	*state = r;
	return 0;
}

static void teardown(void *state)
{
	struct reader *r = state;

	client_close(&r->client);
	close(r->own_calls);
	close(r->nvmed_calls);
	free(r);
}

static double count_calls(const struct reader *r)
{
	return syscalls_read(r->nvmed_calls) + syscalls_read(r->own_calls);
}

static void count(const struct reader *r, struct counts *c)
{
	c->cpu = rig_cpu_ns(getpid()) + rig_cpu_ns(rig.nvmed);
	c->pcid_cpu = rig_cpu_ns(rig.pcid);
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

/* Calls are counted last before the reads and first after them, so that those of counting are not.
 */
static int counted_reads(struct reader *r, struct counts *before, struct counts *after)
{
	int ret;

	count(r, before);
	before->calls = count_calls(r);
	ret = read_for(r, ROUND_NS);
	after->calls = count_calls(r);
	count(r, after);
	return ret ? ret : client_drain(&r->client);
}

static int one_round(void *state, double *results)
{
	struct reader *r = state;
	double writes = rig_counter(&rig, "nvmed", "mmio_writes");
	struct counts before, after;
	uint64_t first = r->client.done;
	double n;
	int ret = read_for(r, ROUND_NS / 10);

	if (!ret)
		ret = counted_reads(r, &before, &after);
	if (ret)
		return ret;
	n = (double)(after.reads - before.reads);
	if (!n)
		return -ETIMEDOUT;
	results[0] = n * 1e9 / (double)(after.now - before.now);
	results[1] = (after.cpu - before.cpu) / n / 1000;
	results[2] = (after.pcid_cpu - before.pcid_cpu) / n / 1000;
	results[3] = (after.calls - before.calls) / n;
	results[4] = (rig_counter(&rig, "nvmed", "mmio_writes") - writes) /
		     (double)(r->client.done - first);
	return 0;
}

#define READS(variable, key, text, calls_key, size, queue_depth)                       \
	const struct bench_measurement variable = {                                    \
		.values =                                                              \
			(const struct bench_value[]){                                  \
				{key "_iops", text, "/s"},                             \
				{key "_cpu_us", "  CPU time, client and nvmed", "us"}, \
				{key "_pcid_cpu_us", "  CPU time, pcid", "us"},        \
				{calls_key, "  system calls, client and nvmed", ""},   \
				{key "_register_writes", "  register writes", ""},     \
				{0}},                                                  \
		.arg = &(const struct shape){size, queue_depth},                       \
		.setup = setup,                                                        \
		.round = one_round,                                                    \
		.teardown = teardown,                                                  \
	}

READS(bench_nvme_512_1, "nvme_512_qd1", "reads of 512 bytes, depth 1", "nvme_512_qd1_syscalls", 512,
      1);
READS(bench_nvme_512_32, "nvme_512_qd32", "reads of 512 bytes, depth 32", "nvme_syscalls_per_io",
      512, 32);
READS(bench_nvme_512_128, "nvme_512_qd128", "reads of 512 bytes, depth 128",
      "nvme_512_qd128_syscalls", 512, 128);
READS(bench_nvme_4k_1, "nvme_4k_qd1", "reads of 4 KiB, depth 1", "nvme_4k_qd1_syscalls", 4096, 1);
READS(bench_nvme_4k_32, "nvme_4k_qd32", "reads of 4 KiB, depth 32", "nvme_4k_qd32_syscalls", 4096,
      32);
READS(bench_nvme_4k_128, "nvme_4k_qd128", "reads of 4 KiB, depth 128", "nvme_4k_qd128_syscalls",
      4096, 128);
