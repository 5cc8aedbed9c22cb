// SPDX-License-Identifier: MIT
/* The floor: two processes that exchange one cache line and back, and do nothing else. */
#include "measurements.h"

#include <stdlib.h>

struct floor {
	struct bench_process echo;
	struct line {
		_Alignas(128) _Atomic uint32_t word; /* odd: sent, even: answered */
	} * line;
};

static void echo(struct bench_process *process, void *arg)
{
	struct line *line = arg;

	while (bench_going(process)) {
		for (unsigned i = 0; i < 1000; i++) {
			uint32_t value = atomic_load_explicit(&line->word, memory_order_acquire);

			if (value & 1)
				atomic_store_explicit(&line->word, value + 1, memory_order_release);
		}
	}
}

static int setup(const struct bench_measurement *m, void **state)
{
	struct floor *f = calloc(1, sizeof(*f));
	int ret;

	(void)m;
	if (!f)
		return -ENOMEM;
	f->line = bench_shared(sizeof(*f->line));
	ret = bench_spawn(&f->echo, BENCH_SERVER_CPU, echo, f->line);
	if (ret)
		free(f);
	*state = f;
	return ret;
}

static void batch(void *state, unsigned count)
{
	struct line *line = ((struct floor *)state)->line;
	uint32_t value = atomic_load(&line->word);

	while (count--) {
		atomic_store_explicit(&line->word, value + 1, memory_order_release);
		value += 2;
		while (atomic_load_explicit(&line->word, memory_order_acquire) != value)
			;
	}
}

static int round_trip(void *state, double *results)
{
	struct floor *f = state;

	bench_go(&f->echo);
	results[0] = bench_ns_each(batch, f, 1000);
	bench_park(&f->echo);
	return 0;
}

static void teardown(void *state)
{
	struct floor *f = state;

	bench_kill(&f->echo);
	bench_unshare(f->line, sizeof(*f->line));
	free(f);
}

const struct bench_measurement bench_floor = {
	.values =
		(const struct bench_value[]){
			{"floor_rtt_ns", "one cache line, there and back", "ns"}, {0}},
	.setup = setup,
	.round = round_trip,
	.teardown = teardown,
};
