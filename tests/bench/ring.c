// SPDX-License-Identifier: MIT
/* Our ring: NOPs one at a time and many at a time, through the interface that a client uses. */
#include "measurements.h"

#include <liburing.h>
#include <stdlib.h>
#include <string.h>

#include "nopservice.h"

struct ring {
	struct nop_service service;
	uint64_t next, expected;
	int error;
};

static int open_ring(void **state, bool sleepy)
{
	struct ring *r = calloc(1, sizeof(*r));
	int ret = r ? nop_service_open(&r->service, sleepy) : -ENOMEM;

	if (ret)
		free(r);
	*state = r;
	return ret;
}

static int setup(const struct bench_measurement *m, void **state)
{
	return open_ring(state, m->arg != NULL);
}

static void teardown(void *state)
{
	struct ring *r = state;

	nop_service_close(&r->service);
	free(r);
}

static bool push_nop(struct ring *r)
{
	struct io_uring_sqe *sqe = pcidipc_get_sqe(r->service.consumer);

	if (!sqe)
		return false;
	io_uring_prep_nop(sqe);
	io_uring_sqe_set_data64(sqe, r->next++);
	return true;
}

/* Take a completion if there is one, and check it: NOPs come in order. */
static bool pop_nop(struct ring *r)
{
	struct pcidipc_cqe cqe;
	int ret = pcidipc_next_cqe(r->service.consumer, &cqe);

	if (ret <= 0) {
		r->error = ret;
		return false;
	}
	if (cqe.res || cqe.user_data != r->expected++)
		r->error = -EBADMSG;
	return true;
}

/* ---- one at a time ---- */

static void round_trips(void *state, unsigned count)
{
	struct ring *r = state;

	while (count-- && !r->error) {
		push_nop(r);
		r->error = pcidipc_submit_and_wait(r->service.consumer, 1);
		if (!r->error && !pop_nop(r) && !r->error)
			r->error = -ENODATA;
	}
}

static int round_trip(void *state, double *results)
{
	struct ring *r = state;

	results[0] = bench_ns_each(round_trips, r, 1000);
	return r->error;
}

static int sleepy_round_trip(void *state, double *results)
{
	struct pcidipc_consumer_stats before, after;
	struct ring *r = state;
	uint64_t sleeps, trips;

	bench_one_cpu(true);
	pcidipc_consumer_stats(r->service.consumer, &before);
	results[0] = bench_ns_each(round_trips, r, 20);
	pcidipc_consumer_stats(r->service.consumer, &after);
	bench_one_cpu(false);
	sleeps = after.sleeps - before.sleeps;
	trips = after.cqes - before.cqes;
	/* Else it measures something else. */
	if (!r->error && (sleeps < trips * 9 / 10 || after.wakes - before.wakes < trips * 9 / 10))
		results[0] = NAN;
	return r->error;
}

/* ---- many at a time ---- */

/* Keep NOP_DEPTH in flight. */
static void stream(void *state, unsigned count)
{
	struct ring *r = state;
	uint64_t end = r->next + count;

	while (r->expected < end && !r->error) {
		while (pop_nop(r))
			;
		while (r->next < end && r->next - r->expected < NOP_DEPTH)
			if (!push_nop(r))
				break;
		if (!r->error)
			r->error = pcidipc_submit(r->service.consumer);
	}
}

static int rate(void *state, double *results)
{
	struct ring *r = state;

	results[0] = 1e9 / bench_ns_each(stream, r, 20000);
	return r->error;
}

const struct bench_measurement bench_ring_rtt = {
	.values = (const struct bench_value[]){{"ring_rtt_ns", "NOP over our ring", "ns"}, {0}},
	.setup = setup,
	.round = round_trip,
	.teardown = teardown,
};

const struct bench_measurement bench_ring_sleep_rtt = {
	.values =
		(const struct bench_value[]){
			{"ring_sleep_rtt_ns", "NOP over our ring, both sides sleep", "ns"}, {0}},
	.arg = "sleepy",
	.setup = setup,
	.round = sleepy_round_trip,
	.teardown = teardown,
};

const struct bench_measurement bench_ring_nops = {
	.values =
		(const struct bench_value[]){
			{"ring_nops_per_s", "NOPs over our ring, 128 in flight", "/s"}, {0}},
	.setup = setup,
	.round = rate,
	.teardown = teardown,
};
