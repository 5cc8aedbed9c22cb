// SPDX-License-Identifier: MIT
/*
 * Hostile clients of a disk, in processes of their own, beside an honest one. Whatever they do, the
 * honest client's data comes back right and without an error, its progress is what a test waits
 * for, and in the end the disk's process holds exactly what it held before.
 */
#include <CUnit/Basic.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <pcidipc/log.h>

#include "blockclient.h"
#include "leaks.h"
#include "rawpeer.h"

#define MIB (1ull << 20)
#define POOL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW)
#define HONEST_FROM (RAMDISK_BYTES / 2) /* the hostile ones' right requests stay below */
#define PATIENCE_S 60
#define GROWTH_KIB 512 /* of memory, after many hostile clients: no more than allocators' noise */

static struct ramdisk rd;
static struct client honest;
static uint32_t honest_seed = 1;
static const char *loop_kind;

/* ---- a hostile client ---- */

static uint32_t seed;

static uint32_t pick(uint32_t n)
{
	return next_random(&seed) % n;
}

static int memfd(uint64_t bytes, unsigned flags, int seals)
{
	int fd = memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);

	if (fd >= 0 && (ftruncate(fd, (off_t)bytes) || fcntl(fd, F_ADD_SEALS, seals)))
		abort();
	return fd;
}

/* Connected; the disk may be full of us. */
static void raw_connect(struct rawpeer *peer)
{
	int fd;

	while ((fd = pcidipc_channel_connect(rd.path)) == -EAGAIN)
		sched_yield();
	rawpeer_init(peer, fd, RINGABI_INTERFACE_BLOCK);
}

/* Up to its ring, and a pool of 2 MiB as number 0. False: turned away. */
static bool raw_open(struct rawpeer *peer, int pool)
{
	raw_connect(peer);
	rawpeer_hello(peer, 0);
	rawpeer_attach_ring(peer, 16, 0);
	rawpeer_attach_pool(peer, 0, pool, 2 * MIB);
	while (!peer->ring)
		if (rawpeer_await(peer))
			return false;
	return true;
}

/* Right, or wrong by far: what is right never reaches the honest client's half of the disk. */
static uint64_t near_or_far(uint64_t unit, uint32_t most)
{
	return pick(8) ? pick(most) * unit : ((uint64_t)next_random(&seed) << 40) + pick(2);
}

static struct io_uring_sqe random_sqe(void)
{
	static const uint8_t opcodes[] = {
		IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED,  IORING_OP_READV,
		IORING_OP_WRITEV,     IORING_OP_FSYNC,	      IORING_OP_FALLOCATE,
		IORING_OP_URING_CMD,  IORING_OP_ASYNC_CANCEL, IORING_OP_NOP};
	struct io_uring_sqe sqe = {.opcode = opcodes[pick(sizeof(opcodes))]};

	if (!pick(16)) {
		fill_random(&seed, &sqe, sizeof(sqe));
		return sqe;
	}
	sqe.flags = pick(4) ? 0 : (uint8_t)pick(256);
	sqe.off = near_or_far(512, 1024);
	sqe.addr = near_or_far(512, 2048);
	sqe.len = sqe.opcode <= IORING_OP_WRITEV ? pick(140) : pick(64) * 512;
	sqe.buf_index = pick(8) ? 0 : (uint16_t)pick(20);
	sqe.user_data = pick(8);
	if (sqe.opcode == IORING_OP_FALLOCATE)
		sqe.len = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
	if (sqe.opcode == IORING_OP_URING_CMD)
		sqe.cmd_op = (pick(2) ? RINGABI_INTERFACE_BLOCK << 8 : 0) | pick(6);
	return sqe;
}

static void push_some(struct rawpeer *peer, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct io_uring_sqe sqe = random_sqe();

		rawpeer_put(peer, i, &sqe);
	}
	rawpeer_publish(peer, n);
	pcidipc_channel_wake(peer->channel);
}

/* ---- what hostile clients do: each ends by itself ---- */

/* Go away at every step, with and without having read the answers. */
static void leave_early(void)
{
	int pool = memfd(2 * MIB, 0, POOL_SEALS);

	for (unsigned step = 0; step < 12; step++) {
		struct rawpeer peer;

		raw_connect(&peer);
		if (step > 0)
			rawpeer_hello(&peer, step & 1 ? RINGABI_OPEN_READ_ONLY : 0);
		if (step > 2)
			rawpeer_attach_ring(&peer, 16, 0);
		if (step > 4)
			rawpeer_attach_pool(&peer, 0, pool, 2 * MIB);
		if (step > 6)
			rawpeer_attach_pool(&peer, 1, pool, 2 * MIB);
		while (step > 7 && !peer.ring && !rawpeer_await(&peer))
			;
		if (step > 8)
			push_some(&peer, 8);
		if (step == 2 || step == 11)
			shutdown(peer.channel, SHUT_WR);
		rawpeer_close(&peer);
	}
}

/* Every index, flag and entry, at any time. */
static void scribble(void)
{
	int pool = memfd(2 * MIB, 0, POOL_SEALS);

	for (unsigned round = 0; round < 40; round++) {
		struct rawpeer peer;

		if (raw_open(&peer, pool)) {
			for (unsigned i = 0; i < 50; i++) {
				push_some(&peer, pick(8));
				rawpeer_scribble(&peer, pick(6), !pick(4),
						 pick(2) ? pick(32) : next_random(&seed));
				rawpeer_reap(&peer);
			}
			rawpeer_read(&peer);
		}
		rawpeer_close(&peer);
	}
}

/* Right indices, wrong requests; the memory that they name changes under them, the ring's too. */
static void change_memory(void)
{
	int pool = memfd(2 * MIB, 0, POOL_SEALS);
	uint64_t *words = mmap(NULL, 2 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, pool, 0);
	struct rawpeer peer;

	if (!raw_open(&peer, pool))
		return;
	for (unsigned round = 0; round < 3000; round++) {
		if (peer.ring->sq_tail - peer.ring->sq_head <= 8)
			push_some(&peer, pick(8));
		for (unsigned i = 0; i < 64; i++)
			words[pick(2 * MIB / 8)] = near_or_far(512, 2048);
		for (unsigned i = 0; i < 4; i++)
			fill_random(&seed, (char *)peer.ring + 4096 + pick(16) * 64, 64);
		rawpeer_reap(&peer);
		if (!pick(64))
			fallocate(pool, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2 * MIB);
		if (!pick(512))
			fallocate(peer.ring_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096,
				  4096);
	}
	rawpeer_close(&peer);
	munmap(words, 2 * MIB);
}

/* A ring cannot be cut, grown, or sealed against the producer's writing. */
static void reshape_ring(void)
{
	int pool = memfd(2 * MIB, 0, POOL_SEALS);
	struct rawpeer peer;

	if (!raw_open(&peer, pool))
		return;
	if (!ftruncate(peer.ring_fd, 0) || !ftruncate(peer.ring_fd, 1 << 20) ||
	    !fcntl(peer.ring_fd, F_ADD_SEALS, F_SEAL_WRITE))
		_exit(1);
	rawpeer_close(&peer);
}

static int wrong_fd(unsigned which)
{
	switch (which) {
	case 0:
		return open("/dev/null", O_RDWR);
	case 1:
		return open("/", O_RDONLY | O_DIRECTORY);
	case 2:
		return socket(AF_UNIX, SOCK_STREAM, 0);
	case 3:
		return memfd(2 * MIB, 0, 0);
	case 4:
		return memfd(2 * MIB, 0, F_SEAL_SHRINK);
	case 5:
		return memfd(2 * MIB - 4096, 0, POOL_SEALS);
	case 6:
		return memfd(2 * MIB, 0, POOL_SEALS | F_SEAL_WRITE);
	case 7:
		return memfd(2 * MIB, MFD_HUGETLB, POOL_SEALS);
	case 8:
		return memfd(4096, 0, POOL_SEALS);
	default:
		return open("/dev/zero", O_RDWR);
	}
}

/* Pools that are none. Then everything that reads the pool is asked to. */
static void wrong_pools(void)
{
	for (unsigned which = 0; which < 10; which++) {
		int fd = wrong_fd(which);
		struct rawpeer peer;

		if (fd < 0)
			continue;
		if (raw_open(&peer, fd))
			for (unsigned i = 0; i < 10; i++) {
				push_some(&peer, 8);
				rawpeer_reap(&peer);
			}
		/* Afterwards it becomes another one. */
		(void)!ftruncate(fd, 0);
		rawpeer_close(&peer);
		close(fd);
	}
}

/* A packet of no bytes at all looks like the other side's end; its fds are there nevertheless. */
static void send_nothing_with_fds(int channel, int fd)
{
	union {
		char bytes[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control = {.align = {.cmsg_level = SOL_SOCKET,
			       .cmsg_type = SCM_RIGHTS,
			       .cmsg_len = CMSG_LEN(2 * sizeof(int))}};
	struct msghdr header = {.msg_control = &control, .msg_controllen = sizeof(control)};
	int fds[2] = {fd, fd};

	memcpy(CMSG_DATA(&control.align), fds, sizeof(fds));
	sendmsg(channel, &header, MSG_NOSIGNAL);
}

/* As many fds as a message can carry, in every message, without waiting. */
static void many_fds(void)
{
	struct ringabi_attach_pool m = {.msg = {RINGABI_MSG_ATTACH_POOL, sizeof(m), 1, 0},
					.bytes = 2 * MIB};
	int fds[RINGABI_MSG_MAX_FDS], pool = memfd(2 * MIB, 0, POOL_SEALS);

	for (unsigned i = 0; i < RINGABI_MSG_MAX_FDS; i++)
		fds[i] = pool;
	for (unsigned round = 0; round < 20; round++) {
		struct rawpeer peer;

		raw_connect(&peer);
		if (round % 4 == 3)
			send_nothing_with_fds(peer.channel, pool);
		rawpeer_hello(&peer, 0);
		for (unsigned i = 0; i < 30; i++) {
			m.index = i;
			pcidipc_channel_send(peer.channel, &m.msg, fds,
					     round & 1 ? RINGABI_MSG_MAX_FDS : 1 + i % 3);
		}
		rawpeer_close(&peer);
	}
}

/* Talk and never listen: wakes, questions, requests whose answers stay where they are. */
static void talk(void)
{
	struct ringabi_msg wake = {RINGABI_MSG_WAKE, sizeof(wake), 0, 0};
	int pool = memfd(2 * MIB, 0, POOL_SEALS);
	struct rawpeer peer;

	if (!raw_open(&peer, pool))
		return;
	push_some(&peer, 16);
	for (unsigned i = 0; i < 30000; i++)
		pcidipc_channel_send(peer.channel, &wake, NULL, 0);
	for (unsigned i = 0; i < 1000; i++)
		rawpeer_attach_pool(&peer, 1 + i % 15, pool, 2 * MIB);
	rawpeer_close(&peer);
}

/* Far more connections than the disk takes, half of them with a hello, all kept for a while. */
static void crowd(void)
{
	enum { MOST = 800 };
	static struct rawpeer peers[MOST];

	for (unsigned round = 0; round < 4; round++) {
		unsigned n = 0;

		for (; n < MOST; n++) {
			int fd = pcidipc_channel_connect(rd.path);

			if (fd ==
			    -EAGAIN) { /* the backlog is full: let the disk have a look at it */
				sched_yield();
				fd = pcidipc_channel_connect(rd.path);
			}
			if (fd < 0 && fd != -EAGAIN)
				break;
			rawpeer_init(&peers[n], fd < 0 ? -1 : fd, RINGABI_INTERFACE_BLOCK);
			if (n & 1 && fd >= 0)
				rawpeer_hello(&peers[n], pick(4));
		}
		while (n--)
			rawpeer_close(&peers[n]);
	}
}

/* ---- the honest one ---- */

static void work(void)
{
	uint32_t bytes = (1 + next_random(&honest_seed) % 16) * 512;
	uint64_t off = HONEST_FROM + next_random(&honest_seed) % 4096 * 512;

	fill_random(&honest_seed, honest.base, bytes);
	CU_ASSERT_EQUAL_FATAL(
		pcidipc_blockdev_write(honest.dev, honest.index, 0, bytes, off, false), (int)bytes);
	CU_ASSERT_EQUAL_FATAL(pcidipc_blockdev_read(honest.dev, honest.index, 65536, bytes, off),
			      (int)bytes);
	CU_ASSERT_FATAL(!memcmp(honest.base, honest.base + 65536, bytes));
}

/* Work beside it until it has ended. */
static void endure(void (*attack)(void), uint32_t with_seed)
{
	int status = 0, rounds = 0;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close_inherited(NULL, 0);
		signal(SIGPIPE, SIG_IGN);
		seed = with_seed;
		attack();
		_exit(0);
	}
	do {
		work();
		rounds++;
	} while (!waitpid(pid, &status, WNOHANG));
	CU_ASSERT_EQUAL(status, 0);
	CU_ASSERT(rounds > 0);
}

/* Until only the honest one is left: the hostile ones have gone, the disk may still have to notice.
 */
static void settle(const struct leaks *want, struct leaks *now)
{
	time_t give_up = time(NULL) + PATIENCE_S;

	do {
		work();
		leaks_count(rd.driver, now);
	} while ((now->fds != want->fds || now->shared_maps != want->shared_maps ||
		  rd.shared->opens != rd.shared->closes + 1) &&
		 time(NULL) < give_up);
}

static void withstand(void (*attack)(void))
{
	struct leaks first, before, after;

	CU_ASSERT_EQUAL_FATAL(ramdisk_start(&rd, loop_kind), 0);
	CU_ASSERT_EQUAL_FATAL(client_open(&honest, "ram0", 0), 0);
	work();
	leaks_count(rd.driver, &first);
	endure(attack, 1); /* what is kept for use again is there after this */
	settle(&first, &before);
	for (uint32_t i = 2; i < 6; i++)
		endure(attack, i);
	settle(&first, &after);
	CU_ASSERT_EQUAL(after.fds, first.fds);
	CU_ASSERT_EQUAL(after.shared_maps, first.shared_maps);
#ifndef __SANITIZE_ADDRESS__ /* which keeps freed memory, and finds leaks at the end */
	CU_ASSERT(after.anon_kib <= before.anon_kib + GROWTH_KIB);
	CU_ASSERT(after.maps <= before.maps + 16);
#endif
	client_close(&honest);
	CU_ASSERT_EQUAL(ramdisk_stop(&rd), 0);
	CU_ASSERT_EQUAL(rd.shared->broken, 0);
	CU_ASSERT_EQUAL(rd.shared->opens, rd.shared->closes);
	CU_ASSERT_EQUAL(rd.shared->attaches, rd.shared->detaches);
}

#define TEST(attack)                    \
	static void test_##attack(void) \
	{                               \
		withstand(attack);      \
	}
TEST(leave_early)
TEST(scribble)
TEST(change_memory)
TEST(reshape_ring)
TEST(wrong_pools)
TEST(many_fds)
TEST(talk)
TEST(crowd)

static CU_TestInfo tests[] = {
	{"leaving at every step", test_leave_early},
	{"indices, flags and entries", test_scribble},
	{"memory that changes", test_change_memory},
	{"reshaping the ring", test_reshape_ring},
	{"pools that are none", test_wrong_pools},
	{"descriptors by the dozen", test_many_fds},
	{"talking and not listening", test_talk},
	{"thousands of connections", test_crowd},
	CU_TEST_INFO_NULL,
};

static int init(void)
{
	memset(&rd, 0, sizeof(rd));
	return ramdisk_create(&rd);
}

static int init_epoll(void)
{
	loop_kind = "epoll";
	return init();
}

static int init_uring(void)
{
	loop_kind = "io_uring";
	return init();
}

static int clean(void)
{
	ramdisk_destroy(&rd);
	return 0;
}

int main(void)
{
	CU_SuiteInfo suites[] = {
		{"hostile clients, epoll", init_epoll, clean, NULL, NULL, tests},
		{"hostile clients, io_uring", init_uring, clean, NULL, NULL, tests},
		CU_SUITE_INFO_NULL,
	};
	unsigned failures;

	alarm(600); /* a disk that blocks */
	pcidipc_log_init("test", getenv("VERBOSE") ? PCIDIPC_INFO : PCIDIPC_ERROR);
	if (CU_initialize_registry() || CU_register_suites(suites))
		return 2;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failures = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
	CU_cleanup_registry();
	return failures ? 1 : 0;
}
