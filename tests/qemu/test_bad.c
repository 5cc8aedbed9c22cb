// SPDX-License-Identifier: MIT
/*
 * Bad input from clients of a disk, of every kind: the daemons stay up, say what was wrong and what
 * the limit is, hold nothing of it afterwards, and an honest client beside loses nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <pcidipc/scheme.h>

#include "bad.h"
#include "client.h"

#define PATIENCE_MS 20000

/* ---- bad channels ---- */

static int raw_connect(void)
{
	int fd = pcidipc_channel_connect(bad_socket_path);

	CU_ASSERT_TRUE_FATAL(fd >= 0);
	return fd;
}

/* 1: an answer (in *packet), 0: hung up, -1: nothing within 20 s. */
static int answer(int fd, struct pcidipc_packet *packet)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	int ret = 0;

	while (!ret && poll(&ready, 1, PATIENCE_MS) == 1) {
		ret = pcidipc_channel_receive(fd, packet, NULL);
		if (ret < 0)
			return 0;
	}
	return ret ? ret : -1;
}

static void say_hello(int fd)
{
	struct ringabi_hello hello = {.msg = {RINGABI_MSG_HELLO, sizeof(hello), 1, 0},
				      .magic = RINGABI_CHANNEL_MAGIC,
				      .version_major = RINGABI_VERSION_MAJOR,
				      .interface = RINGABI_INTERFACE_BLOCK};
	struct pcidipc_packet reply;

	CU_ASSERT_EQUAL(pcidipc_channel_send(fd, &hello.msg, NULL, 0), 0);
	CU_ASSERT_EQUAL_FATAL(answer(fd, &reply), 1);
	CU_ASSERT_EQUAL(reply.msg.result, 0);
}

/* Send it on a fresh connection, after a hello if `greet`. Its answer's result, or -EPIPE when it
 * was cut off. */
static int provoke(bool greet, const void *bytes, size_t n)
{
	struct pcidipc_packet reply;
	int fd = raw_connect(), ret;

	if (greet)
		say_hello(fd);
	CU_ASSERT_EQUAL(send(fd, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
	ret = answer(fd, &reply);
	CU_ASSERT_TRUE(ret >= 0);
	if (ret > 0) {
		ret = reply.msg.result;
		pcidipc_packet_close(&reply);
	} else {
		ret = -EPIPE;
	}
	close(fd);
	return ret;
}

static void test_hello(void)
{
	const struct ringabi_hello good = {.msg = {RINGABI_MSG_HELLO, sizeof(good), 1, 0},
					   .magic = RINGABI_CHANNEL_MAGIC,
					   .version_major = RINGABI_VERSION_MAJOR,
					   .interface = RINGABI_INTERFACE_BLOCK};
	struct ringabi_hello bad = good;

	CU_ASSERT_EQUAL(provoke(false, &good, sizeof(good)), 0);
	bad.magic = 0x12345678;
	REFUSED(provoke(false, &bad, sizeof(bad)), -EPROTO,
		"hello refused: magic 0x12345678, the limit is 0x");
	bad = good;
	bad.version_major = 77;
	REFUSED(provoke(false, &bad, sizeof(bad)), -EPROTONOSUPPORT,
		"hello refused: major version 0x4d, the limit is 0x1");
	bad = good;
	bad.interface = RINGABI_INTERFACE_PCI;
	REFUSED(provoke(false, &bad, sizeof(bad)), -EPROTONOSUPPORT, "hello refused: interface 0x");
	bad = good;
	bad.open_flags = 0x80;
	REFUSED(provoke(false, &bad, sizeof(bad)), -EINVAL,
		"hello refused: open flags 0x80, the limit is 0x3");
	bad = good;
	bad.msg.size--;
	REFUSED(provoke(false, &bad, sizeof(bad)), -EPIPE,
		"a packet that is no message: its size must be what it says, 16 to 256 bytes");
	REFUSED(provoke(false, &good, sizeof(good) - 1), -EPIPE, "a packet that is no message");
	REFUSED(provoke(true, &good, sizeof(good)), -EPROTO,
		"hello refused: number 0x2, the limit is 0x1");
	bad_all_is_well();
}

/* Packets of random bytes, of every size up to more than the largest, before and after the hello.
 */
static void test_noise(void)
{
	unsigned char noise[2 * RINGABI_MSG_MAX_BYTES];
	uint32_t seed = 11;

	for (size_t n = 1; n < sizeof(noise); n += 7) {
		fill_random(&seed, noise, sizeof(noise));
		provoke(n & 1, noise, n);
	}
	bad_all_is_well();
}

/* Every type of message that there is, and some that there are not, with right sizes and random
 * contents. */
static void test_types(void)
{
	unsigned char bytes[RINGABI_MSG_MAX_BYTES];
	struct ringabi_msg *msg = (void *)bytes;
	uint32_t seed = 12;

	for (uint32_t type = 0; type < 16; type++) {
		size_t n = pcidipc_msg_bytes(type, 0);

		if (type == RINGABI_MSG_WAKE) /* no answer, and no reason to hang up */
			continue;
		fill_random(&seed, bytes, sizeof(bytes));
		msg->type = type;
		msg->size = (uint32_t)(n ? n : 64);
		CU_ASSERT_TRUE(provoke(true, bytes, msg->size) < 0);
		msg->type |= RINGABI_MSG_REPLY;
		CU_ASSERT_TRUE(provoke(true, bytes, msg->size) < 0);
	}
	msg->type = RINGABI_MSG_MAP_REGION;
	msg->size = (uint32_t)pcidipc_msg_bytes(RINGABI_MSG_MAP_REGION, 0);
	REFUSED(provoke(true, bytes, msg->size), -EPIPE, "with 0 fds is not for this service");
	REFUSED(provoke(false, bytes, msg->size), -EPIPE, "with 0 fds came before a hello");
	msg->type |= RINGABI_MSG_REPLY;
	REFUSED(provoke(true, bytes, msg->size), -EPIPE, "is a reply, but nothing was asked");
	msg->type = 15;
	REFUSED(provoke(true, bytes, msg->size), -EPIPE,
		"message type 0xf of 24 bytes with 0 fds is no message of the ABI");
	bad_all_is_well();
}

static int ask_ring(uint32_t sq, uint32_t cq)
{
	struct ringabi_attach_ring m = {.msg = {RINGABI_MSG_ATTACH_RING, sizeof(m), 2, 0},
					.sq_entries = sq,
					.cq_entries = cq};

	return provoke(true, &m, sizeof(m));
}

static void test_ring_sizes(void)
{
	CU_ASSERT_EQUAL(ask_ring(64, 128), 0);
	REFUSED(ask_ring(0, 0), -EINVAL, "ring of 0 and 0 entries refused (Invalid argument)");
	REFUSED(ask_ring(3, 8), -EINVAL, "ring of 3 and 8 entries refused");
	REFUSED(ask_ring(64, 32), -EINVAL, "ring of 64 and 32 entries refused");
	REFUSED(ask_ring(1u << 31, 0), -EINVAL, "ring of 2147483648 and 0 entries refused");
	REFUSED(ask_ring(1u << 20, 1u << 21), -EINVAL,
		"ring of 1048576 and 2097152 entries refused (Invalid argument); the limits are "
		"1024 and 2048");
	bad_all_is_well();
}

/* ---- bad pools ---- */

static int offer_pool(uint32_t index, uint64_t bytes, const int *fds, unsigned nfds)
{
	struct ringabi_attach_pool m = {
		.msg = {RINGABI_MSG_ATTACH_POOL, sizeof(m), 3, 0}, .index = index, .bytes = bytes};
	struct pcidipc_packet reply;
	int fd = raw_connect(), ret;

	say_hello(fd);
	CU_ASSERT_EQUAL(pcidipc_channel_send(fd, &m.msg, fds, nfds), 0);
	ret = answer(fd, &reply);
	CU_ASSERT_TRUE(ret >= 0);
	ret = ret > 0 ? reply.msg.result : -EPIPE;
	close(fd);
	return ret;
}

/* The same index twice on one connection. */
static int offer_twice(int memfd)
{
	struct ringabi_attach_pool m = {.msg = {RINGABI_MSG_ATTACH_POOL, sizeof(m), 3, 0},
					.bytes = RINGABI_POOL_ALIGN};
	struct pcidipc_packet reply = {0};
	int fd = raw_connect();

	say_hello(fd);
	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(pcidipc_channel_send(fd, &m.msg, &memfd, 1), 0);
		CU_ASSERT_EQUAL(answer(fd, &reply), 1);
	}
	close(fd);
	return reply.msg.result;
}

static int make_memfd(uint64_t bytes, int seals)
{
	int fd = memfd_create("pool", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	CU_ASSERT_TRUE_FATAL(fd >= 0 && !ftruncate(fd, (off_t)bytes));
	CU_ASSERT_EQUAL(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static void test_pools(void)
{
	const uint64_t size = RINGABI_POOL_ALIGN;
	int good = make_memfd(size, F_SEAL_SHRINK | F_SEAL_GROW),
	    open_ended = make_memfd(size, F_SEAL_GROW);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC),
	    file = open(bad_rig.log, O_RDWR | O_CLOEXEC);
	int fds[8] = {good, good, good, good, null, null, file, file};

	CU_ASSERT_EQUAL(offer_pool(0, size, &good, 1), 0);
	REFUSED(offer_pool(PCIDIPC_SESSION_POOLS, size, &good, 1), -EINVAL,
		"pool index 16, the limit is 15");
	REFUSED(offer_pool(UINT32_MAX, size, &good, 1), -EINVAL,
		"pool index 4294967295, the limit is 15");
	REFUSED(offer_pool(0, 2 * size, &good, 1), -EINVAL,
		"pool 0 says 4194304 bytes; it must be the memfd's size and a multiple of 2097152");
	REFUSED(offer_pool(0, 0, &good, 1), -EINVAL, "pool 0 says 0 bytes");
	REFUSED(offer_pool(0, size - 1, &good, 1), -EINVAL, "pool 0 says 2097151 bytes");
	REFUSED(offer_pool(0, size, &open_ended, 1), -EINVAL,
		"pool 0 is no memfd sealed against shrinking and growing");
	REFUSED(offer_pool(0, size, &null, 1), -EINVAL, "pool 0 is no memfd sealed against");
	REFUSED(offer_pool(0, size, &file, 1), -EINVAL, "pool 0 is no memfd sealed against");
	REFUSED(offer_pool(0, size, NULL, 0), -EBADF,
		"a pool with 0 file descriptors, it must be 1");
	REFUSED(offer_twice(good), -EEXIST, "pool 0 is attached already");
	REFUSED(offer_pool(0, size, fds, 8), -EPIPE,
		"with 8 fds carries file descriptors that it must not");
	close(good);
	close(open_ended);
	close(null);
	close(file);
	bad_all_is_well();
}

/* Connections that say nothing, say half, or go in the middle. */
static void test_silence(void)
{
	struct ringabi_attach_ring m = {.msg = {RINGABI_MSG_ATTACH_RING, sizeof(m), 2, 0},
					.sq_entries = 64};
	int fds[32];

	for (unsigned i = 0; i < 32; i++)
		fds[i] = raw_connect();
	bad_all_is_well();
	for (unsigned i = 0; i < 32; i++) {
		if (i % 2)
			send(fds[i], &m, sizeof(m), MSG_NOSIGNAL);
		close(fds[i]);
	}
	bad_all_is_well();
}

/* ---- bad requests ---- */

static uint32_t random32(uint32_t *seed)
{
	return next_random(seed) ^ next_random(seed) << 12;
}

/* Now a whole field at random, now a value that nearly fits. The disk is open read-only, so nothing
 * is spoiled. */
static void random_sqe(struct io_uring_sqe *sqe, uint32_t *seed, uint16_t index)
{
	static const uint8_t opcodes[] = {IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED,
					  IORING_OP_READV,	IORING_OP_WRITEV,
					  IORING_OP_FSYNC,	IORING_OP_FALLOCATE,
					  IORING_OP_URING_CMD,	IORING_OP_ASYNC_CANCEL};
	uint32_t choice = random32(seed);

	fill_random(seed, sqe, sizeof(*sqe));
	sqe->flags = 0;
	if (choice & 7)
		sqe->opcode = opcodes[random32(seed) % 8];
	if (choice & 8)
		sqe->buf_index = index;
	if (choice & 16)
		sqe->fd = 0;
	if (choice & 32)
		sqe->rw_flags = sqe->ioprio = 0;
	if (choice & 64)
		sqe->off = (uint64_t)(random32(seed) % 200000) * 512;
	if (choice & 128)
		sqe->len = 512 * (random32(seed) % 5000);
	if (choice & 256)
		sqe->addr = random32(seed) % (4u << 20);
	if (sqe->opcode == IORING_OP_URING_CMD && choice & 512)
		sqe->cmd_op = RINGABI_CMD_OP(random32(seed) % 4, random32(seed) % 8);
	if (choice & 1024)
		memset((char *)sqe + 42, 0, 22);
	/* Not the one command that would take this client's own pools away. */
	if (sqe->opcode == IORING_OP_URING_CMD && sqe->cmd_op == RINGABI_CMD_POOL_DETACH)
		sqe->cmd_op = RINGABI_BLOCK_INFO;
}

/* Every one of them is answered. */
static void test_requests(void)
{
	uint32_t seed = 21, answered = 0;
	struct client r;

	CU_ASSERT_EQUAL_FATAL(client_open(&r, "nvme0n1", RINGABI_OPEN_READ_ONLY, 2u << 20), 0);
	for (unsigned i = 0; i < 4000; i++) {
		struct io_uring_sqe *sqe = pcidipc_get_sqe(r.consumer);
		uint64_t user_data = 0;
		int res;

		CU_ASSERT_PTR_NOT_NULL_FATAL(sqe);
		random_sqe(sqe, &seed, r.index);
		sqe->user_data = i;
		res = client_reap(&r, &user_data);
		answered += user_data == i && res != -ENOTCONN;
	}
	CU_ASSERT_EQUAL(answered, 4000);
	CU_ASSERT_EQUAL(client_read(&r, 0, 4096, 0), 4096);
	CU_ASSERT_EQUAL(memcmp(r.base, bad_shadow, 4096), 0);
	client_close(&r);
	CU_ASSERT_FALSE(rig_logged(&bad_rig, "a request was lost"));
	bad_all_is_well();
}

static int request(struct client *r, uint8_t opcode, uint64_t off, uint32_t len, uint64_t addr)
{
	struct io_uring_sqe sqe = {.opcode = opcode, .off = off, .len = len, .addr = addr};

	sqe.buf_index = r->index;
	return client_call(r, &sqe);
}

static int command(struct client *r, uint32_t cmd_op)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD, .cmd_op = cmd_op};

	return client_call(r, &sqe);
}

static int read_pool(struct client *r, uint16_t index, int fd)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_READ_FIXED, .len = 512, .fd = fd};

	sqe.buf_index = index;
	return client_call(r, &sqe);
}

/* Each way to be wrong, and the words for it. */
static void test_words(void)
{
	const uint8_t rd = IORING_OP_READ_FIXED, wr = IORING_OP_WRITE_FIXED;
	struct io_uring_sqe flag = {.opcode = IORING_OP_NOP, .flags = IOSQE_BUFFER_SELECT};
	struct client r;

	CU_ASSERT_EQUAL_FATAL(client_open(&r, "nvme0n1", RINGABI_OPEN_READ_ONLY, 2u << 20), 0);
	REFUSED(request(&r, rd, 100, 512, 0), -EINVAL,
		"opcode 4: offset 100 and length 512 must be multiples of 512, length not 0");
	REFUSED(request(&r, rd, 0, 0, 0), -EINVAL, "offset 0 and length 0 must be multiples");
	REFUSED(request(&r, rd, 64u << 20, 512, 0), -ENOSPC,
		"offset 67108864 and length 512 reach beyond the disk's 67108864 bytes");
	REFUSED(request(&r, rd, 0, 512, 1), -EINVAL, "buffer 0x1 is not aligned to 4");
	REFUSED(request(&r, rd, 0, 512, 2u << 20), -EFAULT,
		"buffer 0x200000 of 512 bytes lies outside pool 1 of 2097152 bytes");
	REFUSED(read_pool(&r, 9, 0), -ENXIO, "there is no pool 9");
	REFUSED(read_pool(&r, r.index, 5), -EINVAL, "fd 5");
	REFUSED(request(&r, wr, 0, 512, 0), -EROFS, "opcode 5: it opened the disk read-only");
	REFUSED(request(&r, IORING_OP_READV, 0, 5000, 64), -EINVAL,
		"5000 iovecs, it must be 1 to ");
	REFUSED(request(&r, IORING_OP_READV, 0, 4, 2u << 20), -EFAULT,
		"no pool 1, or the iovecs at 0x200000 lie outside of it");
	REFUSED(request(&r, IORING_OP_OPENAT, 0, 0, 0), -EOPNOTSUPP,
		"opcode 18: no request of the block interface");
	REFUSED(command(&r, RINGABI_CMD_OP(RINGABI_INTERFACE_BLOCK, 0x55)), -EOPNOTSUPP,
		"is none of the block interface");
	REFUSED(client_call(&r, &flag), -EINVAL, "opcode 0: flags 0x20, only 0x");
	client_close(&r);
	bad_all_is_well();
}

static void test_opcodes(void)
{
	struct client r;
	unsigned wrong = 0;

	CU_ASSERT_EQUAL_FATAL(client_open(&r, "nvme0n1", RINGABI_OPEN_READ_ONLY, 2u << 20), 0);
	for (unsigned opcode = 0; opcode < 256; opcode++) {
		struct io_uring_sqe sqe = {.opcode = (uint8_t)opcode};
		int res = client_call(&r, &sqe);

		if (opcode == IORING_OP_NOP || opcode == IORING_OP_FSYNC)
			wrong += res != 0;
		else
			wrong += res >= 0 || res == -ENOTCONN;
	}
	CU_ASSERT_EQUAL(wrong, 0);
	for (unsigned bit = 0; bit < 8; bit++) {
		struct io_uring_sqe sqe = {.opcode = IORING_OP_NOP, .flags = (uint8_t)(1u << bit)};
		const unsigned known = IOSQE_IO_DRAIN | IOSQE_IO_LINK | IOSQE_IO_HARDLINK |
				       IOSQE_ASYNC | IOSQE_CQE_SKIP_SUCCESS;

		if (!(1u << bit & known))
			CU_ASSERT_EQUAL(client_call(&r, &sqe), -EINVAL);
	}
	client_close(&r);
	bad_all_is_well();
}

static void test_passthrough(void)
{
	struct client r;

	CU_ASSERT_EQUAL_FATAL(client_open(&r, "nvme0n1", 0, 2u << 20), 0);
	memset(r.base, 0, 4096);
	REFUSED(pcidipc_blockdev_passthrough(r.dev, r.index, 0), -EPERM,
		"opcode 46, cmd_op 0x204: pass-through, but not over the admin socket");
	client_close(&r);
	bad_all_is_well();
}

/* ---- bad indices: somebody who writes into the ring what he likes ---- */

static struct ringabi_ring *raw_ring(int fd)
{
	struct ringabi_attach_ring m = {.msg = {RINGABI_MSG_ATTACH_RING, sizeof(m), 2, 0},
					.sq_entries = 64,
					.cq_entries = 128};
	struct pcidipc_packet reply;
	struct ringabi_ring *ring;

	say_hello(fd);
	CU_ASSERT_EQUAL(pcidipc_channel_send(fd, &m.msg, NULL, 0), 0);
	CU_ASSERT_EQUAL_FATAL(answer(fd, &reply), 1);
	CU_ASSERT_EQUAL_FATAL(reply.nfds, 1);
	ring = mmap(NULL, RINGABI_HEADER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, reply.fds[0],
		    0);
	CU_ASSERT_TRUE_FATAL(ring != MAP_FAILED);
	pcidipc_packet_close(&reply);
	return ring;
}

/* Set one index to a value that cannot be: the connection ends. */
static void break_ring(bool tail, uint32_t value)
{
	struct pcidipc_packet packet;
	int fd = raw_connect();
	struct ringabi_ring *ring = raw_ring(fd);

	__atomic_store_n(tail ? &ring->sq_tail : &ring->cq_head, value, __ATOMIC_RELEASE);
	if (!tail)
		__atomic_store_n(&ring->sq_tail, 1, __ATOMIC_RELEASE);
	pcidipc_channel_wake(fd);
	CU_ASSERT_EQUAL(answer(fd, &packet), 0);
	munmap(ring, RINGABI_HEADER_BYTES);
	close(fd);
}

static int broken(uint32_t value)
{
	break_ring(true, value);
	return 0;
}

static void test_indices(void)
{
	REFUSED(broken(65), 0, "a ring index ran past what is outstanding; disconnected");
	break_ring(true, 1u << 31);
	break_ring(true, UINT32_MAX);
	bad_all_is_well();
}

/* The other fields of the header are nobody's: the producer keeps its own copy. */
static void test_header(void)
{
	int fd = raw_connect();
	struct ringabi_ring *ring = raw_ring(fd);
	struct pcidipc_packet packet;
	struct pollfd ready = {.fd = fd, .events = POLLIN};

	memset(ring, 0xff, RINGABI_LINE);
	__atomic_store_n(&ring->sq_head, 77, __ATOMIC_RELEASE);
	__atomic_store_n(&ring->cq_tail, 99, __ATOMIC_RELEASE);
	__atomic_store_n(&ring->consumer_need_wakeup, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&ring->sq_tail, 1, __ATOMIC_RELEASE); /* 64 bytes of zero: a NOP */
	pcidipc_channel_wake(fd);
	CU_ASSERT_EQUAL(poll(&ready, 1, PATIENCE_MS), 1);
	CU_ASSERT_EQUAL(pcidipc_channel_receive(fd, &packet, NULL), 0); /* a wake-up for its CQE */
	CU_ASSERT_EQUAL(__atomic_load_n(&ring->cq_tail, __ATOMIC_ACQUIRE), 1);
	munmap(ring, RINGABI_HEADER_BYTES);
	close(fd);
	bad_all_is_well();
}

/* Ten thousand wake-ups for nothing. */
static void test_wakes(void)
{
	int fd = raw_connect();

	say_hello(fd);
	for (unsigned i = 0; i < 10000; i++)
		pcidipc_channel_wake(fd);
	bad_all_is_well();
	close(fd);
}

static CU_TestInfo channel_tests[] = {
	{"hellos", test_hello},
	{"noise", test_noise},
	{"messages of every type", test_types},
	{"sizes of rings", test_ring_sizes},
	{"pools", test_pools},
	{"connections that say nothing", test_silence},
	{"wake-ups for nothing", test_wakes},
	CU_TEST_INFO_NULL,
};

static CU_TestInfo ring_tests[] = {
	{"random requests", test_requests},
	{"every opcode and flag", test_opcodes},
	{"what is said of wrong requests", test_words},
	{"pass-through without permission", test_passthrough},
	{"indices that cannot be", test_indices},
	{"a header that changes", test_header},
	CU_TEST_INFO_NULL,
};

static CU_TestInfo last_tests[] = {
	{"the daemons hold what they held before", bad_nothing_left},
	CU_TEST_INFO_NULL,
};

static CU_SuiteInfo suites[] = {
	{"bad channel messages", bad_begin, bad_end, NULL, NULL, channel_tests},
	{"bad requests", bad_begin, bad_end, NULL, NULL, ring_tests},
	{"after all of it", NULL, NULL, NULL, NULL, last_tests},
	CU_SUITE_INFO_NULL,
};

int main(int argc, char **argv)
{
	return bad_main(argc, argv, suites);
}
