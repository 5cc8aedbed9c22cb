// SPDX-License-Identifier: MIT
/* A driver that dies under load: clients get a clear error, it comes back, and nothing that was
 * acknowledged is lost. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <string.h>

#include "client.h"
#include "rig.h"

#define PIECE 65536u
#define PIECES 512u
#define DEPTH 32u
#define POOL_BYTES (64u << 20)
#define LIMIT 8

static struct rig rig;
static struct client c;

static const char config[] = RIG_NVMED("restart_limit = 8");

static int64_t driver_number(const char *key)
{
	return rig_number(&rig, "drivers", "nvmed", key);
}

static bool state_is(const char *state)
{
	return rig_text(&rig, "drivers", "nvmed", "state", state);
}

/* ---- a write load that remembers what was acknowledged ---- */

struct writer {
	uint8_t acked[PIECES]; /* 0: in flight or never sent */
	unsigned sent, got;
};

static unsigned char *piece(unsigned i)
{
	return c.base + (uint64_t)i * PIECE;
}

static bool send_piece(struct writer *w)
{
	struct io_uring_sqe *sqe = pcidipc_get_sqe(c.consumer);
	unsigned i = w->sent % PIECES;

	if (!sqe)
		return false;
	io_uring_prep_write_fixed(sqe, 0, (void *)(uintptr_t)((uint64_t)i * PIECE), PIECE,
				  (uint64_t)i * PIECE, c.index);
	sqe->user_data = i;
	w->acked[i] = 0;
	w->sent++;
	return true;
}

/* Write until the connection fails, killing the driver on the way. The connection's error. */
static int write_until_lost(struct writer *w, unsigned kill_after)
{
	uint64_t i;
	int res;

	while (w->sent < DEPTH && send_piece(w))
		;
	while ((res = client_reap(&c, &i)) == (int)PIECE && i < PIECES) {
		w->acked[i] = 1;
		if (++w->got == kill_after)
			rig_kill_driver(&rig, "nvmed");
		if (w->got > kill_after + 100000 || !send_piece(w))
			break;
	}
	/* What else was acknowledged before it died. */
	while (pcidipc_consumer_error(c.consumer) != -ENOTCONN && res == (int)PIECE) {
		res = client_reap(&c, &i);
		if (res == (int)PIECE && i < PIECES)
			w->acked[i] = 1;
	}
	return pcidipc_consumer_error(c.consumer);
}

/* Every acknowledged piece is on the disk; the pool still holds all of them. */
static void check_pieces(const struct writer *w)
{
	uint64_t buffer = PIECES * (uint64_t)PIECE;
	unsigned wrong = 0;

	for (unsigned i = 0; i < PIECES; i++)
		if (w->acked[i])
			wrong +=
				client_read(&c, buffer, PIECE, (uint64_t)i * PIECE) != (int)PIECE ||
				memcmp(c.base + buffer, piece(i), PIECE);
	CU_ASSERT_EQUAL(wrong, 0);
}

static void die_and_come_back(uint32_t seed, unsigned kill_after)
{
	int64_t restarts = driver_number("restarts");
	uint64_t generation = pcidipc_consumer_generation(c.consumer);
	struct writer w = {0};

	fill_random(&seed, c.base, (size_t)PIECES * PIECE);
	CU_ASSERT_EQUAL(write_until_lost(&w, kill_after), -ENOTCONN);
	CU_ASSERT_EQUAL(client_read(&c, 0, PIECE, 0), -ENOTCONN);
	CU_ASSERT_EQUAL_FATAL(pcidipc_consumer_reconnect(c.consumer), 0);
	CU_ASSERT_NOT_EQUAL(pcidipc_consumer_generation(c.consumer), generation);
	CU_ASSERT_EQUAL(pcidipc_consumer_error(c.consumer), 0);
	check_pieces(&w);
	CU_ASSERT_EQUAL(driver_number("restarts"), restarts + 1);
	CU_ASSERT_TRUE(RIG_UNTIL(state_is("running")));
}

static void test_under_load(void)
{
	die_and_come_back(1, 40);
}

static void test_again(void)
{
	die_and_come_back(2, 1);
	die_and_come_back(3, 333);
}

/* A client that only has its connection open learns of it when it asks, and reconnects as well. */
static void test_idle(void)
{
	int64_t restarts = driver_number("restarts");

	rig_kill_driver(&rig, "nvmed");
	CU_ASSERT_EQUAL(client_read(&c, 0, 4096, 0), -ENOTCONN);
	CU_ASSERT_EQUAL_FATAL(pcidipc_consumer_reconnect(c.consumer), 0);
	CU_ASSERT_EQUAL(client_read(&c, 0, 4096, 0), 4096);
	CU_ASSERT_EQUAL(driver_number("restarts"), restarts + 1);
}

/* The socket stays: who comes while no driver is there waits for the next one. */
static void test_newcomer(void)
{
	struct client other;
	int ret;

	rig_kill_driver(&rig, "nvmed");
	ret = client_open(&other, "nvme0n1", 0, 1u << 20);
	if (ret == -ENOTCONN || ret == -EPIPE ||
	    ret == -ECONNRESET) /* it had been accepted by the one that died */
		ret = client_open(&other, "nvme0n1", 0, 1u << 20);
	CU_ASSERT_EQUAL_FATAL(ret, 0);
	CU_ASSERT_EQUAL(client_read(&other, 0, 4096, 0), 4096);
	client_close(&other);
	CU_ASSERT_EQUAL(client_read(&c, 0, 4096, 0), -ENOTCONN);
	CU_ASSERT_EQUAL(pcidipc_consumer_reconnect(c.consumer), 0);
}

/* ---- the limit ---- */

static bool running_or_failed(void)
{
	return (state_is("running") && driver_number("pid") > 1) || state_is("failed");
}

static void test_limit(void)
{
	struct client other;
	unsigned kills = 0;

	for (; kills < 2 * LIMIT && !state_is("failed"); kills++) {
		rig_kill_driver(&rig, "nvmed");
		CU_ASSERT_TRUE_FATAL(RIG_UNTIL(!state_is("running")));
		CU_ASSERT_TRUE_FATAL(RIG_UNTIL(running_or_failed()));
	}
	CU_ASSERT_TRUE(state_is("failed"));
	CU_ASSERT_TRUE(kills <= LIMIT + 1);
	CU_ASSERT_EQUAL(client_open(&other, "nvme0n1", 0, 1u << 20), -ENODEV);
	CU_ASSERT_EQUAL(client_read(&c, 0, 4096, 0), -ENOTCONN);
	CU_ASSERT_EQUAL(pcidipc_consumer_reconnect(c.consumer), -ENODEV);
}

static int begin(void)
{
	return client_open(&c, "nvme0n1", 0, POOL_BYTES);
}

static int end(void)
{
	client_close(&c);
	return 0;
}

static CU_TestInfo tests[] = {
	{"killed under load", test_under_load},
	{"and again, early and late", test_again},
	{"killed while its client is idle", test_idle},
	{"a client that comes while it is dead", test_newcomer},
	{"killed too often", test_limit},
	CU_TEST_INFO_NULL,
};

static CU_SuiteInfo suites[] = {
	{"restart", begin, end, NULL, NULL, tests},
	CU_SUITE_INFO_NULL,
};

int main(void)
{
	return rig_main(&rig, rig_simple(&rig, 300, config, NULL), suites);
}
