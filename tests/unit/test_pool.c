// SPDX-License-Identifier: MIT
/* The pool: its memory, who holds a buffer, what cannot be asked for, and no system call for a
 * buffer. */
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
#include "pooltools.h"

#include <libpcidipc/src/extent.h>
#include <ringabi/ring.h>

#if defined(__has_feature) /* clang's way to say it */
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

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

static struct pcidipc_buf *buffers[1024];

/* The same steps each time, ending as they began: the second run finds its bookkeeping large
 * enough. */
static bool steady_steps(struct pcidipc_pool *pool)
{
	uint64_t rng = 81, bytes;
	bool ok = true;
	size_t at;

	memset(buffers, 0, sizeof(buffers));
	for (unsigned i = 0; i < STEADY_STEPS; i++) {
		at = random_below(&rng, 1024);
		pcidipc_buf_free(buffers[at]);
		bytes = random_size(&rng, MIB);
		buffers[at] = pcidipc_pool_alloc(pool, bytes, 1ull << random_below(&rng, 13));
		ok = ok && buffers[at];
	}
	for (at = 0; at < 1024; at++)
		pcidipc_buf_free(buffers[at]);
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
	{"holds", test_holds},
	{"misuse is ignored", test_misuse},
	{"check sees damage", test_check_sees},
	{"no system call per buffer", test_no_system_calls},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return run_tests("pool", tests);
}
