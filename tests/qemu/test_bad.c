// SPDX-License-Identifier: MIT
/* Bad input of every kind: the daemons stay up, and an honest client beside loses nothing. */
#include <CUnit/Basic.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <pcidipc/scheme.h>

#include "client.h"
#include "rig.h"

#define PATIENCE_MS 20000

static struct rig rig;
static unsigned char *shadow;
static pid_t honest;
static volatile uint32_t *progress;
static char socket_path[RIG_PATH];

/* ---- the honest client ---- */

static int begin(void)
{
	struct work work = {.disk = "nvme0n1",
			    .first = 32u << 20,
			    .bytes = 16u << 20,
			    .depth = 4,
			    .largest = 64u << 10,
			    .pool_bytes = 16u << 20,
			    .stride = 1u << 20,
			    .seed = 5};

	progress = shared_words();
	work.progress = progress;
	honest = work_fork(&work);
	return honest > 0 && RIG_UNTIL(*progress > 0) ? 0 : -1;
}

static int end(void)
{
	kill(honest, SIGKILL);
	return work_wait(honest) == -1 ? 0 : -1;
}

/* After each test: the driver is the same, and the honest client moves on. */
static void all_is_well(void)
{
	uint32_t seen = *progress;

	CU_ASSERT_TRUE(RIG_UNTIL(*progress > seen + 2));
	CU_ASSERT_EQUAL(waitpid(honest, NULL, WNOHANG), 0);
	CU_ASSERT_EQUAL(rig_number(&rig, "drivers", "nvmed", "restarts"), 0);
}

/* ---- bad channels ---- */

static int raw_connect(void)
{
	int fd = pcidipc_channel_connect(socket_path);

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
	bad.magic++;
	CU_ASSERT_EQUAL(provoke(false, &bad, sizeof(bad)), -EPROTO);
	bad = good;
	bad.version_major++;
	CU_ASSERT_EQUAL(provoke(false, &bad, sizeof(bad)), -EPROTONOSUPPORT);
	bad = good;
	bad.interface = RINGABI_INTERFACE_PCI;
	CU_ASSERT_EQUAL(provoke(false, &bad, sizeof(bad)), -EPROTONOSUPPORT);
	bad = good;
	bad.open_flags = 0x80;
	CU_ASSERT_EQUAL(provoke(false, &bad, sizeof(bad)), -EINVAL);
	bad = good;
	bad.msg.size--;
	CU_ASSERT_EQUAL(provoke(false, &bad, sizeof(bad)), -EPIPE);
	CU_ASSERT_EQUAL(provoke(false, &good, sizeof(good) - 1), -EPIPE);
	CU_ASSERT_EQUAL(provoke(true, &good, sizeof(good)), -EPROTO);
	all_is_well();
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
	all_is_well();
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
	all_is_well();
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
	CU_ASSERT_EQUAL(ask_ring(0, 0), -EINVAL);
	CU_ASSERT_EQUAL(ask_ring(3, 8), -EINVAL);
	CU_ASSERT_EQUAL(ask_ring(64, 32), -EINVAL);
	CU_ASSERT_EQUAL(ask_ring(1u << 31, 0), -EINVAL);
	CU_ASSERT_EQUAL(ask_ring(1u << 20, 1u << 21), -EINVAL);
	all_is_well();
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
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), file = open(rig.log, O_RDWR | O_CLOEXEC);
	int fds[8] = {good, good, good, good, null, null, file, file};

	CU_ASSERT_EQUAL(offer_pool(0, size, &good, 1), 0);
	CU_ASSERT_EQUAL(offer_pool(PCIDIPC_SESSION_POOLS, size, &good, 1), -EINVAL);
	CU_ASSERT_EQUAL(offer_pool(UINT32_MAX, size, &good, 1), -EINVAL);
	CU_ASSERT_EQUAL(offer_pool(0, 2 * size, &good, 1), -EINVAL);
	CU_ASSERT_EQUAL(offer_pool(0, 0, &good, 1), -EINVAL);
	CU_ASSERT_EQUAL(offer_pool(0, size - 1, &good, 1), -EINVAL);
	CU_ASSERT_EQUAL(offer_pool(0, size, &open_ended, 1), -EINVAL);
	CU_ASSERT_EQUAL(offer_pool(0, size, &null, 1), -EINVAL);
	CU_ASSERT_EQUAL(offer_pool(0, size, &file, 1), -EINVAL);
	CU_ASSERT_EQUAL(offer_pool(0, size, NULL, 0), -EBADF);
	CU_ASSERT_TRUE(offer_pool(0, size, fds, 8) < 0);
	close(good);
	close(open_ended);
	close(null);
	close(file);
	all_is_well();
}

/* Connections that say nothing, say half, or go in the middle. */
static void test_silence(void)
{
	struct ringabi_attach_ring m = {.msg = {RINGABI_MSG_ATTACH_RING, sizeof(m), 2, 0},
					.sq_entries = 64};
	int fds[32];

	for (unsigned i = 0; i < 32; i++)
		fds[i] = raw_connect();
	all_is_well();
	for (unsigned i = 0; i < 32; i++) {
		if (i % 2)
			send(fds[i], &m, sizeof(m), MSG_NOSIGNAL);
		close(fds[i]);
	}
	all_is_well();
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
	CU_ASSERT_EQUAL(memcmp(r.base, shadow, 4096), 0);
	client_close(&r);
	CU_ASSERT_FALSE(rig_logged(&rig, "a request was lost"));
	all_is_well();
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
		const unsigned known = IOSQE_IO_DRAIN | IOSQE_IO_LINK | IOSQE_IO_HARDLINK | IOSQE_ASYNC |
				       IOSQE_CQE_SKIP_SUCCESS;

		if (!(1u << bit & known))
			CU_ASSERT_EQUAL(client_call(&r, &sqe), -EINVAL);
	}
	client_close(&r);
	all_is_well();
}

static void test_passthrough(void)
{
	struct client r;

	CU_ASSERT_EQUAL_FATAL(client_open(&r, "nvme0n1", 0, 2u << 20), 0);
	memset(r.base, 0, 4096);
	CU_ASSERT_EQUAL(pcidipc_blockdev_passthrough(r.dev, r.index, 0), -EPERM);
	client_close(&r);
	all_is_well();
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

static void test_indices(void)
{
	break_ring(true, 65);
	break_ring(true, 1u << 31);
	break_ring(true, UINT32_MAX);
	all_is_well();
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
	all_is_well();
}

/* Ten thousand wake-ups for nothing. */
static void test_wakes(void)
{
	int fd = raw_connect();

	say_hello(fd);
	for (unsigned i = 0; i < 10000; i++)
		pcidipc_channel_wake(fd);
	all_is_well();
	close(fd);
}

/* ---- pcid's control socket ---- */

static void refused(const void *bytes, size_t n)
{
	char reply[4096];
	struct json_object *answer_json;
	int ret = rig_control(&rig, bytes, n, reply, sizeof(reply));

	if (ret <= 0) { /* it hung up: as good, for what was no request at all */
		CU_ASSERT_EQUAL(rig_number(&rig, "drivers", "nvmed", "restarts"), 0);
		return;
	}
	answer_json = json_tokener_parse(reply);
	CU_ASSERT_PTR_NOT_NULL(answer_json);
	if (json_object_get_boolean(json_object_object_get(answer_json, "ok")))
		fprintf(stderr, "not refused: %.*s\n", (int)(n < 80 ? n : 80), (const char *)bytes);
	CU_ASSERT_FALSE(json_object_get_boolean(json_object_object_get(answer_json, "ok")));
	CU_ASSERT_TRUE(json_object_get_string_len(json_object_object_get(answer_json, "error")) >
		       0);
	json_object_put(answer_json);
}

static void test_control(void)
{
	static const char *const lines[] = {
		"\n",
		"hello\n",
		"{\n",
		"[]\n",
		"42\n",
		"null\n",
		"{}\n",
		"{\"command\":42}\n",
		"{\"command\":\"\"}\n",
		"{\"command\":\"no such thing\"}\n",
		"{\"command\":\"show\"}\n",
		"{\"command\":\"show\",\"function\":\"nonsense\"}\n",
		"{\"command\":\"show\",\"function\":[1,2]}\n",
		"{\"command\":\"restart\"}\n",
		"{\"command\":\"restart\",\"function\":\"0000:00:1f.7\"}\n",
		"{\"command\":\"drivers\"} {\"command\":\"drivers\"}\n",
	};
	char *large = malloc(1u << 20);

	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++)
		refused(lines[i], strlen(lines[i]));
	memset(large, '[', 1u << 20);
	large[(1u << 20) - 1] = '\n';
	refused(large, 1u << 20);
	memset(large, 0, 4096);
	large[4095] = '\n';
	refused(large, 4096);
	free(large);
	all_is_well();
}

static void test_control_crowd(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fds[100];

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/pcid.sock", rig.run);
	for (unsigned i = 0; i < 100; i++) {
		fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (!connect(fds[i], (const struct sockaddr *)&address, sizeof(address)))
			send(fds[i], "{\"command\":", 11, MSG_NOSIGNAL);
	}
	for (unsigned i = 0; i < 100; i++)
		close(fds[i]);
	all_is_well();
}

/* ---- arguments and configuration ---- */

/* Run pcid with these arguments; its exit code, or -1 if a signal ended it. What it says goes to
 * the log. */
static int run_pcid(const char *const *args)
{
	pid_t pid = fork();
	int status, log;

	if (!pid) {
		log = open(rig.log, O_WRONLY | O_APPEND);
		dup2(log, STDOUT_FILENO);
		dup2(log, STDERR_FILENO);
		execv(rig_program("pcid"), (char *const *)args);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define RUN(...) run_pcid((const char *const[]){"pcid", __VA_ARGS__, NULL})

static bool fails(int code)
{
	return code > 0 && code != 127;
}

static void test_arguments(void)
{
	char other[RIG_PATH], longer[300];

	snprintf(other, sizeof(other), "%s/other", rig.dir);
	memset(longer, 'x', sizeof(longer) - 1);
	longer[0] = '/';
	longer[sizeof(longer) - 1] = 0;
	CU_ASSERT_EQUAL(RUN("--version"), 0);
	CU_ASSERT_EQUAL(RUN("--help"), 0);
	CU_ASSERT_TRUE(fails(RUN("--no-such-option")));
	CU_ASSERT_TRUE(fails(RUN("--bus", "isa", "--runtime-dir", other)));
	CU_ASSERT_TRUE(fails(RUN("--bus", "qemu", "--runtime-dir", longer)));
	CU_ASSERT_TRUE(fails(RUN("--bus", "qemu", "--ready-fd", "x", "--runtime-dir", other)));
	CU_ASSERT_TRUE(fails(RUN("--bus", "qemu", "--ready-fd", "999", "--runtime-dir", other)));
	CU_ASSERT_TRUE(
		fails(RUN("--bus", "qemu", "--config", "/no/such/file", "--runtime-dir", other)));
	CU_ASSERT_TRUE(fails(
		RUN("--bus", "qemu", "--runtime-dir", other, "--", "-device", "no-such-device")));
	/* Another pcid has this directory. */
	CU_ASSERT_TRUE(fails(RUN("--bus", "qemu", "--runtime-dir", rig.run)));
	all_is_well();
}

/* A file with an error is skipped, with its name and line said, and pcid runs with the others. */
static void test_config(void)
{
	static const char *const bad[] = {
		"driver \"x\" {\n",
		"driver \"x\" {\n class = 1\n}\n",
		"driver \"x\" {\n command = \"x\"\n}\n",
		"driver \"x\" {\n class = 256\n command = \"x\"\n}\n",
		"driver \"x\" {\n class = 1\n command = \"x\"\n mode = \"rw\"\n}\n",
		"driver \"x\" {\n class = 1\n command = \"x\"\n service = \"../x\"\n}\n",
		"driver \"x\" {\n class = 1\n command = \"x\"\n user = \"no such user\"\n}\n",
		"driver \"x\" {\n class = 1\n command = \"x\"\n colour = 3\n}\n",
		"\001\002\003\n",
		"qemu {\n ram_mib = 1\n}\n",
	};
	struct rig second;
	char said[RIG_PATH + 8];

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		CU_ASSERT_EQUAL_FATAL(rig_create(&second, 300), 0);
		snprintf(said, sizeof(said), "%s:", second.config);
		CU_ASSERT_EQUAL(rig_start(&second, bad[i]), 0);
		CU_ASSERT_TRUE(rig_logged(&second, said));
		CU_ASSERT_EQUAL(rig_end(&second), 0);
	}
	rig_guard(&rig, 300);
	all_is_well();
}

/* ---- the program ---- */

static int start(void)
{
	int ret = rig_simple(&rig, 600, NULL, &shadow);

	snprintf(socket_path, sizeof(socket_path), "%s/disk/nvme0n1", rig.run);
	return ret;
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
	{"pass-through without permission", test_passthrough},
	{"indices that cannot be", test_indices},
	{"a header that changes", test_header},
	CU_TEST_INFO_NULL,
};

static CU_TestInfo pcid_tests[] = {
	{"requests at the control socket", test_control},
	{"a crowd at the control socket", test_control_crowd},
	{"arguments", test_arguments},
	{"configuration files", test_config},
	CU_TEST_INFO_NULL,
};

static CU_SuiteInfo suites[] = {
	{"bad channel messages", begin, end, NULL, NULL, channel_tests},
	{"bad requests", begin, end, NULL, NULL, ring_tests},
	{"bad input to pcid", begin, end, NULL, NULL, pcid_tests},
	CU_SUITE_INFO_NULL,
};

int main(void)
{
	int ret = 1;

	if (!start() && !CU_initialize_registry() && !CU_register_suites(suites))
		ret = rig_run_tests();
	if (rig_stop(&rig))
		ret = 1;
	free(shadow);
	return ret;
}
