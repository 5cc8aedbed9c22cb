// SPDX-License-Identifier: MIT
/* What a round trip costs where each side sleeps in the kernel until the other one wakes it. */
#include "measurements.h"

#include <linux/futex.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

struct pingpong {
	struct bench_process echo;
	int ours[2];		 /* we write to [0] and read from [1] */
	int theirs[2];		 /* the echo does */
	_Atomic uint32_t *words; /* futexes: there, and back */
	int error;
};

/* ---- file descriptors ---- */

static void echo_fds(struct bench_process *process, void *arg)
{
	struct pingpong *p = arg;
	uint64_t value;

	(void)process;
	while (read(p->theirs[1], &value, sizeof(value)) == sizeof(value))
		if (write(p->theirs[0], &value, sizeof(value)) != sizeof(value))
			break;
	_exit(0);
}

static void trip_fds(void *state, unsigned count)
{
	struct pingpong *p = state;

	for (uint64_t i = 1; i <= count && !p->error; i++) {
		uint64_t value = 1;

		if (write(p->ours[0], &value, sizeof(value)) != sizeof(value) ||
		    read(p->ours[1], &value, sizeof(value)) != sizeof(value))
			p->error = -EIO;
	}
}

static int open_eventfds(struct pingpong *p)
{
	p->ours[0] = p->theirs[1] = eventfd(0, EFD_CLOEXEC);
	p->ours[1] = p->theirs[0] = eventfd(0, EFD_CLOEXEC);
	return p->ours[0] < 0 || p->ours[1] < 0 ? -errno : 0;
}

static int open_sockets(struct pingpong *p)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		return -errno;
	p->ours[0] = p->ours[1] = ends[0];
	p->theirs[0] = p->theirs[1] = ends[1];
	return 0;
}

/* ---- futexes ---- */

static void await_word(_Atomic uint32_t *word, uint32_t before)
{
	while (atomic_load(word) == before)
		syscall(SYS_futex, word, FUTEX_WAIT, before, NULL, NULL, 0);
}

static void advance_word(_Atomic uint32_t *word)
{
	atomic_fetch_add(word, 1);
	syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* Two lines, so that a side is woken by its own word. */
#define WORD_THERE 0
#define WORD_BACK 32

static void echo_futex(struct bench_process *process, void *arg)
{
	struct pingpong *p = arg;

	(void)process;
	for (uint32_t seen = 0;; seen++) {
		await_word(&p->words[WORD_THERE], seen);
		advance_word(&p->words[WORD_BACK]);
	}
}

static void trip_futex(void *state, unsigned count)
{
	struct pingpong *p = state;

	while (count--) {
		uint32_t seen = atomic_load(&p->words[WORD_BACK]);

		advance_word(&p->words[WORD_THERE]);
		await_word(&p->words[WORD_BACK], seen);
	}
}

static int open_futexes(struct pingpong *p)
{
	p->words = bench_shared(4096);
	return 0;
}

/* ---- all of them ---- */

struct kind {
	int (*open)(struct pingpong *p);
	void (*echo)(struct bench_process *process, void *arg);
};

static const struct kind eventfds = {open_eventfds, echo_fds};
static const struct kind sockets = {open_sockets, echo_fds};
static const struct kind futexes = {open_futexes, echo_futex};

static int setup(const struct bench_measurement *m, void **state)
{
	const struct kind *kind = m->arg;
	struct pingpong *p = calloc(1, sizeof(*p));
	int ret = p ? kind->open(p) : -ENOMEM;

	if (!ret)
		ret = bench_spawn(&p->echo, BENCH_SERVER_CPU, kind->echo, p);
	if (ret)
		free(p);
	else
		bench_go(&p->echo);
	*state = p;
	return ret;
}

static void teardown(void *state)
{
	struct pingpong *p = state;

	bench_kill(&p->echo);
	if (p->words)
		bench_unshare(p->words, 4096);
	else {
		close(p->ours[0]);
		close(p->theirs[0]);
	}
	free(p);
}

static int round_fds(void *state, double *results)
{
	struct pingpong *p = state;

	results[0] = bench_ns_each(trip_fds, p, 20);
	return p->error;
}

static int round_futex(void *state, double *results)
{
	results[0] = bench_ns_each(trip_futex, state, 20);
	return 0;
}

const struct bench_measurement bench_eventfd_rtt = {
	.values = (const struct bench_value[]){{"eventfd_rtt_ns", "two eventfds", "ns"}, {0}},
	.arg = &eventfds,
	.setup = setup,
	.round = round_fds,
	.teardown = teardown,
};

const struct bench_measurement bench_socket_rtt = {
	.values = (const struct bench_value[]){{"socket_rtt_ns", "Unix socket", "ns"}, {0}},
	.arg = &sockets,
	.setup = setup,
	.round = round_fds,
	.teardown = teardown,
};

const struct bench_measurement bench_futex_rtt = {
	.values = (const struct bench_value[]){{"futex_rtt_ns", "two futexes", "ns"}, {0}},
	.arg = &futexes,
	.setup = setup,
	.round = round_futex,
	.teardown = teardown,
};
