// SPDX-License-Identifier: MIT
/* xhcid on a controller that talks nonsense, hangs, lies about itself and goes away: the daemon
 * lives, requests end, and what still works goes on working. */
#include "xhcirig.h"
#include "suites.h"

static struct interface *begin_stick(void)
{
	struct interface *in;

	begin();
	in = stick_at(1, SPEED_SUPER);
	CU_ASSERT_EQUAL_FATAL(result, 0);
	return in;
}

static bool works(struct interface *in)
{
	struct asked a;

	ask(in, &a, 0x81, 70000, 0);
	return finish_asked(&a) == 70000;
}

/* Let xhcid see all that was told: a command's answer comes behind it. */
static void settle(struct interface *in)
{
	CU_ASSERT_EQUAL(perform(in, RINGABI_USB_STOP, 0x81), 0);
}

/* ---- what it says of itself ---- */

static void test_capabilities(void)
{
	static const struct {
		unsigned word;
		uint32_t value;
	} wrong[] = {{0, 0x1f},
		     {0, 0x41},
		     {0, UINT32_MAX},
		     {1, 0},
		     {1, 8},
		     {1, 8u << 24},
		     {1, UINT32_MAX},
		     {5, MODEL_BAR - 8},
		     {5, 0xfffffffc},
		     {6, MODEL_BAR - 32},
		     {6, 0xffffffe0},
		     {4, HCC_AC64},
		     {4, HCC_AC64 | 0xffffu << 16},
		     {4, HCC_AC64 | 0x0001u << 16}};

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		begin();
		if (wrong[i].word == 0)
			m.cap[1] |= 255u << 24;
		m.cap[wrong[i].word] = wrong[i].value;
		CU_ASSERT_TRUE(start() < 0);
		c->dead = true;
		finish();
	}
}

static void test_pages(void)
{
	static const uint32_t sizes[] = {0, 0x8000, 0x20, 1, 2, 0x10, 3};

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		begin();
		m.pagesize = sizes[i];
		m.cap[2] |= 20u << 27; /* scratchpads */
		CU_ASSERT_EQUAL(start(), i < 3 ? -EOPNOTSUPP : 0);
		if (!result)
			CU_ASSERT_EQUAL(c->page, 4096u << __builtin_ctz(sizes[i]));
		finish();
	}
}

/* More scratchpads than there is memory for. */
static void test_scratchpads(void)
{
	begin();
	m.pagesize = 16;
	m.cap[2] |= 31u << 21 | 31u << 27;
	CU_ASSERT_EQUAL(start(), -ENOMEM);
	finish();
}

/* It cannot reach what lies higher: neither our memory nor clients' may. */
static void test_short_addresses(void)
{
	struct interface *in;

	begin();
	m.cap[4] &= ~HCC_AC64;
	in = stick_at(1, SPEED_SUPER);
	CU_ASSERT_EQUAL_FATAL(result, 0);
	CU_ASSERT_TRUE(m.iova <= UINT32_MAX && m.client_iova <= UINT32_MAX);
	CU_ASSERT_TRUE(works(in));
	finish();
	begin_stick(); /* the others reach all there is, and nothing is to be cramped for them */
	CU_ASSERT_TRUE(m.iova > UINT32_MAX && m.client_iova > UINT32_MAX);
	finish();
}

static void test_protocols(void)
{
	begin();
	for (unsigned i = 0; i < 60; i++) /* capabilities to the end of the registers */
		m.ext[i] = i & 1 ? 0x0101 : 0x02000102;
	CU_ASSERT_EQUAL(start(), -EOPNOTSUPP);
	finish();
	begin();
	m.ext[2] = 0xff01; /* ports beyond the last */
	CU_ASSERT_EQUAL(start(), 0);
	CU_ASSERT_EQUAL(c->ports[1].major, 0);
	CU_ASSERT_EQUAL(c->ports[3].major, 2);
	finish();
}

static void test_stuck(void)
{
	for (unsigned i = 0; i < 3; i++) {
		begin();
		m.not_ready = i == 0;
		m.never_halts = i == 1;
		m.never_resets = i == 2;
		m.usbsts = i == 1 ? 0 : USBSTS_HALTED;
		CU_ASSERT_EQUAL(start(), -ETIMEDOUT);
		m.never_halts = false;
		finish();
	}
}

/* ---- commands ---- */

static void test_command_abort(void)
{
	begin();
	CU_ASSERT_EQUAL_FATAL(start(), 0);
	m.hold_command = TRB_ADDRESS_DEVICE;
	model_plug(1, SPEED_SUPER);
	UNTIL(m.announced == 1); /* at its second try */
	CU_ASSERT_EQUAL(m.aborts, 1);
	CU_ASSERT_EQUAL(m.commands[TRB_ADDRESS_DEVICE], 2);
	UNTIL(!c->ports[1].busy);
	CU_ASSERT_EQUAL(perform(&c->ports[1].device->interfaces[0], RINGABI_USB_CONFIGURE, 0), 0);
	CU_ASSERT_TRUE(works(&c->ports[1].device->interfaces[0]));
	finish();
}

static void test_command_stuck(void)
{
	struct interface *in = begin_stick();
	const struct ringabi_usb_arg arg = {.endpoint = 0x81};
	struct asked a, b;

	m.holds_bulk = m.never_aborts = true;
	ask(in, &a, 0x81, 512, 0);
	m.hold_command = TRB_STOP_ENDPOINT;
	submit(in, &b, RINGABI_USB_STOP, &arg, 0);
	CU_ASSERT_EQUAL(finish_asked(&a), -ENODEV);
	CU_ASSERT_TRUE(!a.master_then); /* it cannot write any more */
	CU_ASSERT_EQUAL(finish_asked(&b), -ENODEV);
	CU_ASSERT_TRUE(c->dead);
	finish();
}

/* Every command, answered by codes of every kind. */
static void test_command_codes(void)
{
	static const uint8_t types[] = {TRB_ENABLE_SLOT, TRB_ADDRESS_DEVICE, TRB_CONFIGURE_ENDPOINT,
					TRB_DISABLE_SLOT, TRB_RESET_DEVICE};

	static const uint8_t codes[] = {CC_TRB, CC_NO_SLOTS, CC_SHORT_PACKET, CC_STOPPED, 200};

	for (unsigned i = 0; i < sizeof(types); i++)
		for (unsigned k = 0; k < sizeof(codes); k++) {
			struct interface *in;
			uint8_t code = codes[k];

			begin();
			CU_ASSERT_EQUAL_FATAL(start(), 0);
			m.answer[types[i]] = code;
			model_plug(1, SPEED_SUPER);
			UNTIL(c->ports[1].given_up || m.announced);
			CU_ASSERT_EQUAL(c->ports[1].given_up, i < 2);
			if (m.announced) {
				UNTIL(!c->ports[1].busy);
				in = &c->ports[1].device->interfaces[0];
				CU_ASSERT_EQUAL(perform(in, RINGABI_USB_CONFIGURE, 0) < 0,
						types[i] == TRB_CONFIGURE_ENDPOINT);
				CU_ASSERT_EQUAL(perform(in, RINGABI_USB_RESET_DEVICE, 0) < 0,
						types[i] == TRB_RESET_DEVICE);
			}
			m.answer[types[i]] = 0;
			finish();
		}
}

static void test_commands_out_of_order(void)
{
	struct interface *in = begin_stick();
	const struct ringabi_usb_arg one = {.endpoint = 0x81}, two = {.endpoint = 0x02};
	struct asked a[2], b, d;
	uint64_t at;

	m.holds_bulk = true;
	ask(in, &a[0], 0x81, 512, 0);
	ask(in, &a[1], 0x02, 512, 0);
	m.hold_command = TRB_STOP_ENDPOINT;
	in->scheme.cancel(a[0].rq);
	in->scheme.cancel(a[1].rq);
	UNTIL(c->ncommands == 2);
	at = m.command;
	model_command_event(at + 16, CC_SUCCESS, 1); /* the second one only */
	model_command_event(at + 32, CC_SUCCESS, 1); /* and one that was not asked for */
	model_command_event(at, CC_SUCCESS, 1);
	CU_ASSERT_TRUE(finish_asked(&a[0]) < 0); /* given up: it may still be stopped, or not */
	CU_ASSERT_TRUE(finish_asked(&a[1]) < 0);
	CU_ASSERT_TRUE(c->dead);
	submit(in, &b, RINGABI_USB_STOP, &one, 0);
	submit(in, &d, RINGABI_USB_STOP, &two, 0);
	CU_ASSERT_EQUAL(finish_asked(&b), -ENODEV);
	CU_ASSERT_EQUAL(finish_asked(&d), -ENODEV);
	finish();
}

/* ---- events ---- */

static void test_nonsense(void)
{
	struct interface *in = begin_stick();
	uint64_t commands = c->commands.iova, ring = in->device->endpoints[3]->streams[0].ring.iova;
	static const uint64_t odd[] = {0, 1, UINT64_MAX, UINT64_MAX - 15, 8};

	for (unsigned slot = 0; slot < 256; slot += 15)
		for (unsigned dci = 0; dci < 32; dci++)
			model_transfer_event(slot, dci, ring + 16, CC_STALL, 0xffffff);
	for (unsigned type = 0; type < 64; type++) {
		model_event(commands, 1u << 24, TRB_TYPE(type));
		model_event(0, 0, TRB_TYPE(type) | 0xffff03fe);
	}
	for (unsigned i = 0; i < 5; i++) {
		model_command_event(odd[i], CC_SUCCESS, 255);
		model_command_event(commands + 16 * 1000 + odd[i], CC_SUCCESS, 255);
		model_transfer_event(1, 3, odd[i], CC_SUCCESS, 0xffffff);
		model_transfer_event(1, 3, ring + odd[i], CC_BABBLE, 0xffffff);
	}
	for (unsigned port = 0; port < 256; port++)
		model_event((uint64_t)port << 24, 1u << 24, TRB_TYPE(TRB_PORT_EVENT));
	settle(in);
	CU_ASSERT_TRUE(works(in));
	finish();
}

/* Events of a transfer that is there, with what cannot be. */
static void test_lengths(void)
{
	static const uint32_t left[] = {0, 1, 99999, 100000, 100001, 0x1ffff, 0xffffff};
	struct interface *in = begin_stick();
	struct asked a[2];

	for (unsigned i = 0; i < 2 * sizeof(left) / sizeof(*left); i++)
		for (unsigned trb = 0; trb < 3; trb++) {
			struct stream *s = &in->device->endpoints[3]->streams[0];
			unsigned code = i % 2 ? CC_SHORT_PACKET : CC_SUCCESS;

			m.holds_bulk = true;
			ask(in, &a[0], 0x81, 100000, 0);
			ask(in, &a[1], 0x81, 100000, 0);
			model_transfer_event(1, 3,
					     ring_address(&s->ring, s->last->first) + 16 * trb,
					     code, left[i / 2]);
			settle(in); /* ends what did not */
			for (unsigned k = 0; k < 2; k++) {
				int res = finish_asked(&a[k]);

				CU_ASSERT_TRUE(res <= 100000 && res >= -EIO - 200);
				CU_ASSERT_TRUE(k || res == -EIO || res == -ECANCELED);
			}
			m.holds_bulk = false;
		}
	CU_ASSERT_TRUE(works(in));
	finish();
}

/* At random, beside transfers: whatever it says, each of them ends once. */
static void test_random(void)
{
	static const uint32_t types[] = {TRB_TRANSFER_EVENT, TRB_TRANSFER_EVENT,
					 TRB_TRANSFER_EVENT, TRB_COMMAND_EVENT,
					 TRB_PORT_EVENT,     TRB_CONTROLLER_EVENT};
	uint32_t seed = 1;

	for (unsigned round = 0; round < 60; round++) {
		struct interface *in = begin_stick();
		uint64_t rings[] = {c->commands.iova,
				    in->device->endpoints[3]->streams[0].ring.iova,
				    in->device->endpoints[4]->streams[0].ring.iova,
				    in->device->endpoints[1]->streams[0].ring.iova};
		struct asked a[16];

		for (unsigned i = 0; i < 16; i++) {
			m.holds_bulk = i & 1;
			ask(in, &a[i], i & 2 ? 0x81 : 0x02, 1 + i * 9999, 20);
			for (unsigned k = 0; k < 30; k++) {
				uint32_t r = seed = seed * 1664525 + 1013904223;

				model_event(rings[r >> 9 & 3] + (r >> 12 & 63) * 16,
					    (r >> 20 & 0xfff) | (r >> 3 & 31) << 24,
					    TRB_TYPE(types[(r >> 24) % 6]) |
						    TRB_DCI(1 + (r >> 5 & 3)) | TRB_SLOT(1));
			}
			pcidipc_loop_turn(c->loop, false);
		}
		for (unsigned i = 0; i < 16; i++)
			finish_asked(&a[i]);
		finish();
	}
}

/* The event ring full, and everything at once. */
static void test_storm(void)
{
	struct interface *in = begin_stick();
	struct asked a[64];

	for (unsigned i = 0; i < 64; i++) {
		m.holds_bulk = true;
		ask(in, &a[i], 0x81, 512, 10);
	}
	for (unsigned i = 0; i < 5000; i++)
		model_port_event(1 + i % 4);
	CU_ASSERT_TRUE(m.lost_events > 0);
	m.holds_bulk = false;
	model_run_endpoint(1, 3);
	for (unsigned i = 0; i < 64; i++)
		finish_asked(&a[i]);
	CU_ASSERT_TRUE(works(in));
	CU_ASSERT_EQUAL(m.announced, 1);
	finish();
}

/* Cycle bits that do not go round. */
static void test_cycle(void)
{
	struct interface *in = begin_stick();
	struct trb *trbs = model_at(c->events.memory->offset + m.iova, 16);

	for (unsigned i = 0; i < 4 * EVENT_ENTRIES; i++) {
		trbs[i].status = htole32(CC_STALL << 24);
		trbs[i].control =
			htole32(TRB_TYPE(TRB_TRANSFER_EVENT) | TRB_SLOT(1) | TRB_DCI(9) | 1);
	}
	model_interrupt();
	for (unsigned i = 0; i < 50; i++)
		pcidipc_loop_turn(c->loop, false);
	CU_ASSERT_TRUE(!c->dead);
	CU_ASSERT_TRUE(in->claimed);
	c->dead = true; /* nothing can be said to it any more */
	device_fail(in->device);
	finish();
}

/* ---- ports ---- */

static void test_inactive(void)
{
	begin();
	CU_ASSERT_EQUAL_FATAL(start(), 0);
	m.portsc[2] = PORTSC_POWER | LINK_INACTIVE << 5 | PORTSC_LINK_CHANGE;
	model_port_event(2);
	UNTIL(m.warm_resets == 1);
	model_plug(2, SPEED_SUPER);
	UNTIL(m.announced == 1);
	finish();
}

static void test_plug_and_unplug(void)
{
	begin();
	CU_ASSERT_EQUAL_FATAL(start(), 0);
	for (unsigned i = 0; i < 20; i++) {
		struct asked a;
		struct interface *in;

		model_plug(1, SPEED_SUPER);
		UNTIL(m.announced == i + 1 && !c->ports[1].busy);
		in = &c->ports[1].device->interfaces[0];
		CU_ASSERT_EQUAL(perform(in, RINGABI_USB_CONFIGURE, 0), 0);
		m.holds_bulk = true;
		ask(in, &a, 0x81, 100000, 0);
		model_unplug(1);
		CU_ASSERT_EQUAL(finish_asked(&a), -ENODEV);
		UNTIL(!c->ports[1].busy && !c->slots[1]);
		m.holds_bulk = false;
	}
	CU_ASSERT_EQUAL(m.gone_children, 20);
	finish();
}

/* ---- gone ---- */

static void test_gone(void)
{
	for (unsigned i = 0; i < 3; i++) {
		struct interface *in = begin_stick();
		struct asked a, b;

		m.holds_bulk = true;
		ask(in, &a, 0x81, 4096, i == 0 ? 10 : 1000000);
		ask(in, &b, 0x02, 4096, 0);
		m.gone = i < 2;
		m.usbsts |= i == 2 ? USBSTS_SYSTEM_ERROR | USBSTS_HALTED : 0;
		CU_ASSERT_EQUAL(finish_asked(&a), -ENODEV);
		CU_ASSERT_EQUAL(finish_asked(&b), -ENODEV);
		CU_ASSERT_TRUE(!a.master_then && !b.master_then);
		UNTIL(m.gone_children == 1);
		ask(in, &a, 0x81, 512, 0);
		CU_ASSERT_EQUAL(finish_asked(&a), -ENODEV);
		finish();
	}
}

/* Nothing in flight has a limit, and no interrupt tells of it. */
static void test_gone_quietly(void)
{
	static const uint32_t status[] = {USBSTS_SYSTEM_ERROR, USBSTS_CONTROLLER_ERROR,
					  USBSTS_HALTED};

	for (unsigned i = 0; i < 4; i++) {
		struct interface *in = begin_stick();
		struct asked a;

		m.holds_bulk = true;
		ask(in, &a, 0x81, 4096, 0);
		UNTIL(!c->ncommands && !c->timed);
		m.gone = i == 3;
		m.usbsts |= i < 3 ? status[i] : 0;
		CU_ASSERT_EQUAL(finish_asked(&a), -ENODEV);
		CU_ASSERT_TRUE(!a.master_then);
		UNTIL(m.gone_children == 1);
		finish();
	}
}

/* What the controller has not let go of is not given to others. */
static void test_not_let_go(void)
{
	unsigned before = 0;

	for (unsigned i = 0; i < 2; i++) {
		uint64_t output, rings;
		struct pcidipc_buf *buf;
		bool held = i;
		unsigned hits = 0;

		begin_stick();
		output = pcidipc_dma_iova(&c->dma, device_at(1)->output);
		rings = device_at(1)->endpoints[3]->streams[0].ring.iova;
		m.answer[TRB_DISABLE_SLOT] = held ? CC_TRB : 0;
		model_unplug(1);
		UNTIL(!c->ports[1].busy && !c->slots[1]);
		for (unsigned k = 0; k < 2000; k++) { /* all that there is */
			buf = pcidipc_pool_alloc(c->dma.pool, 32768, 4096);
			if (!buf)
				break;
			hits += output - pcidipc_dma_iova(&c->dma, buf) < 32768;
			hits += rings - pcidipc_dma_iova(&c->dma, buf) < 32768;
		}
		for (unsigned k = 0; k < 20000; k++) {
			buf = pcidipc_pool_alloc(c->dma.pool, 4096, 4096);
			if (!buf)
				break;
			hits += output - pcidipc_dma_iova(&c->dma, buf) < 4096;
			hits += rings - pcidipc_dma_iova(&c->dma, buf) < 4096;
		}
		CU_ASSERT_EQUAL(hits > 0, !held);
		m.answer[TRB_DISABLE_SLOT] = 0;
		c->dead = true;
		finish();
		before += hits;
	}
	CU_ASSERT_TRUE(before > 0);
}

static void pull(unsigned port)
{
	unsigned children = m.gone_children;

	model_unplug(port);
	UNTIL(!c->ports[port].busy && m.gone_children > children);
}

static void plug_again(unsigned port)
{
	unsigned announced = m.announced;

	model_plug(port, SPEED_SUPER);
	UNTIL(m.announced > announced && !c->ports[port].busy);
}

/* It is asked again for what it kept, and that is used again. */
static void test_lets_go_later(void)
{
	uint64_t before;

	begin();
	CU_ASSERT_EQUAL_FATAL(start(), 0);
	before = memory_used();
	for (unsigned i = 1; i <= 3; i++) {
		plug_again(1);
		CU_ASSERT_TRUE(c->slots[1] && !m.slot[2].enabled);
		m.hold_command = TRB_DISABLE_SLOT; /* until it is aborted */
		pull(1);
		CU_ASSERT_EQUAL(m.aborts, i);
		CU_ASSERT_TRUE(m.slot[1].enabled && !c->slots[1]);
		CU_ASSERT_TRUE(memory_used() > before);
	}
	m.hold_command = TRB_DISABLE_SLOT; /* not even when it is asked again */
	plug_again(1);
	CU_ASSERT_EQUAL(m.aborts, 4);
	CU_ASSERT_TRUE(m.slot[1].enabled && c->slots[2]);
	CU_ASSERT_EQUAL(perform(&c->slots[2]->interfaces[0], RINGABI_USB_CONFIGURE, 0), 0);
	CU_ASSERT_TRUE(works(&c->slots[2]->interfaces[0]));
	pull(1);
	plug_again(1);
	CU_ASSERT_TRUE(c->slots[1] && !m.slot[2].enabled);
	pull(1);
	CU_ASSERT_EQUAL(memory_used(), before);
	finish();
}

/* It says that it keeps the slot, and gives it to the next device all the same. */
static void test_let_go_secretly(void)
{
	uint64_t before, with_one;

	begin();
	CU_ASSERT_EQUAL_FATAL(start(), 0);
	before = memory_used();
	plug_again(1);
	with_one = memory_used();
	m.answer[TRB_DISABLE_SLOT] = CC_TRB;
	pull(1);
	m.slot[1].enabled = false;
	plug_again(1);
	CU_ASSERT_TRUE(c->slots[1] != NULL);
	CU_ASSERT_EQUAL(memory_used(), with_one);
	m.answer[TRB_DISABLE_SLOT] = 0;
	plug_again(2); /* the first one's slot is not asked for again: it is another's now */
	CU_ASSERT_TRUE(m.slot[1].enabled && c->slots[2]);
	pull(2);
	pull(1);
	CU_ASSERT_EQUAL(memory_used(), before);
	finish();
}

/* No slot is left but those that it keeps: with nobody there to lose anything it is reset. */
static void test_keeps_all(void)
{
	begin();
	CU_ASSERT_EQUAL_FATAL(start(), 0);
	plug_again(1);
	plug_again(2);
	m.answer[TRB_DISABLE_SLOT] = CC_TRB;
	m.answer[TRB_ENABLE_SLOT] = CC_NO_SLOTS;
	pull(1);
	model_plug(1, SPEED_SUPER);
	UNTIL(c->ports[1].given_up && !c->ports[1].busy);
	CU_ASSERT_TRUE(!c->dead && c->slots[2]);
	pull(2);
	model_plug(2, SPEED_SUPER);
	UNTIL(c->dead && !c->ports[2].busy);
	CU_ASSERT_TRUE(!m.master);
	finish();
}

/* While a device is being enumerated: a control transfer without end. */
static void test_gone_early(void)
{
	begin();
	CU_ASSERT_EQUAL_FATAL(start(), 0);
	m.no_status = true;
	model_plug(1, SPEED_SUPER);
	UNTIL(c->slots[1] && c->timed);
	m.gone = true;
	UNTIL(c->dead && !c->ports[1].busy);
	finish();
}

static CU_TestInfo tests[] = {
	{"capabilities that cannot be", test_capabilities},
	{"page sizes", test_pages},
	{"scratchpads", test_scratchpads},
	{"32 bits of address", test_short_addresses},
	{"protocols", test_protocols},
	{"stuck when it starts", test_stuck},
	{"a command that is aborted", test_command_abort},
	{"a command that cannot be aborted", test_command_stuck},
	{"every answer to commands", test_command_codes},
	{"commands out of order", test_commands_out_of_order},
	{"events of nothing", test_nonsense},
	{"lengths that cannot be", test_lengths},
	{"events at random", test_random},
	{"a storm of events", test_storm},
	{"cycle bits", test_cycle},
	{"a link that has failed", test_inactive},
	{"plugged and unplugged in mid-transfer, 20 times", test_plug_and_unplug},
	{"gone", test_gone},
	{"gone, and nothing has a limit", test_gone_quietly},
	{"a slot that it does not let go of", test_not_let_go},
	{"a slot that it lets go of later", test_lets_go_later},
	{"a slot that it has let go of without a word", test_let_go_secretly},
	{"slots that it does not let go of, and no others", test_keeps_all},
	{"gone while a device is enumerated", test_gone_early},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	pcidipc_log_init("test_xhcid", getenv("VERBOSE") ? PCIDIPC_NOTICE : 2);
	return run_tests("xhcid and hostile controllers", tests);
}
