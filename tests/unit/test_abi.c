// SPDX-License-Identifier: MIT
/*
 * liburing's own io_uring_prep_* helpers, unmodified, fill entries of a secondary ring; a scheme in
 * another process gets them. The producer notes every SQE it is handed in memory that both share,
 * and the test looks at the notes.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#include <pcidipc/consumer.h>
#include <pcidipc/log.h>
#include <pcidipc/scheme.h>
#include <ringabi/block.h>

#define HELD_OFF 0xdead000ull /* a request that the producer keeps until it is canceled */
#define POOL_INDEX 3

/* What the producer saw, in order. */
struct notes {
	uint32_t count;
	uint32_t canceled;
	struct io_uring_sqe sqe[64];
};

static struct notes *notes;
static struct pcidipc_consumer *consumer;
static pid_t producer;

/* ---- the producer's process ---- */

static struct pcidipc_loop *loop;
static struct pcidipc_request *held;
static struct pcidipc_deferred complete_held;

static int producer_request(struct pcidipc_request *request)
{
	const struct io_uring_sqe *sqe = &request->sqe;
	uint32_t at = notes->count;

	notes->sqe[at % 64] = *sqe;
	__atomic_store_n(&notes->count, at + 1, __ATOMIC_RELEASE);
	if (sqe->opcode == IORING_OP_READ_FIXED && sqe->off == HELD_OFF) {
		held = request;
		return PCIDIPC_PENDING;
	}
	if (sqe->opcode == IORING_OP_READ_FIXED || sqe->opcode == IORING_OP_WRITE_FIXED)
		return (int)sqe->len;
	return 0;
}

static void producer_complete_held(struct pcidipc_deferred *deferred)
{
	(void)deferred;
	pcidipc_complete(held, -ECANCELED);
	held = NULL;
}

static int producer_cancel(struct pcidipc_request *request)
{
	if (request != held)
		return -EALREADY;
	notes->canceled++;
	pcidipc_defer(loop, &complete_held, producer_complete_held);
	return 0;
}

static void producer_close(struct pcidipc_session *session)
{
	(void)session;
	pcidipc_loop_stop(loop, 0);
}

static struct pcidipc_scheme scheme = {
	.name = "notes",
	.interface = RINGABI_INTERFACE_BLOCK,
	.max_sq_entries = 16,
	.max_cq_entries = 32,
	.max_sessions = 1,
	.request = producer_request,
	.cancel = producer_cancel,
	.close = producer_close,
};

static int producer_main(int channel)
{
	struct pcidipc_session *session;

	pcidipc_log_init("test_abi: producer", PCIDIPC_WARNING);
	if (pcidipc_loop_create(0, &loop))
		return 2;
	if (pcidipc_session_create(loop, &scheme, channel, 0, &session))
		return 3;
	return pcidipc_loop_run(loop);
}

/* ---- the consumer ---- */

static int set_up(void)
{
	const struct pcidipc_consumer_params params = {.interface = RINGABI_INTERFACE_BLOCK,
						       .sq_entries = 16};
	int ends[2];

	notes = mmap(NULL, sizeof(*notes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (notes == MAP_FAILED || pcidipc_channel_pair(ends))
		return -1;
	producer = fork();
	if (!producer) {
		close(ends[1]);
		_exit(producer_main(ends[0]));
	}
	close(ends[0]);
	return pcidipc_consumer_adopt(ends[1], &params, &consumer);
}

static int tear_down(void)
{
	int status;

	pcidipc_consumer_close(consumer);
	if (waitpid(producer, &status, 0) != producer || status)
		return -1;
	return munmap(notes, sizeof(*notes));
}

static struct io_uring_sqe *sqe_get(void)
{
	struct io_uring_sqe *sqe = pcidipc_get_sqe(consumer);

	CU_ASSERT_PTR_NOT_NULL_FATAL(sqe);
	memset(sqe, 0xa5, sizeof(*sqe)); /* a helper that leaves a field to chance is found out */
	return sqe;
}

/* Submit the one SQE that was prepared; its result. */
static int finish(struct io_uring_sqe *sqe, uint64_t user_data)
{
	struct pcidipc_cqe cqe = {.res = -1};

	io_uring_sqe_set_data64(sqe, user_data);
	CU_ASSERT_EQUAL(pcidipc_submit_and_wait(consumer, 1), 0);
	CU_ASSERT_EQUAL(pcidipc_next_cqe(consumer, &cqe), 1);
	CU_ASSERT_EQUAL(cqe.user_data, user_data);
	CU_ASSERT_EQUAL(cqe.flags, 0);
	return cqe.res;
}

/* The newest note, of which there must be `count`. */
static const struct io_uring_sqe *noted(uint32_t count)
{
	uint32_t have = __atomic_load_n(&notes->count, __ATOMIC_ACQUIRE);

	CU_ASSERT_EQUAL(have, count);
	CU_ASSERT_FATAL(have > 0);
	return &notes->sqe[(have - 1) % 64];
}

static void test_nop(void)
{
	uint32_t before = notes->count;
	struct io_uring_sqe *sqe = sqe_get();

	io_uring_prep_nop(sqe);
	CU_ASSERT_EQUAL(finish(sqe, 1), 0);
	CU_ASSERT_EQUAL(notes->count, before); /* the library's own affair */
}

static void test_read_fixed(void)
{
	uint32_t before = notes->count;
	struct io_uring_sqe *sqe = sqe_get();
	const struct io_uring_sqe *seen;

	io_uring_prep_read_fixed(sqe, 0, (void *)0x123000, 8192, 0x1234567000ull, POOL_INDEX);
	CU_ASSERT_EQUAL(finish(sqe, 0x1122334455667788ull), 8192);
	seen = noted(before + 1);
	CU_ASSERT_EQUAL(seen->opcode, IORING_OP_READ_FIXED);
	CU_ASSERT_EQUAL(seen->flags, 0);
	CU_ASSERT_EQUAL(seen->fd, 0);
	CU_ASSERT_EQUAL(seen->addr, 0x123000);
	CU_ASSERT_EQUAL(seen->len, 8192);
	CU_ASSERT_EQUAL(seen->off, 0x1234567000ull);
	CU_ASSERT_EQUAL(seen->buf_index, POOL_INDEX);
	CU_ASSERT_EQUAL(seen->rw_flags, 0);
	CU_ASSERT_EQUAL(seen->user_data, 0x1122334455667788ull);
}

static void test_write_fixed(void)
{
	uint32_t before = notes->count;
	struct io_uring_sqe *sqe = sqe_get();
	const struct io_uring_sqe *seen;

	io_uring_prep_write_fixed(sqe, 0, (void *)0x200, 512, 4096, POOL_INDEX);
	sqe->rw_flags = RWF_DSYNC;
	CU_ASSERT_EQUAL(finish(sqe, 3), 512);
	seen = noted(before + 1);
	CU_ASSERT_EQUAL(seen->opcode, IORING_OP_WRITE_FIXED);
	CU_ASSERT_EQUAL(seen->addr, 0x200);
	CU_ASSERT_EQUAL(seen->len, 512);
	CU_ASSERT_EQUAL(seen->off, 4096);
	CU_ASSERT_EQUAL(seen->buf_index, POOL_INDEX);
	CU_ASSERT_EQUAL(seen->rw_flags, RWF_DSYNC);
}

static void test_vectors(void)
{
	uint32_t before = notes->count;
	struct io_uring_sqe *sqe = sqe_get();
	const struct io_uring_sqe *seen;

	io_uring_prep_readv(sqe, 0, (const struct iovec *)0x1000, 7, 1 << 20);
	sqe->buf_index = POOL_INDEX;
	CU_ASSERT_EQUAL(finish(sqe, 4), 0);
	seen = noted(before + 1);
	CU_ASSERT_EQUAL(seen->opcode, IORING_OP_READV);
	CU_ASSERT_EQUAL(seen->addr, 0x1000);
	CU_ASSERT_EQUAL(seen->len, 7);
	CU_ASSERT_EQUAL(seen->off, 1 << 20);
	CU_ASSERT_EQUAL(seen->buf_index, POOL_INDEX);

	sqe = sqe_get();
	io_uring_prep_writev2(sqe, 0, (const struct iovec *)0x2000, RINGABI_BLOCK_MAX_IOV, 512,
			      RWF_DSYNC);
	sqe->buf_index = POOL_INDEX;
	CU_ASSERT_EQUAL(finish(sqe, 5), 0);
	seen = noted(before + 2);
	CU_ASSERT_EQUAL(seen->opcode, IORING_OP_WRITEV);
	CU_ASSERT_EQUAL(seen->addr, 0x2000);
	CU_ASSERT_EQUAL(seen->len, RINGABI_BLOCK_MAX_IOV);
	CU_ASSERT_EQUAL(seen->off, 512);
	CU_ASSERT_EQUAL(seen->rw_flags, RWF_DSYNC);
}

static void test_fsync(void)
{
	uint32_t before = notes->count;
	struct io_uring_sqe *sqe = sqe_get();
	const struct io_uring_sqe *seen;

	io_uring_prep_fsync(sqe, 0, 0);
	CU_ASSERT_EQUAL(finish(sqe, 6), 0);
	seen = noted(before + 1);
	CU_ASSERT_EQUAL(seen->opcode, IORING_OP_FSYNC);
	CU_ASSERT_EQUAL(seen->fsync_flags, 0);
	CU_ASSERT_EQUAL(seen->fd, 0);
}

static void test_fallocate(void)
{
	const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	uint32_t before = notes->count;
	struct io_uring_sqe *sqe = sqe_get();
	const struct io_uring_sqe *seen;

	io_uring_prep_fallocate(sqe, 0, mode, 0x100000, 0x40000);
	CU_ASSERT_EQUAL(finish(sqe, 7), 0);
	seen = noted(before + 1);
	CU_ASSERT_EQUAL(seen->opcode, IORING_OP_FALLOCATE);
	CU_ASSERT_EQUAL(seen->off, 0x100000);
	CU_ASSERT_EQUAL(seen->addr, 0x40000);
	CU_ASSERT_EQUAL(seen->len, (uint32_t)mode);
}

/* This liburing has no helper for it. */
static void test_uring_cmd(void)
{
	const struct ringabi_block_range range = {.off = 0x3000, .bytes = 0x9000};
	uint32_t before = notes->count;
	struct io_uring_sqe *sqe = sqe_get();
	const struct io_uring_sqe *seen;

	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, 0, NULL, 0, 0);
	sqe->cmd_op = RINGABI_BLOCK_DISCARD;
	memcpy(sqe->cmd, &range, sizeof(range));
	CU_ASSERT_EQUAL(finish(sqe, 8), 0);
	seen = noted(before + 1);
	CU_ASSERT_EQUAL(seen->opcode, IORING_OP_URING_CMD);
	CU_ASSERT_EQUAL(seen->cmd_op, RINGABI_BLOCK_DISCARD);
	CU_ASSERT_EQUAL(memcmp(seen->cmd, &range, sizeof(range)), 0);
}

static void test_link(void)
{
	uint32_t before = notes->count;
	struct io_uring_sqe *first = sqe_get(), *second;
	struct pcidipc_cqe cqe;

	io_uring_prep_write_fixed(first, 0, NULL, 4096, 0, POOL_INDEX);
	io_uring_sqe_set_flags(first, IOSQE_IO_LINK);
	io_uring_sqe_set_data64(first, 9);
	second = sqe_get();
	io_uring_prep_fsync(second, 0, 0);
	io_uring_sqe_set_data64(second, 10);
	CU_ASSERT_EQUAL(pcidipc_submit_and_wait(consumer, 2), 0);
	for (uint64_t i = 9; i <= 10; i++) {
		CU_ASSERT_EQUAL(pcidipc_next_cqe(consumer, &cqe), 1);
		CU_ASSERT_EQUAL(cqe.user_data, i);
		CU_ASSERT_EQUAL(cqe.res, i == 9 ? 4096 : 0);
	}
	CU_ASSERT_EQUAL(noted(before + 2)->opcode, IORING_OP_FSYNC);
	CU_ASSERT_EQUAL(notes->sqe[before % 64].opcode, IORING_OP_WRITE_FIXED);
}

static void test_cancel(void)
{
	uint32_t before = notes->count;
	struct io_uring_sqe *sqe = sqe_get();
	struct pcidipc_cqe cqe;
	bool read = false, cancel = false;

	io_uring_prep_read_fixed(sqe, 0, NULL, 512, HELD_OFF, POOL_INDEX);
	io_uring_sqe_set_data64(sqe, 11);
	sqe = sqe_get();
	io_uring_prep_cancel64(sqe, 11, 0);
	io_uring_sqe_set_data64(sqe, 12);
	CU_ASSERT_EQUAL(pcidipc_submit_and_wait(consumer, 2), 0);
	while (pcidipc_next_cqe(consumer, &cqe) == 1) {
		read |= cqe.user_data == 11 && cqe.res == -ECANCELED;
		cancel |= cqe.user_data == 12 && cqe.res == 0;
	}
	CU_ASSERT(read);
	CU_ASSERT(cancel);
	CU_ASSERT_EQUAL(notes->canceled, 1);
	noted(before + 1); /* the cancel itself is the library's affair */
}

static void test_cancel_nothing(void)
{
	uint32_t before = notes->count;
	struct io_uring_sqe *sqe = sqe_get();

	io_uring_prep_cancel(sqe, (void *)0x77, 0);
	CU_ASSERT_EQUAL(finish(sqe, 13), -ENOENT);
	CU_ASSERT_EQUAL(notes->count, before);
}

static CU_TestInfo tests[] = {
	{"io_uring_prep_nop", test_nop},
	{"io_uring_prep_read_fixed", test_read_fixed},
	{"io_uring_prep_write_fixed", test_write_fixed},
	{"io_uring_prep_readv, writev2", test_vectors},
	{"io_uring_prep_fsync", test_fsync},
	{"io_uring_prep_fallocate", test_fallocate},
	{"IORING_OP_URING_CMD", test_uring_cmd},
	{"IOSQE_IO_LINK", test_link},
	{"io_uring_prep_cancel64", test_cancel},
	{"io_uring_prep_cancel of nothing", test_cancel_nothing},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	CU_SuiteInfo suites[] = {
		{.pName = "abi", .pInitFunc = set_up, .pCleanupFunc = tear_down, .pTests = tests},
		CU_SUITE_INFO_NULL,
	};

	return run_suites(suites);
}
