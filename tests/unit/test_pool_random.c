// SPDX-License-Identifier: MIT
/* The pool's allocator, at random, against a reference model: a sorted array of the ranges that are
 * in use. */
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "pooltools.h"

#include <libpcidipc/src/extent.h>
#include <ringabi/ring.h>

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
	live->seed = random_next(&model.rng);
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

static void model_end(void)
{
	while (model.count) {
		size_t at = random_below(&model.rng, model.count);

		if (model.live[at].holds)
			model_release(at);
		else
			model_free(at);
	}
	assert_all_free(model.pool);
	pcidipc_pool_destroy(model.pool);
}

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
		return random_size(&model.rng, profile->max_size);
	while (profile->sizes[count])
		count++;
	return profile->sizes[random_below(&model.rng, count)];
}

static uint64_t profile_align(const struct profile *profile)
{
	unsigned steps = __builtin_ctzll(profile->max_align / EXTENT_GRANULE);

	if (random_below(&model.rng, 2))
		return 0;
	return (uint64_t)EXTENT_GRANULE << random_below(&model.rng, steps + 1);
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
	unsigned dice = random_below(&model.rng, 16);
	bool full = model.count >= profile->max_live;

	if (!model.count || (!full && dice < (growing ? 9 : 5)))
		random_alloc(profile);
	else if (dice < 14)
		model_free(random_below(&model.rng, model.count));
	else if (dice < 15)
		model_hold(random_below(&model.rng, model.count));
	for (size_t at = 0; dice == 15 && at < model.count; at += 1 + model.count / 64)
		model_release(at);
}

static void run_profile(const struct profile *profile)
{
	bool growing = true;

	model_start(profile->pool_bytes, profile->seed);
	for (unsigned i = 0; i < profile->steps; i++) {
		if (random_below(&model.rng, 700) == 0)
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

static CU_TestInfo tests[] = {
	{"tiny pool", test_random_tiny},
	{"large buffers in a full pool", test_random_full},
	{"few sizes", test_random_few_sizes},
	{"1 TiB and 16 TiB", test_random_huge},
	{"bookkeeping is not in the shared memory", test_scribble},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return run_tests("pool, at random", tests);
}
