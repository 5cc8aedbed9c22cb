/* SPDX-License-Identifier: MIT */
/* Limits of one user: a greedy one cannot keep another out, and what it had comes back when it
 * ends. The second user needs root. */
#include "harness.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define GREEDY_UID 61234u
#define MIB (1u << 20)
#define CHUNK RINGABI_POOL_CHUNK
#define MOST 64

static struct rig rig;

/* ---- the greedy one: a process that takes what it gets, and holds it ---- */

struct greedy {
	pid_t pid;
	int told, go; /* what it got; closing `go` ends it */
};

struct got {
	int count;   /* of what it took */
	int refusal; /* the error that it stopped at */
};

static struct pcidipc_consumer *try_open(int *error)
{
	struct pcidipc_consumer_params params = {.interface = RIG_INTERFACE};
	struct pcidipc_consumer *c = NULL;
	int channel = pcidipc_channel_connect(rig.path);

	*error = channel < 0 ? channel : pcidipc_consumer_adopt(channel, &params, &c);
	return c;
}

static struct got take_connections(void)
{
	struct got got = {0};

	while (got.count < MOST && try_open(&got.refusal))
		got.count++;
	return got;
}

/* Without a word, so without a hello. */
static struct got take_silently(void)
{
	struct pcidipc_packet packet;
	struct got got = {0};
	int fds[12];

	for (int i = 0; i < 12; i++)
		fds[i] = pcidipc_channel_connect(rig.path);
	try_open(&got.refusal); /* answered after all of these were accepted or turned away */
	for (int i = 0; i < 12; i++)
		got.count += fds[i] >= 0 && !pcidipc_channel_receive(fds[i], &packet, NULL);
	return got;
}

static struct got take_pools(void)
{
	struct got got = {0};
	struct pcidipc_pool *pool;

	if (pcidipc_pool_create(2 * MIB, 0, &pool))
		_exit(4);
	for (;;) { /* two of each connection: the limit is the user's */
		struct pcidipc_consumer *c = try_open(&got.refusal);
		uint16_t index;

		if (!c)
			_exit(5);
		for (int i = 0; i < 2; i++, got.count++) {
			got.refusal = pcidipc_consumer_attach_pool(c, pool, &index);
			if (got.refusal || got.count == MOST)
				return got;
		}
	}
}

static int name_chunk(struct pcidipc_consumer *c, uint32_t op, uint16_t index, uint64_t chunk)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD,
				   .cmd_op = op,
				   .addr = chunk * CHUNK,
				   .len = 4096,
				   .buf_index = index,
				   .user_data = 200};

	return pcidipc_call(c, &sqe, NULL);
}

/* Chunks of two pools, by requests and by POOL_MAP; each is counted once. */
static struct got take_memory(void)
{
	struct got got = {0};
	struct pcidipc_consumer *c = try_open(&got.refusal);
	struct pcidipc_pool *pool;
	uint16_t index[2];

	if (!c || pcidipc_pool_create((uint64_t)MOST * CHUNK, 0, &pool) ||
	    pcidipc_consumer_attach_pool(c, pool, &index[0]) ||
	    pcidipc_consumer_attach_pool(c, pool, &index[1]))
		_exit(5);
	for (; got.count < MOST; got.count++) {
		uint64_t chunk = (uint64_t)got.count / 2;

		got.refusal = name_chunk(c, RINGABI_CMD_POOL_MAP, index[got.count % 2], chunk);
		if (got.refusal)
			break;
		if (name_chunk(c, RIG_REACH, index[got.count % 2], chunk))
			_exit(6);
	}
	if (name_chunk(c, RIG_REACH, index[got.count % 2], (uint64_t)got.count / 2) != got.refusal)
		_exit(7);
	return got;
}

static void greedy_main(uid_t uid, struct got (*take)(void), int told, int go)
{
	struct got got;
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(60);
	if (uid && setresuid(uid, uid, uid))
		_exit(3);
	got = take();
	if (write(told, &got, sizeof(got)) != sizeof(got) || read(go, &byte, 1) < 0)
		_exit(3);
	_exit(0);
}

static struct got greedy_start(struct greedy *g, uid_t uid, struct got (*take)(void))
{
	struct got got = {-1, 0};
	int told[2], go[2];

	CU_ASSERT_FATAL(!pipe(told) && !pipe(go));
	fflush(NULL);
	g->pid = fork();
	if (!g->pid) {
		close(go[1]);
		greedy_main(uid, take, told[1], go[0]);
	}
	close(told[1]);
	close(go[0]);
	g->told = told[0];
	g->go = go[1];
	CU_ASSERT_EQUAL(read(g->told, &got, sizeof(got)), sizeof(got));
	return got;
}

static void greedy_end(struct greedy *g)
{
	int status = -1;

	close(g->go);
	close(g->told);
	CU_ASSERT_EQUAL(waitpid(g->pid, &status, 0), g->pid);
	CU_ASSERT_EQUAL(status, 0);
}

/* ---- the other one: this process ---- */

static bool works(struct pcidipc_consumer *c)
{
	struct io_uring_sqe sqe = {
		.opcode = IORING_OP_URING_CMD, .cmd_op = RIG_ECHO, .len = 7, .user_data = 200};

	return c && pcidipc_call(c, &sqe, NULL) == 7;
}

static bool other_is_served(void)
{
	struct pcidipc_pool *pool;
	struct pcidipc_consumer *c;
	uint16_t index;
	int error;
	bool served;

	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_create(2 * MIB, 0, &pool), 0);
	c = try_open(&error);
	served = works(c) && !pcidipc_consumer_attach_pool(c, pool, &index) &&
		 !name_chunk(c, RIG_REACH, index, 0);
	pcidipc_consumer_close(c);
	pcidipc_pool_destroy(pool);
	return served;
}

/* A user takes all that it gets, `most`, while another one is served; and the next time as much
 * again. */
static void be_greedy(const struct rig_params *params, struct got (*take)(void), int most)
{
	uid_t uid = geteuid() ? 0 : GREEDY_UID;
	struct greedy g;

	rig_start(&rig, params);
	CU_ASSERT_EQUAL(chmod(rig.path, 0666), 0);
	if (!uid)
		printf("\n    not root: NOT TESTED that another user is served");
	for (int round = 0; round < 3; round++) {
		struct got got = greedy_start(&g, uid, take);

		/* Who has just ended may not be gone yet: it is the same user. */
		while (round && got.count < most) {
			greedy_end(&g);
			got = greedy_start(&g, uid, take);
		}
		CU_ASSERT_EQUAL(got.count, most);
		CU_ASSERT_EQUAL(got.refusal, -EDQUOT);
		if (uid)
			CU_ASSERT_TRUE(other_is_served());
		CU_ASSERT_EQUAL(rig_do(&rig, RIG_ECHO, 0, 5), 5);
		greedy_end(&g);
	}
	rig_stop(&rig);
}

/* The control session is this process's: without a second user it counts too. */
static int own(int most)
{
	return geteuid() ? most - 1 : most;
}

static void test_connections(void)
{
	const struct rig_params params = {.users = {.max_sessions = 5}};

	be_greedy(&params, take_connections, own(5));
}

static void test_half(void)
{
	const struct rig_params params = {.max_sessions = 9, .own_limits = true};

	be_greedy(&params, take_connections, own(5));
}

static void test_silent(void)
{
	const struct rig_params params = {.users = {.max_sessions = 5}};

	be_greedy(&params, take_silently, own(5));
}

static void test_pools(void)
{
	const struct rig_params params = {.users = {.max_pools = 5}};

	be_greedy(&params, take_pools, 5);
}

static void test_pool_bytes(void)
{
	const struct rig_params params = {.users = {.max_pool_bytes = 11 * MIB}};

	be_greedy(&params, take_pools, 5);
}

static void test_memory(void)
{
	const struct rig_params params = {.users = {.max_mapped_bytes = 3ull * CHUNK + 5 * MIB}};

	be_greedy(&params, take_memory, 3);
}

/* What is not used any more is given back at once, while the user stays. */
static void test_given_back(void)
{
	const struct rig_params params = {.users = {.max_pools = 1,
						    .max_pool_bytes = 2ull * CHUNK,
						    .max_mapped_bytes = CHUNK}};
	struct pcidipc_pool *small, *large;
	struct pcidipc_consumer *c;
	uint16_t index;

	rig_start(&rig, &params);
	c = rig_open(&rig, 0, 0);
	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_create(2ull * CHUNK, 0, &small), 0);
	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_create(2ull * CHUNK + 2 * MIB, 0, &large), 0);
	for (uint64_t i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(pcidipc_consumer_attach_pool(c, large, &index), -EDQUOT);
		CU_ASSERT_EQUAL(pcidipc_consumer_attach_pool(c, small, &index), 0);
		CU_ASSERT_EQUAL(pcidipc_consumer_attach_pool(c, small, &index), -EDQUOT);
		rig.knobs->map_result = -ENOMEM; /* what the driver refused is not charged */
		CU_ASSERT_EQUAL(name_chunk(c, RIG_REACH, index, 1 - i), -ENOMEM);
		rig.knobs->map_result = 0;
		CU_ASSERT_EQUAL(name_chunk(c, RIG_REACH, index, i), 0);
		CU_ASSERT_EQUAL(name_chunk(c, RIG_REACH, index, 1 - i), -EDQUOT);
		CU_ASSERT_EQUAL(name_chunk(c, RIG_REACH, index, i), 0);
		CU_ASSERT_EQUAL(pcidipc_consumer_detach_pool(c, index), 0);
	}
	pcidipc_consumer_close(c);
	pcidipc_pool_destroy(small);
	pcidipc_pool_destroy(large);
	rig_stop(&rig);
}

static CU_TestInfo tests[] = {
	{"connections", test_connections},
	{"half of the connections, unless it was said", test_half},
	{"connections without a hello", test_silent},
	{"pools", test_pools},
	{"bytes of pools", test_pool_bytes},
	{"memory that the device reaches", test_memory},
	{"what is given back", test_given_back},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return harness_main("limits of a user", tests);
}
