/* SPDX-License-Identifier: MIT */
/*
 * The same reads by the kernel's driver, with fio, and by ours, with a client of this project, each
 * on a controller of its own of the same kind. A set of rows is one file with a struct bench_group
 * (nvme.c), and a line in groups.c; what it needs of QEMU stands in run.sh.
 */
#ifndef GUEST_H
#define GUEST_H

#include "tests/bench/bench.h"

struct workload {
	const char *function; /* "0000:00:02.0": its interrupts are counted */
	/* Ours: a service, "nvme0n1". The kernel's: part of the disk's path in sysfs. */
	const char *disk;
	uint32_t bytes, depth;
	bool sequential;
	bool unpinned; /* where all run is the scheduler's affair, on both sides */
};

/* How long a round measures, after GUEST_SETTLE_NS that do not count. */
#define GUEST_ROUND_NS 1000000000u
#define GUEST_SETTLE_NS 200000000u

/* ---- kernel.c, ours.c: the functions of a struct bench_measurement whose arg is a workload ----
 */

/* Results: reads per second (1 MiB each: also MiB per second), CPU time of the whole guest per read
 * (us), interrupts per read. */
int kernel_setup(const struct bench_measurement *m, void **state);
int kernel_round(void *state, double *results);
void kernel_teardown(void *state);
/* The same, the context switches of client, daemons and pcid per read, and how many bytes of the
 * client's pool the daemons' CPUs have touched, per byte read. */
int ours_setup(const struct bench_measurement *m, void **state);
int ours_round(void *state, double *results);
void ours_teardown(void *state);

/* `rate`, `unit`: what the first result is called, "_iops" and "/s". */
#define GUEST_KERNEL(variable, key, rate, unit, ...)                                             \
	static const struct bench_measurement variable = {                                       \
		.values = (const struct bench_value[]){{key rate, "kernel's driver, fio", unit}, \
						       {key "_cpu_us", "", "us"},                \
						       {key "_interrupts", "", ""},              \
						       {0}},                                     \
		.arg = &(const struct workload){__VA_ARGS__},                                    \
		.setup = kernel_setup,                                                           \
		.round = kernel_round,                                                           \
		.teardown = kernel_teardown,                                                     \
	}

#define GUEST_OURS(variable, key, rate, unit, ...)                                              \
	static const struct bench_measurement variable = {                                      \
		.values =                                                                       \
			(const struct bench_value[]){                                           \
				{key rate, "reads", unit},                                      \
				{key "_cpu_us", "  CPU time", "us"},                            \
				{key "_interrupts", "  interrupts", ""},                        \
				{key "_switches", "  context switches", ""},                    \
				{key "_touched_per_byte", "  touched by daemons' CPUs", "B/B"}, \
				{0}},                                                           \
		.arg = &(const struct workload){__VA_ARGS__},                                   \
		.setup = ours_setup,                                                            \
		.round = ours_round,                                                            \
		.teardown = ours_teardown,                                                      \
	}

/*
 * A pair of the above, measured in turns. The keys are theirs; the ratio of their rates is
 * OURS_KEY_ratio, and should be `goal` at least.
 */
#define GUEST_GROUP(variable, group, text, kernel, kernel_key, ours, ours_key, rate, direction,  \
		    goal)                                                                        \
	const struct bench_group variable = {                                                    \
		.name = group,                                                                   \
		.title = text,                                                                   \
		.rounds = 7,                                                                     \
		.measurements = (const struct bench_measurement *const[]){&kernel, &ours, NULL}, \
		.lines =                                                                         \
			(const struct bench_line[]){                                             \
				{ours_key rate, kernel_key rate, ours_key "_ratio", direction,   \
				 goal},                                                          \
				{ours_key "_cpu_us", kernel_key "_cpu_us", NULL, BENCH_NO_GOAL,  \
				 0},                                                             \
				{ours_key "_interrupts", kernel_key "_interrupts", NULL,         \
				 BENCH_NO_GOAL, 0},                                              \
				{ours_key "_switches", NULL, NULL, BENCH_NO_GOAL, 0},            \
				{ours_key "_touched_per_byte", NULL, NULL, BENCH_AT_MOST, 0},    \
				{0}},                                                            \
	}

/* ---- counters.c: what the guest's kernel counts ---- */

struct counters {
	uint64_t now; /* ns */
	double idle;  /* ns, of all CPUs together */
	double interrupts;
};
/* `function`: whose interrupts. */
void counters_read(struct counters *c, const char *function);
/* CPU time in ns that all of the guest spent from one to the other. */
double counters_busy(const struct counters *before, const struct counters *after);

/* How often the process has slept or had to give way; NAN when it is gone. */
double count_switches(pid_t pid);

/* Every process of this name, put onto a CPU; -1: onto any. Their pids go to `pid`; returns their
 * number, at most `most`. */
unsigned find_daemons(const char *name, int cpu, pid_t *pid, unsigned most);

extern const struct bench_group guest_nvme_512_1, guest_nvme_512_32, guest_nvme_512_128,
	guest_nvme_4k_1, guest_nvme_4k_32, guest_nvme_4k_128;
extern const struct bench_group guest_bot_seq, guest_bot_4k_qd1, guest_bot_4k_qd32, guest_uas_seq,
	guest_uas_4k_qd1, guest_uas_4k_qd32;

#endif
