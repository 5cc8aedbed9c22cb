// SPDX-License-Identifier: MIT
/*
 * pcid itself is killed under load: QEMU and the drivers die with it, its successor starts in the
 * same runtime directory, and what was acknowledged before is on the disk.
 */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "procfs.h"
#include "rig.h"

#define PIECE 65536u
#define PIECES 256u
#define DEPTH 32u
#define WRITERS 3u
#define REGION (PIECES * (uint64_t)PIECE)

enum { WORKING, LOST, GO_ON, RIGHT }; /* what a writer has reached, or is told */

static struct rig rig;
static unsigned char *shadow;

/* One page that all writers share with the test. */
struct shared {
	uint32_t state[WRITERS];
	uint32_t acknowledged[WRITERS];
};
static volatile struct shared *shared;

/* ---- a writer: a process that remembers what was acknowledged ---- */

struct writer {
	struct client client;
	unsigned number;
	uint8_t acknowledged[PIECES];
	unsigned sent;
};

static unsigned char *piece(struct writer *w, unsigned i)
{
	return w->client.base + (uint64_t)i * PIECE;
}

static uint64_t place(const struct writer *w, unsigned i)
{
	return w->number * REGION + (uint64_t)i * PIECE;
}

/* Other bytes each time, so that what an earlier round left is not taken for this one's. */
static int send_piece(struct writer *w, unsigned i)
{
	uint32_t seed = w->sent++ * WRITERS + w->number;
	struct io_uring_sqe *sqe;

	w->acknowledged[i] = 0;
	fill_random(&seed, piece(w, i), PIECE);
	sqe = pcidipc_get_sqe(w->client.consumer);
	if (!sqe)
		return -ENOTCONN;
	io_uring_prep_write_fixed(sqe, 0, (void *)(uintptr_t)((uint64_t)i * PIECE), PIECE,
				  place(w, i), w->client.index);
	sqe->user_data = i;
	return 0;
}

static bool reap_piece(struct writer *w, uint64_t *i)
{
	if (client_reap(&w->client, i) != (int)PIECE || *i >= PIECES)
		return false;
	w->acknowledged[*i] = 1;
	shared->acknowledged[w->number]++;
	return true;
}

/* A piece that is done is followed by the one DEPTH further on, which nobody else sends. */
static int write_until_lost(struct writer *w)
{
	uint64_t i = 0;

	for (unsigned n = 0; n < DEPTH; n++)
		if (send_piece(w, n))
			return -ENOTCONN;
	while (reap_piece(w, &i) && !send_piece(w, (unsigned)(i + DEPTH) % PIECES))
		;
	/* What else was acknowledged before the end. */
	while (reap_piece(w, &i))
		;
	return pcidipc_consumer_error(w->client.consumer);
}

static int check(struct writer *w)
{
	unsigned seen = 0;

	for (unsigned i = 0; i < PIECES; i++) {
		if (!w->acknowledged[i])
			continue;
		seen++;
		if (client_read(&w->client, REGION, PIECE, place(w, i)) != (int)PIECE)
			return -EIO;
		if (memcmp(w->client.base + REGION, piece(w, i), PIECE))
			return -EBADMSG;
	}
	return seen ? 0 : -ENODATA;
}

static int reconnect(struct writer *w)
{
	int ret;

	while ((ret = pcidipc_consumer_reconnect(w->client.consumer)) == -ECONNREFUSED ||
	       ret == -ENOENT || ret == -ENOTCONN)
		rig_pause();
	return ret;
}

static int live(unsigned number, bool wait)
{
	struct writer w = {.number = number};
	int ret = client_open(&w.client, "nvme0n1", 0, 2 * REGION);

	if (ret)
		return ret;
	if (write_until_lost(&w) != -ENOTCONN)
		return -EPROTO;
	shared->state[number] = LOST;
	while (wait && shared->state[number] != GO_ON)
		rig_pause();
	ret = reconnect(&w);
	if (!ret)
		ret = check(&w);
	if (!ret && client_write(&w.client, 0, PIECE, place(&w, 0)) != (int)PIECE)
		ret = -EIO;
	shared->state[number] = ret ? LOST : RIGHT;
	client_close(&w.client);
	return ret;
}

static pid_t fork_writer(unsigned number, bool wait)
{
	pid_t parent = getpid(), pid;

	fflush(NULL);
	shared->state[number] = WORKING;
	shared->acknowledged[number] = 0;
	pid = fork();
	if (pid)
		return pid;
	rig_forget_signals();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	_exit(-live(number, wait) & 0xff);
}

/* ---- the tests ---- */

static bool all(uint32_t state)
{
	for (unsigned i = 0; i < WRITERS; i++)
		if (shared->state[i] != state)
			return false;
	return true;
}

static bool all_have(uint32_t acknowledged)
{
	for (unsigned i = 0; i < WRITERS; i++)
		if (shared->acknowledged[i] < acknowledged)
			return false;
	return true;
}

static void start_writers(pid_t *pids, bool wait, uint32_t acknowledged)
{
	for (unsigned i = 0; i < WRITERS; i++)
		pids[i] = fork_writer(i, wait);
	CU_ASSERT_TRUE_FATAL(RIG_UNTIL(all_have(acknowledged)));
}

static void ends_well(pid_t pid)
{
	int error = work_wait(pid);

	if (error)
		fprintf(stderr, "a writer: %s\n", error > 0 ? strerror(error) : "killed");
	CU_ASSERT_EQUAL(error, 0);
}

static void all_end_well(pid_t *pids)
{
	for (unsigned i = 0; i < WRITERS; i++)
		ends_well(pids[i]);
	CU_ASSERT_TRUE(all(RIGHT));
}

/* The successor is there before anybody has given up: the library finds it by itself. */
static void test_at_once(void)
{
	pid_t pids[WRITERS];

	for (unsigned round = 0; round < 3; round++) {
		start_writers(pids, false, 40 * round + 1);
		CU_ASSERT_EQUAL(rig_kill(&rig), 0);
		CU_ASSERT_EQUAL_FATAL(rig_start(&rig, NULL), 0);
		all_end_well(pids);
	}
}

/* Nothing of the first pcid is left in the successor's way or view. */
static void test_as_new(void)
{
	struct usage fresh;
	struct client c;
	pid_t pids[WRITERS];

	CU_ASSERT_EQUAL(rig_kill(&rig), 0);
	CU_ASSERT_EQUAL_FATAL(rig_start(&rig, NULL), 0);
	rig_usage(&rig, &fresh);
	start_writers(pids, false, 10);
	CU_ASSERT_EQUAL(rig_kill(&rig), 0);
	CU_ASSERT_EQUAL_FATAL(rig_start(&rig, NULL), 0);
	all_end_well(pids);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_usage_is(&rig, &fresh, false)));
	CU_ASSERT_TRUE(rig_usage_is(&rig, &fresh, true));
	CU_ASSERT_EQUAL(rig_number(&rig, "drivers", "nvmed", "restarts"), 0);
	CU_ASSERT_EQUAL_FATAL(client_open(&c, "nvme0n1", RINGABI_OPEN_EXCLUSIVE, 1u << 20), 0);
	CU_ASSERT_EQUAL(client_read(&c, 0, PIECE, 0), (int)PIECE);
	client_close(&c);
}

/* Nobody comes for longer than the library waits: requests end, and reconnecting works later. */
static void test_late(void)
{
	pid_t pids[WRITERS];

	start_writers(pids, true, 20);
	CU_ASSERT_EQUAL(rig_kill(&rig), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(all(LOST)));
	CU_ASSERT_EQUAL_FATAL(rig_start(&rig, NULL), 0);
	for (unsigned i = 0; i < WRITERS; i++)
		shared->state[i] = GO_ON;
	all_end_well(pids);
}

/*
 * QEMU, which is the bus, is killed: pcid and the driver end by themselves, in order and without
 * many words, the client is told, and a successor has the same disk. In a guest QEMU
 * is the machine, and cannot be killed.
 */
static void test_bus_killed(void)
{
	volatile uint32_t *progress = shared_words();
	struct work work = {.disk = "nvme0n1",
			    .bytes = REGION,
			    .depth = DEPTH,
			    .largest = PIECE,
			    .pool_bytes = 64u << 20,
			    .stride = 1u << 20,
			    .progress = progress};
	struct daemons d = rig_daemons(&rig);
	size_t mark = rig_mark(&rig);
	int driver, status = 0, error;
	pid_t client;

	if (rig_on_vfio())
		return;
	client = work_fork(&work);
	driver = process_open(d.driver);
	CU_ASSERT_TRUE_FATAL(RIG_UNTIL(*progress > 10));
	kill(d.qemu, SIGKILL);
	CU_ASSERT_EQUAL(waitpid(d.pcid, &status, 0), d.pcid);
	CU_ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	rig.pid = 0;
	CU_ASSERT_TRUE(process_ends(driver));
	error = work_wait(client);
	/* In flight, or sent after the driver had begun to end, or when it was gone. */
	CU_ASSERT_TRUE(error == ENODEV || error == ESHUTDOWN || error == ENOTCONN);
	CU_ASSERT_EQUAL(rig_log_count(&rig, mark, "qemu: it ended unexpectedly: signal 9"), 1);
	CU_ASSERT_TRUE(rig_log_count(&rig, mark, "a posted request failed") <= 1);
	CU_ASSERT_EQUAL_FATAL(rig_start(&rig, NULL), 0);
	work.rounds = 20;
	CU_ASSERT_EQUAL(work_run(&work), 0);
}

static CU_TestInfo tests[] = {
	{"a successor at once, three times", test_at_once},
	{"the successor is as the first was", test_as_new},
	{"a successor that comes late", test_late},
	{"QEMU is killed under load", test_bus_killed},
	CU_TEST_INFO_NULL,
};

static CU_SuiteInfo suites[] = {
	{"successor", NULL, NULL, NULL, NULL, tests},
	CU_SUITE_INFO_NULL,
};

int main(void)
{
	int ret;

	shared = (volatile void *)shared_words();
	ret = rig_main(&rig, !shared || rig_simple(&rig, 300, NULL, &shadow), suites);
	free(shadow);
	return ret;
}
