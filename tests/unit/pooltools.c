// SPDX-License-Identifier: MIT
#include "pooltools.h"

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
