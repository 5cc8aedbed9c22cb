// SPDX-License-Identifier: MIT
/*
 * A hostile consumer against a producer that serves a disk: every channel message, every index, and
 * SQEs of the block interface, in any order. See steps[] for what a byte of the input does.
 */
#include <errno.h>
#include <linux/falloc.h>
#include <unistd.h>

#include "fuzzdisk.h"
#include "fuzzpeer.h"

/* Small numbers often, any number at times: most of what is wrong is wrong by a little. */
static uint64_t amount(struct fuzz_input *in, uint64_t unit)
{
	uint8_t kind = fuzz_u8(in);

	if (kind < 0xc0)
		return (kind & 0x3f) * unit;
	if (kind < 0xf0)
		return fuzz_take(in, 2) * unit;
	return fuzz_take(in, 8);
}

static const uint8_t opcodes[] = {
	IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED, IORING_OP_READV, IORING_OP_WRITEV,
	IORING_OP_FSYNC,      IORING_OP_FALLOCATE,   IORING_OP_NOP,   IORING_OP_ASYNC_CANCEL,
};

static const uint32_t modes[] = {
	FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
	FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
};

/* A request that may well be right. */
static void likely_sqe(struct fuzz_input *in, struct io_uring_sqe *sqe)
{
	uint8_t what = fuzz_u8(in);

	*sqe = (struct io_uring_sqe){.flags = fuzz_u8(in), .user_data = fuzz_u8(in) % 8};
	sqe->buf_index = fuzz_u8(in) % 4;
	if (what & 0x40) {
		sqe->opcode = IORING_OP_URING_CMD;
		sqe->cmd_op = (what & 0x20 ? RINGABI_INTERFACE_BLOCK : 0) << 8 | (what & 7);
		sqe->addr = amount(in, what & 0x20 ? 4 : RINGABI_POOL_PAGE);
		sqe->len = (uint32_t)amount(in, what & 0x20 ? 64 : RINGABI_POOL_PAGE);
		fuzz_copy(in, sqe->cmd, what & 0x10 ? RINGABI_CMD_ARG_BYTES : 0);
		return;
	}
	sqe->opcode = opcodes[what % sizeof(opcodes)];
	sqe->rw_flags = what & 0x10 ? fuzz_u8(in) : 0;
	sqe->off = amount(in, 512);
	sqe->addr = amount(in, 512);
	if (what & 0x80) /* around the pool's end */
		sqe->addr = FUZZ_POOL_BYTES - sqe->addr % 65536;
	sqe->len = (uint32_t)amount(in, sqe->opcode <= IORING_OP_WRITEV ? 1 : 512);
	if (sqe->opcode == IORING_OP_ASYNC_CANCEL) {
		sqe->addr %= 8;
		sqe->off = sqe->len = 0;
	} else if (sqe->opcode == IORING_OP_FALLOCATE && !(what & 0x10)) {
		sqe->len = modes[what >> 3 & 1];
	}
}

static void read_answers(void)
{
	fuzz_expect(rawpeer_read(&peer) != -EPROTO, "what a producer says is of the ABI");
}

/* ---- steps ---- */

static void step_likely(struct fuzz_input *in)
{
	struct io_uring_sqe sqe;

	likely_sqe(in, &sqe);
	rawpeer_push(&peer, &sqe);
}

static void step_batch(struct fuzz_input *in)
{
	push_batch(in, likely_sqe);
}

static void step_reap(struct fuzz_input *in)
{
	(void)in;
	rawpeer_reap(&peer);
}

static void step_complete(struct fuzz_input *in)
{
	uint8_t which = fuzz_u8(in);

	fuzzdisk_complete(which & 7, which & 0x80 ? -5 : 0);
}

static void step_driver(struct fuzz_input *in)
{
	uint8_t how = fuzz_u8(in);

	fuzzdisk()->mode = (how & 0xf) % FUZZDISK_MODES;
	fuzzdisk()->refuse_pools = how & 0x10;
	fuzzdisk()->refuse_growth = how & 0x20;
}

static void step_hello(struct fuzz_input *in)
{
	rawpeer_hello(&peer, fuzz_u8(in) % 8);
	fuzz_run();
}

static void step_ring(struct fuzz_input *in)
{
	uint8_t size = fuzz_u8(in);

	rawpeer_attach_ring(&peer, 1u << (size & 7), size >> 3 ? 1u << (size >> 3) : 0);
	fuzz_run();
	read_answers();
}

static void step_message(struct fuzz_input *in)
{
	fuzz_send_raw(peer.channel, in);
}

/* Rights where the producer looks for them: the pool's own bytes, iovecs among them. */
static void step_pool_bytes(struct fuzz_input *in)
{
	uint64_t iov[8];
	unsigned n = 2 * (1 + fuzz_u8(in) % 4);

	for (unsigned i = 0; i < n; i++)
		iov[i] = amount(in, 512);
	(void)!pwrite(fuzz_fd(FUZZ_FD_POOL), iov, n * sizeof(*iov), (off_t)(fuzz_u8(in) * 512));
}

static void step_change_disk(struct fuzz_input *in)
{
	struct pcidipc_disk *disk = &fuzzdisk()->disk;
	uint8_t how = fuzz_u8(in);

	disk->info.flags ^= how & 1 ? RINGABI_BLOCK_READ_ONLY : RINGABI_BLOCK_NO_MEDIUM;
	pcidipc_disk_changed(disk);
}

static void step_read(struct fuzz_input *in)
{
	(void)in;
	read_answers();
}

static void (*const steps[])(struct fuzz_input *) = {
	fuzz_turn, step_likely,	  step_any,	   step_batch,	     step_scribble,
	step_reap, step_complete, step_driver,	   step_hello,	     step_ring,
	step_pool, step_message,  step_pool_bytes, step_change_disk, step_read,
};

static void set_up(struct fuzz_input *in)
{
	uint8_t how = fuzz_u8(in);
	int ends[2];

	fuzz_channel(ends);
	rawpeer_init(&peer, ends[0], RINGABI_INTERFACE_BLOCK);
	fuzzdisk_session(ends[1], how & 1);
	if (how & 2)
		return; /* the input has to do it */
	rawpeer_hello(&peer, 0);
	rawpeer_attach_ring(&peer, 8, 0);
	rawpeer_attach_pool(&peer, 0, fuzz_fd(FUZZ_FD_POOL), FUZZ_POOL_BYTES);
	rawpeer_attach_pool(&peer, 1, fuzz_fd(FUZZ_FD_BIG_POOL), FUZZ_BIG_POOL_BYTES);
	fuzz_run();
	read_answers();
	fuzz_expect(peer.ring, "a consumer that keeps the rules gets its ring");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};

	fuzzdisk();
	fuzz_begin();
	set_up(&in);
	while (in.left)
		steps[fuzz_u8(&in) % (sizeof(steps) / sizeof(*steps))](&in);
	fuzz_run();
	rawpeer_close(&peer);
	fuzzdisk_settle();
	fuzzdisk()->disk.info.flags &= ~(RINGABI_BLOCK_READ_ONLY | RINGABI_BLOCK_NO_MEDIUM);
	fuzz_end();
	return 0;
}
