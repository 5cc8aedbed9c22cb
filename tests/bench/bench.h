/* SPDX-License-Identifier: MIT */
/*
 * The measuring program. A measurement sets something up, measures it in many short rounds, and
 * takes it down. The measurements of a group run in turns (ours, peer, ours, peer ...), because the
 * machine's speed drifts: what is reported is the median of each round's ratio, beside the medians
 * of the absolute values. A new peer is one file with one struct bench_measurement, and a line in
 * groups.c.
 */
#ifndef BENCH_H
#define BENCH_H

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define BENCH_MAX_VALUES 8
#define BENCH_MAX_ROUNDS 1000
#define BENCH_ROUND_NS 10000000u /* how long a round of the quick measurements takes */
#define BENCH_CLIENT_CPU 0	 /* where this process runs */
#define BENCH_SERVER_CPU 1	 /* and what it talks to */

/* What a measurement yields. `name` is the one in the JSON file, NULL ends a list. */
struct bench_value {
	const char *name;
	const char *title;
	const char *unit;
};

struct bench_measurement {
	const struct bench_value *values;
	const void *arg; /* for several measurements by the same functions */
	/* 0, or -errno: the values are null. -ENOENT: what it needs is not installed. */
	int (*setup)(const struct bench_measurement *m, void **state);
	/* One round; results[] as in values, NAN where unknown. 0 or -errno, which ends the
	 * measurement. */
	int (*round)(void *state, double *results);
	void (*teardown)(void *state); /* not called when setup failed */
};

enum bench_goal {
	BENCH_NO_GOAL,
	BENCH_AT_MOST,
	BENCH_AT_LEAST,
};

/* A line of the table: a value and its ratio to the peer's (ours divided by the peer's), or,
 * without peer, alone. */
struct bench_line {
	const char *ours;
	const char *peer;  /* NULL: alone */
	const char *ratio; /* its name in the JSON file, or NULL */
	enum bench_goal goal;
	double limit; /* of the ratio, or of the value when it is alone */
};

struct bench_group {
	const char *name;
	const char *title;
	unsigned rounds;				     /* by default */
	const struct bench_measurement *const *measurements; /* NULL at the end */
	const struct bench_line *lines;			     /* ours NULL at the end */
	int (*setup)(void);				     /* may be NULL, as may teardown */
	void (*teardown)(void);
};

extern const struct bench_group *const bench_groups[]; /* NULL at the end */

struct bench_options {
	unsigned rounds; /* 0: each group's own */
	const char *only;
	const char *json;
	const char *build; /* the directory with bin/ */
	const char *tmp;   /* a directory that is removed at the end */
	bool list;
	bool quiet;
};
extern struct bench_options bench_options;

/* Parse options, measure bench_groups, print and write what came out. Returns an exit status
 * (command.c). */
int bench_main(int argc, char **argv);

/* ---- results (results.c) ---- */

struct bench_series {
	const struct bench_value *value;
	unsigned count;
	double *samples; /* one per round, NAN where there is none */
	double median;	 /* NAN: none */
};

int bench_run_group(const struct bench_group *group);
const struct bench_series *bench_find(const char *name);
/* The median of the rounds' ratios, NAN where there is none. */
double bench_ratio(const char *ours, const char *peer);
double bench_median(const double *values, unsigned count);
void bench_print(const struct bench_group *group);
int bench_write_json(const char *path);

/* ---- processes (process.c) ---- */

/*
 * A process that does its work between go and park, and sleeps otherwise: a spinner must not
 * disturb the other measurements. It dies with this process.
 */
struct bench_process {
	pid_t pid;
	struct bench_gate {
		_Alignas(64) _Atomic uint32_t go;
		_Alignas(64) _Atomic uint32_t running;
	} * gate;
};

/* `run` returns soon after bench_going() has become false, or never (then park must not be called).
 */
int bench_spawn(struct bench_process *process, int cpu,
		void (*run)(struct bench_process *, void *arg), void *arg);
void bench_go(struct bench_process *process);
void bench_park(struct bench_process *process);
void bench_kill(struct bench_process *process);
static inline bool bench_going(const struct bench_process *process)
{
	return atomic_load_explicit(&process->gate->go, memory_order_relaxed);
}

void bench_pin(pid_t pid, int cpu);
void bench_unpin(pid_t pid);
/* In a child: die when the parent does. */
void bench_die_with(pid_t parent);
void *bench_shared(size_t bytes); /* memory that forked processes share; exits when there is none */
void bench_unshare(void *memory, size_t bytes);

/* ---- time (process.c) ---- */

uint64_t bench_now(void);
/* Run batches of `count` until BENCH_ROUND_NS are over, after one to warm up. Returns ns for one of
 * it. */
double bench_ns_each(void (*batch)(void *state, unsigned count), void *state, unsigned count);

/* Keep the compiler from leaving out what computes `value`. */
#define bench_use(value) __asm__ volatile("" : : "g"(value) : "memory")

#endif
