// SPDX-License-Identifier: MIT
/*
 * A hostile producer behind a service's socket, in a process of its own, against the client
 * library. It breaks the rules and lives on, so nobody resets anything and nobody hangs up: the
 * client must find out by itself, get an error from whatever call it is in, and lose no descriptor
 * and no mapping by it.
 */
#include <CUnit/CUnit.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <pcidipc/log.h>
#include <pcidipc/scheme.h>
#include <pcidipc/task.h>

#include "fakeproducer.h"
#include "leaks.h"
#include "ramdisk.h"
#include "suites.h"

#define ENTRIES 8u
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

enum trick {
	/* instead of an answer to hello */
	HELLO_HANGS_UP,
	HELLO_OF_ANOTHER_TYPE,
	HELLO_TOO_SHORT,
	HELLO_WITH_FDS,
	HELLO_POSITIVE,
	HELLO_OTHER_VERSION,
	HELLO_OTHER_INTERFACE,
	HELLO_NO_ENTRIES,
	/* instead of the ring */
	RING_HANGS_UP,
	RING_WITHOUT_FD,
	RING_IS_NULL,
	RING_IS_DIRECTORY,
	RING_IS_SOCKET,
	RING_UNSEALED,
	RING_SHORT,
	RING_READ_ONLY,
	RING_HUGE_OFFSET,
	RING_OTHER_SIZE,
	/* once a request or a question has come */
	CQ_TAIL_JUMPS,
	CQ_TAIL_GOES_BACK,
	CQE_FOR_NOTHING,
	CQE_TWICE,
	MESSAGE_TOO_SHORT,
	MESSAGE_UNKNOWN,
	MESSAGES_WITHOUT_END,
	TRICKS,
};
#define FIRST_LATE CQ_TAIL_JUMPS
#define FIRST_ON_CHANNEL MESSAGE_TOO_SHORT

/* ---- the producer ---- */

static void next_packet(int channel, struct pcidipc_packet *packet)
{
	struct pollfd p = {.fd = channel, .events = POLLIN};

	while (!pcidipc_channel_receive(channel, packet, NULL))
		poll(&p, 1, -1);
}

static void answer_hello(int channel, enum trick trick)
{
	struct ringabi_hello_reply r = {.version_major = RINGABI_VERSION_MAJOR,
					.interface = RINGABI_INTERFACE_BLOCK,
					.max_sq_entries = ENTRIES,
					.max_cq_entries = 2 * ENTRIES,
					.max_pools = RINGABI_MAX_POOLS};
	size_t bytes = trick == HELLO_TOO_SHORT ? sizeof(r.msg) : sizeof(r);
	struct pcidipc_packet asked;
	int fd = STDERR_FILENO;

	next_packet(channel, &asked);
	if (trick == HELLO_HANGS_UP)
		return;
	if (trick == HELLO_OF_ANOTHER_TYPE)
		asked.msg.type = RINGABI_MSG_ATTACH_POOL;
	if (trick == HELLO_OTHER_VERSION)
		r.version_major++;
	if (trick == HELLO_OTHER_INTERFACE)
		r.interface = RINGABI_INTERFACE_USB;
	if (trick == HELLO_NO_ENTRIES)
		r.max_sq_entries = 0;
	pcidipc_channel_reply(channel, &asked.msg, &r.msg, bytes, trick == HELLO_POSITIVE ? 7 : 0,
			      &fd, trick == HELLO_WITH_FDS);
}

static int odd_memfd(enum trick trick)
{
	struct ringabi_ring header = {.magic = RINGABI_RING_MAGIC,
				      .version_major = RINGABI_VERSION_MAJOR,
				      .sq_entries = ENTRIES,
				      .cq_entries = 2 * ENTRIES,
				      .sq_offset = RINGABI_HEADER_BYTES,
				      .cq_offset = RINGABI_HEADER_BYTES + 512,
				      .bytes = 8192};
	int fd = memfd_create("odd", MFD_CLOEXEC | MFD_ALLOW_SEALING), seals = SEALS;

	if (trick == RING_HUGE_OFFSET)
		header.cq_offset = 0xffffffc0;
	if (trick == RING_OTHER_SIZE)
		header.sq_entries = 2 * ENTRIES;
	if (trick == RING_UNSEALED)
		seals = F_SEAL_GROW;
	if (trick == RING_READ_ONLY)
		seals |= F_SEAL_WRITE;
	if (ftruncate(fd, trick == RING_SHORT ? 64 : 8192) ||
	    pwrite(fd, &header, trick == RING_SHORT ? 64 : sizeof(header), 0) < 0 ||
	    fcntl(fd, F_ADD_SEALS, seals))
		abort();
	return fd;
}

static int odd_fd(enum trick trick)
{
	if (trick == RING_IS_NULL)
		return open("/dev/null", O_RDWR);
	if (trick == RING_IS_DIRECTORY)
		return open("/", O_RDONLY | O_DIRECTORY);
	if (trick == RING_IS_SOCKET)
		return socket(AF_UNIX, SOCK_STREAM, 0);
	return odd_memfd(trick);
}

static void answer_ring(int channel, enum trick trick, struct pcidipc_producer_ring *ring)
{
	struct ringabi_attach_ring_reply r = {0};
	struct pcidipc_packet asked;
	int fd;

	next_packet(channel, &asked);
	if (trick == RING_HANGS_UP)
		return;
	if (trick >= FIRST_LATE) {
		if (pcidipc_producer_ring_create(ring, ENTRIES, 2 * ENTRIES, 0, &fd))
			abort();
	} else {
		fd = odd_fd(trick);
	}
	r.bytes = ring->map.bytes;
	pcidipc_channel_reply(channel, &asked.msg, &r.msg, sizeof(r), 0, &fd,
			      trick != RING_WITHOUT_FD);
}

/* Until the client wants something, over the ring or over the channel. */
static void await_client(int channel, const struct pcidipc_producer_ring *ring)
{
	struct pollfd p = {.fd = channel, .events = POLLIN};

	while (!pcidipc_load_acquire(&ring->map.shared->sq_tail) && !poll(&p, 1, 0))
		sched_yield();
}

static void spoil_ring(struct pcidipc_producer_ring *ring, enum trick trick)
{
	struct io_uring_sqe sqe;

	if (trick == CQ_TAIL_JUMPS || trick == CQ_TAIL_GOES_BACK) {
		pcidipc_store_release(&ring->map.shared->cq_tail,
				      trick == CQ_TAIL_JUMPS ? 1000 : -1u);
		return;
	}
	while (!pcidipc_ring_next_sqe(ring, &sqe))
		sched_yield();
	if (trick == CQE_FOR_NOTHING)
		sqe.user_data = (0xffull << 56) + 5;
	for (int i = 0; i < 2; i++)
		pcidipc_ring_post_cqe(ring, sqe.user_data, 0, 0, NULL);
	pcidipc_ring_publish_cq(ring);
}

static void spoil_channel(int channel, enum trick trick)
{
	struct ringabi_event event = {.msg = {RINGABI_MSG_EVENT, sizeof(event), 0, 0}};

	if (trick == MESSAGE_TOO_SHORT)
		event.msg.size = sizeof(event.msg);
	if (trick == MESSAGE_UNKNOWN)
		event.msg.type = 77;
	do {
		struct pollfd p = {.fd = channel, .events = POLLOUT};

		if (pcidipc_channel_send(channel, &event.msg, NULL, 0) == -EAGAIN)
			poll(&p, 1, -1);
	} while (trick == MESSAGES_WITHOUT_END);
}

/* Does its worst on the first connection, and leaves all others unanswered. */
static void produce(int listener, enum trick trick)
{
	struct pollfd p = {.fd = listener, .events = POLLIN};
	struct pcidipc_producer_ring ring = {0};
	int channel;

	signal(SIGPIPE, SIG_IGN);
	poll(&p, 1, -1);
	channel = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	answer_hello(channel, trick);
	if (trick > HELLO_NO_ENTRIES)
		answer_ring(channel, trick, &ring);
	if (trick >= FIRST_LATE) {
		await_client(channel, &ring);
		if (trick >= FIRST_ON_CHANNEL)
			spoil_channel(channel, trick);
		else
			spoil_ring(&ring, trick);
		pcidipc_channel_wake(channel);
	} else if (trick == HELLO_HANGS_UP || trick == RING_HANGS_UP) {
		close(channel);
	}
	for (;;)
		pause();
}

/* ---- the client ---- */

struct victim {
	char path[64];
	int listener;
	pid_t producer;
	struct pcidipc_consumer *c;
	struct leaks before;
};

static int victim_open(struct victim *v, enum trick trick)
{
	struct pcidipc_consumer_params params = {
		.interface = RINGABI_INTERFACE_BLOCK, .sq_entries = ENTRIES, .patience_ms = 20};

	leaks_count(getpid(), &v->before);
	v->c = NULL;
	snprintf(v->path, sizeof(v->path), "/tmp/hostile.%d", (int)getpid());
	v->listener = pcidipc_listen_socket(v->path, 0600);
	CU_ASSERT_FATAL(v->listener >= 0);
	fflush(stdout);
	v->producer = fork();
	if (!v->producer) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		produce(v->listener, trick);
	}
	return pcidipc_consumer_open(v->path, &params, &v->c);
}

static void victim_close(struct victim *v)
{
	struct leaks after;

	pcidipc_consumer_close(v->c);
	kill(v->producer, SIGKILL);
	waitpid(v->producer, NULL, 0);
	close(v->listener);
	unlink(v->path);
	leaks_count(getpid(), &after);
	CU_ASSERT_EQUAL(after.fds, v->before.fds);
	CU_ASSERT_EQUAL(after.shared_maps, v->before.shared_maps);
}

static void test_set_up(void)
{
	struct victim v;

	for (unsigned trick = 0; trick < FIRST_LATE; trick++) {
		/* More fds than a message may carry are closed; otherwise that hello is a right
		 * one. */
		int ret = victim_open(&v, trick);

		CU_ASSERT(ret < 0);
		if (ret >= 0)
			printf("\ntrick %u: %d", trick, ret);
		victim_close(&v);
	}
}

static int call(struct victim *v)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_NOP};
	int ret = 0;

	/* The first may well succeed before the producer shows what it is. */
	for (int i = 0; i < 2 && !ret; i++)
		ret = pcidipc_call(v->c, &sqe, NULL);
	return ret;
}

static int submit_and_wait(struct victim *v)
{
	struct io_uring_sqe *sqe = pcidipc_get_sqe(v->c);

	io_uring_prep_nop(sqe);
	sqe->user_data = 1;
	return pcidipc_submit_and_wait(v->c, 3);
}

static int poll_cqes(struct victim *v)
{
	struct io_uring_sqe *sqe = pcidipc_get_sqe(v->c);
	struct pcidipc_cqe cqe;
	int ret;

	io_uring_prep_nop(sqe);
	sqe->user_data = 1;
	pcidipc_submit(v->c);
	while ((ret = pcidipc_next_cqe(v->c, &cqe)) >= 0)
		;
	return ret;
}

static int attach_pool(struct victim *v)
{
	return fake_ask(v->c);
}

/* In a task, on a loop. */
struct task_call {
	struct victim *v;
	int (*call)(struct victim *v);
	int ret;
	bool done;
};

static void run_task(void *arg)
{
	struct task_call *t = arg;

	t->ret = t->call(t->v);
	t->done = true;
}

static int in_task(struct victim *v, int (*function)(struct victim *v))
{
	struct task_call t = {.v = v, .call = function};
	struct pcidipc_loop *loop;

	CU_ASSERT_EQUAL_FATAL(pcidipc_loop_create(0, &loop), 0);
	CU_ASSERT_EQUAL_FATAL(pcidipc_consumer_attach_loop(v->c, loop, NULL, NULL), 0);
	CU_ASSERT_EQUAL_FATAL(pcidipc_spawn(loop, run_task, &t), 0);
	while (!t.done)
		pcidipc_loop_turn(loop, true);
	pcidipc_consumer_close(v->c);
	v->c = NULL;
	pcidipc_loop_destroy(loop);
	return t.ret;
}

static int call_in_task(struct victim *v)
{
	return in_task(v, call);
}

static int attach_in_task(struct victim *v)
{
	return in_task(v, attach_pool);
}

static void suffer(unsigned trick, int (*function)(struct victim *v))
{
	struct victim v;
	int ret;

	CU_ASSERT_EQUAL_FATAL(victim_open(&v, trick), 0);
	ret = function(&v);
	CU_ASSERT_EQUAL(ret, -EPROTO);
	if (ret != -EPROTO)
		printf("\ntrick %u: %d", trick, ret);
	/* And after that every call says so, at once. */
	if (v.c) {
		CU_ASSERT_EQUAL(pcidipc_consumer_error(v.c), -EPROTO);
		CU_ASSERT_EQUAL(attach_pool(&v), -EPROTO);
		CU_ASSERT_EQUAL(call(&v), -EPROTO);
	}
	victim_close(&v);
}

static void test_ring(void)
{
	int (*const calls[])(struct victim *) = {submit_and_wait, poll_cqes};

	for (unsigned trick = FIRST_LATE; trick < CQE_TWICE; trick++)
		for (unsigned i = 0; i < 2; i++)
			suffer(trick, calls[i]);
	for (unsigned trick = FIRST_LATE; trick < FIRST_ON_CHANNEL; trick++) {
		suffer(trick, call);
		suffer(trick, call_in_task);
	}
}

static void test_channel(void)
{
	int (*const calls[])(struct victim *) = {call,	      submit_and_wait, poll_cqes,
						 attach_pool, call_in_task,    attach_in_task};

	for (unsigned trick = FIRST_ON_CHANNEL; trick < TRICKS; trick++)
		for (unsigned i = 0; i < sizeof(calls) / sizeof(*calls); i++)
			suffer(trick, calls[i]);
}

static CU_TestInfo tests[] = {
	{"handshakes", test_set_up},
	{"rings", test_ring},
	{"messages", test_channel},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	pcidipc_log_init("test", getenv("VERBOSE") ? PCIDIPC_INFO : 0);
	return run_tests("hostile producers", tests);
}
