// SPDX-License-Identifier: MIT
/* nvmed dies under load, and its client goes on as if nothing had been. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client.h"
#include "rig.h"

#define PIECE 65536u
#define PIECES 256u
#define DEPTH 32u
#define KILLS 2u     /* in each direction: pcid waits twice as long after each */
#define BETWEEN 300u /* pieces from one kill to the next */
#define POOL_BYTES (64u << 20)

static struct rig rig;
static struct client c;

static const char config[] = RIG_NVMED("restart_limit = 20");

static int open_client(void)
{
	int ret = client_open(&c, "nvme0n1", 0, POOL_BYTES);

	return ret ? ret : pcidipc_blockdev_replay(c.dev);
}

static int close_client(void)
{
	client_close(&c);
	return 0;
}

static void send_piece(unsigned n, bool write, uint64_t buffer)
{
	struct io_uring_sqe *sqe = pcidipc_get_sqe(c.consumer);
	unsigned i = n % PIECES;

	CU_ASSERT_PTR_NOT_NULL_FATAL(sqe);
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = write ? IORING_OP_WRITE_FIXED : IORING_OP_READ_FIXED;
	sqe->addr = buffer + (uint64_t)i * PIECE;
	sqe->len = PIECE;
	sqe->off = (uint64_t)i * PIECE;
	sqe->buf_index = c.index;
	sqe->user_data = i;
}

/* `count` pieces, DEPTH in flight, with a kill now and then. */
static unsigned transfer(bool write, uint64_t buffer, unsigned count, unsigned kills)
{
	unsigned sent = 0, wrong = 0;

	for (unsigned got = 0; got < count; got++) {
		uint64_t i = 0;

		while (sent < count && sent < got + DEPTH)
			send_piece(sent++, write, buffer);
		wrong += client_reap(&c, &i) != (int)PIECE || i >= PIECES;
		if (kills && got % BETWEEN == BETWEEN / 2) {
			rig_kill_driver(&rig, "nvmed");
			kills--;
		}
	}
	CU_ASSERT_EQUAL(kills, 0);
	return wrong;
}

static void test_killed_under_load(void)
{
	int64_t restarts = rig_number(&rig, "drivers", "nvmed", "restarts");
	const uint64_t back = (uint64_t)PIECES * PIECE;
	struct pcidipc_consumer_stats stats;
	uint32_t seed = 5;

	fill_random(&seed, c.base, back);
	CU_ASSERT_EQUAL(transfer(true, 0, KILLS * BETWEEN, KILLS), 0);
	CU_ASSERT_EQUAL(pcidipc_blockdev_flush(c.dev), 0);
	CU_ASSERT_EQUAL(transfer(false, back, KILLS * BETWEEN, KILLS), 0);
	CU_ASSERT_EQUAL(memcmp(c.base, c.base + back, back), 0);
	CU_ASSERT_EQUAL(rig_number(&rig, "drivers", "nvmed", "restarts"), restarts + 2 * KILLS);
	pcidipc_consumer_stats(c.consumer, &stats);
	CU_ASSERT_EQUAL(stats.replays, 2 * KILLS);
	CU_ASSERT(stats.replayed > 0);
}

static void test_killed_while_idle(void)
{
	rig_kill_driver(&rig, "nvmed");
	CU_ASSERT_EQUAL(client_read(&c, 0, 4096, 0), 4096);
	CU_ASSERT_EQUAL(pcidipc_consumer_error(c.consumer), 0);
}

/* pcidctl's input comes from us, so that it is in the middle of its work for as long as we want. */
static FILE *begin_writing(void)
{
	char command[4200];

	snprintf(command, sizeof(command), "'%s' disk write nvme0n1 --flush >/dev/null 2>&1",
		 rig_program("pcidctl"));
	return popen(command, "w");
}

static void test_pcidctl(void)
{
	const size_t bytes = 16u << 20, half = bytes / 2;
	uint32_t seed = 6;
	FILE *to = begin_writing();

	CU_ASSERT_PTR_NOT_NULL_FATAL(to);
	fill_random(&seed, c.base, bytes);
	CU_ASSERT_EQUAL(fwrite(c.base, 1, half, to), half);
	fflush(to);
	rig_kill_driver(&rig, "nvmed");
	CU_ASSERT_EQUAL(fwrite(c.base + half, 1, half, to), half);
	CU_ASSERT_EQUAL(pclose(to), 0);
	CU_ASSERT_EQUAL(transfer(false, bytes, (unsigned)(bytes / PIECE), 0), 0);
	CU_ASSERT_EQUAL(memcmp(c.base, c.base + bytes, bytes), 0);
}

static CU_TestInfo tests[] = {
	{"killed under load", test_killed_under_load},
	{"killed while its client is idle", test_killed_while_idle},
	{"killed while pcidctl writes", test_pcidctl},
	CU_TEST_INFO_NULL,
};

static CU_SuiteInfo suites[] = {
	{"replay", open_client, close_client, NULL, NULL, tests},
	CU_SUITE_INFO_NULL,
};

int main(void)
{
	return rig_main(&rig, rig_simple(&rig, 300, config, NULL), suites);
}
