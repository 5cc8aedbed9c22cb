// SPDX-License-Identifier: MIT
/*
 * A hostile driver, on edu, beside nvmed and an honest client of its disk. Each attack is made
 * several times, by a new process each; with the next well-behaved one pcid and QEMU hold what they
 * held before, and nvmed and its client have lost nothing.
 */
#include <string.h>
#include <sys/stat.h>

#include "bad.h"
#include "held.h"
#include "hostiledriver.h"

static struct hostile_words *told;

static bool state_is(const char *state)
{
	return rig_text(&bad_rig, "drivers", "edu", "state", state);
}

/* Whatever state it is in, a new one follows. */
static void start_anew(void)
{
	struct json_object *show = rig_show(&bad_rig, "edu");
	char command[128];

	snprintf(command, sizeof(command), "restart\",\"function\":\"%s",
		 json_object_get_string(json_object_object_get(show, "address")));
	json_object_put(show);
	json_object_put(rig_ask(&bad_rig, command));
}

static void make(enum hostile what, uint32_t seed)
{
	uint32_t done = told->done, idle = told->idle;

	told->seed = seed;
	told->what = what;
	start_anew();
	CU_ASSERT_TRUE_FATAL(RIG_UNTIL(told->done != done));
	CU_ASSERT_TRUE_FATAL(RIG_UNTIL(state_is("failed")));
	CU_ASSERT_EQUAL(told->wrong, 0);
	bad_all_is_well();
	start_anew();
	CU_ASSERT_TRUE_FATAL(RIG_UNTIL(told->idle != idle && state_is("running")));
}

static void once(uint32_t round, const void *what)
{
	make(*(const enum hostile *)what, round);
}

static void withstand(enum hostile what)
{
	held_over(&bad_rig, once, &what);
}

#define TEST(name, what, said)                                          \
	static void test_##name(void)                                   \
	{                                                               \
		size_t mark = rig_mark(&bad_rig);                       \
                                                                        \
		withstand(what);                                        \
		CU_ASSERT_TRUE(rig_logged_since(&bad_rig, mark, said)); \
	}
TEST(requests, HOSTILE_REQUESTS, "no request of the PCI interface")
TEST(scribble, HOSTILE_SCRIBBLE, "a ring index ran past what is outstanding; disconnected")
TEST(pools, HOSTILE_POOLS, "is no memfd sealed against shrinking and growing")
TEST(exchange, HOSTILE_EXCHANGE, "is attached already")
TEST(many_fds, HOSTILE_FDS, "carries file descriptors that it must not")
TEST(names, HOSTILE_NAMES, "256 services")

/* First: what pcid and QEMU make for an interrupt when there is one stays. */
static void test_vectors(void)
{
	make(HOSTILE_VECTORS, 0);
	withstand(HOSTILE_VECTORS);
}

static void test_reshape(void)
{
	withstand(HOSTILE_RESHAPE);
}

static void test_deaf(void)
{
	withstand(HOSTILE_DEAF);
}

static void test_dma(void)
{
	withstand(HOSTILE_DMA);
}

static void each(enum hostile what, uint32_t n)
{
	struct held before;

	held_count(&bad_rig, &before);
	for (uint32_t i = 0; i < n; i++)
		make(what, i);
	CU_ASSERT_TRUE(held_again(&bad_rig, &before));
}

static void test_messages(void)
{
	each(HOSTILE_MESSAGE, 13);
}

static void test_die(void)
{
	each(HOSTILE_DIE, 10);
}

static CU_TestInfo tests[] = {
	{"interrupts that nobody reads", test_vectors},
	{"requests at random", test_requests},
	{"indices, flags and entries", test_scribble},
	{"messages of every type", test_messages},
	{"pools that are none, and too many", test_pools},
	{"pools that are exchanged", test_exchange},
	{"reshaping the ring", test_reshape},
	{"descriptors by the dozen", test_many_fds},
	{"talking and not listening", test_deaf},
	{"services and children without end", test_names},
	{"a device sent outside its pools", test_dma},
	{"killed at every step", test_die},
	CU_TEST_INFO_NULL,
};

/* The driver is another user. */
static int begin(void)
{
	char file[RIG_PATH];

	snprintf(file, sizeof(file), "%s/told", bad_rig.dir);
	told = chmod(bad_rig.dir, 0711) ? NULL : hostile_words(file);
	if (!told || bad_begin())
		return -1;
	start_anew(); /* the first found no file */
	return RIG_UNTIL(told->idle && state_is("running")) ? 0 : -1;
}

static CU_SuiteInfo suites[] = {
	{"hostile drivers", begin, bad_end, NULL, NULL, tests},
	CU_SUITE_INFO_NULL,
};

int main(int argc, char **argv)
{
	const struct bad_driver driver = {hostile_driver, "@/told", "restart_limit = 0 sandbox = \"no\""};

	return bad_main_with(argc, argv, suites, &driver);
}
