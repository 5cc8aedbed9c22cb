// SPDX-License-Identifier: MIT
/* Where the pool's allocator puts buffers: pools that are full, gaps of one size or many, low
 * addresses first. */
#include <string.h>

#include "pooltools.h"
#include "suites.h"

#include <libpcidipc/src/extent.h>

static struct pcidipc_buf *all[2 * MIB / EXTENT_GRANULE];

static size_t fill(struct pcidipc_pool *pool, size_t bytes)
{
	size_t count = 0;

	while ((all[count] = pcidipc_pool_alloc(pool, bytes, 0)))
		if (++count == sizeof(all) / sizeof(all[0])) {
			CU_ASSERT_PTR_NULL(pcidipc_pool_alloc(pool, bytes, 0));
			break;
		}
	return count;
}

static void free_shuffled(size_t count, uint64_t seed)
{
	while (count) {
		size_t at = random_below(&seed, count);

		pcidipc_buf_free(all[at]);
		all[at] = all[--count];
	}
}

static void test_exhaustion(void)
{
	static const size_t sizes[] = {1,    64,    65,	   200,	    512,	   4096,
				       5000, 65536, 70000, 1 << 20, (1 << 20) + 1, 2 << 20};
	struct pcidipc_pool_stats stats;
	struct pcidipc_pool *pool;

	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_create(2 * MIB, 0, &pool), 0);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t whole = (sizes[i] + EXTENT_GRANULE - 1) / EXTENT_GRANULE * EXTENT_GRANULE;
		size_t count = fill(pool, sizes[i]);

		CU_ASSERT_EQUAL(count, 2 * MIB / whole);
		pcidipc_pool_stats(pool, &stats);
		CU_ASSERT_EQUAL(stats.buffers, count);
		CU_ASSERT_EQUAL(stats.used_bytes, count * whole);
		CU_ASSERT_EQUAL(stats.free_extents, 2 * MIB % whole != 0);
		CU_ASSERT_EQUAL(pcidipc_pool_check(pool), 0);
		free_shuffled(count, 41 + i);
		assert_all_free(pool);
	}
	pcidipc_pool_destroy(pool);
}

/* What the quick lists keep is merged when nothing else is left: no call to stats in between. */
static void test_quick_lists_merge(void)
{
	struct pcidipc_buf *buf;
	struct pcidipc_pool *pool;
	size_t count;

	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_create(2 * MIB, 0, &pool), 0);
	for (size_t bytes = 64; bytes <= MIB; bytes *= 2) {
		count = fill(pool, bytes);
		free_shuffled(count, bytes);
		buf = pcidipc_pool_alloc(pool, 2 * MIB, 2 * MIB);
		CU_ASSERT_PTR_NOT_NULL_FATAL(buf);
		CU_ASSERT_PTR_NULL(pcidipc_pool_alloc(pool, 1, 0));
		pcidipc_buf_free(buf);
	}
	assert_all_free(pool);
	pcidipc_pool_destroy(pool);
}

static void test_every_other(void)
{
	struct pcidipc_pool *pool;
	size_t count;

	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_create(2 * MIB, 0, &pool), 0);
	count = fill(pool, 4096);
	for (size_t i = 0; i < count; i += 2)
		pcidipc_buf_free(all[i]);
	CU_ASSERT_PTR_NULL(pcidipc_pool_alloc(pool, 4097, 0));
	CU_ASSERT_PTR_NULL(pcidipc_pool_alloc(pool, 2 * MIB, 0));
	for (size_t i = 0; i < count; i += 2) {
		all[i] = pcidipc_pool_alloc(pool, 4096, 4096);
		CU_ASSERT_PTR_NOT_NULL_FATAL(all[i]);
	}
	CU_ASSERT_PTR_NULL(pcidipc_pool_alloc(pool, 1, 0));
	free_shuffled(count, 51);
	assert_all_free(pool);
	pcidipc_pool_destroy(pool);
}

/* A gap that fits is found behind others of its size class that do not, when it is the last one
 * there is. */
static void test_search(void)
{
	struct pcidipc_buf *small[8], *large, *wall;
	struct pcidipc_pool_stats stats;
	struct pcidipc_pool *pool;

	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_create(2 * MIB, 0, &pool), 0);
	large = pcidipc_pool_alloc(pool, 5056, 0);
	wall = pcidipc_pool_alloc(pool, 64, 0);
	for (unsigned i = 0; i < 8; i++) {
		small[i] = pcidipc_pool_alloc(pool, 4992, 0);
		wall = pcidipc_pool_alloc(pool, 64, 0);
	}
	CU_ASSERT_FATAL(large && small[7] && wall);
	CU_ASSERT_PTR_NOT_NULL(pcidipc_pool_alloc(pool, 2 * MIB - extent_end(extent_of(wall)), 0));
	pcidipc_buf_free(large);
	pcidipc_pool_stats(pool, &stats); /* into its size class first, behind what follows */
	for (unsigned i = 0; i < 8; i++)
		pcidipc_buf_free(small[i]);
	CU_ASSERT_PTR_NULL(pcidipc_pool_alloc(pool, 5057, 0));
	CU_ASSERT_PTR_NOT_NULL(pcidipc_pool_alloc(pool, 5056, 0));
	CU_ASSERT_PTR_NULL(pcidipc_pool_alloc(pool, 5056, 0));
	CU_ASSERT_EQUAL(pcidipc_pool_check(pool), 0);
	pcidipc_pool_destroy(pool);
}

/* The end of the pool is touched only when nothing below will do: not a gap that just fits, nor
 * many small ones. */
static void test_wilderness_last(void)
{
	struct pcidipc_buf *buf, *wall;
	struct pcidipc_pool_stats stats;
	struct pcidipc_pool *pool;

	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_create(GIB, 0, &pool), 0);
	for (unsigned i = 0; i < 64; i++)
		all[i] = pcidipc_pool_alloc(pool, 4096, 0);
	wall = pcidipc_pool_alloc(pool, 64, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(wall);
	free_shuffled(64, 91);
	buf = pcidipc_pool_alloc(pool, 64 * 4096, 0);
	CU_ASSERT(buf && buf->offset == 0);
	pcidipc_buf_free(buf);
	buf = pcidipc_pool_alloc(pool, 5056, 0);
	CU_ASSERT(buf && buf->offset == 0);
	CU_ASSERT_PTR_NOT_NULL(pcidipc_pool_alloc(pool, 64 * 4096 - 5056, 0));
	pcidipc_buf_free(buf);
	pcidipc_pool_stats(pool, &stats);
	buf = pcidipc_pool_alloc(pool, 5000, 0);
	CU_ASSERT(buf && buf->offset == 0);
	CU_ASSERT_EQUAL(stats.high_bytes, extent_end(extent_of(wall)));
	CU_ASSERT_EQUAL(pcidipc_pool_check(pool), 0);
	pcidipc_pool_destroy(pool);
}

/* Buffers stay low in the pool, so that what is mapped for a device stays small. */
static void test_low_addresses(void)
{
	static const size_t sizes[] = {4096, 65536, 20000, 131072};
	struct pcidipc_pool_stats stats;
	struct pcidipc_pool *pool;
	uint64_t rng = 61, used = 0, peak = 0;
	size_t at;

	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_create(TIB, 0, &pool), 0);
	memset(all, 0, sizeof(all[0]) * 256);
	for (unsigned i = 0; i < 100000; i++) {
		at = random_below(&rng, 256);
		used -= all[at] ? all[at]->bytes : 0;
		pcidipc_buf_free(all[at]);
		all[at] = pcidipc_pool_alloc(pool, sizes[random_below(&rng, 4)], 4096);
		CU_ASSERT_PTR_NOT_NULL_FATAL(all[at]);
		used += all[at]->bytes;
		peak = used > peak ? used : peak;
	}
	pcidipc_pool_stats(pool, &stats);
	CU_ASSERT(stats.high_bytes >= peak);
	CU_ASSERT(stats.high_bytes <= peak + peak / 4);
	free_shuffled(256, rng);
	assert_all_free(pool);
	pcidipc_pool_destroy(pool);
}

static CU_TestInfo tests[] = {
	{"exhaustion", test_exhaustion},
	{"quick lists merge", test_quick_lists_merge},
	{"every other buffer free", test_every_other},
	{"the last gap that fits", test_search},
	{"the end of the pool comes last", test_wilderness_last},
	{"low addresses first", test_low_addresses},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return run_tests("pool, where buffers go", tests);
}
