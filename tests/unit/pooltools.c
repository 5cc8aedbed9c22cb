// SPDX-License-Identifier: MIT
#include "pooltools.h"

uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state * 0x2545f4914f6cdd1dull;
}

uint64_t random_below(uint64_t *state, uint64_t limit)
{
	return random_next(state) % limit;
}

uint64_t random_size(uint64_t *state, uint64_t max)
{
	uint64_t limit = max >> random_below(state, 64 - __builtin_clzll(max));

	return 1 + random_below(state, limit);
}

void assert_all_free(struct pcidipc_pool *pool)
{
	struct pcidipc_pool_stats stats;

	CU_ASSERT_EQUAL(pcidipc_pool_check(pool), 0);
	pcidipc_pool_stats(pool, &stats);
	CU_ASSERT_EQUAL(stats.buffers, 0);
	CU_ASSERT_EQUAL(stats.used_bytes, 0);
	CU_ASSERT_EQUAL(stats.free_extents, 1);
	CU_ASSERT_EQUAL(pcidipc_pool_check(pool), 0);
}
