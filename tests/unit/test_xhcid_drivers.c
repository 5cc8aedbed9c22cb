// SPDX-License-Identifier: MIT
/* What the drivers of interfaces ask of xhcid, on a controller of our own: streams, several
 * interfaces of a device, resets, and what is not theirs to ask. */
#include "xhcirig.h"
#include "suites.h"

/* ---- streams ---- */

static const uint8_t streams_config[] = {
	9, 2, 44,   0, 1, 1, 0, 0x80, 50,		/* configuration */
	9, 4, 0,    0, 2, 8, 6, 0x62, 0,		/* interface */
	7, 5, 0x81, 2, 0, 4, 0, 6,    0x30, 3, 4, 0, 0, /* IN, 16 streams */
	7, 5, 0x02, 2, 0, 4, 0, 6,    0x30, 3, 0, 0, 0, /* OUT, none */
};

static struct interface *begin_streams(uint16_t streams)
{
	const struct ringabi_usb_arg arg = {.streams = streams};
	struct interface *in;
	struct asked a;

	begin();
	m.cap[4] |= 3 << 12; /* MaxPSASize */
	m.config_reply = streams_config;
	m.config_bytes = sizeof(streams_config);
	in = stick_at(1, SPEED_SUPER);
	CU_ASSERT_EQUAL_FATAL(result, 0);
	submit(in, &a, RINGABI_USB_CONFIGURE, &arg, 0);
	CU_ASSERT_EQUAL(finish_asked(&a), 0);
	return in;
}

static void ask_stream(struct interface *in, struct asked *a, uint16_t stream, uint32_t len)
{
	const struct ringabi_usb_arg arg = {.endpoint = 0x81, .stream = stream};

	submit(in, a, RINGABI_USB_TRANSFER, &arg, len);
}

static void test_streams(void)
{
	struct interface *in = begin_streams(16);
	struct asked a[10];

	CU_ASSERT_EQUAL(in->device->endpoints[3]->nstreams, 8); /* what the controller has */
	CU_ASSERT_EQUAL(model_input(1, 4, 0) >> 10 & 31, 3);	/* MaxPStreams: 2 << 3 */
	CU_ASSERT_TRUE(model_input(1, 4, 0) & EP_LINEAR_STREAMS);
	CU_ASSERT_EQUAL(in->device->endpoints[4]->nstreams, 0);
	for (unsigned round = 0; round < 100; round++) {
		for (uint16_t i = 0; i < 10; i++)
			ask_stream(in, &a[i], i, 70000 + i);
		CU_ASSERT_EQUAL(finish_asked(&a[0]), -ENOENT);
		CU_ASSERT_EQUAL(finish_asked(&a[9]), -ENOENT);
		for (unsigned i = 1; i < 9; i++)
			CU_ASSERT_EQUAL(finish_asked(&a[i]), 70000 + (int)i);
	}
	finish();
}

/* One of them is stopped; the others, and what comes after it, go on. */
static void test_stop_stream(void)
{
	const struct ringabi_usb_arg stop = {.endpoint = 0x81, .stream = 3};
	struct interface *in = begin_streams(8);
	struct asked a[9], b;

	for (unsigned round = 0; round < 30; round++) {
		m.holds_bulk = true;
		for (uint16_t i = 1; i < 9; i++)
			ask_stream(in, &a[i], i, 4096 + i);
		submit(in, &b, RINGABI_USB_STOP, &stop, 0);
		CU_ASSERT_EQUAL(finish_asked(&b), 0);
		CU_ASSERT_EQUAL(finish_asked(&a[3]), -ECANCELED);
		in->scheme.cancel(a[5].rq);
		CU_ASSERT_EQUAL(finish_asked(&a[5]), -ECANCELED);
		m.holds_bulk = false;
		for (unsigned i = 1; i < 9; i++)
			model_run_stream(1, 3, i);
		for (unsigned i = 1; i < 9; i++)
			if (a[i].rq)
				CU_ASSERT_EQUAL(finish_asked(&a[i]), 4096 + (int)i);
	}
	finish();
}

/* A halt on one ends what is on all of them; then all of them work again. */
static void test_stall_stream(void)
{
	struct interface *in = begin_streams(4);
	struct asked a[5];

	m.holds_bulk = true;
	for (uint16_t i = 1; i < 5; i++)
		ask_stream(in, &a[i], i, 4096);
	m.holds_bulk = false;
	m.bulk_code = CC_STALL;
	model_run_stream(1, 3, 2);
	for (unsigned i = 1; i < 5; i++)
		CU_ASSERT_EQUAL(finish_asked(&a[i]), i == 2 ? -EPIPE : -ECANCELED);
	CU_ASSERT_EQUAL(perform(in, RINGABI_USB_CLEAR_HALT, 0x81), 0);
	for (uint16_t i = 1; i < 5; i++) {
		ask_stream(in, &a[i], i, 100);
		CU_ASSERT_EQUAL(finish_asked(&a[i]), 100);
	}
	finish();
}

/* ---- what a driver may ask of its device ---- */

static void test_allowed(void)
{
	static const struct {
		uint8_t type, request, length;
		bool fits;
	} cases[] = {{0x80, 6, 18, true},  {0x80, 0, 2, true},	{0x81, 10, 1, true},
		     {0x80, 9, 0, false},  {0x80, 9, 8, false}, {0x81, 11, 0, false},
		     {0x82, 1, 0, false},  {0x80, 3, 0, false}, {0x80, 6, 0, false},
		     {0x00, 9, 0, false},  {0x80, 7, 2, false}, {0xa1, 0xfe, 1, true},
		     {0x21, 0xff, 0, true}};
	struct interface *in;
	struct asked a;

	begin();
	in = stick_at(1, SPEED_SUPER);
	CU_ASSERT_EQUAL_FATAL(result, 0);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const uint8_t setup[16] = {cases[i].type,  cases[i].request, 0, 1, 0, 0,
					   cases[i].length};

		submit(in, &a, RINGABI_USB_CONTROL, setup, cases[i].length);
		CU_ASSERT_EQUAL(finish_asked(&a) != -EPERM, cases[i].fits);
	}
	finish();
}

/* ---- reset ---- */

/* Another stick of the same kind, plugged in while the reset was under way. */
static void test_reset_replugged(void)
{
	const struct ringabi_usb_arg arg = {0};
	struct interface *in;
	struct asked a;

	begin();
	in = stick_at(1, SPEED_SUPER);
	CU_ASSERT_EQUAL_FATAL(result, 0);
	submit(in, &a, RINGABI_USB_RESET_DEVICE, &arg, 0);
	m.portsc[1] |= PORTSC_CONNECT_CHANGE;
	CU_ASSERT_EQUAL(finish_asked(&a), -ENODEV);
	UNTIL(m.announced == 2 && m.gone_children == 1 && !c->ports[1].busy);
	CU_ASSERT_EQUAL(perform(&c->ports[1].device->interfaces[0], RINGABI_USB_CONFIGURE, 0), 0);
	finish();
}

/* A device that does not survive it, while its driver goes on queueing: it alone is lost. */
static void test_reset_fails(void)
{
	static const uint8_t other[] = {9, 2, 18, 0, 1, 1, 0, 0x80, 50,
					9, 4, 0,  0, 0, 8, 6, 0x50, 0};
	const struct ringabi_usb_arg arg = {0};
	struct interface *in;
	struct asked a, b;

	begin();
	in = stick_at(1, SPEED_SUPER);
	CU_ASSERT_EQUAL_FATAL(result, 0);
	m.config_reply = other;
	m.config_bytes = sizeof(other);
	submit(in, &a, RINGABI_USB_RESET_DEVICE, &arg, 0);
	while (!a.done) {
		ask(in, &b, 0x81, 512, 0);
		finish_asked(&b); /* with its data, or with an error */
		pcidipc_loop_turn(c->loop, true);
	}
	CU_ASSERT_EQUAL(finish_asked(&a), -ENODEV);
	UNTIL(m.announced == 2);
	CU_ASSERT_FALSE(c->dead);
	finish();
}

/* ---- a device with two interfaces ---- */

static const uint8_t composite_config[] = {
	9, 2, 55,   0, 2,  1, 0, 0x80, 50,		      /* configuration */
	9, 4, 0,    0, 2,  8, 6, 0x50, 0,		      /* interface 0 */
	7, 5, 0x81, 2, 64, 0, 0, 7,    5,  0x02, 2, 64, 0, 0, /* IN, OUT */
	9, 4, 1,    0, 2,  8, 6, 0x50, 0,		      /* interface 1 */
	7, 5, 0x83, 2, 64, 0, 0, 7,    5,  0x04, 2, 64, 0, 0, /* IN, OUT */
};

static void close_task(void *arg)
{
	struct interface *in = arg;

	in->scheme.close(arg);
	flag = true;
}

/* The driver of one of them cannot take the device away from the other. */
static void test_composite(void)
{
	struct interface *in, *other;
	struct asked a;

	begin();
	m.config_reply = composite_config;
	m.config_bytes = sizeof(composite_config);
	m.packet0 = 8;
	CU_ASSERT_EQUAL_FATAL(start(), 0);
	model_plug(3, SPEED_FULL);
	UNTIL(m.announced == 2 && !c->ports[3].busy);
	in = &c->ports[3].device->interfaces[0];
	other = in + 1;
	CU_ASSERT_EQUAL(perform(in, RINGABI_USB_CONFIGURE, 0), 0);
	CU_ASSERT_EQUAL(perform(other, RINGABI_USB_CONFIGURE, 0), 0);
	CU_ASSERT_EQUAL(perform(in, RINGABI_USB_RESET_DEVICE, 0), -EPERM);
	CU_ASSERT_EQUAL(perform(in, RINGABI_USB_CLEAR_HALT, 0x83), -EPERM);
	ask(other, &a, 0x81, 64, 0);
	CU_ASSERT_EQUAL(finish_asked(&a), -EPERM);
	ask(other, &a, 0x83, 64, 0);
	CU_ASSERT_EQUAL(finish_asked(&a), 64);
	flag = false;
	pcidipc_spawn(c->loop, close_task, other);
	UNTIL(flag);
	CU_ASSERT_EQUAL(perform(in, RINGABI_USB_RESET_DEVICE, 0), 0);
	ask(in, &a, 0x81, 64, 0);
	CU_ASSERT_EQUAL(finish_asked(&a), 64);
	finish();
}

/* What waits for its turn behind another one need not be begun. */
static void test_cancel_reset(void)
{
	const struct ringabi_usb_arg arg = {0};
	struct interface *in;
	struct asked a[20];

	begin();
	in = stick_at(1, SPEED_SUPER);
	CU_ASSERT_EQUAL_FATAL(result, 0);
	for (unsigned i = 0; i < 20; i++)
		submit(in, &a[i], RINGABI_USB_RESET_DEVICE, &arg, 0);
	for (unsigned i = 1; i < 20; i++)
		in->scheme.cancel(a[i].rq);
	CU_ASSERT_EQUAL(finish_asked(&a[0]), 0);
	for (unsigned i = 1; i < 20; i++)
		CU_ASSERT_EQUAL(finish_asked(&a[i]), -ECANCELED);
	CU_ASSERT_EQUAL(m.commands[TRB_RESET_DEVICE], 1);
	finish();
}

/* One device does not get all the memory that there is for rings. */
static void test_budget(void)
{
	static uint8_t config[18 + 13 * 30] = {9, 2, 0, 0, 1,  1, 0, 0x80, 50,
					       9, 4, 0, 0, 30, 8, 6, 0x62, 0};
	const struct ringabi_usb_arg arg = {.streams = 64};
	struct interface *in;
	struct asked a;

	for (unsigned i = 0; i < 30; i++) {
		const uint8_t endpoint[] = {
			7, 5, (uint8_t)(i / 2 + 1 + (i % 2 ? 0x80 : 0)), 2, 0, 4, 0, 6, 0x30, 3, 6,
			0, 0};

		memcpy(config + 18 + 13 * i, endpoint, sizeof(endpoint));
	}
	config[2] = sizeof(config) & 0xff;
	config[3] = sizeof(config) >> 8;
	begin();
	m.cap[4] |= 15 << 12;
	m.config_reply = config;
	m.config_bytes = sizeof(config);
	in = stick_at(1, SPEED_SUPER);
	CU_ASSERT_EQUAL_FATAL(result, 0);
	submit(in, &a, RINGABI_USB_CONFIGURE, &arg, 0);
	CU_ASSERT_EQUAL(finish_asked(&a), -ENOSPC);
	ask(in, &a, 0x81, 70000, 0); /* as it was */
	CU_ASSERT_EQUAL(finish_asked(&a), 70000);
	finish();
}

/* Whether the controller took an endpoint is not known: its rings are kept, within the device's
 * budget, until the controller has let go of the device. */
static void test_kept_rings(void)
{
	const struct ringabi_usb_arg arg = {.streams = 8};
	struct interface *in = begin_streams(8);
	struct asked a;
	unsigned tries = 0;

	do {
		m.hold_command = TRB_CONFIGURE_ENDPOINT; /* until it is aborted */
		submit(in, &a, RINGABI_USB_CONFIGURE, &arg, 0);
	} while (finish_asked(&a) == -ETIMEDOUT && ++tries < 100);
	CU_ASSERT_EQUAL(a.res, -ENOSPC);
	CU_ASSERT_TRUE(memory_used() < 6u << 20);
	m.hold_command = 0;
	model_unplug(1);
	UNTIL(!c->ports[1].busy && !c->slots[1]);
	model_plug(2, SPEED_SUPER);
	UNTIL(m.announced == 2 && !c->ports[2].busy);
	model_unplug(2);
	UNTIL(!c->ports[2].busy && !c->slots[1]);
	CU_ASSERT_TRUE(memory_used() < 1u << 20);
	finish();
}

static CU_TestInfo tests[] = {
	{"streams", test_streams},
	{"endpoints that the controller may have taken", test_kept_rings},
	{"a stream that is stopped", test_stop_stream},
	{"a stream that stalls", test_stall_stream},
	{"what a driver may ask", test_allowed},
	{"two interfaces", test_composite},
	{"resets that are cancelled", test_cancel_reset},
	{"memory for rings", test_budget},
	{"exchanged during a reset", test_reset_replugged},
	{"a reset that fails", test_reset_fails},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	pcidipc_log_init("test_xhcid_drivers", PCIDIPC_ERROR);
	return run_tests("xhcid and drivers of interfaces", tests);
}
