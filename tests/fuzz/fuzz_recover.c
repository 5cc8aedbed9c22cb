// SPDX-License-Identifier: MIT
/*
 * A client whose producer goes: what answers at the socket then is of any kind (nobody, one that
 * hangs up, says anything, sends descriptors, or is a good successor), again and again. Every call
 * ends, every operation completes once, and a consumer that reconnects works or says why not.
 */
#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <pcidipc/consumer.h>
#include <pcidipc/task.h>

#include "../../libpcidipc/src/consumer_internal.h"
#include "fuzz.h"

#define ENTRIES 8u
#define OPS 6u

static char path[64];
static int listening = -1;
static int channel = -1; /* of the producer that is connected */
static struct pcidipc_producer_ring ring;

static struct pcidipc_consumer *consumer;
static struct pcidipc_op ops[OPS];
static bool flying[OPS];
static unsigned lost;

/* ---- the producer that there is ---- */

static void answer(const struct pcidipc_packet *asked, struct ringabi_msg *msg, int32_t result,
		   const int *fd)
{
	msg->type = asked->msg.type | RINGABI_MSG_REPLY;
	msg->size = (uint32_t)pcidipc_msg_bytes(asked->msg.type, 1);
	msg->tag = asked->msg.tag;
	msg->result = result;
	pcidipc_channel_send(channel, msg, fd, fd ? 1 : 0);
}

static void answer_hello(const struct pcidipc_packet *asked, int32_t result)
{
	static uint64_t generation;
	struct ringabi_hello_reply r = {.version_major = RINGABI_VERSION_MAJOR,
					.interface = RINGABI_INTERFACE_BLOCK,
					.max_sq_entries = ENTRIES,
					.max_cq_entries = 2 * ENTRIES,
					.max_pools = 4,
					.generation = ++generation};

	answer(asked, &r.msg, result, NULL);
}

static void answer_ring(const struct pcidipc_packet *asked)
{
	struct ringabi_attach_ring_reply r = {0};
	int fd = -1;

	if (ring.map.shared || pcidipc_producer_ring_create(&ring, ENTRIES, 2 * ENTRIES, 0, &fd))
		return;
	r.bytes = ring.map.bytes;
	answer(asked, &r.msg, 0, &fd);
	close(fd);
}

/* Answer what was asked, as it must be or with the error that the input wants. */
static void answer_all(int32_t result)
{
	struct ringabi_attach_pool_reply pool = {0};
	struct pcidipc_packet asked;

	while (channel >= 0 && pcidipc_channel_receive(channel, &asked, NULL) > 0) {
		if (asked.msg.type == RINGABI_MSG_HELLO)
			answer_hello(&asked, result);
		else if (asked.msg.type == RINGABI_MSG_ATTACH_RING)
			answer_ring(&asked);
		else if (asked.msg.type == RINGABI_MSG_ATTACH_POOL)
			answer(&asked, &pool.msg, result, NULL);
		pcidipc_packet_close(&asked);
	}
}

static void producer_ends(void)
{
	pcidipc_producer_ring_unmap(&ring);
	memset(&ring, 0, sizeof(ring));
	if (channel >= 0)
		close(channel);
	channel = -1;
}

static void accept_one(void)
{
	int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	producer_ends();
	channel = fd;
}

/* ---- the socket ---- */

static void start_listening(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (listening >= 0)
		return;
	strcpy(address.sun_path, path);
	unlink(path);
	listening = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	fuzz_expect(listening >= 0 && !bind(listening, (void *)&address, sizeof(address)) &&
			    !listen(listening, 4),
		    "a listening socket");
}

/* The socket stays without a listener, as after pcid's death, or goes in good order. */
static void stop_listening(bool in_order)
{
	if (listening >= 0)
		close(listening);
	listening = -1;
	if (in_order)
		unlink(path);
}

/* ---- the consumer ---- */

static void op_done(struct pcidipc_op *op, const struct pcidipc_cqe *cqe)
{
	(void)cqe;
	fuzz_expect(flying[op - ops], "an operation completes once");
	flying[op - ops] = false;
}

static void on_lost(struct pcidipc_consumer *c, int error, void *arg)
{
	(void)arg;
	fuzz_expect(error < 0 && pcidipc_consumer_error(c) == error, "lost has its reason");
	for (unsigned i = 0; i < OPS; i++)
		fuzz_expect(!flying[i], "operations complete before lost");
	lost++;
}

static void step_op(struct fuzz_input *in)
{
	unsigned i = fuzz_u8(in) % OPS;
	struct io_uring_sqe *sqe = flying[i] ? NULL : pcidipc_get_sqe(consumer);

	if (!sqe)
		return;
	io_uring_prep_nop(sqe);
	ops[i].done = op_done;
	flying[i] = !pcidipc_sqe_set_op(consumer, sqe, &ops[i]);
	pcidipc_submit(consumer);
}

/* ---- steps of the producer ---- */

static void step_run(struct fuzz_input *in)
{
	for (unsigned turns = 1 + fuzz_u8(in) % 8; turns; turns--)
		pcidipc_loop_turn(fuzz_loop(), false);
}

static void step_say(struct fuzz_input *in)
{
	if (channel >= 0)
		fuzz_send_raw(channel, in);
}

static void step_answer(struct fuzz_input *in)
{
	uint8_t how = fuzz_u8(in);

	answer_all(how & 1 ? -(how >> 1) : 0);
}

static void step_accept(struct fuzz_input *in)
{
	(void)in;
	if (listening >= 0)
		accept_one();
}

static void step_end(struct fuzz_input *in)
{
	uint8_t how = fuzz_u8(in);

	if (how & 1)
		producer_ends();
	else if (channel >= 0)
		shutdown(channel, how & 2 ? SHUT_RDWR : SHUT_WR);
}

static void step_listen(struct fuzz_input *in)
{
	uint8_t how = fuzz_u8(in);

	if (how & 3)
		start_listening();
	else
		stop_listening(how & 4);
}

static void step_cqe(struct fuzz_input *in)
{
	uint8_t how = fuzz_u8(in);
	struct io_uring_sqe sqe;

	if (!ring.map.shared)
		return;
	while (pcidipc_ring_next_sqe(&ring, &sqe) > 0) {
		pcidipc_ring_post_cqe(&ring, how & 0x80 ? how : sqe.user_data, 0, 0, NULL);
		if (how & 1)
			break;
	}
	if (pcidipc_ring_publish_cq(&ring))
		pcidipc_channel_wake(channel);
}

static void (*const steps[])(struct fuzz_input *) = {
	step_run, step_op, step_say, step_answer, step_accept, step_end, step_listen, step_cqe,
};

/* ---- an input ---- */

static bool is_lost(void *arg)
{
	(void)arg;
	if (!lost)
		stop_listening(true); /* no successor: in good order */
	producer_ends();
	return lost;
}

static int open_consumer(void)
{
	const struct pcidipc_consumer_params params = {
		.interface = RINGABI_INTERFACE_BLOCK, .sq_entries = ENTRIES, .patience_ms = 1};
	struct pcidipc_packet hello = {.msg = {RINGABI_MSG_HELLO, 0, 0, 0}};
	struct pcidipc_packet attach = {.msg = {RINGABI_MSG_ATTACH_RING, 0, 1, 0}};
	int ends[2], ret;

	/* Answers lie ready before the questions. */
	fuzz_channel(ends);
	channel = ends[1];
	answer_hello(&hello, 0);
	answer_ring(&attach);
	ret = pcidipc_consumer_adopt(ends[0], &params, &consumer);
	if (!ret)
		consumer->path = strdup(path);
	return ret;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};

	if (!*path)
		snprintf(path, sizeof(path), "/tmp/fuzz-recover.%d", (int)getpid());
	fuzz_begin();
	lost = 0;
	memset(flying, 0, sizeof(flying));
	start_listening();
	fuzz_expect(!open_consumer(), "a producer that keeps the rules is accepted");
	fuzz_expect(!pcidipc_consumer_attach_loop(consumer, fuzz_loop(), on_lost, NULL), "a watch");
	while (in.left)
		steps[fuzz_u8(&in) % (sizeof(steps) / sizeof(*steps))](&in);
	fuzz_run_until(is_lost, NULL, "a consumer without a producer is told");
	fuzz_expect(lost == 1, "once");
	if (consumer->successor_ready)
		fuzz_expect(consumer->successor >= 0, "a successor has a channel");
	pcidipc_consumer_close(consumer);
	consumer = NULL;
	for (unsigned i = 0; i < OPS; i++)
		fuzz_expect(!flying[i], "every operation is complete when close returns");
	stop_listening(true);
	fuzz_run();
	fuzz_end();
	return 0;
}
