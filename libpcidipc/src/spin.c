/* SPDX-License-Identifier: MIT */
/* What spinning is like on this machine: how many CPUs it has, also for who may no longer open the
 * files that tell it, and what a pause costs. */
#include "spin.h"

#include <stdatomic.h>
#include <string.h>
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

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

/* QEMU's emulation says its name where a hypervisor does. */
static bool is_emulated(void)
{
#if defined(__x86_64__) || defined(__i386__)
	unsigned a, b, c, d, name[3];

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & 1u << 31)) /* no hypervisor */
		return false;
	__cpuid(0x40000000, a, name[0], name[1], name[2]);
	return !memcmp(name, "TCGTCGTCGTCG", sizeof(name));
#else
	return false;
#endif
}

/*
 * An emulated CPU leaves its loop for a pause. QEMU's takes the lock there that all its devices
 * take: the one that we wait for would wait for us. Where pauses are a trap there are none. What
 * one costs does not tell for certain: while nobody has that lock it is 150 ns, and a slow CPU's
 * own pause is no shorter.
 */
bool spin_pauses(void)
{
	static atomic_int known; /* 1: they are none, 2: they are */

	if (!atomic_load_explicit(&known, memory_order_relaxed))
		atomic_store_explicit(&known, !is_emulated() && measure_pauses() ? 1 : 2,
				      memory_order_relaxed);
	return atomic_load_explicit(&known, memory_order_relaxed) == 1;
}
