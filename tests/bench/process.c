// SPDX-License-Identifier: MIT
/* Pinned helper processes, and the clock. */
#include "bench.h"

#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

uint64_t bench_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

double bench_ns_each(void (*batch)(void *state, unsigned count), void *state, unsigned count)
{
	uint64_t start, now, done = 0;

	batch(state, count);
	start = bench_now();
	do {
		batch(state, count);
		done += count;
		now = bench_now();
	} while (now - start < BENCH_ROUND_NS);
	return (double)(now - start) / (double)done;
}

void bench_pin(pid_t pid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu % (int)sysconf(_SC_NPROCESSORS_CONF), &set);
	sched_setaffinity(pid, sizeof(set), &set);
}

void bench_unpin(pid_t pid)
{
	cpu_set_t set;

	memset(&set, 0xff, sizeof(set));
	sched_setaffinity(pid, sizeof(set), &set);
}

void bench_die_with(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
}

void *bench_shared(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p != MAP_FAILED)
		return p;
	perror("bench: shared memory");
	exit(1);
}

void bench_unshare(void *memory, size_t bytes)
{
	munmap(memory, bytes);
}

static void futex_wait(_Atomic uint32_t *word, uint32_t value)
{
	syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void work(struct bench_process *process, void (*run)(struct bench_process *, void *),
		 void *arg)
{
	struct bench_gate *gate = process->gate;

	for (;;) {
		while (!atomic_load(&gate->go))
			futex_wait(&gate->go, 0);
		atomic_store(&gate->running, 1);
		run(process, arg);
		atomic_store(&gate->running, 0);
		futex_wake(&gate->running);
	}
}

int bench_spawn(struct bench_process *process, int cpu, void (*run)(struct bench_process *, void *),
		void *arg)
{
	pid_t parent = getpid();

	process->gate = bench_shared(sizeof(*process->gate));
	fflush(NULL);
	process->pid = fork();
	if (process->pid < 0) {
		bench_unshare(process->gate, sizeof(*process->gate));
		return -errno;
	}
	if (process->pid)
		return 0;
	bench_die_with(parent);
	bench_pin(0, cpu);
	work(process, run, arg);
	_exit(0);
}

void bench_go(struct bench_process *process)
{
	atomic_store(&process->gate->go, 1);
	futex_wake(&process->gate->go);
	while (!atomic_load(&process->gate->running))
		sched_yield();
}

void bench_park(struct bench_process *process)
{
	atomic_store(&process->gate->go, 0);
	while (atomic_load(&process->gate->running))
		futex_wait(&process->gate->running, 1);
}

void bench_kill(struct bench_process *process)
{
	kill(process->pid, SIGKILL);
	waitpid(process->pid, NULL, 0);
	bench_unshare(process->gate, sizeof(*process->gate));
}
