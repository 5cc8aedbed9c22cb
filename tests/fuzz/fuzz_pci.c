// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A hostile driver against pcid: channel messages, indices and SQEs of the PCI interface, over a
 * bus in memory that is at times busy, full, or unable.
 */
#include <errno.h>
#include <string.h>

#include "../../pcid/driver.h"
#include "fakebus.h"
#include "fuzzpeer.h"

static struct pcid pcid;
static struct pcid_config configuration = {.user_dma_quota = 96u << 20};
static struct pcid_stanza stanza = {.name = "fuzz",
				    .service = "fuzz",
				    .user = "nobody",
				    .dma_quota = 64u << 20,
				    .max_children = 4,
				    .sandbox = PCID_SANDBOX_NO};
static struct pcid_driver driver;

/* ---- steps ---- */

static const uint32_t widths[] = {1, 2, 4, 8, 0, 3, 0x11, 0x09};

static void likely_sqe(struct fuzz_input *in, struct io_uring_sqe *sqe)
{
	uint8_t what = fuzz_u8(in);
	struct ringabi_pci_arg arg = {.index = fuzz_u8(in) % 8, .width = widths[what >> 5]};

	*sqe = (struct io_uring_sqe){.opcode = IORING_OP_URING_CMD,
				     .flags = fuzz_u8(in),
				     .cmd_op = RINGABI_PCI_CMD(what % 17),
				     .user_data = fuzz_u8(in) % 8};
	if (what & 0x10)
		arg.value = fuzz_take(in, 4);
	sqe->addr = fuzz_take(in, 2);
	memcpy((char *)sqe + offsetof(struct io_uring_sqe, cmd), &arg, sizeof(arg));
}

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

/* What a driver that forwards its clients' pools asks for; cancels too. */
static void step_common(struct fuzz_input *in)
{
	uint8_t what = fuzz_u8(in);
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD,
				   .flags = fuzz_u8(in) & ~IOSQE_IO_DRAIN,
				   .user_data = what % 8};

	sqe.cmd_op = what & 1 ? RINGABI_CMD_POOL_MAP : RINGABI_CMD_POOL_DETACH;
	sqe.buf_index = what >> 1 & 3;
	sqe.addr = what & 1 ? fuzz_take(in, 2) * RINGABI_POOL_PAGE : 0;
	sqe.len = what & 1 ? (uint32_t)fuzz_take(in, 2) * RINGABI_POOL_PAGE : 0;
	if (what & 0x80)
		sqe = (struct io_uring_sqe){.opcode = IORING_OP_ASYNC_CANCEL, .addr = what % 8};
	rawpeer_push(&peer, &sqe);
}

static void step_reap(struct fuzz_input *in)
{
	(void)in;
	rawpeer_reap(&peer);
	rawpeer_read(&peer);
}

static void step_answer(struct fuzz_input *in)
{
	uint8_t how = fuzz_u8(in);

	fakebus_answer(how & 1 ? -ENODEV : 0, how);
}

static void step_bus(struct fuzz_input *in)
{
	uint8_t how = fuzz_u8(in);
	struct fakebus *fb = fakebus();

	fb->busy = how & 1;
	fb->no_masks = how & 2;
	fb->maps_regions = how & 4;
	fb->full = how & 8;
	fb->no_reset = how & 16;
	if (!fb->busy)
		pcid_parked_run(&driver);
}

/* A message that is right but for what the input says, after HELLO. */
static void step_message(struct fuzz_input *in)
{
	static const uint8_t types[] = {
		RINGABI_MSG_HELLO,	   RINGABI_MSG_ATTACH_RING, RINGABI_MSG_ATTACH_POOL,
		RINGABI_MSG_ALLOC_VECTORS, RINGABI_MSG_MAP_REGION,  RINGABI_MSG_PUBLISH,
		RINGABI_MSG_ANNOUNCE,
	};
	unsigned char bytes[RINGABI_MSG_MAX_BYTES] = {0};
	struct ringabi_msg *msg = (void *)bytes;

	msg->type = types[fuzz_u8(in) % sizeof(types)];
	msg->size = (uint32_t)pcidipc_msg_bytes(msg->type, 0);
	fuzz_copy(in, bytes + sizeof(*msg), msg->size - sizeof(*msg));
	pcidipc_channel_send(peer.channel, msg, NULL, 0);
}

static void step_vectors(struct fuzz_input *in)
{
	struct ringabi_alloc_vectors m = {
		.msg = {RINGABI_MSG_ALLOC_VECTORS, sizeof(m), 1, 0},
		.least = fuzz_u8(in) % 8,
		.most = fuzz_u8(in) % 80,
	};

	pcidipc_channel_send(peer.channel, &m.msg, NULL, 0);
}

static void step_raw(struct fuzz_input *in)
{
	fuzz_send_raw(peer.channel, in);
}

static void (*const steps[])(struct fuzz_input *) = {
	step_likely, step_any, step_batch,   step_common,  fuzz_turn, step_scribble, step_reap,
	step_answer, step_bus, step_message, step_vectors, step_raw,  step_pool,
};

/* ---- an input ---- */

static void make_driver(bool child)
{
	static struct pcid_driver parent;

	memset(&driver, 0, sizeof(driver));
	driver.pcid = &pcid;
	driver.stanza = &stanza;
	driver.parent = &parent;
	parent.function = &fakebus()->function;
	driver.function = child ? NULL : &fakebus()->function;
	driver.claimed = !child;
	strcpy(driver.name, "fuzz");
	strcpy(driver.where, "0000:00:03.0");
	pcidipc_list_init(&driver.pools);
	pcidipc_list_init(&driver.services);
	pcidipc_list_init(&driver.children);
	pcidipc_list_init(&pcid.drivers);
	pcidipc_list_append(&pcid.drivers, &driver.link);
	pcid_scheme_init(&driver);
}

static void begin(uint8_t how)
{
	int ends[2];

	/* Nothing can be made below it, so what is published is checked and then refused. */
	strcpy(pcid.runtime_dir, "/proc/none");
	pcid.loop = fuzz_loop();
	pcid.config = &configuration;
	fuzz_begin();
	make_driver(how & 1);
	fuzz_channel(ends);
	rawpeer_init(&peer, ends[0], RINGABI_INTERFACE_PCI);
	fuzz_expect(!pcidipc_session_create(fuzz_loop(), &driver.scheme, ends[1], 0, NULL),
		    "a session");
	if (how & 2)
		return;
	rawpeer_hello(&peer, 0);
	rawpeer_attach_ring(&peer, 16, 0);
	rawpeer_attach_pool(&peer, 0, fuzz_fd(FUZZ_FD_BIG_POOL), FUZZ_BIG_POOL_BYTES);
	fuzz_run();
	rawpeer_read(&peer);
	fuzz_expect(peer.ring, "a driver that keeps the rules gets its ring");
}

static bool settled(void *arg)
{
	(void)arg;
	fakebus_answer(0, 0);
	pcid_parked_run(&driver);
	return !fakebus()->nreads && !pcidipc_scheme_sessions(&driver.scheme);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};

	begin(fuzz_u8(&in));
	while (in.left)
		steps[fuzz_u8(&in) % (sizeof(steps) / sizeof(*steps))](&in);
	fuzz_run();
	rawpeer_close(&peer);
	fakebus()->busy = false;
	fuzz_run_until(settled, NULL, "the session ends when its driver has gone");
	pcid_irq_free(&driver, false);
	pcid_children_remove(&driver, PCID_STOP_REMOVED);
	fuzz_expect(!driver.mapped_bytes && !driver.session, "nothing is mapped for nobody");
	fakebus_settle();
	fuzz_end();
	return 0;
}
