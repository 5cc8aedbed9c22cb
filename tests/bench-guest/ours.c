// SPDX-License-Identifier: MIT
/* Our driver and a client of it, connected anew in every round, as fio is started anew. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest.h"
#include "tests/bench/client.h"
#include "tests/bench/syscalls.h"

#define CALLS_NS 100000000u /* system calls are counted after the round: that costs time */

static const char *const daemons[] = {"nvmed", "xhcid", "usbscsid"};
#define NDAEMONS (sizeof(daemons) / sizeof(daemons[0]))

struct ours {
	const struct workload *w;
	struct client client;
	int calls[NDAEMONS + 1];
};

int ours_setup(const struct bench_measurement *m, void **state)
{
	struct ours *o = calloc(1, sizeof(*o));
	struct client probe;
	int ret;

	if (!o)
		return -ENOMEM;
	o->w = m->arg;
	for (unsigned i = 0; i < NDAEMONS; i++)
		pin_daemon(daemons[i]);
	ret = client_open(&probe, o->w->disk, o->w->bytes, o->w->depth);
	client_close(&probe);
	if (ret)
		free(o);
	else
		*state = o;
	return ret;
}

void ours_teardown(void *state)
{
	free(state);
}

/* Some steps between looks at the clock, which costs an emulated CPU as much as a step. */
static int read_for(struct client *c, uint64_t ns)
{
	uint64_t end = bench_now() + ns;
	int ret = 0;

	while (!ret && bench_now() < end)
		for (unsigned i = 0; i < 16 && !ret; i++)
			ret = client_step(c);
	return ret;
}

static double all_calls(const struct ours *o)
{
	double sum = 0;

	for (unsigned i = 0; i <= NDAEMONS; i++)
		if (o->calls[i] != -1)
			sum += syscalls_read(o->calls[i]);
	return sum;
}

static int count_calls(struct ours *o, double *result)
{
	uint64_t first = o->client.done;
	int ret;

	for (unsigned i = 0; i < NDAEMONS; i++) {
		pid_t pid = pin_daemon(daemons[i]);

		o->calls[i] = pid ? syscalls_open(pid) : -1;
	}
	o->calls[NDAEMONS] = syscalls_open(0);
	*result = all_calls(o);
	ret = read_for(&o->client, CALLS_NS);
	*result = (all_calls(o) - *result) / (double)(o->client.done - first);
	if (o->calls[NDAEMONS] < 0)
		*result = NAN;
	for (unsigned i = 0; i <= NDAEMONS; i++)
		if (o->calls[i] >= 0)
			close(o->calls[i]);
	return ret;
}

static int measure(struct ours *o, double *results)
{
	struct counters before, after;
	uint64_t first;
	double n;
	int ret = read_for(&o->client, GUEST_SETTLE_NS);

	if (ret)
		return ret;
	counters_read(&before, o->w->function);
	first = o->client.done;
	ret = read_for(&o->client, GUEST_ROUND_NS);
	n = (double)(o->client.done - first);
	counters_read(&after, o->w->function);
	results[0] = n * 1e9 / (double)(after.now - before.now);
	results[1] = counters_busy(&before, &after) / n / 1000;
	results[2] = (after.interrupts - before.interrupts) / n;
	return ret;
}

int ours_round(void *state, double *results)
{
	struct ours *o = state;
	int ret = client_open(&o->client, o->w->disk, o->w->bytes, o->w->depth);

	if (ret)
		return ret;
	o->client.sequential = o->w->sequential;
	ret = measure(o, results);
	if (!ret)
		ret = count_calls(o, &results[3]);
	if (!ret)
		ret = client_drain(&o->client);
	client_close(&o->client);
	return ret;
}
