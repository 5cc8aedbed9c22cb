/* SPDX-License-Identifier: MIT */
/* Each side against one that keeps no rule: it loses its connection, and nobody else anything. */
#include "harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1u << 20)

static struct rig rig;

static int count_fds(pid_t pid)
{
	char path[64];
	int n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	CU_ASSERT_PTR_NOT_NULL_FATAL(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* The producer closes what it must soon after it has answered: let it have its turns. */
static void expect_fds(int count)
{
	for (int i = 0; i < 1000 && count_fds(rig.pid) != count; i++)
		rig_do(&rig, RIG_ECHO, 0, 0);
	CU_ASSERT_EQUAL(count_fds(rig.pid), count);
}

static int settled_fds(void)
{
	rig_do(&rig, RIG_ECHO, 0, 0);
	return count_fds(rig.pid);
}

/* ---- a client that speaks the channel by hand ---- */

static void await_readable(int channel)
{
	struct pollfd p = {.fd = channel, .events = POLLIN};

	poll(&p, 1, -1);
}

/* The next packet, or the error that the connection ended with. */
static int next_packet(int channel, struct pcidipc_packet *packet)
{
	int ret;

	while (!(ret = pcidipc_channel_receive(channel, packet, NULL)))
		await_readable(channel);
	return ret < 0 ? ret : 0;
}

static int talk(int channel, struct ringabi_msg *msg, const int *fds, unsigned nfds,
		struct pcidipc_packet *reply)
{
	int ret = pcidipc_channel_send(channel, msg, fds, nfds);

	if (!ret)
		ret = next_packet(channel, reply);
	return ret ? ret : reply->msg.result;
}

static struct ringabi_hello good_hello(void)
{
	return (struct ringabi_hello){
		.msg = {.type = RINGABI_MSG_HELLO, .size = sizeof(struct ringabi_hello)},
		.magic = RINGABI_CHANNEL_MAGIC,
		.version_major = RINGABI_VERSION_MAJOR,
		.interface = RIG_INTERFACE};
}

static int greet(void)
{
	struct ringabi_hello hello = good_hello();
	struct pcidipc_packet reply;
	int channel = rig_channel(&rig);

	CU_ASSERT_EQUAL(talk(channel, &hello.msg, NULL, 0, &reply), 0);
	rig_expect(&rig, "O0");
	return channel;
}

/* The connection has ended, and only that. */
static void expect_end(int channel, bool opened)
{
	struct pcidipc_packet packet;

	CU_ASSERT_EQUAL(next_packet(channel, &packet), -EPIPE);
	close(channel);
	if (opened)
		rig_expect(&rig, "C0");
	CU_ASSERT_EQUAL(rig_do(&rig, RIG_ECHO, 0, 77), 77);
}

static int hello_with(struct ringabi_hello hello)
{
	struct pcidipc_packet reply;
	int channel = rig_channel(&rig);
	int ret = talk(channel, &hello.msg, NULL, 0, &reply);

	expect_end(channel, false);
	return ret;
}

static void test_hellos(void)
{
	struct ringabi_hello h = good_hello();
	struct ringabi_attach_ring early = {
		.msg = {.type = RINGABI_MSG_ATTACH_RING, .size = sizeof(early)}};
	struct pcidipc_packet reply;
	int channel;

	rig_start(&rig, NULL);
	h.magic++;
	CU_ASSERT_EQUAL(hello_with(h), -EPROTO);
	h = good_hello();
	h.version_major++;
	CU_ASSERT_EQUAL(hello_with(h), -EPROTONOSUPPORT);
	h = good_hello();
	h.interface++;
	CU_ASSERT_EQUAL(hello_with(h), -EPROTONOSUPPORT);
	h = good_hello();
	h.open_flags = 1u << 31;
	CU_ASSERT_EQUAL(hello_with(h), -EINVAL);

	rig.knobs->open_result = -EBUSY;
	channel = rig_channel(&rig);
	h = good_hello();
	CU_ASSERT_EQUAL(talk(channel, &h.msg, NULL, 0, &reply), -EBUSY);
	rig.knobs->open_result = 0;
	rig_expect(&rig, "O0");
	expect_end(channel, false); /* never open, so never closed */

	channel = rig_channel(&rig);
	CU_ASSERT_EQUAL(pcidipc_channel_send(channel, &early.msg, NULL, 0), 0);
	expect_end(channel, false);
	channel = greet();
	CU_ASSERT_EQUAL(talk(channel, &h.msg, NULL, 0, &reply), -EPROTO); /* twice */
	expect_end(channel, true);
	rig_stop(&rig);
}

/* Who connects and says nothing makes room for others; who has said hello may be silent. */
static void test_silence(void)
{
	const struct rig_params params = {.hello_ms = 500};
	struct ringabi_hello hello = good_hello();
	struct pcidipc_packet reply;
	int greeted, silent;

	rig_start(&rig, &params);
	greeted = greet();
	silent = rig_channel(&rig);
	expect_end(silent, false); /* its time began after the other's */
	CU_ASSERT_EQUAL(talk(greeted, &hello.msg, NULL, 0, &reply), -EPROTO); /* it is there */
	expect_end(greeted, true);
	rig_stop(&rig);
}

/* Packets that are none of the ABI's. */
static void test_packets(void)
{
	unsigned char bytes[512] = {0};
	struct ringabi_msg *msg = (void *)bytes;
	static const struct {
		uint32_t type, size, sent;
	} bad[] = {
		{RINGABI_MSG_ATTACH_RING, 24, 16}, /* not what it says */
		{RINGABI_MSG_ATTACH_RING, 16, 24},
		{RINGABI_MSG_ATTACH_RING, 32, 32}, /* not the type's */
		{RINGABI_MSG_ATTACH_RING, 512, 512},
		{0, 16, 16},
		{11, 16, 16},
		{0x7fffffff, 24, 24},
		{RINGABI_MSG_HELLO | RINGABI_MSG_REPLY, 48, 48},
		{RINGABI_MSG_ADOPT, 24, 24},
		{RINGABI_MSG_EVENT, 24, 24},
		{RINGABI_MSG_PUBLISH, 48, 48}, /* not for this service */
		{RINGABI_MSG_HELLO, 32, 8},
	};

	rig_start(&rig, NULL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int channel = greet();

		msg->type = bad[i].type;
		msg->size = bad[i].size;
		CU_ASSERT_EQUAL(send(channel, bytes, bad[i].sent, MSG_NOSIGNAL), bad[i].sent);
		expect_end(channel, true);
	}
	rig_stop(&rig);
}

/* Descriptors that nobody asked for are closed, also those of messages that wait. */
static void test_fds(void)
{
	struct ringabi_attach_pool pool = {
		.msg = {.type = RINGABI_MSG_ATTACH_POOL, .size = sizeof(pool)}};
	struct ringabi_attach_ring ring = {
		.msg = {.type = RINGABI_MSG_ATTACH_RING, .size = sizeof(ring)}};
	struct ringabi_msg wake = {.type = RINGABI_MSG_WAKE, .size = sizeof(wake)};
	int before, channel, fds[RINGABI_MSG_MAX_FDS];
	unsigned n = RINGABI_MSG_MAX_FDS;

	rig_start(&rig, NULL);
	before = settled_fds();
	for (unsigned i = 0; i < n; i++)
		fds[i] = STDERR_FILENO;
	channel = greet();
	CU_ASSERT_EQUAL(pcidipc_channel_send(channel, &ring.msg, fds, 1), 0);
	expect_end(channel, true);
	channel = greet();
	CU_ASSERT_EQUAL(pcidipc_channel_send(channel, &pool.msg, fds, 2), 0);
	expect_end(channel, true);
	channel = greet();
	/* Fewer descriptors than an ordinary user may have under way: RLIMIT_NOFILE, 1024 as a
	 * rule. */
	for (int i = 0; i < 12; i++)
		CU_ASSERT_EQUAL(pcidipc_channel_send(channel, &wake, fds, n), 0);
	close(channel);
	rig_expect(&rig, "C0");
	expect_fds(before);
	rig_stop(&rig);
}

static void test_too_many_messages(void)
{
	struct ringabi_attach_pool m = {.msg = {.type = RINGABI_MSG_ATTACH_POOL, .size = sizeof(m)},
					.bytes = 2 * MIB};
	struct ringabi_msg wake = {.type = RINGABI_MSG_WAKE, .size = sizeof(wake)};
	struct pcidipc_packet reply;
	struct pcidipc_pool *pool;
	int channel, fd;

	rig_start(&rig, NULL);
	rig.knobs->gated = 2;
	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_create(2 * MIB, 0, &pool), 0);
	fd = pcidipc_pool_fd(pool);
	channel = greet();
	CU_ASSERT_EQUAL(pcidipc_channel_send(channel, &m.msg, &fd, 1), 0);
	rig_expect(&rig, "A0");
	for (int i = 0; i < 9; i++)
		CU_ASSERT_EQUAL(pcidipc_channel_send(channel, &m.msg, &fd, 1), 0);
	while (pcidipc_channel_send(channel, &wake, NULL, 0) != -EPIPE)
		; /* it does not listen any more, and closes when what it began is done */
	CU_ASSERT_EQUAL(rig_do(&rig, RIG_GATE, 0, 0), 0);
	CU_ASSERT_EQUAL(next_packet(channel, &reply), 0); /* to the first */
	CU_ASSERT_EQUAL(reply.msg.type, RINGABI_MSG_ATTACH_POOL | RINGABI_MSG_REPLY);
	expect_end(channel, false);
	rig_expect(&rig, "D0C0"); /* what had been attached goes */
	pcidipc_pool_destroy(pool);
	rig_stop(&rig);
}

/* ---- pools ---- */

static int memory(uint64_t bytes, int seals, unsigned flags)
{
	int fd = memfd_create("test", MFD_ALLOW_SEALING | MFD_CLOEXEC | flags);

	if (fd >= 0 && (ftruncate(fd, (off_t)bytes) || fcntl(fd, F_ADD_SEALS, seals))) {
		close(fd);
		return -1;
	}
	return fd;
}

static int attach(int channel, int fd, uint32_t index, uint64_t bytes)
{
	struct ringabi_attach_pool m = {.msg = {.type = RINGABI_MSG_ATTACH_POOL, .size = sizeof(m)},
					.index = index,
					.bytes = bytes};
	struct pcidipc_packet reply;

	return talk(channel, &m.msg, &fd, fd >= 0, &reply);
}

static void test_pools(void)
{
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW;
	int good, soft, crooked, huge, ends[2], channel, before;

	rig_start(&rig, NULL);
	channel = greet();
	before = settled_fds();
	good = memory(2 * MIB, seals, 0);
	soft = memory(2 * MIB, F_SEAL_GROW, 0);
	crooked = memory(2 * MIB + 4096, seals, 0);
	huge = memory(2 * MIB, seals, MFD_HUGETLB);
	CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
	CU_ASSERT_EQUAL(attach(channel, -1, 0, 2 * MIB), -EBADF);
	CU_ASSERT_EQUAL(attach(channel, good, RINGABI_MAX_POOLS, 2 * MIB), -EINVAL);
	CU_ASSERT_EQUAL(attach(channel, good, UINT32_MAX, 2 * MIB), -EINVAL);
	CU_ASSERT_EQUAL(attach(channel, good, 0, 4 * MIB), -EINVAL);
	CU_ASSERT_EQUAL(attach(channel, good, 0, 0), -EINVAL);
	CU_ASSERT_EQUAL(attach(channel, soft, 0, 2 * MIB), -EINVAL);
	CU_ASSERT_EQUAL(attach(channel, crooked, 0, 2 * MIB + 4096), -EINVAL);
	CU_ASSERT_EQUAL(attach(channel, ends[1], 0, 2 * MIB), -EINVAL);
	if (huge >= 0)
		CU_ASSERT_EQUAL(attach(channel, huge, 0, 2 * MIB), -EINVAL);
	expect_fds(before);
	CU_ASSERT_EQUAL(attach(channel, good, 0, 2 * MIB), 0);
	rig_expect(&rig, "A0");
	CU_ASSERT_EQUAL(attach(channel, good, 0, 2 * MIB), -EEXIST);
	expect_fds(before + 1);
	close(channel);
	rig_expect(&rig, "D0C0");
	for (size_t i = 0; i < 2; i++)
		close(ends[i]);
	close(good), close(soft), close(crooked), close(huge);
	rig_stop(&rig);
}

/* One client may not take the addresses that the others need. */
static void test_pool_bytes(void)
{
	const struct rig_params params = {.max_pool_bytes = 6 * MIB};
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW;
	int two, four, channel, other;

	rig_start(&rig, &params);
	two = memory(2 * MIB, seals, 0);
	four = memory(4 * MIB, seals, 0);
	channel = greet();
	CU_ASSERT_EQUAL(attach(channel, four, 0, 4 * MIB), 0);
	CU_ASSERT_EQUAL(attach(channel, four, 1, 4 * MIB), -EDQUOT);
	CU_ASSERT_EQUAL(attach(channel, two, 0, 2 * MIB), -EEXIST);
	CU_ASSERT_EQUAL(attach(channel, two, 1, 2 * MIB), 0);
	CU_ASSERT_EQUAL(attach(channel, two, 2, 2 * MIB), -EDQUOT);
	rig_expect(&rig, "A0A1");
	other = greet();
	CU_ASSERT_EQUAL(attach(other, four, 0, 4 * MIB), 0);
	rig_expect(&rig, "A0");
	close(channel);
	rig_expect(&rig, "D0D1C0");
	close(other);
	rig_expect(&rig, "D0C0");
	close(two), close(four);
	rig_stop(&rig);
}

/* A pool of all that a scheme permits which says nothing else, given back
 * by detach. */
static void test_pool_bytes_again(void)
{
	const uint64_t most = PCIDIPC_SESSION_POOL_BYTES;
	struct pcidipc_pool *large, *small;
	struct pcidipc_consumer *c;
	uint16_t index;

	rig_start(&rig, NULL);
	c = rig_open(&rig, 0, 0);
	rig_expect(&rig, "O0");
	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_create(most, 0, &large), 0);
	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_create(RINGABI_POOL_ALIGN, 0, &small), 0);
	for (int i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(pcidipc_consumer_attach_pool(c, large, &index), 0);
		CU_ASSERT_EQUAL(pcidipc_consumer_attach_pool(c, small, &index), -EDQUOT);
		CU_ASSERT_EQUAL(pcidipc_consumer_detach_pool(c, 0), 0);
	}
	CU_ASSERT_EQUAL(pcidipc_consumer_attach_pool(c, small, &index), 0);
	rig_expect(&rig, "A0D0A0D0A0");
	pcidipc_consumer_close(c);
	rig_expect(&rig, "D0C0");
	pcidipc_pool_destroy(large);
	pcidipc_pool_destroy(small);
	rig_stop(&rig);
}

/* ---- indices ---- */

static struct ringabi_ring *raw_ring(int channel)
{
	struct ringabi_attach_ring m = {.msg = {.type = RINGABI_MSG_ATTACH_RING, .size = sizeof(m)},
					.sq_entries = 8};
	struct pcidipc_consumer_ring ring;
	struct pcidipc_packet reply;

	CU_ASSERT_EQUAL_FATAL(talk(channel, &m.msg, NULL, 0, &reply), 0);
	CU_ASSERT_EQUAL_FATAL(pcidipc_consumer_ring_attach(&ring, reply.fds[0], 0), 0);
	pcidipc_packet_close(&reply);
	return ring.map.shared; /* stays mapped: the process is short-lived */
}

static void test_indices(void)
{
	static const uint32_t tails[] = {9, 1000, 0x80000000u, 0xffffffffu};

	rig_start(&rig, NULL);
	for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
		int channel = greet();
		struct ringabi_ring *ring = raw_ring(channel);

		__atomic_store_n(&ring->sq_tail, tails[i], __ATOMIC_SEQ_CST);
		pcidipc_channel_wake(channel);
		expect_end(channel, true);
	}
	rig_stop(&rig);
}

/* ---- many wakes ---- */

static void test_wakes_bounded(void)
{
	struct pcidipc_packet packet;
	struct pollfd readable = {.events = POLLIN};
	int ends[2], calls = 0, woken;

	CU_ASSERT_EQUAL_FATAL(pcidipc_channel_pair(ends), 0);
	for (int i = 0; i < 100; i++)
		pcidipc_channel_wake(ends[0]);
	do {
		woken = 0;
		CU_ASSERT_EQUAL(pcidipc_channel_receive(ends[1], &packet, &woken), 0);
		calls += woken;
	} while (woken);
	CU_ASSERT_EQUAL(calls, 100); /* one each time */
	for (int i = 0; i < 100; i++)
		pcidipc_channel_wake(ends[0]);
	readable.fd = ends[1];
	for (calls = 0; poll(&readable, 1, 0); calls++)
		CU_ASSERT_EQUAL(pcidipc_channel_receive(ends[1], &packet, NULL), 0);
	CU_ASSERT_TRUE(calls > 5 && calls < 50); /* a bounded number each time */
	close(ends[0]);
	close(ends[1]);
}

/* Who asks and does not read must not wait for an answer that was lost. */
static void test_full_channel(void)
{
	struct ringabi_event event = {.msg = {.type = RINGABI_MSG_EVENT, .size = sizeof(event)}};
	struct ringabi_msg asked = {.type = RINGABI_MSG_ANNOUNCE, .size = sizeof(asked)}, reply;
	struct pcidipc_packet packet;
	int ends[2], ret;

	CU_ASSERT_EQUAL_FATAL(pcidipc_channel_pair(ends), 0);
	while (!(ret = pcidipc_channel_send(ends[0], &event.msg, NULL, 0)))
		;
	CU_ASSERT_EQUAL(ret, -EAGAIN);
	ret = pcidipc_channel_reply(ends[0], &asked, &reply, sizeof(reply), 0, NULL, 0);
	CU_ASSERT_EQUAL(ret, -EAGAIN);
	while (!(ret = next_packet(ends[1], &packet)))
		CU_ASSERT_EQUAL(packet.msg.type, RINGABI_MSG_EVENT);
	CU_ASSERT_EQUAL(ret, -EPIPE);
	close(ends[0]);
	close(ends[1]);
}

static void test_wake_flood(void)
{
	int channel;
	pid_t pid;

	rig_start(&rig, NULL);
	channel = greet();
	fflush(stdout);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(60);
		for (;;)
			pcidipc_channel_wake(channel);
	}
	for (int i = 0; i < 200; i++)
		CU_ASSERT_EQUAL(rig_do(&rig, RIG_ECHO, 0, (uint32_t)i), i);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(channel);
	rig_expect(&rig, "C0");
	rig_stop(&rig);
}

/* ---- a producer that speaks the channel by hand ---- */

enum trick {
	ERROR_WITH_FDS,
	POSITIVE_RESULT,
	OTHER_REPLY,
	UNASKED_REPLY,
	EVENT_WITH_FDS,
	MANY_EVENTS,
	REQUEST,
	STRANGE_CQE,
	RUNAWAY_TAIL,
};

static void reply_to(int channel, const struct pcidipc_packet *asked, enum trick trick)
{
	struct ringabi_attach_pool_reply r = {0};
	struct ringabi_event event = {.msg = {.type = RINGABI_MSG_EVENT, .size = sizeof(event)}};
	int fds[] = {STDERR_FILENO, STDERR_FILENO};

	r.msg = (struct ringabi_msg){.type = asked->msg.type | RINGABI_MSG_REPLY,
				     .size = sizeof(r),
				     .tag = asked->msg.tag};
	if (trick == ERROR_WITH_FDS)
		r.msg.result = -ENOMEM;
	else if (trick == POSITIVE_RESULT)
		r.msg.result = 3;
	else if (trick == OTHER_REPLY)
		r.msg.type = RINGABI_MSG_ATTACH_RING | RINGABI_MSG_REPLY;
	else if (trick == UNASKED_REPLY)
		r.msg.tag += 12345;
	else if (trick == EVENT_WITH_FDS)
		pcidipc_channel_send(channel, &event.msg, fds, 2);
	else if (trick == REQUEST)
		pcidipc_channel_send(channel, &asked->msg, NULL, 0);
	else if (trick == MANY_EVENTS)
		for (int i = 0; i < 3000; i++)
			while (pcidipc_channel_send(channel, &event.msg, NULL, 0) == -EAGAIN)
				usleep(10);
	pcidipc_channel_send(channel, &r.msg, fds, trick == ERROR_WITH_FDS ? 2 : 0);
}

static void spoil_ring(struct pcidipc_producer_ring *ring, enum trick trick)
{
	if (trick == RUNAWAY_TAIL)
		__atomic_store_n(&ring->map.shared->cq_tail, 1000, __ATOMIC_SEQ_CST);
	if (trick == STRANGE_CQE) {
		pcidipc_ring_post_cqe(ring, 0xff00000100000003ull, 0, 0, NULL);
		pcidipc_ring_publish_cq(ring);
	}
}

static void fake_producer(int channel, enum trick trick)
{
	struct ringabi_hello_reply hello = {.version_major = RINGABI_VERSION_MAJOR,
					    .interface = RIG_INTERFACE,
					    .max_sq_entries = 8,
					    .max_cq_entries = 16,
					    .max_pools = 16};
	struct ringabi_attach_ring_reply attached = {0};
	struct pcidipc_producer_ring ring;
	struct pcidipc_packet asked;
	int fd;

	next_packet(channel, &asked);
	pcidipc_channel_reply(channel, &asked.msg, &hello.msg, sizeof(hello), 0, NULL, 0);
	next_packet(channel, &asked);
	if (pcidipc_producer_ring_create(&ring, 8, 16, 0, &fd))
		_exit(1);
	pcidipc_channel_reply(channel, &asked.msg, &attached.msg, sizeof(attached), 0, &fd, 1);
	spoil_ring(&ring, trick);
	while (!next_packet(channel, &asked))
		reply_to(channel, &asked, trick);
	_exit(0);
}

/* Attach a pool to such a producer: the error, and the connection's. */
static int suffer(enum trick trick, int *error)
{
	struct pcidipc_consumer_params params = {.interface = RIG_INTERFACE, .sq_entries = 8};
	int before = count_fds(getpid()), ends[2], ret;
	struct pcidipc_consumer *c;
	struct pcidipc_pool *pool;
	struct pcidipc_cqe cqe;
	uint16_t index;
	pid_t pid;

	CU_ASSERT_EQUAL_FATAL(pcidipc_channel_pair(ends), 0);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(60);
		close(ends[1]);
		fake_producer(ends[0], trick);
	}
	close(ends[0]);
	CU_ASSERT_EQUAL_FATAL(pcidipc_consumer_adopt(ends[1], &params, &c), 0);
	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_create(2 * MIB, 0, &pool), 0);
	if (trick == STRANGE_CQE || trick == RUNAWAY_TAIL)
		while (!(ret = pcidipc_next_cqe(c, &cqe)))
			;
	else
		ret = pcidipc_consumer_attach_pool(c, pool, &index);
	*error = pcidipc_consumer_error(c);
	pcidipc_consumer_close(c);
	pcidipc_pool_destroy(pool);
	waitpid(pid, NULL, 0);
	CU_ASSERT_EQUAL(count_fds(getpid()), before);
	return ret;
}

static void test_producers(void)
{
	int error;

	CU_ASSERT_EQUAL(suffer(ERROR_WITH_FDS, &error), -EPROTO);
	CU_ASSERT_EQUAL(error, -EPROTO);
	CU_ASSERT_EQUAL(suffer(POSITIVE_RESULT, &error), -EPROTO);
	CU_ASSERT_EQUAL(error, -EPROTO);
	CU_ASSERT_EQUAL(suffer(OTHER_REPLY, &error), -EPROTO);
	CU_ASSERT_EQUAL(error, -EPROTO);
	CU_ASSERT_EQUAL(suffer(UNASKED_REPLY, &error), -EPROTO);
	CU_ASSERT_EQUAL(error, -EPROTO);
	CU_ASSERT_EQUAL(suffer(EVENT_WITH_FDS, &error), -EPROTO);
	CU_ASSERT_EQUAL(suffer(MANY_EVENTS, &error), -EPROTO);
	CU_ASSERT_EQUAL(suffer(REQUEST, &error), -EPROTO);
	CU_ASSERT_EQUAL(suffer(STRANGE_CQE, &error), -EPROTO);
	CU_ASSERT_EQUAL(suffer(RUNAWAY_TAIL, &error), -EPROTO);
}

static CU_TestInfo tests[] = {
	{"hellos", test_hellos},
	{"silence", test_silence},
	{"packets", test_packets},
	{"descriptors that nobody wants", test_fds},
	{"too many messages", test_too_many_messages},
	{"pools", test_pools},
	{"pools beyond what one client may attach", test_pool_bytes},
	{"and again after a detach", test_pool_bytes_again},
	{"run-away indices", test_indices},
	{"wakes are read in portions", test_wakes_bounded},
	{"an answer that cannot be sent", test_full_channel},
	{"a flood of wakes", test_wake_flood},
	{"hostile producers", test_producers},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return harness_main("hostile", tests);
}
