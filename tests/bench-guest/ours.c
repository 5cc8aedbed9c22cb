// SPDX-License-Identifier: MIT
/* Our driver and a client of it, connected anew in every round, as fio is started anew. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest.h"
#include "tests/bench/client.h"
#include "tests/bench/syscalls.h"
#include "tests/bench/touched.h"

#define CALLS_NS 100000000u /* system calls are counted after the round: that costs time */

static const char *const daemons[] = {"nvmed", "xhcid", "usbscsid"};
#define NDAEMONS (sizeof(daemons) / sizeof(daemons[0]))
#define MOST 16 /* processes */

struct ours {
	const struct workload *w;
	struct client client;
	pid_t pid[MOST]; /* of the daemons */
	unsigned npids;
	int calls[MOST + 1];
};

static void find_daemons(struct ours *o)
{
	o->npids = 0;
	for (unsigned i = 0; i < NDAEMONS; i++)
		o->npids += pin_daemons(daemons[i], o->pid + o->npids, MOST - o->npids);
}

int ours_setup(const struct bench_measurement *m, void **state)
{
	struct ours *o = calloc(1, sizeof(*o));
	struct client probe;
	int ret;

	if (!o)
		return -ENOMEM;
	o->w = m->arg;
	find_daemons(o);
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

	for (unsigned i = 0; i <= o->npids; i++)
		sum += syscalls_read(o->calls[i]);
	return sum;
}

static int count_calls(struct ours *o, double *result)
{
	uint64_t first = o->client.done;
	int ret;

	for (unsigned i = 0; i < o->npids; i++)
		o->calls[i] = syscalls_open(o->pid[i]);
	o->calls[o->npids] = syscalls_open(0);
	*result = all_calls(o);
	ret = read_for(&o->client, CALLS_NS);
	*result = (all_calls(o) - *result) / (double)(o->client.done - first);
	for (unsigned i = 0; i <= o->npids; i++)
		if (o->calls[i] >= 0)
			close(o->calls[i]);
	return ret;
}

/* Over all that this connection has read. */
static double touched(const struct ours *o)
{
	unsigned long inode = memory_inode(pcidipc_pool_base(o->client.pool));
	double sum = inode ? 0 : NAN;

	for (unsigned i = 0; i < o->npids; i++)
		sum += memory_touched(o->pid[i], inode);
	return sum / ((double)o->client.done * o->w->bytes);
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
	find_daemons(o);
	o->client.sequential = o->w->sequential;
	ret = measure(o, results);
	if (!ret)
		ret = count_calls(o, &results[3]);
	results[4] = touched(o);
	if (!ret)
		ret = client_drain(&o->client);
	client_close(&o->client);
	return ret;
}
