// SPDX-License-Identifier: MIT
/*
 * The driver of an interface that asks xhcid for what it likes, of a stick on the controller model,
 * which errs as the input says. The stick is plugged in once, for all inputs; what an input has
 * asked is over at its end.
 */
#include "fuzz.h"

#include "../unit/xhcirig.h"

#define MOST 64 /* requests in flight */

static struct interface *in;
static struct asked asked[MOST];
static uint32_t wanted[MOST]; /* bytes, at most */

static const uint8_t config[] = {
	9, 2, 86,   0, 1,  1, 0, 0x80, 50,		 /* configuration */
	9, 4, 0,    0, 2,  8, 6, 0x50, 0,		 /* interface */
	7, 5, 0x81, 2, 0,  4, 0, 6,    0x30, 3, 0, 0, 0, /* IN */
	7, 5, 0x02, 2, 0,  4, 0, 6,    0x30, 3, 0, 0, 0, /* OUT */
	9, 4, 0,    1, 3,  8, 6, 0x62, 0,		 /* another setting */
	7, 5, 0x81, 2, 0,  4, 0, 6,    0x30, 3, 4, 0, 0, /* IN, streams */
	7, 5, 0x02, 2, 0,  4, 0, 6,    0x30, 3, 4, 0, 0, /* OUT, streams */
	7, 5, 0x83, 3, 64, 0, 8,			 /* interrupt */
};

/* The rig's assertions are for tests. */
CU_BOOL CU_assertImplementation(CU_BOOL value, unsigned line, const char *condition,
				const char *file, const char *function, CU_BOOL fatal)
{
	(void)line, (void)file, (void)function, (void)fatal;
	fuzz_expect(value, condition);
	return CU_TRUE;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	pcidipc_log_init("fuzz", getenv("FUZZ_VERBOSE") ? PCIDIPC_DEBUG : 0);
	begin();
	m.cap[4] |= 3 << 12; /* MaxPSASize */
	m.config_reply = config;
	m.config_bytes = sizeof(config);
	in = stick_at(1, SPEED_SUPER);
	return 0;
}

/* ---- what the driver asks ---- */

static int free_place(void)
{
	for (int i = 0; i < MOST; i++)
		if (!asked[i].rq)
			return i;
	return -1;
}

static struct ringabi_usb_arg random_arg(struct fuzz_input *input)
{
	static const uint8_t endpoints[] = {0x81, 0x02, 0x83, 0x81, 0x02, 0x04, 0x00, 0x91};
	uint8_t how = fuzz_u8(input);
	struct ringabi_usb_arg arg = {.endpoint = endpoints[how & 7],
				      .stream = fuzz_u8(input) % 18};

	if (how & 8)
		arg.flags = fuzz_u8(input) & 15;
	if (how & 16)
		arg.timeout_ms = 1 + fuzz_u8(input) % 4;
	if (how & 32)
		arg.value = fuzz_u8(input) % 4;
	if (how & 64)
		arg.streams = 1u << fuzz_u8(input) % 16;
	if ((how & 0xf8) == 0x80)
		fuzz_copy(input, &arg, sizeof(arg));
	return arg;
}

static void fill_segments(struct fuzz_input *input, uint32_t n)
{
	struct ringabi_usb_segment *list = (void *)m.client;

	for (uint32_t i = 0; i < n && i < 200; i++)
		list[i] = (struct ringabi_usb_segment){.addr = fuzz_take(input, 3),
						       .len = (uint32_t)fuzz_take(input, 2),
						       .buf_index = fuzz_u8(input) / 250,
						       .reserved = fuzz_u8(input) / 250};
}

static void push(struct fuzz_input *input, uint32_t op, const void *arg, uint32_t len)
{
	int place = free_place();
	struct pcidipc_request *rq;
	struct asked *a = &asked[place];

	if (place < 0)
		return;
	rq = calloc(1, sizeof(*rq) + request_bytes() + 64);
	*a = (struct asked){.rq = rq};
	wanted[place] = op == RINGABI_USB_TRANSFER ? RINGABI_USB_MAX_BYTES : UINT16_MAX;
	rq->session = (void *)in;
	rq->sqe.user_data = (uintptr_t)a;
	rq->sqe.opcode = IORING_OP_URING_CMD;
	rq->sqe.cmd_op = op;
	rq->sqe.len = len;
	rq->sqe.addr = fuzz_take(input, 2);
	rq->sqe.buf_index = fuzz_u8(input) / 200;
	if (fuzz_u8(input) > 250)
		rq->sqe.rw_flags = (int)fuzz_take(input, 4);
	memcpy(rq->sqe.cmd, arg, 16);
	a->res = in->scheme.request(rq);
	a->done = a->res != PCIDIPC_PENDING;
	in->scheme.flush((void *)in);
}

static void transfer(struct fuzz_input *input)
{
	struct ringabi_usb_arg arg = random_arg(input);
	uint32_t len = (uint32_t)fuzz_take(input, 3);

	if (arg.flags & RINGABI_USB_SG) {
		len = len % 140;
		fill_segments(input, len);
	}
	if (arg.flags & RINGABI_USB_EXPECT)
		len = len % (RINGABI_USB_MAX_EXPECTED + 4);
	push(input, RINGABI_USB_TRANSFER, &arg, len);
}

static void control(struct fuzz_input *input)
{
	uint8_t setup[16] = {0};

	fuzz_copy(input, setup, 8);
	setup[0] &= 0xa3;
	push(input, RINGABI_USB_CONTROL, setup,
	     fuzz_u8(input) > 250 ? 1 : (uint32_t)(setup[6] | setup[7] << 8));
}

/* A reset takes 13 ms, for the specification's sake: seldom. */
static void command(struct fuzz_input *input)
{
	static const uint32_t ops[] = {RINGABI_USB_CONFIGURE,  RINGABI_USB_CONFIGURE,
				       RINGABI_USB_CLEAR_HALT, RINGABI_USB_STOP,
				       RINGABI_USB_STOP,       RINGABI_USB_INFO,
				       RINGABI_USB_DESCRIPTOR, RINGABI_USB_CMD(99)};
	struct ringabi_usb_arg arg = random_arg(input);
	uint8_t which = fuzz_u8(input);

	if (which == 255)
		push(input, RINGABI_USB_RESET_DEVICE, &arg, 0);
	else
		push(input, ops[which & 7], &arg, fuzz_u8(input));
}

static void cancel(struct fuzz_input *input)
{
	struct asked *a = &asked[fuzz_u8(input) % MOST];

	if (a->rq && !a->done)
		in->scheme.cancel(a->rq);
	in->scheme.flush((void *)in);
}

static void err(struct fuzz_input *input)
{
	static const uint8_t codes[] = {0, CC_STALL, CC_BABBLE, CC_TRANSACTION, CC_SPLIT, 200};

	m.holds_bulk = fuzz_u8(input) & 1;
	m.tells_both = fuzz_u8(input) & 1;
	m.bulk_code = codes[fuzz_u8(input) % sizeof(codes)];
	m.short_by = fuzz_u8(input) & 1 ? (uint32_t)fuzz_take(input, 3) : 0;
}

/* ---- its end ---- */

static void collect(void)
{
	for (unsigned i = 0; i < MOST; i++) {
		struct asked *a = &asked[i];

		if (!a->rq || !a->done)
			continue;
		fuzz_expect(a->res <= (int)wanted[i], "no more is moved than was asked for");
		free(a->rq);
		a->rq = NULL;
	}
}

static bool all_over(void)
{
	collect();
	for (unsigned i = 0; i < MOST; i++)
		if (asked[i].rq)
			return false;
	return true;
}

static void settle(void)
{
	unsigned turns = 0;

	m.holds_bulk = m.tells_both = false;
	m.bulk_code = 0;
	m.short_by = 0;
	for (unsigned i = 0; i < MOST; i++)
		if (asked[i].rq && !asked[i].done)
			in->scheme.cancel(asked[i].rq);
	while (!all_over()) {
		fuzz_expect(turns++ < 100000, "every request ends");
		pcidipc_loop_turn(c->loop, true);
	}
	fuzz_expect(!c->dead, "the controller is not given up");
	fuzz_expect(!m.wild && !m.crossings && !m.td_sizes_wrong, "TRBs are right");
	fuzz_expect(in->device == c->ports[1].device, "the device is still there");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {data, size};

	for (unsigned steps = 0; input.left && steps < 300; steps++) {
		uint8_t what = fuzz_u8(&input);

		if (what < 100)
			transfer(&input);
		else if (what < 130)
			control(&input);
		else if (what < 160)
			command(&input);
		else if (what < 190)
			cancel(&input);
		else if (what < 210)
			err(&input);
		else
			pcidipc_loop_turn(c->loop, false);
		collect();
	}
	settle();
	return 0;
}
