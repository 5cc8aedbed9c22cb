// SPDX-License-Identifier: MIT
/* The pool's allocator against a reference model: a sorted array of the ranges that are in use. */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#include <pcidipc/pool.h>

#include <libpcidipc/src/extent.h>
#include <ringabi/ring.h>

#define KIB (1ull << 10)
#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define TIB (1ull << 40)

#if defined(__has_feature) /* clang's way to say it */
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

#define LIVE_MAX 4096
#define MARK_BYTES 32u /* of the pattern, at both ends of a buffer */

struct live {
	uint64_t start, end;
	struct pcidipc_buf *buf;
	uint64_t seed;
	unsigned holds;
	bool freed;
};

struct model {
	struct pcidipc_pool *pool;
	uint64_t rng;
	size_t count;
	struct live live[LIVE_MAX];
};

static struct model model;

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state * 0x2545f4914f6cdd1dull;
}

static uint64_t below(uint64_t *state, uint64_t limit)
{
	return next_random(state) % limit;
}

/* As many small numbers as large ones. */
static uint64_t any_size(uint64_t *state, uint64_t max)
{
	uint64_t limit = max >> below(state, 64 - __builtin_clzll(max));

	return 1 + below(state, limit);
}

static void mark(const struct live *live)
{
	size_t bytes = live->buf->bytes < MARK_BYTES ? live->buf->bytes : MARK_BYTES;
	unsigned char *data = pcidipc_buf_ptr(live->buf);

	memset(data, live->seed & 0xff, bytes);
	memset(data + live->buf->bytes - bytes, live->seed & 0xff, bytes);
}

static bool marked(const struct live *live)
{
	size_t bytes = live->buf->bytes < MARK_BYTES ? live->buf->bytes : MARK_BYTES;
	const unsigned char *data = pcidipc_buf_ptr(live->buf);
	const unsigned char *tail = data + live->buf->bytes - bytes;

	for (size_t i = 0; i < bytes; i++)
		if (data[i] != (live->seed & 0xff) || tail[i] != (live->seed & 0xff))
			return false;
	return true;
}

static void model_start(uint64_t bytes, uint64_t seed)
{
	memset(&model, 0, sizeof(model));
	model.rng = seed;
	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_create(bytes, 0, &model.pool), 0);
}

/* The first live range that begins at `start` or above. */
static size_t model_find(uint64_t start)
{
	size_t low = 0, high = model.count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (model.live[middle].start < start)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static uint64_t model_largest_gap(void)
{
	uint64_t gap = 0, at = 0;

	for (size_t i = 0; i < model.count; at = model.live[i++].end)
		if (model.live[i].start - at > gap)
			gap = model.live[i].start - at;
	return pcidipc_pool_bytes(model.pool) - at > gap ? pcidipc_pool_bytes(model.pool) - at
							 : gap;
}

/*
 * "No room" may be said only when no gap has room wherever the alignment puts the buffer, with what
 * size classes round away: at most one 32nd.
 */
static void model_refused(uint64_t bytes, uint64_t align)
{
	uint64_t enough = (bytes + EXTENT_GRANULE - 1) / EXTENT_GRANULE * EXTENT_GRANULE;

	if (align > EXTENT_GRANULE)
		enough += align - EXTENT_GRANULE;
	CU_ASSERT(model_largest_gap() < enough + enough / EXTENT_SL);
}

static void model_alloc(uint64_t bytes, uint64_t align)
{
	struct pcidipc_buf *buf = pcidipc_pool_alloc(model.pool, bytes, align);
	struct live *live;
	size_t at;

	if (!buf) {
		model_refused(bytes, align);
		return;
	}
	CU_ASSERT_EQUAL(buf->bytes, bytes);
	CU_ASSERT_EQUAL(buf->pool, model.pool);
	CU_ASSERT_EQUAL(buf->holds, 0);
	CU_ASSERT_FALSE(buf->freed);
	CU_ASSERT_EQUAL(buf->offset % (align ? align : EXTENT_GRANULE), 0);
	CU_ASSERT_FATAL(buf->offset + bytes <= pcidipc_pool_bytes(model.pool));
	at = model_find(buf->offset);
	live = &model.live[at];
	CU_ASSERT_FATAL(at == model.count || buf->offset + bytes <= live->start);
	CU_ASSERT_FATAL(at == 0 || live[-1].end <= buf->offset);
	memmove(live + 1, live, (model.count - at) * sizeof(*live));
	model.count++;
	*live = (struct live){.start = buf->offset, .end = buf->offset + bytes, .buf = buf};
	live->seed = next_random(&model.rng);
	mark(live);
}

static void model_forget(size_t at)
{
	CU_ASSERT(marked(&model.live[at]));
	model.count--;
	memmove(&model.live[at], &model.live[at + 1], (model.count - at) * sizeof(model.live[0]));
}

static void model_free(size_t at)
{
	struct live *live = &model.live[at];

	if (live->freed)
		return;
	pcidipc_buf_free(live->buf);
	live->freed = true;
	if (!live->holds)
		model_forget(at);
}

static void model_hold(size_t at)
{
	pcidipc_buf_hold(model.live[at].buf);
	model.live[at].holds++;
}

static void model_release(size_t at)
{
	struct live *live = &model.live[at];

	if (!live->holds)
		return;
	CU_ASSERT_EQUAL(live->buf->holds, live->holds);
	CU_ASSERT_EQUAL(live->buf->freed, live->freed);
	CU_ASSERT(marked(live));
	pcidipc_buf_release(live->buf);
	if (--live->holds == 0 && live->freed)
		model_forget(at);
}

/* The pool and the model agree. */
static void model_compare(void)
{
	struct pcidipc_pool_stats stats;
	uint64_t used = 0;

	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_check(model.pool), 0);
	pcidipc_pool_stats(model.pool, &stats);
	for (size_t i = 0; i < model.count; i++)
		used += (model.live[i].end - model.live[i].start + EXTENT_GRANULE - 1) &
			-(uint64_t)EXTENT_GRANULE;
	CU_ASSERT_EQUAL(stats.buffers, model.count);
	CU_ASSERT_EQUAL(stats.used_bytes, used);
	CU_ASSERT_EQUAL(stats.max_bytes, pcidipc_pool_bytes(model.pool));
	CU_ASSERT(stats.high_bytes <= stats.max_bytes);
	CU_ASSERT(!model.count || stats.high_bytes >= model.live[model.count - 1].end);
	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_check(model.pool), 0);
}

static void assert_all_free(struct pcidipc_pool *pool)
{
	struct pcidipc_pool_stats stats;

	CU_ASSERT_EQUAL(pcidipc_pool_check(pool), 0);
	pcidipc_pool_stats(pool, &stats);
	CU_ASSERT_EQUAL(stats.buffers, 0);
	CU_ASSERT_EQUAL(stats.used_bytes, 0);
	CU_ASSERT_EQUAL(stats.free_extents, 1);
	CU_ASSERT_EQUAL(pcidipc_pool_check(pool), 0);
}

static void model_end(void)
{
	while (model.count) {
		size_t at = below(&model.rng, model.count);

		if (model.live[at].holds)
			model_release(at);
		else
			model_free(at);
	}
	assert_all_free(model.pool);
	pcidipc_pool_destroy(model.pool);
}

/* Random operations */

struct profile {
	uint64_t pool_bytes;
	uint64_t max_size;
	uint64_t max_align;
	size_t max_live;
	unsigned steps;
	uint64_t seed;
	const uint64_t *sizes; /* only these, if given; ends with 0 */
};

static uint64_t profile_size(const struct profile *profile)
{
	size_t count = 0;

	if (!profile->sizes)
		return any_size(&model.rng, profile->max_size);
	while (profile->sizes[count])
		count++;
	return profile->sizes[below(&model.rng, count)];
}

static uint64_t profile_align(const struct profile *profile)
{
	unsigned steps = __builtin_ctzll(profile->max_align / EXTENT_GRANULE);

	if (below(&model.rng, 2))
		return 0;
	return (uint64_t)EXTENT_GRANULE << below(&model.rng, steps + 1);
}

static void random_alloc(const struct profile *profile)
{
	uint64_t bytes = profile_size(profile); /* in this order with every compiler */

	model_alloc(bytes, profile_align(profile));
}

/* `growing`: allocate more often than not; the direction changes so that the pool fills up and
 * drains. */
static void random_step(const struct profile *profile, bool growing)
{
	unsigned dice = below(&model.rng, 16);
	bool full = model.count >= profile->max_live;

	if (!model.count || (!full && dice < (growing ? 9 : 5)))
		random_alloc(profile);
	else if (dice < 14)
		model_free(below(&model.rng, model.count));
	else if (dice < 15)
		model_hold(below(&model.rng, model.count));
	for (size_t at = 0; dice == 15 && at < model.count; at += 1 + model.count / 64)
		model_release(at);
}

static void run_profile(const struct profile *profile)
{
	bool growing = true;

	model_start(profile->pool_bytes, profile->seed);
	for (unsigned i = 0; i < profile->steps; i++) {
		if (below(&model.rng, 700) == 0)
			growing = !growing;
		random_step(profile, growing);
		if (i % 251 == 0)
			model_compare();
	}
	model_compare();
	model_end();
}

static void test_random_tiny(void)
{
	struct profile profile = {
		.pool_bytes = 2 * MIB,
		.max_size = 64 * KIB,
		.max_align = 64 * KIB,
		.max_live = LIVE_MAX,
		.steps = 40000,
	};

	for (profile.seed = 1; profile.seed <= 3; profile.seed++)
		run_profile(&profile);
}

static void test_random_full(void)
{
	struct profile profile = {
		.pool_bytes = 16 * MIB,
		.max_size = 4 * MIB,
		.max_align = 2 * MIB,
		.max_live = LIVE_MAX,
		.steps = 40000,
	};

	for (profile.seed = 11; profile.seed <= 13; profile.seed++)
		run_profile(&profile);
}

static void test_random_few_sizes(void)
{
	static const uint64_t sizes[] = {64, 512, 4096, 5000, 65536, 131072, 1 << 20, 0};
	struct profile profile = {
		.pool_bytes = 64 * MIB,
		.max_align = 4096,
		.max_live = 1000,
		.steps = 60000,
		.sizes = sizes,
	};

	for (profile.seed = 21; profile.seed <= 22; profile.seed++)
		run_profile(&profile);
}

static void test_random_huge(void)
{
	struct profile profile = {
		.pool_bytes = TIB,
		.max_size = 8 * MIB,
		.max_align = 2 * MIB,
		.max_live = 2000,
		.steps = 20000,
		.seed = 31,
	};

	NOT_UNDER_TSAN();
	run_profile(&profile);
	profile.pool_bytes = RINGABI_POOL_MAX_BYTES;
	profile.max_size = 2 * TIB;
	profile.steps = 4000;
	run_profile(&profile);
}

/* Full pools */

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
		size_t at = below(&seed, count);

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
		at = below(&rng, 256);
		used -= all[at] ? all[at]->bytes : 0;
		pcidipc_buf_free(all[at]);
		all[at] = pcidipc_pool_alloc(pool, sizes[below(&rng, 4)], 4096);
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

/* Holds and misuse */

static void test_holds(void)
{
	struct pcidipc_pool_stats stats;
	struct pcidipc_buf *buf, *other;
	struct pcidipc_pool *pool;

	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_create(2 * MIB, 0, &pool), 0);
	buf = pcidipc_pool_alloc(pool, 2 * MIB, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(buf);
	pcidipc_buf_hold(buf);
	pcidipc_buf_hold(buf);
	pcidipc_buf_free(buf);
	CU_ASSERT(buf->freed);
	CU_ASSERT_PTR_NULL(pcidipc_pool_alloc(pool, 64, 0));
	pcidipc_buf_release(buf);
	CU_ASSERT_PTR_NULL(pcidipc_pool_alloc(pool, 64, 0));
	pcidipc_pool_stats(pool, &stats);
	CU_ASSERT_EQUAL(stats.buffers, 1);
	CU_ASSERT_EQUAL(stats.free_extents, 0);
	CU_ASSERT_EQUAL(pcidipc_pool_check(pool), 0);
	pcidipc_buf_release(buf);
	other = pcidipc_pool_alloc(pool, 64, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(other);
	pcidipc_buf_hold(other);
	pcidipc_buf_release(other); /* was not freed: stays */
	pcidipc_pool_stats(pool, &stats);
	CU_ASSERT_EQUAL(stats.buffers, 1);
	pcidipc_buf_free(other);
	assert_all_free(pool);
	pcidipc_pool_destroy(pool);
}

/* Each of these is logged and otherwise ignored. */
static void test_misuse(void)
{
	struct pcidipc_buf *low, *buf, *high;
	struct pcidipc_pool *pool;

	puts("(the error lines that follow are expected)");
	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_create(2 * MIB, 0, &pool), 0);
	low = pcidipc_pool_alloc(pool, 100, 0);
	buf = pcidipc_pool_alloc(pool, 4096, 0);
	high = pcidipc_pool_alloc(pool, 100, 0);
	CU_ASSERT_FATAL(low && buf && high);
	pcidipc_buf_release(buf);
	pcidipc_buf_hold(buf);
	pcidipc_buf_free(buf);
	pcidipc_buf_free(buf); /* twice while held */
	pcidipc_buf_release(buf);
	CU_ASSERT_EQUAL(pcidipc_pool_check(pool), 0);
	pcidipc_buf_free(buf); /* again, in a quick list */
	pcidipc_buf_release(buf);
	CU_ASSERT_EQUAL(pcidipc_pool_check(pool), 0);
	pcidipc_buf_free(low);
	pcidipc_buf_free(high);
	assert_all_free(pool); /* merges all three */
	pcidipc_buf_free(buf);
	pcidipc_buf_free(high);
	pcidipc_buf_hold(high);
	pcidipc_buf_release(high);
	assert_all_free(pool);
	buf = pcidipc_pool_alloc(pool, 64, 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(buf);
	pcidipc_buf_free(buf);
	pcidipc_buf_hold(buf); /* too late: the next owner's count is not touched */
	CU_ASSERT_PTR_EQUAL(pcidipc_pool_alloc(pool, 64, 0), buf);
	CU_ASSERT_EQUAL(buf->holds, 0);
	pcidipc_buf_free(buf);
	assert_all_free(pool);
	pcidipc_buf_free(NULL);
	pcidipc_pool_destroy(pool);
	pcidipc_pool_destroy(NULL);
}

static void test_invalid_arguments(void)
{
	struct pcidipc_pool *pool = NULL;
	struct pcidipc_buf *buf;

	CU_ASSERT_EQUAL(pcidipc_pool_create(0, 0, &pool), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pool_create(RINGABI_POOL_MAX_BYTES + 1, 0, &pool), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pool_create(UINT64_MAX, 0, &pool), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pool_create(2 * MIB, 1u << 31, &pool), -EINVAL);
	CU_ASSERT_PTR_NULL(pool);
	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_create(1, 0, &pool), 0);
	CU_ASSERT_EQUAL(pcidipc_pool_bytes(pool), RINGABI_POOL_ALIGN);
	CU_ASSERT_PTR_NULL(pcidipc_pool_alloc(pool, 0, 0));
	CU_ASSERT_PTR_NULL(pcidipc_pool_alloc(pool, RINGABI_POOL_ALIGN + 1, 0));
	CU_ASSERT_PTR_NULL(pcidipc_pool_alloc(pool, SIZE_MAX, 0));
	CU_ASSERT_PTR_NULL(pcidipc_pool_alloc(pool, SIZE_MAX - 62, 0));
	CU_ASSERT_PTR_NULL(pcidipc_pool_alloc(pool, 64, 3));
	CU_ASSERT_PTR_NULL(pcidipc_pool_alloc(pool, 64, 96));
	CU_ASSERT_PTR_NULL(pcidipc_pool_alloc(pool, 64, SIZE_MAX));
	assert_all_free(pool);
	buf = pcidipc_pool_alloc(pool, 1, 1); /* less than the granule is granted, too */
	CU_ASSERT_PTR_NOT_NULL_FATAL(buf);
	CU_ASSERT_PTR_NULL(pcidipc_pool_alloc(pool, 1, SIZE_MAX / 2 + 1));
	pcidipc_buf_free(buf);
	buf = pcidipc_pool_alloc(pool, 1,
				 SIZE_MAX / 2 + 1); /* offset 0 is a multiple of anything */
	CU_ASSERT(buf && buf->offset == 0);
	pcidipc_buf_free(buf);
	assert_all_free(pool);
	pcidipc_pool_destroy(pool);
}

static int lowest_free_fd(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	close(fd);
	return fd;
}

static void test_create_fails_cleanly(void)
{
	int before = lowest_free_fd();
	struct pcidipc_pool *pool = NULL;
	struct rlimit old, none;

	CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = 0;
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &none), 0);
	CU_ASSERT_EQUAL(pcidipc_pool_create(2 * MIB, 0, &pool), -EMFILE);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &old), 0);
#ifndef __SANITIZE_ADDRESS__ /* its run-time needs address space of its own */
	CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_AS, &old), 0);
	none = old;
	none.rlim_cur = GIB;
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_AS, &none), 0);
	CU_ASSERT_EQUAL(pcidipc_pool_create(TIB, 0, &pool), -ENOMEM);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_AS, &old), 0);
#endif
	CU_ASSERT_PTR_NULL(pool);
	CU_ASSERT_EQUAL(lowest_free_fd(), before);
}

/* The memory */

static void test_memory(void)
{
	struct pcidipc_pool *pool;
	struct pcidipc_buf *buf;
	struct stat st;
	char *view;
	int fd;

	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_create(TIB, PCIDIPC_POOL_HUGE, &pool), 0);
	fd = pcidipc_pool_fd(pool);
	CU_ASSERT_EQUAL(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	CU_ASSERT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	CU_ASSERT(ftruncate(fd, 2 * TIB) == -1 && errno == EPERM);
	CU_ASSERT(ftruncate(fd, GIB) == -1 && errno == EPERM);
	CU_ASSERT_EQUAL_FATAL(fstat(fd, &st), 0);
	CU_ASSERT_EQUAL((uint64_t)st.st_size, TIB);
	CU_ASSERT_EQUAL(st.st_blocks, 0); /* sparse, and nothing of the allocator's in it */
	CU_ASSERT_EQUAL((uintptr_t)pcidipc_pool_base(pool) % RINGABI_POOL_ALIGN, 0);

	/* What is written through the buffer is at its offset in the memfd, and the other way
	 * round. */
	CU_ASSERT_PTR_NOT_NULL(pcidipc_pool_alloc(pool, 700 * GIB, 0));
	buf = pcidipc_pool_alloc(pool, 4096, 4096);
	CU_ASSERT_FATAL(buf && buf->offset >= 700 * GIB);
	view = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, buf->offset);
	CU_ASSERT_FATAL(view != MAP_FAILED);
	strcpy(pcidipc_buf_ptr(buf), "to the device");
	CU_ASSERT_STRING_EQUAL(view, "to the device");
	strcpy(view, "from the device");
	CU_ASSERT_STRING_EQUAL(pcidipc_buf_ptr(buf), "from the device");
	munmap(view, 4096);
	pcidipc_pool_destroy(pool); /* with live buffers */
	CU_ASSERT(fcntl(fd, F_GETFD) == -1 && errno == EBADF);
}

/* A peer that overwrites all of the shared memory cannot confuse the allocator. */
static void test_scribble(void)
{
	const struct profile profile = {.max_size = 64 * KIB, .max_align = 4096, .max_live = 200};

	model_start(4 * MIB, 71);
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 500; i++)
			random_step(&profile, true);
		memset(pcidipc_pool_base(model.pool), round % 2 ? 0xff : round,
		       pcidipc_pool_bytes(model.pool));
		model_compare();
		for (size_t i = 0; i < model.count; i++)
			mark(&model.live[i]);
	}
	model_end();
}

/* pcidipc_pool_check is not blind. */
#define ASSERT_CHECK_SEES(pool, field, value)                    \
	do {                                                     \
		typeof(field) good_ = (field);                   \
		(field) = (value);                               \
		CU_ASSERT_EQUAL(pcidipc_pool_check(pool), -EIO); \
		(field) = good_;                                 \
		CU_ASSERT_EQUAL(pcidipc_pool_check(pool), 0);    \
	} while (0)

static void test_check_sees(void)
{
	struct pcidipc_buf *used, *kept, *gap, *other;
	struct pcidipc_pool_stats stats;
	struct pcidipc_pool *pool;

	puts("(the error lines that follow are expected)");
	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_create(2 * MIB, 0, &pool), 0);
	used = pcidipc_pool_alloc(pool, 100, 0);
	gap = pcidipc_pool_alloc(pool, 4096, 0);
	other = pcidipc_pool_alloc(pool, 100, 0);
	kept = pcidipc_pool_alloc(pool, 100, 0);
	CU_ASSERT_FATAL(used && gap && other && kept);
	pcidipc_buf_free(gap);
	pcidipc_pool_stats(pool, &stats); /* into a size class */
	pcidipc_buf_free(kept);		  /* into a quick list */
	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_check(pool), 0);
	ASSERT_CHECK_SEES(pool, used->bytes, 1000);
	ASSERT_CHECK_SEES(pool, used->bytes, 0);
	ASSERT_CHECK_SEES(pool, used->pool, NULL);
	ASSERT_CHECK_SEES(pool, used->freed, true);
	ASSERT_CHECK_SEES(pool, other->offset, other->offset + 64);
	ASSERT_CHECK_SEES(pool, extent_of(used)->bytes, 64);
	ASSERT_CHECK_SEES(pool, extent_of(used)->state, EXTENT_FREE);
	ASSERT_CHECK_SEES(pool, extent_of(used)->state, EXTENT_SPARE);
	ASSERT_CHECK_SEES(pool, extent_of(gap)->state, EXTENT_QUICK);
	ASSERT_CHECK_SEES(pool, extent_of(gap)->link_prev, extent_of(used));
	ASSERT_CHECK_SEES(pool, extent_of(gap)->link_next, extent_of(other));
	ASSERT_CHECK_SEES(pool, extent_of(other)->prev, extent_of(used));
	ASSERT_CHECK_SEES(pool, extent_of(other)->next, NULL);
	ASSERT_CHECK_SEES(pool, extent_of(kept)->state, EXTENT_USED);
	ASSERT_CHECK_SEES(pool, extent_of(kept)->link_next, extent_of(gap));
	pcidipc_pool_destroy(pool);
}

/* No system call per buffer */

#define STEADY_STEPS 100000
#define CHILD_CANNOT 77

/* The same steps each time, ending as they began: the second run finds its bookkeeping large
 * enough. */
static bool steady_steps(struct pcidipc_pool *pool)
{
	uint64_t rng = 81, bytes;
	bool ok = true;
	size_t at;

	memset(all, 0, sizeof(all[0]) * 1024);
	for (unsigned i = 0; i < STEADY_STEPS; i++) {
		at = below(&rng, 1024);
		pcidipc_buf_free(all[at]);
		bytes = any_size(&rng, MIB);
		all[at] = pcidipc_pool_alloc(pool, bytes, 1ull << below(&rng, 13));
		ok = ok && all[at];
	}
	for (at = 0; at < 1024; at++)
		pcidipc_buf_free(all[at]);
	return ok;
}

/* In strict mode every system call but read, write and exit kills the process. */
static void steady_child(void)
{
	struct pcidipc_pool *pool;
	bool ok;

	if (pcidipc_pool_create(TIB, 0, &pool) || !steady_steps(pool))
		_exit(1);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
		_exit(CHILD_CANNOT);
	ok = steady_steps(pool);
	syscall(SYS_exit, ok ? 0 : 1);
}

static void test_no_system_calls(void)
{
	int status;
	pid_t pid;

	NOT_UNDER_TSAN();
	fflush(NULL);
	pid = fork();
	CU_ASSERT_FATAL(pid >= 0);
	if (pid == 0)
		steady_child();
	CU_ASSERT_EQUAL_FATAL(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_CANNOT) {
		printf("(skipped: no strict seccomp here) ");
		return;
	}
	CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static CU_TestInfo tests[] = {
	{"arguments that cannot be", test_invalid_arguments},
	{"a failed create leaves nothing", test_create_fails_cleanly},
	{"seals, size, sparse, shared", test_memory},
	{"random: tiny pool", test_random_tiny},
	{"random: large buffers in a full pool", test_random_full},
	{"random: few sizes", test_random_few_sizes},
	{"random: 1 TiB and 16 TiB", test_random_huge},
	{"exhaustion", test_exhaustion},
	{"quick lists merge", test_quick_lists_merge},
	{"every other buffer free", test_every_other},
	{"the last gap that fits", test_search},
	{"the end of the pool comes last", test_wilderness_last},
	{"low addresses first", test_low_addresses},
	{"holds", test_holds},
	{"misuse is ignored", test_misuse},
	{"bookkeeping is not in the shared memory", test_scribble},
	{"check sees damage", test_check_sees},
	{"no system call per buffer", test_no_system_calls},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return run_tests("pool", tests);
}
