// SPDX-License-Identifier: MIT
/* Our driver and a client of it, connected anew in every round, as fio is started anew. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest.h"
#include "tests/bench/client.h"
#include "tests/bench/touched.h"

static const char *const daemons[] = {"pcid", "nvmed", "xhcid", "usbscsid"};
#define NDAEMONS (sizeof(daemons) / sizeof(daemons[0]))
#define MOST 16 /* processes */

struct ours {
	const struct workload *w;
	struct client client;
	pid_t pid[MOST]; /* of the daemons */
	unsigned npids;
};

/* pcid, the first, runs where the scheduler puts it. */
static void find_all(struct ours *o)
{
	o->npids = 0;
	for (unsigned i = 0; i < NDAEMONS; i++)
		o->npids += find_daemons(daemons[i], i && !o->w->unpinned ? BENCH_SERVER_CPU : -1,
					 o->pid + o->npids, MOST - o->npids);
}

int ours_setup(const struct bench_measurement *m, void **state)
{
	struct ours *o = calloc(1, sizeof(*o));
	struct client probe;
	int ret;

	if (!o)
		return -ENOMEM;
	o->w = m->arg;
	find_all(o);
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

/* How often this process and the daemons slept or were made to give way. */
static double all_switches(const struct ours *o)
{
	double sum = count_switches(getpid());

	for (unsigned i = 0; i < o->npids; i++)
		sum += count_switches(o->pid[i]);
	return sum;
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
	double n, switches;
	int ret = read_for(&o->client, GUEST_SETTLE_NS);

	if (ret)
		return ret;
	switches = all_switches(o);
	counters_read(&before, o->w->function);
	first = o->client.done;
	ret = read_for(&o->client, GUEST_ROUND_NS);
	n = (double)(o->client.done - first);
	counters_read(&after, o->w->function);
	results[0] = n * 1e9 / (double)(after.now - before.now);
	results[1] = counters_busy(&before, &after) / n / 1000;
	results[2] = (after.interrupts - before.interrupts) / n;
	results[3] = (all_switches(o) - switches) / n;
	return ret;
}

static int read_a_round(struct ours *o, double *results)
{
	int ret = client_open(&o->client, o->w->disk, o->w->bytes, o->w->depth);

	if (ret)
		return ret;
	find_all(o);
	o->client.sequential = o->w->sequential;
	ret = measure(o, results);
	results[4] = touched(o);
	if (!ret)
		ret = client_drain(&o->client);
	client_close(&o->client);
	return ret;
}

/* Otherwise this process has the CPU that bench_main gave it. */
int ours_round(void *state, double *results)
{
	struct ours *o = state;
	int ret;

	if (o->w->unpinned)
		bench_unpin(0);
	ret = read_a_round(o, results);
	bench_pin(0, BENCH_CLIENT_CPU);
	return ret;
}
