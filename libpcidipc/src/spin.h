/* SPDX-License-Identifier: MIT */
/*
 * How long to spin before sleeping. Waking a sleeping process costs 50 us on a virtual machine and
 * several times that on an emulated one, whose devices also take several times as long; spinning
 * pays when the answer comes sooner, and only costs when it does not. So: double on a hit, halve on
 * a miss, and start again when a sleep was so short that a spin would have caught what ended it.
 */
#ifndef SPIN_H
#define SPIN_H

#include <pcidipc/loop.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include "probes.h"

#define SPIN_MAX_NS 1000000u
#define SPIN_MIN_NS 1000u
#define SPIN_YIELD_NS 2000u    /* from then on let others have the CPU */
#define SPIN_TAKEN_NS 3000u    /* a yield that took so long: somebody wanted it */
#define SPIN_GAP_NS 8000u      /* between two yields, at most */
#define SPIN_REFUSED_NS 20000u /* nobody took it for so long: nobody will */

/*
 * The CPU that we run on, + 1; 0: not known. The C library reads it from memory that it shares with
 * the kernel (rseq), or asks the vDSO.
 */
static inline uint32_t spin_cpu(void)
{
	int cpu = sched_getcpu();

	return cpu < 0 ? 0 : (uint32_t)cpu + 1;
}

/*
 * Tell a peer where we are, and see where it was: can it run while we spin? One that needs our CPU
 * gets it at once if we yield or sleep (below). `told` and `peer` are
 * words of a ring; what stands there is whatever the peer likes.
 */
static inline bool spin_elsewhere(uint32_t cpu, uint32_t *told, const uint32_t *peer)
{
	if (__atomic_load_n(told, __ATOMIC_RELAXED) != cpu)
		__atomic_store_n(told, cpu, __ATOMIC_RELAXED);
	return !cpu || __atomic_load_n(peer, __ATOMIC_RELAXED) != cpu;
}

enum spin_how {
	SPIN_NOT,
	SPIN_UNTIL,  /* keep the CPU */
	SPIN_BESIDE, /* let somebody have it, and look in between */
};

/*
 * `who`: enum pcidipc_awaited. What was asked for will come, and so it counts, not who may or may
 * not ask meanwhile.
 */
static inline enum spin_how spin_how(unsigned who)
{
	if (who & PCIDIPC_AWAITED_DEVICE)
		return SPIN_UNTIL;
	if (who & PCIDIPC_AWAITED_ANSWER)
		return SPIN_BESIDE;
	if (who & PCIDIPC_AWAITED_ELSEWHERE)
		return SPIN_UNTIL;
	return who & PCIDIPC_AWAITED_HERE ? SPIN_BESIDE : SPIN_NOT;
}

struct spin {
	uint32_t ns;
	uint32_t most; /* 0: on one CPU the other side cannot run while we spin */
	bool pauses;
};

static inline uint64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/*
 * CPUs of the machine, not those that this thread may use: one that is pinned has its peer on
 * another.
 */
long spin_cpus(void);
/* Is a pause between two looks a thing of nanoseconds? */
bool spin_pauses(void);
/* Before a sandbox closes: the C library reads a file. */
void spin_remember_cpus(void);

static inline void spin_init(struct spin *spin)
{
	spin->ns = spin->most = spin_cpus() > 1 ? SPIN_MAX_NS : 0;
	spin->pauses = spin_pauses();
}

static inline void spin_hit(struct spin *spin)
{
	spin->ns = spin->ns * 2 < spin->most ? spin->ns * 2 : spin->most;
}

static inline void spin_miss(struct spin *spin)
{
	spin->ns = spin->ns / 2 < SPIN_MIN_NS ? 0 : spin->ns / 2;
}

/* A spin would have caught what ended it. */
static inline void spin_slept(struct spin *spin, uint64_t ns)
{
	if (!spin->ns && ns < spin->most)
		spin->ns = spin->most;
}

/*
 * Let others have the CPU. Returns when to do so next: at every look while somebody takes it,
 * perhaps the one we wait for; more seldom while nobody does, because a system call costs time too.
 * But not ever more seldom: the scheduler refuses a yield to somebody who has had more of the CPU
 * than we, and who shares it with us would then wait for us until our time is over.
 */
static inline uint64_t spin_yield(uint64_t start, uint64_t now)
{
	uint64_t after;

	sched_yield();
	after = clock_ns();
	if (after - now > SPIN_TAKEN_NS)
		return after;
	return after + (after - start < SPIN_GAP_NS ? after - start : SPIN_GAP_NS);
}

/* Call `ready` until it says true or the time is over. `arg` is who waits. */
static inline bool spin_until(struct spin *spin, bool (*ready)(void *), void *arg)
{
	uint64_t start, now, yield;

	if (!spin->ns)
		return false;
	start = now = clock_ns();
	yield = start + SPIN_YIELD_NS;
	do {
		for (int i = 0; i < 16; i++) {
			if (ready(arg)) {
				probe_spin_hit(arg);
				spin_hit(spin);
				return true;
			}
			if (spin->pauses)
				cpu_relax();
		}
		now = clock_ns();
		if (now >= yield)
			yield = spin_yield(start, now);
	} while (now - start < spin->ns);
	probe_spin_miss(arg, now - start);
	spin_miss(spin);
	return false;
}

/*
 * The same for somebody who needs our CPU: it has it at once, and again as often as it takes it.
 * Who does not take it has nothing to do, or may not have it yet, as the scheduler counts (it is of
 * another group, or has had more of the CPU than we): then only a sleep hands it over for certain.
 */
static inline bool spin_beside(struct spin *spin, bool (*ready)(void *), void *arg)
{
	uint64_t start, now, taken;

	if (!spin->most)
		return false;
	start = taken = now = clock_ns();
	do {
		uint64_t before = now;

		sched_yield();
		if (ready(arg)) {
			probe_spin_hit(arg);
			return true;
		}
		now = clock_ns();
		if (now - before > SPIN_TAKEN_NS)
			taken = now;
	} while (now - taken < SPIN_REFUSED_NS && now - start < spin->most);
	probe_spin_miss(arg, now - start);
	return false;
}

#endif
