// SPDX-License-Identifier: MIT
/* Allocate and free in random order, the same sizes from a pool and from malloc. */
#include "measurements.h"

#include <pcidipc/pool.h>
#include <stdlib.h>
#include <string.h>

#define LIVE 256 /* at most that many at a time: a client with as many requests in flight */
#define STEPS 65536
#define POOL_BYTES (256ull << 20)

/* 512 bytes to 128 KiB, every power of two as likely as the others, and then a random part of it.
 */
struct step {
	uint32_t bytes;
	uint32_t slot;
};

struct allocator {
	struct step steps[STEPS];
	void *live[LIVE];
	struct pcidipc_pool *pool; /* NULL: malloc */
	unsigned at;
	int error;
};

static uint32_t random_next(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*seed >> 33);
}

static void choose_steps(struct step *steps)
{
	uint64_t seed = 1;

	for (unsigned i = 0; i < STEPS; i++) {
		uint32_t base = 512u << random_next(&seed) % 8;

		steps[i].bytes = base + random_next(&seed) % (base + 1);
		steps[i].slot = random_next(&seed) % LIVE;
	}
}

static int setup(const struct bench_measurement *m, void **state)
{
	struct allocator *a = calloc(1, sizeof(*a));
	int ret = a ? 0 : -ENOMEM;

	if (!ret && m->arg)
		ret = pcidipc_pool_create(POOL_BYTES, 0, &a->pool);
	if (ret)
		free(a);
	else
		choose_steps(a->steps);
	*state = a;
	return ret;
}

static inline void put(struct allocator *a, void *p)
{
	if (a->pool)
		pcidipc_buf_free(p);
	else
		free(p);
}

static inline void *get(struct allocator *a, size_t bytes)
{
	return a->pool ? (void *)pcidipc_pool_alloc(a->pool, bytes, 0) : malloc(bytes);
}

/* One step: free what is in the slot, and allocate into it. */
static void churn(void *state, unsigned count)
{
	struct allocator *a = state;

	while (count--) {
		const struct step *step = &a->steps[a->at++ % STEPS];
		void **slot = &a->live[step->slot];

		if (*slot)
			put(a, *slot);
		*slot = get(a, step->bytes);
		if (!*slot)
			a->error = -ENOMEM;
		bench_use(*slot);
	}
}

static void teardown(void *state)
{
	struct allocator *a = state;

	for (unsigned i = 0; i < LIVE; i++)
		if (a->live[i])
			put(a, a->live[i]);
	if (a->pool)
		pcidipc_pool_destroy(a->pool);
	free(a);
}

static int pair(void *state, double *results)
{
	struct allocator *a = state;

	results[0] = bench_ns_each(churn, a, STEPS);
	return a->error;
}

const struct bench_measurement bench_pool = {
	.values =
		(const struct bench_value[]){
			{"pool_alloc_free_ns", "pool: allocate and free", "ns"}, {0}},
	.arg = "pool",
	.setup = setup,
	.round = pair,
	.teardown = teardown,
};

const struct bench_measurement bench_malloc = {
	.values = (const struct bench_value[]){{"malloc_free_ns", "glibc malloc and free", "ns"},
					       {0}},
	.setup = setup,
	.round = pair,
	.teardown = teardown,
};
