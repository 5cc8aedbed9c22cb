// SPDX-License-Identifier: MIT
/* NOPs over the kernel's io_uring: by system call, and with a polling kernel thread (SQPOLL) on the
 * other CPU. */
#include "measurements.h"

#include <liburing.h>
#include <stdlib.h>

#define DEPTH 128
#define IDLE_MS 1 /* the kernel thread sleeps between rounds */

struct uring {
	struct io_uring ring;
	uint64_t next, expected;
	int error;
};

static int setup(const struct bench_measurement *m, void **state)
{
	struct uring *u = calloc(1, sizeof(*u));
	struct io_uring_params params = {0};
	int ret;

	if (!u)
		return -ENOMEM;
	if (m->arg)
		params =
			(struct io_uring_params){.flags = IORING_SETUP_SQPOLL | IORING_SETUP_SQ_AFF,
						 .sq_thread_cpu = BENCH_SERVER_CPU,
						 .sq_thread_idle = IDLE_MS};
	ret = io_uring_queue_init_params(DEPTH, &u->ring, &params);
	if (ret)
		free(u);
	*state = u;
	return ret;
}

static void teardown(void *state)
{
	struct uring *u = state;

	io_uring_queue_exit(&u->ring);
	free(u);
}

static bool push_nop(struct uring *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	if (!sqe)
		return false;
	io_uring_prep_nop(sqe);
	io_uring_sqe_set_data64(sqe, u->next++);
	return true;
}

static bool pop_nop(struct uring *u)
{
	struct io_uring_cqe *cqe;

	if (io_uring_peek_cqe(&u->ring, &cqe))
		return false;
	if (cqe->res || cqe->user_data != u->expected++)
		u->error = -EBADMSG;
	io_uring_cqe_seen(&u->ring, cqe);
	return true;
}

static void submit(struct uring *u)
{
	int ret = io_uring_submit(&u->ring);

	if (ret < 0)
		u->error = ret;
}

static void round_trips(void *state, unsigned count)
{
	struct uring *u = state;

	while (count-- && !u->error) {
		push_nop(u);
		submit(u);
		while (!u->error && !pop_nop(u))
			;
	}
}

static void stream(void *state, unsigned count)
{
	struct uring *u = state;
	uint64_t end = u->next + count;

	while (u->expected < end && !u->error) {
		while (pop_nop(u))
			;
		while (u->next < end && u->next - u->expected < DEPTH)
			if (!push_nop(u))
				break;
		submit(u);
	}
}

static int round_trip(void *state, double *results)
{
	struct uring *u = state;

	results[0] = bench_ns_each(round_trips, u, 500);
	return u->error;
}

static int rate(void *state, double *results)
{
	struct uring *u = state;

	results[0] = 1e9 / bench_ns_each(stream, u, 5000);
	return u->error;
}

const struct bench_measurement bench_uring_rtt = {
	.values =
		(const struct bench_value[]){
			{"io_uring_rtt_ns", "kernel io_uring, system call", "ns"}, {0}},
	.setup = setup,
	.round = round_trip,
	.teardown = teardown,
};

const struct bench_measurement bench_sqpoll_rtt = {
	.values = (const struct bench_value[]){{"sqpoll_rtt_ns", "kernel io_uring, SQPOLL", "ns"},
					       {0}},
	.arg = "sqpoll",
	.setup = setup,
	.round = round_trip,
	.teardown = teardown,
};

const struct bench_measurement bench_uring_nops = {
	.values =
		(const struct bench_value[]){
			{"io_uring_nops_per_s", "kernel io_uring, system call", "/s"}, {0}},
	.setup = setup,
	.round = rate,
	.teardown = teardown,
};

const struct bench_measurement bench_sqpoll_nops = {
	.values =
		(const struct bench_value[]){{"sqpoll_nops_per_s", "kernel io_uring, SQPOLL", "/s"},
					     {0}},
	.arg = "sqpoll",
	.setup = setup,
	.round = rate,
	.teardown = teardown,
};
