// SPDX-License-Identifier: MIT
/*
 * DPDK's rte_ring: one ring of 64-byte elements there, one of 16-byte elements back, as ours
 * carries SQEs and CQEs. In plain shared memory, single producer and single consumer: rte_ring
 * needs no environment and no huge pages.
 */
#include "measurements.h"

#ifdef HAVE_DPDK

#include <linux/io_uring.h>
#include <rte_ring.h>
#include <stdlib.h>
#include <string.h>

#define ENTRIES 256
#define DEPTH 128
#define BURST 32
#define RING_BYTES (64u << 10)

struct answer {
	uint64_t user_data;
	int32_t res;
	uint32_t flags;
};

struct rte {
	struct bench_process echo;
	char *memory;
	struct rte_ring *there, *back;
	uint64_t next, expected;
	int error;
};

static void echo(struct bench_process *process, void *arg)
{
	static struct io_uring_sqe sqes[BURST];
	struct answer answers[BURST];
	struct rte *r = arg;

	while (bench_going(process)) {
		unsigned n =
			rte_ring_dequeue_burst_elem(r->there, sqes, sizeof(*sqes), BURST, NULL);
		unsigned done = 0;

		for (unsigned i = 0; i < n; i++)
			answers[i] = (struct answer){
				.user_data = sqes[i].user_data,
				.res = sqes[i].opcode == IORING_OP_NOP ? 0 : -EOPNOTSUPP};
		while (done < n)
			done += rte_ring_enqueue_burst_elem(r->back, answers + done,
							    sizeof(*answers), n - done, NULL);
	}
}

static struct rte_ring *make_ring(char *memory, unsigned element)
{
	struct rte_ring *ring = (void *)memory;
	ssize_t bytes = rte_ring_get_memsize_elem(element, ENTRIES);

	if (bytes < 0 || bytes > RING_BYTES ||
	    rte_ring_init(ring, "bench", ENTRIES, RING_F_SP_ENQ | RING_F_SC_DEQ))
		return NULL;
	return ring;
}

static void destroy(struct rte *r)
{
	bench_unshare(r->memory, 2 * RING_BYTES);
	free(r);
}

static int setup(const struct bench_measurement *m, void **state)
{
	struct rte *r = calloc(1, sizeof(*r));
	int ret = -EINVAL;

	(void)m;
	if (!r)
		return -ENOMEM;
	r->memory = bench_shared(2 * RING_BYTES);
	r->there = make_ring(r->memory, sizeof(struct io_uring_sqe));
	r->back = make_ring(r->memory + RING_BYTES, sizeof(struct answer));
	if (r->there && r->back)
		ret = bench_spawn(&r->echo, BENCH_SERVER_CPU, echo, r);
	if (ret)
		destroy(r);
	*state = r;
	return ret;
}

static void teardown(void *state)
{
	struct rte *r = state;

	bench_kill(&r->echo);
	destroy(r);
}

static void fill(struct rte *r, struct io_uring_sqe *sqe)
{
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_NOP;
	sqe->user_data = r->next++;
}

static void check(struct rte *r, const struct answer *answer)
{
	if (answer->res || answer->user_data != r->expected++)
		r->error = -EBADMSG;
}

static void round_trips(void *state, unsigned count)
{
	struct rte *r = state;

	while (count-- && !r->error) {
		struct io_uring_sqe sqe;
		struct answer answer;

		fill(r, &sqe);
		rte_ring_enqueue_elem(r->there, &sqe, sizeof(sqe));
		while (rte_ring_dequeue_elem(r->back, &answer, sizeof(answer)))
			;
		check(r, &answer);
	}
}

static unsigned push_burst(struct rte *r, uint64_t end)
{
	static struct io_uring_sqe sqes[BURST];
	uint64_t room = DEPTH - (r->next - r->expected), left = end - r->next;
	unsigned n = BURST;

	n = n < room ? n : (unsigned)room;
	n = n < left ? n : (unsigned)left;
	for (unsigned i = 0; i < n; i++)
		fill(r, &sqes[i]);
	return n ? rte_ring_enqueue_bulk_elem(r->there, sqes, sizeof(*sqes), n, NULL) : 0;
}

static void stream(void *state, unsigned count)
{
	struct rte *r = state;
	uint64_t end = r->next + count;

	while (r->expected < end && !r->error) {
		struct answer answers[BURST];
		unsigned n = rte_ring_dequeue_burst_elem(r->back, answers, sizeof(*answers), BURST,
							 NULL);

		for (unsigned i = 0; i < n; i++)
			check(r, &answers[i]);
		push_burst(r, end);
	}
}

static int round_trip(void *state, double *results)
{
	struct rte *r = state;

	bench_go(&r->echo);
	results[0] = bench_ns_each(round_trips, r, 1000);
	bench_park(&r->echo);
	return r->error;
}

static int rate(void *state, double *results)
{
	struct rte *r = state;

	bench_go(&r->echo);
	results[0] = 1e9 / bench_ns_each(stream, r, 20000);
	bench_park(&r->echo);
	return r->error;
}

#else

static int setup(const struct bench_measurement *m, void **state)
{
	(void)m;
	(void)state;
	return -ENOENT;
}
#define round_trip NULL
#define rate NULL
#define teardown NULL

#endif

const struct bench_measurement bench_rte_rtt = {
	.values = (const struct bench_value[]){{"rte_ring_rtt_ns", "two rte_rings (DPDK)", "ns"},
					       {0}},
	.setup = setup,
	.round = round_trip,
	.teardown = teardown,
};

const struct bench_measurement bench_rte_nops = {
	.values =
		(const struct bench_value[]){{"rte_ring_nops_per_s", "two rte_rings (DPDK)", "/s"},
					     {0}},
	.setup = setup,
	.round = rate,
	.teardown = teardown,
};
