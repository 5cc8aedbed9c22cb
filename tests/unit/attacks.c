// SPDX-License-Identifier: MIT
#include "attacks.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rawpeer.h"

#define MIB (1ull << 20)
#define POOL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

static char path[128]; /* the service's */
static uint32_t seed;

void attack_begin(const char *service, uint32_t with_seed)
{
	snprintf(path, sizeof(path), "%s", service);
	seed = with_seed;
	signal(SIGPIPE, SIG_IGN);
}

static uint32_t next_word(void)
{
	seed = seed * 1664525 + 1013904223;
	return seed >> 8;
}

static void fill(void *to, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		((unsigned char *)to)[i] = (unsigned char)next_word();
}

static uint32_t pick(uint32_t n)
{
	return next_word() % n;
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

	while ((fd = pcidipc_channel_connect(path)) == -EAGAIN)
		sched_yield();
	rawpeer_init(peer, fd, RINGABI_INTERFACE_BLOCK);
}

/* Up to its ring, and a pool of 2 MiB as number 0, or the answer that it is none. False: turned
 * away. */
static bool raw_open(struct rawpeer *peer, int pool)
{
	raw_connect(peer);
	rawpeer_hello(peer, 0);
	rawpeer_attach_ring(peer, 16, 0);
	rawpeer_attach_pool(peer, 0, pool, 2 * MIB);
	while (peer->answers < 3)
		if (rawpeer_await(peer))
			return false;
	return peer->ring;
}

/* Right, or wrong by far: what is right never reaches the honest client's half of the disk. */
static uint64_t near_or_far(uint64_t unit, uint32_t most)
{
	return pick(8) ? pick(most) * unit : ((uint64_t)next_word() << 40) + pick(2);
}

static struct io_uring_sqe random_sqe(void)
{
	static const uint8_t opcodes[] = {
		IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED,  IORING_OP_READV,
		IORING_OP_WRITEV,     IORING_OP_FSYNC,	      IORING_OP_FALLOCATE,
		IORING_OP_URING_CMD,  IORING_OP_ASYNC_CANCEL, IORING_OP_NOP};
	struct io_uring_sqe sqe = {.opcode = opcodes[pick(sizeof(opcodes))]};

	if (!pick(16)) {
		fill(&sqe, sizeof(sqe));
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

/* ---- what hostile clients do ---- */

/* Go away at every step, with and without having read the answers. */
void attack_leave_early(void)
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

/* Up to a step, and then killed: with requests under way, their answers unread. */
static void die_at(unsigned step, int pool)
{
	struct rawpeer peer;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	raw_connect(&peer);
	if (step > 0)
		rawpeer_hello(&peer, 0);
	if (step > 1)
		rawpeer_attach_ring(&peer, 16, 0);
	if (step > 2)
		rawpeer_attach_pool(&peer, 0, pool, 2 * MIB);
	while (step > 3 && !peer.ring && !rawpeer_await(&peer))
		;
	for (; step > 4 && peer.ring && step < 12; step++) {
		push_some(&peer, 1 + pick(4));
		rawpeer_reap(&peer);
	}
	kill(getpid(), SIGKILL);
}

void attack_die(void)
{
	int pool = memfd(2 * MIB, 0, POOL_SEALS), status;

	for (unsigned step = 0; step < 10; step++) {
		pid_t pid = fork();

		if (!pid)
			die_at(step, pool);
		if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status))
			_exit(1);
		next_word();
	}
}

/* Every index, flag and entry, at any time. */
void attack_scribble(void)
{
	int pool = memfd(2 * MIB, 0, POOL_SEALS);

	for (unsigned round = 0; round < 40; round++) {
		struct rawpeer peer;

		if (raw_open(&peer, pool)) {
			for (unsigned i = 0; i < 50; i++) {
				push_some(&peer, pick(8));
				rawpeer_scribble(&peer, pick(6), !pick(4),
						 pick(2) ? pick(32) : next_word());
				rawpeer_reap(&peer);
			}
			rawpeer_read(&peer);
		}
		rawpeer_close(&peer);
	}
}

/* Right indices, wrong requests; the memory that they name changes under them, the ring's too. */
void attack_change_memory(void)
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
			fill((char *)peer.ring + 4096 + pick(16) * 64, 64);
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
void attack_reshape_ring(void)
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

static int pipe_end(unsigned which)
{
	int ends[2];

	if (pipe(ends))
		return -1;
	close(ends[!which]);
	return ends[which];
}

int attack_wrong_fd(unsigned which)
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
	case 9:
		return pipe_end(0);
	case 10:
		return pipe_end(1);
	case 11:
		return open("/tmp", O_TMPFILE | O_RDWR, 0600);
	default:
		return open("/dev/zero", O_RDWR);
	}
}

/* Pools that are none. Then everything that reads the pool is asked to. */
void attack_wrong_pools(void)
{
	for (unsigned which = 0; which < ATTACK_WRONG_FDS; which++) {
		int fd = attack_wrong_fd(which);
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

static void push_detach(struct rawpeer *peer, uint16_t index)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD,
				   .cmd_op = RINGABI_CMD_POOL_DETACH};

	sqe.buf_index = index;
	rawpeer_push(peer, &sqe);
}

/* Attach it over the pool that is there, take that one away, attach it in its place; and close it
 * to writing while it is on its way to the device. */
static int exchange(struct rawpeer *peer, int pool)
{
	static const int seals[] = {F_SEAL_WRITE, F_SEAL_FUTURE_WRITE, F_SEAL_SEAL, 0};

	if (peer->ring->sq_tail - peer->ring->sq_head <= 8) {
		push_some(peer, 4);
		push_detach(peer, 0);
		push_some(peer, 2);
	}
	rawpeer_attach_pool(peer, 0, pool, 2 * MIB);
	rawpeer_attach_pool(peer, pick(2), pool, 2 * MIB);
	(void)fcntl(pool, F_ADD_SEALS, seals[pick(4)]); /* not while it is mapped */
	if (!ftruncate(pool, (off_t)MIB) || !ftruncate(pool, 4 * (off_t)MIB))
		_exit(1);
	rawpeer_reap(peer);
	return rawpeer_await(peer);
}

/* Other memory under the same number, while requests that name it are under way. */
void attack_replace_pools(void)
{
	for (unsigned i = 0; i < 8; i++) {
		int pool = memfd(2 * MIB, 0, POOL_SEALS), ret = 0;
		struct rawpeer peer;

		if (raw_open(&peer, pool))
			for (unsigned round = 0; round < 10 && !ret; round++) {
				close(pool);
				pool = memfd(2 * MIB, 0, POOL_SEALS);
				ret = exchange(&peer, pool);
			}
		close(pool);
		rawpeer_close(&peer);
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
void attack_many_fds(void)
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
void attack_talk(void)
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

/*
 * More connections than the disk takes of one user. Three of four say hello, and are kept, so that
 * there are enough of them however slowly they come. The others are silent, for which there is a
 * limit of time, or want the disk for themselves, and are sent away.
 */
void attack_crowd(void)
{
	enum { MOST = 700 };
	static struct rawpeer peers[MOST];
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) || files.rlim_max < MOST + 16)
		_exit(1);
	files.rlim_cur = MOST + 16;
	setrlimit(RLIMIT_NOFILE, &files);
	for (unsigned i = 0; i < MOST; i++) {
		raw_connect(&peers[i]);
		if (i % 4)
			rawpeer_hello(&peers[i], pick(2) ? RINGABI_OPEN_READ_ONLY : 0);
		else if (pick(2))
			rawpeer_hello(&peers[i], RINGABI_OPEN_EXCLUSIVE);
	}
	for (unsigned i = 0; i < MOST; i++)
		rawpeer_close(&peers[i]);
}
