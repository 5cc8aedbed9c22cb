// SPDX-License-Identifier: MIT
/* xhcid on a controller of our own: what it tells the controller, to the bit, and how transfers
 * end. What goes wrong at the controller's end is in test_xhcid_hostile. */
#include "xhcirig.h"
#include "suites.h"

/* ---- starting ---- */

static void test_start(void)
{
	begin();
	m.cap[1] = 255 | 1u << 8 | 255u << 24; /* as many slots and ports as can be */
	m.cap[2] = 31u << 21 | 31u << 27 | 15u << 4;
	m.cap[4] |= HCC_CSZ;
	m.ext[2] = 0xff01; /* all of them USB 3 */
	CU_ASSERT_EQUAL_FATAL(start(), 0);
	CU_ASSERT_EQUAL(m.config, 255);
	CU_ASSERT_EQUAL(m.erstsz, 4);
	CU_ASSERT_EQUAL(le64toh(*(uint64_t *)model_at(m.dcbaap, 8)) % 4096, 0);
	CU_ASSERT_TRUE(m.portsc[255] & PORTSC_POWER);
	model_plug(255, SPEED_SUPER);
	UNTIL(m.announced == 1);
	CU_ASSERT_EQUAL(model_input(1, 1, 1) >> 16 & 0xff, 255);
	finish();
}

/* The firmware does not let go; afterwards it must not be interrupted for anything. */
static void test_hand_off(void)
{
	begin();
	m.ext[8] = XECP_LEGACY | LEGACY_BIOS_OWNED;
	m.ext[9] = 0xe011 | 0x1fee1fee | 7u << 29;
	m.ext[4] |= 4 << 8;
	CU_ASSERT_EQUAL_FATAL(start(), 0);
	CU_ASSERT_EQUAL(m.ext[8] & (LEGACY_BIOS_OWNED | LEGACY_OS_OWNED), LEGACY_OS_OWNED);
	CU_ASSERT_EQUAL(m.ext[9], 0x1fee1fee | 7u << 29); /* reserved bits as they were */
	finish();
}

static void test_packet_size(void)
{
	static const struct {
		uint8_t speed, packet;
		bool fits;
	} cases[] = {{SPEED_FULL, 8, true},   {SPEED_FULL, 16, true}, {SPEED_FULL, 64, true},
		     {SPEED_FULL, 9, false},  {SPEED_FULL, 7, false}, {SPEED_LOW, 8, true},
		     {SPEED_LOW, 64, false},  {SPEED_HIGH, 8, false}, {SPEED_SUPER, 9, true},
		     {SPEED_SUPER, 64, false}};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		unsigned port = cases[i].speed >= SPEED_SUPER ? 1 : 3;

		begin();
		CU_ASSERT_EQUAL_FATAL(start(), 0);
		m.packet0 = cases[i].packet;
		model_plug(port, cases[i].speed);
		UNTIL(m.announced || c->ports[port].given_up);
		CU_ASSERT_EQUAL(!c->ports[port].given_up, cases[i].fits);
		CU_ASSERT_EQUAL(m.commands[TRB_EVALUATE_CONTEXT], cases[i].speed == SPEED_FULL &&
									  cases[i].fits &&
									  cases[i].packet != 8);
		finish();
	}
}

/* ---- contexts ---- */

static void test_endpoints(void)
{
	struct interface *in;

	begin();
	in = stick_at(1, SPEED_SUPER);
	CU_ASSERT_EQUAL_FATAL(result, 0);
	CU_ASSERT_EQUAL(model_input(1, 0, 0), 0);
	CU_ASSERT_EQUAL(model_input(1, 0, 1), 1 | 1 << 3 | 1 << 4);
	CU_ASSERT_EQUAL(model_input(1, 1, 0), 4u << 27 | SPEED_SUPER << 20);
	CU_ASSERT_EQUAL(model_input(1, 4, 1), 1024u << 16 | 3 << 8 | 6 << 3 | 3 << 1);
	CU_ASSERT_EQUAL(model_input(1, 5, 1), 1024u << 16 | 3 << 8 | 2 << 3 | 3 << 1);
	CU_ASSERT_EQUAL(perform(in, RINGABI_USB_RESET_DEVICE, 0), 0);
	CU_ASSERT_EQUAL(model_input(1, 0, 1), 1 | 1 << 3 | 1 << 4);
	finish();
}

/* Hubs in a row, with a translator for each port; a full-speed hub would hand its parent's on. */
static void test_hubs(void)
{
	unsigned slot = 1;

	begin();
	CU_ASSERT_EQUAL_FATAL(start(), 0);
	model_plug(3, SPEED_HIGH);
	for (unsigned depth = 1; depth <= 4; depth++, slot++) {
		UNTIL(m.slot[slot].output && model_state(slot, 3) == EP_RUNNING &&
		      c->slots[slot]->hub && m.slot[slot].hub[MODEL_HUB_PORTS] & 1u << 8);
		CU_ASSERT_EQUAL(model_input(slot, 1, 0) & (SLOT_HUB | SLOT_MTT),
				SLOT_HUB | SLOT_MTT);
		CU_ASSERT_EQUAL(model_input(slot, 1, 1), MODEL_HUB_PORTS << 24 | 3 << 16);
		CU_ASSERT_EQUAL(model_input(slot, 1, 2), 1 << 16);	   /* think time */
		CU_ASSERT_EQUAL(model_input(slot, 4, 0) >> 16 & 0xff, 11); /* interval */
		model_plug_hub(slot, depth % 4 + 1, SPEED_HIGH);
	}
	UNTIL(m.slot[5].output && c->slots[5] && c->slots[5]->hub &&
	      m.slot[5].hub[MODEL_HUB_PORTS] & 1u << 8 && model_state(5, 3) == EP_RUNNING);
	model_plug_hub(5, 2, SPEED_LOW);
	m.packet0 = 8;
	UNTIL(m.announced == 1);
	CU_ASSERT_EQUAL(model_input(6, 1, 0) & 0xfffff, 0x21432);
	CU_ASSERT_EQUAL(model_input(6, 1, 0) & (SLOT_MTT | SLOT_HUB), SLOT_MTT);
	CU_ASSERT_EQUAL(model_input(6, 1, 2), 5 | 2 << 8);
	CU_ASSERT_EQUAL(model_input(6, 1, 1), 3 << 16);
	CU_ASSERT_STRING_EQUAL(c->slots[6]->path, "2-1.2.3.4.1.2");
	model_unplug(3); /* all of it at once */
	UNTIL(!c->slots[1]);
	CU_ASSERT_EQUAL(m.gone_children, 1);
	for (unsigned i = 1; i <= 6; i++)
		CU_ASSERT_TRUE(!m.slot[i].enabled);
	finish();
}

/* The same ports again and again. */
static void test_replug(void)
{
	begin();
	m.packet0 = 8;
	CU_ASSERT_EQUAL_FATAL(start(), 0);
	model_plug(3, SPEED_HIGH);
	m.packet0 = 64;
	UNTIL(m.slot[1].output && c->slots[1] && c->slots[1]->hub &&
	      m.slot[1].hub[MODEL_HUB_PORTS] & 1u << 8 && model_state(1, 3) == EP_RUNNING);
	for (unsigned i = 1; i <= 20; i++) {
		model_plug_hub(1, 2, SPEED_FULL);
		UNTIL(m.announced == i);
		model_unplug_hub(1, 2);
		UNTIL(m.gone_children == i && !c->slots[2]);
	}
	finish();
}

/* ---- interrupts ---- */

/* Two messages while the loop is awake. */
static void interrupt_twice(void)
{
	uint64_t one = 1;

	c->poller.arm(&c->poller); /* what came before is told */
	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL_FATAL(write(m.irq, &one, sizeof(one)), sizeof(one));
		for (unsigned turns = 0; turns < 1000 && (i ? !m.masked : !c->interrupted); turns++)
			pcidipc_loop_turn(c->loop, false);
	}
}

/* A controller that keeps quiet until it is told that we are idle is never masked; one that does
 * not is, until then. */
static void test_masks(void)
{
	struct interface *in;
	struct asked a;

	begin();
	in = stick_at(1, SPEED_SUPER);
	CU_ASSERT_EQUAL_FATAL(result, 0);
	for (unsigned i = 0; i < 50; i++) {
		ask(in, &a, 0x81, 512, 0);
		CU_ASSERT_EQUAL(finish_asked(&a), 512);
	}
	CU_ASSERT_EQUAL(m.masks, 0);
	interrupt_twice();
	CU_ASSERT_EQUAL(m.masks, 1);
	CU_ASSERT_TRUE(m.masked);
	c->poller.arm(&c->poller);
	CU_ASSERT_FALSE(m.masked);
	ask(in, &a, 0x81, 512, 0);
	CU_ASSERT_EQUAL(finish_asked(&a), 512);
	finish();
}

/* ---- transfers ---- */

static void test_sizes(void)
{
	static const uint32_t bytes[] = {0,	1,     512,   1023,   1024,    1025,
					 65535, 65536, 65537, 100000, 1 << 20, 7 << 20};
	struct interface *in;
	struct asked a;

	begin();
	in = stick_at(1, SPEED_SUPER);
	CU_ASSERT_EQUAL_FATAL(result, 0);
	for (unsigned i = 0; i < sizeof(bytes) / sizeof(*bytes); i++) {
		ask(in, &a, 0x81, bytes[i], 0);
		CU_ASSERT_EQUAL(finish_asked(&a), (int)bytes[i]);
		CU_ASSERT_TRUE(!bytes[i] || m.client[bytes[i] - 1] == 0x5a);
		ask(in, &a, 0x02, bytes[i], 0);
		CU_ASSERT_EQUAL(finish_asked(&a), (int)bytes[i]);
	}
	finish();
}

/* Short by any number, told once or twice. */
static void test_short(void)
{
	struct interface *in;
	struct asked a, b;

	begin();
	in = stick_at(1, SPEED_SUPER);
	CU_ASSERT_EQUAL_FATAL(result, 0);
	for (unsigned both = 0; both < 2; both++) {
		m.tells_both = both;
		for (uint32_t by = 1; by < 300000; by = by * 3 + 1) {
			m.holds_bulk = true;
			m.short_by = by;
			ask(in, &a, 0x81, 300000, 0);
			m.holds_bulk = false;
			ask(in, &b, 0x81, 200000, 0);
			CU_ASSERT_EQUAL(finish_asked(&a), 300000 - (int)by);
			CU_ASSERT_EQUAL(finish_asked(&b), by > 200000 ? 0 : 200000 - (int)by);
		}
	}
	m.short_by = 0;
	ask(in, &a, 0x81, 4096, 0);
	CU_ASSERT_EQUAL(finish_asked(&a), 4096);
	finish();
}

static void test_flags(void)
{
	const struct ringabi_usb_arg zero = {.endpoint = 0x02, .flags = RINGABI_USB_ZERO_PACKET};
	const struct ringabi_usb_arg exact = {.endpoint = 0x81, .flags = RINGABI_USB_SHORT_NOT_OK};
	struct interface *in;
	struct asked a;
	unsigned before;

	begin();
	in = stick_at(1, SPEED_SUPER);
	CU_ASSERT_EQUAL_FATAL(result, 0);
	before = m.transfers;
	submit(in, &a, RINGABI_USB_TRANSFER, &zero, 2048);
	CU_ASSERT_EQUAL(finish_asked(&a), 2048);
	CU_ASSERT_EQUAL(m.transfers, before + 2);
	submit(in, &a, RINGABI_USB_TRANSFER, &zero, 2047);
	CU_ASSERT_EQUAL(finish_asked(&a), 2047);
	CU_ASSERT_EQUAL(m.transfers, before + 3);
	submit(in, &a, RINGABI_USB_TRANSFER, &exact, 2048);
	CU_ASSERT_EQUAL(finish_asked(&a), 2048);
	m.short_by = 1;
	submit(in, &a, RINGABI_USB_TRANSFER, &exact, 2048);
	CU_ASSERT_EQUAL(finish_asked(&a), -EREMOTEIO);
	finish();
}

#define CSW_BYTES 13

static void expecting(struct interface *in, uint8_t flags, int res, uint64_t moved)
{
	const struct ringabi_usb_arg arg = {.endpoint = 0x81, .flags = flags | RINGABI_USB_EXPECT};
	struct asked a;

	m.holds_bulk = true;
	submit(in, &a, RINGABI_USB_TRANSFER, &arg, CSW_BYTES);
	memset(m.client + RINGABI_USB_MAX_EXPECTED, 0, CSW_BYTES); /* it has been read */
	m.holds_bulk = false;
	model_run_endpoint(in->device->slot, 3);
	UNTIL(a.done);
	CU_ASSERT_EQUAL(a.rq->big[0], moved);
	CU_ASSERT_EQUAL(finish_asked(&a), res);
	CU_ASSERT_EQUAL(m.client[0], 0x5a);
}

static void test_expected(void)
{
	uint8_t *expected;
	struct interface *in;

	begin();
	in = stick_at(1, SPEED_SUPER);
	CU_ASSERT_EQUAL_FATAL(result, 0);
	expected = m.client + RINGABI_USB_MAX_EXPECTED;
	memset(expected, 0x5a, CSW_BYTES);
	expecting(in, 0, CSW_BYTES, 0);
	for (unsigned i = 0; i < CSW_BYTES; i++) {
		memset(expected, 0x5a, CSW_BYTES);
		expected[i] ^= 1;
		expecting(in, 0, -EBADMSG, CSW_BYTES);
	}
	memset(expected, 0x5a, CSW_BYTES);
	m.short_by = 1;
	expecting(in, 0, -EBADMSG, CSW_BYTES - 1);
	memset(expected, 0x5a, CSW_BYTES);
	expecting(in, RINGABI_USB_SHORT_NOT_OK, -EBADMSG, CSW_BYTES - 1);
	finish();
}

static int refused(struct interface *in, uint8_t endpoint, uint8_t flags, uint32_t len, uint64_t at)
{
	const struct ringabi_usb_arg arg = {.endpoint = endpoint,
					    .flags = flags | RINGABI_USB_EXPECT};
	struct pcidipc_request *rq = calloc(1, sizeof(*rq) + request_bytes() + 64);
	int res;

	rq->session = (void *)in;
	rq->sqe.opcode = IORING_OP_URING_CMD;
	rq->sqe.cmd_op = RINGABI_USB_TRANSFER;
	rq->sqe.len = len;
	rq->sqe.addr = at;
	memcpy(rq->sqe.cmd, &arg, sizeof(arg));
	res = in->scheme.request(rq);
	free(rq);
	return res;
}

static void test_expected_refused(void)
{
	struct interface *in;

	begin();
	in = stick_at(1, SPEED_SUPER);
	CU_ASSERT_EQUAL_FATAL(result, 0);
	CU_ASSERT_EQUAL(refused(in, 0x81, 0, 0, 0), -EINVAL);
	CU_ASSERT_EQUAL(refused(in, 0x81, 0, RINGABI_USB_MAX_EXPECTED + 1, 0), -EINVAL);
	CU_ASSERT_EQUAL(refused(in, 0x02, 0, CSW_BYTES, 0), -EINVAL);
	memcpy(m.client, &(struct ringabi_usb_segment){.addr = 64, .len = CSW_BYTES},
	       sizeof(struct ringabi_usb_segment));
	CU_ASSERT_EQUAL(refused(in, 0x81, RINGABI_USB_SG, 1, 0), -EINVAL);
	CU_ASSERT_EQUAL(refused(in, 0x81, 0, CSW_BYTES, MODEL_CLIENT_BYTES - CSW_BYTES), -EFAULT);
	CU_ASSERT_EQUAL(refused(in, 0x81, 0, CSW_BYTES, UINT64_MAX - RINGABI_USB_MAX_EXPECTED),
			-EFAULT);
	CU_ASSERT_EQUAL(refused(in, 0x81, 0, RINGABI_USB_MAX_EXPECTED, MODEL_CLIENT_BYTES - 31),
			-EFAULT);
	finish();
}

/* A control transfer that is short by less than a setup packet. */
static void test_short_control(void)
{
	struct interface *in;
	struct asked a;

	begin();
	in = stick_at(1, SPEED_SUPER);
	CU_ASSERT_EQUAL_FATAL(result, 0);
	for (uint8_t more = 0; more < 20; more++) {
		const uint8_t setup[16] = {0x80, 6, 0, 1, 0, 0, 18 + more, 0};

		submit(in, &a, RINGABI_USB_CONTROL, setup, 18 + more);
		CU_ASSERT_EQUAL(finish_asked(&a), 18);
	}
	finish();
}

/* More than the ring takes waits its turn, in order. */
static void test_parking(void)
{
	static struct asked a[2500];
	struct interface *in;

	begin();
	in = stick_at(1, SPEED_SUPER);
	CU_ASSERT_EQUAL_FATAL(result, 0);
	for (unsigned round = 0; round < 2; round++) {
		m.holds_bulk = true;
		for (unsigned i = 0; i < 2500; i++)
			ask(in, &a[i], 0x81, 512 + i, 0);
		CU_ASSERT_TRUE(in->device->endpoints[3]->streams[0].parked_first != NULL);
		m.holds_bulk = false;
		if (round) { /* what is parked can be canceled, too */
			CU_ASSERT_EQUAL(in->scheme.cancel(a[2000].rq), 0);
			CU_ASSERT_EQUAL(finish_asked(&a[2000]), -ECANCELED);
		}
		model_run_endpoint(in->device->slot, 3);
		for (unsigned i = 0; i < 2500; i++)
			if (a[i].rq)
				CU_ASSERT_EQUAL(finish_asked(&a[i]), 512 + (int)i);
	}
	finish();
}

/* Any one of three in flight canceled, at every place of the ring: the others come through. */
static void test_cancel(void)
{
	struct interface *in;
	struct asked a[4];
	unsigned wrong = 0;

	begin();
	in = stick_at(1, SPEED_SUPER);
	CU_ASSERT_EQUAL_FATAL(result, 0);
	for (unsigned round = 0; round < 3000; round++) {
		unsigned mask = round & 1 ? 6 : round / 2 % 16;

		m.holds_bulk = true;
		for (unsigned i = 0; i < 4; i++)
			ask(in, &a[i], 0x81, (1 + (round + i) % 3) * 65536, 0);
		for (unsigned i = 0; i < 4; i++)
			if (mask & 1u << i)
				in->scheme.cancel(a[i].rq);
		for (unsigned i = 0; i < 4; i++)
			if (mask & 1u << i)
				wrong += finish_asked(&a[i]) != -ECANCELED;
		m.holds_bulk = false;
		model_run_endpoint(in->device->slot, 3);
		for (unsigned i = 0; i < 4; i++)
			if (a[i].rq)
				wrong +=
					finish_asked(&a[i]) != (int)((1 + (round + i) % 3) * 65536);
	}
	CU_ASSERT_EQUAL(wrong, 0);
	finish();
}

/* Each way to end badly, and what comes after. */
static void test_errors(void)
{
	static const struct {
		uint8_t code;
		int error;
	} cases[] = {{CC_STALL, -EPIPE},
		     {CC_BABBLE, -EOVERFLOW},
		     {CC_TRANSACTION, -EPROTO},
		     {CC_SPLIT, -EPROTO},
		     {CC_DATA_BUFFER, -EIO},
		     {CC_TRB, -EIO},
		     {CC_RESOURCE, -ENOSPC},
		     {200, -EIO},
		     {0, -ECANCELED} /* of no transfer */};
	struct interface *in;
	struct asked a, b;

	begin();
	in = stick_at(1, SPEED_SUPER);
	CU_ASSERT_EQUAL_FATAL(result, 0);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		m.holds_bulk = true;
		ask(in, &a, 0x81, 100000, 0);
		ask(in, &b, 0x81, 100000, 0);
		m.holds_bulk = false;
		if (cases[i].code)
			m.bulk_code = cases[i].code;
		else
			model_halt(1, 3, in->device->endpoints[3]->streams[0].ring.iova, 0);
		model_run_endpoint(1, 3);
		CU_ASSERT_EQUAL(finish_asked(&a), cases[i].error);
		CU_ASSERT_EQUAL(finish_asked(&b), -ECANCELED);
		ask(in, &a, 0x81, 512, 0);
		CU_ASSERT_EQUAL(finish_asked(&a), -EPIPE);
		CU_ASSERT_EQUAL(perform(in, RINGABI_USB_CLEAR_HALT, 0x81), 0);
		ask(in, &a, 0x81, 512, 0);
		CU_ASSERT_EQUAL(finish_asked(&a), 512);
	}
	finish();
}

static void test_time_limit(void)
{
	struct interface *in;
	struct asked a, b;

	begin();
	in = stick_at(1, SPEED_SUPER);
	CU_ASSERT_EQUAL_FATAL(result, 0);
	m.holds_bulk = true;
	ask(in, &a, 0x81, 512, 5);
	ask(in, &b, 0x81, 1024, 0);
	CU_ASSERT_EQUAL(finish_asked(&a), -ETIMEDOUT);
	CU_ASSERT_TRUE(!b.done);
	m.holds_bulk = false;
	model_run_endpoint(1, 3);
	CU_ASSERT_EQUAL(finish_asked(&b), 1024);
	finish();
}

/* A transfer right behind a CONFIGURE that fails must end too. */
static void test_configure_refused(void)
{
	const struct ringabi_usb_arg arg = {0};
	struct interface *in;
	struct asked a, b;

	begin();
	in = stick_at(1, SPEED_SUPER);
	CU_ASSERT_EQUAL_FATAL(result, 0);
	m.answer[TRB_CONFIGURE_ENDPOINT] = CC_BANDWIDTH;
	submit(in, &a, RINGABI_USB_CONFIGURE, &arg, 0);
	UNTIL(in->device->configure_lock.owner);
	ask(in, &b, 0x81, 512, 0);
	CU_ASSERT_EQUAL(finish_asked(&a), -ENOSPC);
	CU_ASSERT_TRUE(finish_asked(&b) < 0);
	m.answer[TRB_CONFIGURE_ENDPOINT] = 0;
	CU_ASSERT_EQUAL(perform(in, RINGABI_USB_CONFIGURE, 0), 0);
	ask(in, &b, 0x81, 512, 0);
	CU_ASSERT_EQUAL(finish_asked(&b), 512);
	finish();
}

/* And what there was before goes on working. */
static void test_configure_refused_again(void)
{
	struct interface *in;
	struct asked a;

	begin();
	in = stick_at(1, SPEED_SUPER);
	CU_ASSERT_EQUAL_FATAL(result, 0);
	m.answer[TRB_CONFIGURE_ENDPOINT] = CC_RESOURCE;
	CU_ASSERT_EQUAL(perform(in, RINGABI_USB_CONFIGURE, 0), -ENOSPC);
	ask(in, &a, 0x81, 70000, 0);
	CU_ASSERT_EQUAL(finish_asked(&a), 70000);
	finish();
}

static CU_TestInfo tests[] = {
	{"starting, with as much of everything as can be", test_start},
	{"the firmware's hand-off", test_hand_off},
	{"bMaxPacketSize0", test_packet_size},
	{"contexts of endpoints", test_endpoints},
	{"hubs in a row", test_hubs},
	{"plugged in again 20 times", test_replug},
	{"interrupts while awake", test_masks},
	{"every size", test_sizes},
	{"short packets", test_short},
	{"flags", test_flags},
	{"what is expected", test_expected},
	{"what cannot be expected", test_expected_refused},
	{"short control transfers", test_short_control},
	{"more than the ring takes", test_parking},
	{"cancel", test_cancel},
	{"errors and their recovery", test_errors},
	{"a time limit", test_time_limit},
	{"a configuration that is refused", test_configure_refused},
	{"and what there was before", test_configure_refused_again},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	pcidipc_log_init("test_xhcid", PCIDIPC_ERROR);
	return run_tests("xhcid", tests);
}
