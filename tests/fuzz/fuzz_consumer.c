// SPDX-License-Identifier: MIT
/*
 * A hostile producer against a consumer: answers to the handshake, rings that are none, CQEs for
 * nothing, indices that jump, answers to questions. The consumer must end every call and complete
 * every operation once, with an error or not.
 */
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <pcidipc/consumer.h>
#include <pcidipc/task.h>

#include "fuzz.h"

#define ENTRIES 8u
#define OPS 16u
#define TASKS 4u

/* The producer's side. */
static int channel;
static struct pcidipc_producer_ring ring;
static uint32_t last_tag, last_type;

/* The consumer's. */
static struct pcidipc_consumer *consumer;
static struct pcidipc_op ops[OPS];
static bool flying[OPS];
static unsigned tasks, lost;

/* ---- the producer: set-up ---- */

static void answer(uint32_t type, uint32_t tag, int32_t result, struct ringabi_msg *msg,
		   const int *fd)
{
	msg->type = type | RINGABI_MSG_REPLY;
	msg->size = (uint32_t)pcidipc_msg_bytes(type, 1);
	msg->tag = tag;
	msg->result = result;
	pcidipc_channel_send(channel, msg, fd, fd ? 1 : 0);
}

static void answer_hello(uint32_t features)
{
	struct ringabi_hello_reply r = {.version_major = RINGABI_VERSION_MAJOR,
					.interface = RINGABI_INTERFACE_BLOCK,
					.ring_features = features,
					.max_sq_entries = ENTRIES,
					.max_cq_entries = 2 * ENTRIES,
					.max_pools = RINGABI_MAX_POOLS,
					.generation = 1};

	answer(RINGABI_MSG_HELLO, 0, 0, &r.msg, NULL);
}

static void answer_ring(int fd, uint64_t bytes)
{
	struct ringabi_attach_ring_reply r = {.bytes = bytes};

	answer(RINGABI_MSG_ATTACH_RING, 1, 0, &r.msg, &fd);
}

/* A ring as it must be. */
static void good_set_up(uint32_t features)
{
	int fd;

	fuzz_expect(!pcidipc_producer_ring_create(&ring, ENTRIES, 2 * ENTRIES, features, &fd),
		    "a ring");
	answer_hello(features);
	answer_ring(fd, ring.map.bytes);
	close(fd);
}

/* A ring with a header that the input has changed, in a memfd of the size and seals that it says.
 */
static void send_odd_ring(struct fuzz_input *in)
{
	struct ringabi_ring header = {.magic = RINGABI_RING_MAGIC,
				      .version_major = RINGABI_VERSION_MAJOR,
				      .sq_entries = ENTRIES,
				      .cq_entries = 2 * ENTRIES,
				      .sq_offset = RINGABI_HEADER_BYTES,
				      .cq_offset = RINGABI_HEADER_BYTES + 512,
				      .bytes = 8192};
	int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	uint32_t *words = (void *)&header;

	for (unsigned n = fuzz_u8(in) % 4; n; n--) {
		unsigned at = fuzz_u8(in) % 10;

		words[at] = (uint32_t)fuzz_take(in, 4);
	}
	(void)!ftruncate(fd, (off_t)(fuzz_u8(in) & 1 ? fuzz_take(in, 2) : 8192));
	(void)!pwrite(fd, &header, sizeof(header), 0);
	fcntl(fd, F_ADD_SEALS, 7 & ~fuzz_u8(in));
	answer_ring(fd, 8192);
	close(fd);
}

/* ---- the producer: steps ---- */

static void step_message(struct fuzz_input *in)
{
	fuzz_send_raw(channel, in);
}

static void read_questions(void)
{
	struct pcidipc_packet packet;

	while (pcidipc_channel_receive(channel, &packet, NULL) > 0) {
		last_tag = packet.msg.tag;
		last_type = packet.msg.type;
		pcidipc_packet_close(&packet);
	}
}

static void step_answer(struct fuzz_input *in)
{
	unsigned char bytes[RINGABI_MSG_MAX_BYTES] = {0};
	uint8_t how = fuzz_u8(in);
	int fd = fuzz_fd(how);

	read_questions();
	if (how & 0x80)
		fuzz_copy(in, bytes, sizeof(bytes));
	if (pcidipc_msg_bytes(last_type + (how >> 4 & 1), 1))
		answer(last_type + (how >> 4 & 1), last_tag - (how >> 5 & 1), (int8_t)fuzz_u8(in),
		       (void *)bytes, how & 0x40 ? &fd : NULL);
}

static void step_event(struct fuzz_input *in)
{
	struct ringabi_event e = {.msg = {RINGABI_MSG_EVENT, sizeof(e), 0, 0},
				  .event = fuzz_u8(in)};
	struct ringabi_adopt a = {.msg = {RINGABI_MSG_ADOPT, sizeof(a), 0, 0}, .child = 1};
	int fd = fuzz_fd(FUZZ_FD_SOCKET);

	pcidipc_channel_send(channel, &e.msg, NULL, 0);
	pcidipc_channel_send(channel, &a.msg, &fd, e.event & 1);
}

static void step_scribble(struct fuzz_input *in)
{
	uint8_t which = fuzz_u8(in);
	int32_t value = (int32_t)fuzz_take(in, 4);
	uint32_t *words = (void *)((char *)ring.map.shared + (1 + which % 6) * RINGABI_LINE);

	*words = which & 0x80 ? (uint32_t)value : *words + (uint32_t)(value % 64);
}

/* A completion: of one of the SQEs that lie there, or of what the input says. */
static void step_cqe(struct fuzz_input *in)
{
	uint8_t how = fuzz_u8(in);
	struct ringabi_ring *shared = ring.map.shared;
	struct io_uring_cqe *cqe =
		(void *)(ring.map.cqes +
			 ((size_t)(shared->cq_tail & (2 * ENTRIES - 1)) << ring.map.cqe_shift));

	cqe->user_data = how & 0x40 ? fuzz_take(in, 8) : ring.map.sqes[how % ENTRIES].user_data;
	if (how & 0x20)
		cqe->user_data ^= fuzz_take(in, 5);
	cqe->res = (int32_t)fuzz_take(in, 2);
	pcidipc_store_release(&shared->cq_tail, shared->cq_tail + 1);
	if (how & 0x10)
		pcidipc_store_release(&shared->sq_head, shared->sq_tail);
}

static void step_hang_up(struct fuzz_input *in)
{
	if (fuzz_u8(in) < 16)
		shutdown(channel, SHUT_WR);
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
	fuzz_expect(!lost++, "a producer is lost once");
}

static void on_event(struct pcidipc_consumer *c, uint32_t event, void *arg)
{
	(void)c;
	(void)event;
	(void)arg;
}

static void on_adopt(struct pcidipc_consumer *c, uint32_t child, int fd, void *arg)
{
	(void)c;
	(void)child;
	(void)arg;
	close(fd);
}

static struct io_uring_sqe *new_sqe(void)
{
	struct io_uring_sqe *sqe = pcidipc_get_sqe(consumer);

	if (sqe)
		io_uring_prep_nop(sqe);
	return sqe;
}

static void step_op(struct fuzz_input *in)
{
	unsigned i = fuzz_u8(in) % OPS;
	struct io_uring_sqe *sqe = flying[i] ? NULL : new_sqe();

	if (!sqe)
		return;
	ops[i].done = op_done;
	flying[i] = !pcidipc_sqe_set_op(consumer, sqe, &ops[i]);
}

static void step_request(struct fuzz_input *in)
{
	uint8_t how = fuzz_u8(in);
	struct io_uring_sqe *sqe = new_sqe();

	if (sqe && how & 0x80)
		pcidipc_sqe_set_silent(consumer, sqe);
	else if (sqe)
		sqe->user_data = how;
}

static void step_submit(struct fuzz_input *in)
{
	(void)in;
	pcidipc_submit(consumer);
}

static void step_next(struct fuzz_input *in)
{
	struct pcidipc_cqe cqe;

	for (unsigned n = fuzz_u8(in) % 8; n && pcidipc_next_cqe(consumer, &cqe) > 0; n--)
		fuzz_expect(cqe.user_data >> 56 != 0xff, "operations' completions stay inside");
}

static void step_reap(struct fuzz_input *in)
{
	(void)in;
	pcidipc_consumer_reap(consumer);
}

static void call_task(void *arg)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_NOP};

	(void)arg;
	pcidipc_call(consumer, &sqe, NULL);
	tasks--;
}

static void pool_task(void *arg)
{
	uint16_t index;

	(void)arg;
	if (!pcidipc_consumer_attach_pool_fd(consumer, fuzz_fd(FUZZ_FD_POOL), FUZZ_POOL_BYTES,
					     &index, NULL))
		pcidipc_consumer_detach_pool(consumer, index);
	tasks--;
}

static void step_task(struct fuzz_input *in)
{
	bool pool = fuzz_u8(in) & 1;

	if (tasks < TASKS && !pcidipc_spawn(fuzz_loop(), pool ? pool_task : call_task, NULL))
		tasks++;
}

/* ---- an input ---- */

static void (*const steps[])(struct fuzz_input *) = {
	step_message, step_answer, step_event, step_scribble, step_cqe,	 step_hang_up, step_op,
	step_request, step_submit, step_next,  step_reap,     fuzz_turn, step_task,    step_cqe,
};

static int adopt(int end)
{
	struct pcidipc_consumer_params params = {.interface = RINGABI_INTERFACE_BLOCK,
						 .sq_entries = ENTRIES};

	return pcidipc_consumer_adopt(end, &params, &consumer);
}

static bool ended(void *arg)
{
	(void)arg;
	return !tasks && pcidipc_consumer_error(consumer);
}

static void play(struct fuzz_input *in)
{
	fuzz_expect(!pcidipc_consumer_attach_loop(consumer, fuzz_loop(), on_lost, NULL), "a watch");
	pcidipc_consumer_on_event(consumer, on_event, NULL);
	pcidipc_consumer_on_adopt(consumer, on_adopt, NULL);
	while (in->left)
		steps[fuzz_u8(in) % (sizeof(steps) / sizeof(*steps))](in);
	shutdown(channel, SHUT_WR);
	fuzz_run_until(ended, NULL, "every call ends when the producer has gone");
	fuzz_expect(lost == 1, "who watches is told that the producer is lost");
}

/* Without a loop: the calls that block. The producer has said all that it will say, so none may
 * block for good. */
static void play_blocking(struct fuzz_input *in)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_NOP};
	uint16_t index;

	while (in->left > 8)
		steps[1 + fuzz_u8(in) % 9](in);
	shutdown(channel, SHUT_WR);
	if (fuzz_u8(in) & 1)
		pcidipc_submit_and_wait(consumer, 1 + fuzz_u8(in) % 32);
	if (fuzz_u8(in) & 1)
		pcidipc_call(consumer, &sqe, NULL);
	if (fuzz_u8(in) & 1)
		pcidipc_consumer_attach_pool_fd(consumer, fuzz_fd(FUZZ_FD_POOL), FUZZ_POOL_BYTES,
						&index, NULL);
}

static void close_all(void)
{
	pcidipc_consumer_close(consumer);
	consumer = NULL;
	for (unsigned i = 0; i < OPS; i++)
		fuzz_expect(!flying[i], "every operation is complete when close returns");
	pcidipc_producer_ring_unmap(&ring);
	close(channel);
	fuzz_run();
	fuzz_end();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	uint8_t how = fuzz_u8(&in);
	int ends[2];

	fuzz_begin();
	last_tag = last_type = tasks = lost = 0;
	fuzz_channel(ends);
	channel = ends[1];
	if (how & 1) {
		if (how & 2)
			answer_hello(how & 4);
		else
			fuzz_send_raw(channel, &in);
		if (how & 8)
			send_odd_ring(&in);
		while (in.left)
			fuzz_send_raw(channel, &in);
		shutdown(channel, SHUT_WR);
		if (!adopt(ends[0]))
			pcidipc_consumer_close(consumer);
		consumer = NULL;
		close(channel);
		fuzz_end();
		return 0;
	}
	good_set_up(how & 4 ? RINGABI_RING_CQE32 : 0);
	fuzz_expect(!adopt(ends[0]), "a producer that keeps the rules is accepted");
	if (how & 2)
		play_blocking(&in);
	else
		play(&in);
	close_all();
	return 0;
}
