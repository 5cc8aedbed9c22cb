// SPDX-License-Identifier: MIT
/* Rounds in turns, and what they gave. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

#define MAX_SERIES 256
#define MAX_MEASUREMENTS 32

static struct bench_series all[MAX_SERIES];
static unsigned nall;

const struct bench_series *bench_find(const char *name)
{
	for (unsigned i = 0; i < nall; i++)
		if (!strcmp(all[i].value->name, name))
			return &all[i];
	return NULL;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_median(const double *values, unsigned count)
{
	double *sorted = malloc((count + 1) * sizeof(*sorted));
	double median = NAN;
	unsigned n = 0;

	for (unsigned i = 0; sorted && i < count; i++)
		if (!isnan(values[i]))
			sorted[n++] = values[i];
	if (n) {
		qsort(sorted, n, sizeof(*sorted), compare);
		median = (sorted[n / 2] + sorted[(n - 1) / 2]) / 2;
	}
	free(sorted);
	return median;
}

double bench_ratio(const char *ours, const char *peer)
{
	const struct bench_series *a = bench_find(ours), *b = bench_find(peer);
	double ratios[BENCH_MAX_ROUNDS];
	unsigned n = 0;

	if (!a || !b)
		return NAN;
	for (unsigned i = 0; i < a->count && i < b->count; i++)
		ratios[n++] = b->samples[i] > 0 ? a->samples[i] / b->samples[i] : NAN;
	return bench_median(ratios, n);
}

/* A measurement while its group runs. */
struct running {
	const struct bench_measurement *m;
	void *state;
	unsigned first; /* of its series */
	bool alive;
};

static unsigned add_series(const struct bench_measurement *m)
{
	unsigned first = nall;

	for (const struct bench_value *v = m->values; v->name; v++) {
		if (nall == MAX_SERIES)
			abort();
		all[nall].value = v;
		all[nall].samples = calloc(BENCH_MAX_ROUNDS, sizeof(double));
		if (!all[nall].samples)
			abort();
		all[nall++].median = NAN;
	}
	return first;
}

static void complain(const struct running *r, const char *what, int ret)
{
	if (ret == -ENOENT)
		fprintf(stderr, "bench: %s: not available here\n", r->m->values->title);
	else
		fprintf(stderr, "bench: %s: %s: %s\n", r->m->values->title, what, strerror(-ret));
}

static void start(struct running *r, const struct bench_measurement *m)
{
	int ret = m->setup(m, &r->state);

	r->m = m;
	r->first = add_series(m);
	r->alive = !ret;
	if (ret)
		complain(r, "set-up", ret);
}

static void one_round(struct running *r, bool keep)
{
	double results[BENCH_MAX_VALUES];
	int ret = -EIO;

	for (unsigned i = 0; i < BENCH_MAX_VALUES; i++)
		results[i] = NAN;
	if (r->alive)
		ret = r->m->round(r->state, results);
	if (r->alive && ret) {
		complain(r, "round", ret);
		r->m->teardown(r->state);
		r->alive = false;
	}
	for (unsigned i = 0; keep && r->m->values[i].name; i++) {
		struct bench_series *s = &all[r->first + i];

		s->samples[s->count++] = ret ? NAN : results[i];
	}
}

static void finish(struct running *r)
{
	if (r->alive)
		r->m->teardown(r->state);
	for (unsigned i = 0; r->m->values[i].name; i++) {
		struct bench_series *s = &all[r->first + i];

		s->median = r->alive ? bench_median(s->samples, s->count) : NAN;
	}
}

int bench_run_group(const struct bench_group *group)
{
	struct running running[MAX_MEASUREMENTS];
	unsigned n = 0, rounds = bench_options.rounds ? bench_options.rounds : group->rounds;
	int ret = group->setup ? group->setup() : 0;

	if (ret) {
		fprintf(stderr, "bench: %s: %s\n", group->name, strerror(-ret));
		return ret;
	}
	for (; group->measurements[n] && n < MAX_MEASUREMENTS; n++)
		start(&running[n], group->measurements[n]);
	for (unsigned i = 0; i < n && rounds > 1; i++)
		one_round(&running[i], false); /* warm up */
	for (unsigned round = 0; round < rounds; round++)
		for (unsigned i = 0; i < n; i++)
			one_round(&running[i], true);
	for (unsigned i = 0; i < n; i++)
		finish(&running[i]);
	if (group->teardown)
		group->teardown();
	return 0;
}
