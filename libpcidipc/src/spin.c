/* SPDX-License-Identifier: MIT */
/* What spinning is like on this machine: how many CPUs it has, also for who may no longer open the
 * files that tell it, and what a pause costs. */
#include "spin.h"

#include <stdatomic.h>

#define PAUSES 16
#define PAUSE_MOST_NS 500 /* of one; a CPU's own takes 10 to 70 ns */
#define TRIES 4

static long remembered;

void spin_remember_cpus(void)
{
	remembered = sysconf(_SC_NPROCESSORS_ONLN);
}

long spin_cpus(void)
{
	return remembered ? remembered : sysconf(_SC_NPROCESSORS_ONLN);
}

/* The best of some tries: we may lose the CPU meanwhile. */
static bool measure_pauses(void)
{
	uint64_t best = UINT64_MAX;

	for (unsigned i = 0; i < TRIES; i++) {
		uint64_t before = clock_ns(), took;

		for (unsigned j = 0; j < PAUSES; j++)
			cpu_relax();
		took = clock_ns() - before;
		best = took < best ? took : best;
	}
	return best < PAUSES * PAUSE_MOST_NS;
}

/*
 * An emulated CPU leaves its loop for a pause. QEMU's takes the lock there that all its devices
 * take: the one that we wait for would wait for us. Where pauses are a trap there are none.
 */
bool spin_pauses(void)
{
	static atomic_int known; /* 1: they are none, 2: they are */

	if (!atomic_load_explicit(&known, memory_order_relaxed))
		atomic_store_explicit(&known, measure_pauses() ? 1 : 2, memory_order_relaxed);
	return atomic_load_explicit(&known, memory_order_relaxed) == 1;
}
