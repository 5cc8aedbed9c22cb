// SPDX-License-Identifier: MIT
/* xhcid's hubs and ports on a controller of our own: translators, depths, route strings and speeds
 * as the slot context has them (xHCI 1.2, 6.2.2), and what ports and hubs report. */
#include <fcntl.h>

#include "xhcirig.h"
#include "suites.h"

/* ---- what was logged ---- */

static int log_fd;

static bool logged(const char *text)
{
	static char all[1 << 16];
	ssize_t n = pread(log_fd, all, sizeof(all) - 1, 0);

	all[n > 0 ? n : 0] = 0;
	return strstr(all, text);
}

static void forget_log(void)
{
	if (ftruncate(log_fd, 0) || lseek(log_fd, 0, SEEK_SET))
		abort();
}

static unsigned lines_logged(const char *text)
{
	static char all[1 << 16];
	ssize_t n = pread(log_fd, all, sizeof(all) - 1, 0);
	unsigned count = 0;

	all[n > 0 ? n : 0] = 0;
	for (const char *at = all; (at = strstr(at, text)); at++)
		count++;
	return count;
}

/* ---- tasks, while there is memory for them ---- */

static bool no_tasks;

int __real_pcidipc_spawn(struct pcidipc_loop *loop, void (*fn)(void *arg), void *arg);
int __wrap_pcidipc_spawn(struct pcidipc_loop *loop, void (*fn)(void *arg), void *arg);

int __wrap_pcidipc_spawn(struct pcidipc_loop *loop, void (*fn)(void *arg), void *arg)
{
	return no_tasks ? -ENOMEM : __real_pcidipc_spawn(loop, fn, arg);
}

/* ---- hubs ---- */

/* The hub with this slot listens, and its ports have power. */
static bool hub_runs(unsigned slot)
{
	return m.slot[slot].output && model_state(slot, 3) == EP_RUNNING && c->slots[slot] &&
	       c->slots[slot]->hub && m.slot[slot].hub[MODEL_HUB_PORTS] & 3u << 8 &&
	       m.slot[slot].endpoint[3].dequeue;
}

static void begin_hub(unsigned port, unsigned speed)
{
	begin();
	forget_log();
	CU_ASSERT_EQUAL_FATAL(start(), 0);
	m.plugs_hub = true;
	model_plug(port, speed);
	UNTIL(hub_runs(1) && c->slots[1]->endpoints[3]->streams[0].first);
}

static void plug_stick(unsigned hub, unsigned port, unsigned speed)
{
	unsigned before = m.announced;

	m.plugs_hub = false;
	m.packet0 = speed < SPEED_SUPER ? 8 : 0; /* as is assumed: no further context */
	model_plug_hub(hub, port, speed);
	UNTIL(m.announced == before + 1);
}

static void plug_hub(unsigned hub, unsigned port, unsigned speed, unsigned slot)
{
	m.plugs_hub = true;
	model_plug_hub(hub, port, speed);
	UNTIL(hub_runs(slot) && c->slots[slot]->endpoints[3]->streams[0].first);
}

/* Words 0 to 2 of the slot context that came last. */
static void check_slot(unsigned slot, uint32_t info, uint32_t more, uint32_t tt)
{
	CU_ASSERT_EQUAL(model_input(slot, 1, 0) & 0x07ffffff, info);
	CU_ASSERT_EQUAL(model_input(slot, 1, 1), more);
	CU_ASSERT_EQUAL(model_input(slot, 1, 2), tt);
}

static void test_multiple(void)
{
	begin_hub(3, SPEED_HIGH);
	check_slot(1, SLOT_HUB | SLOT_MTT | SLOT_SPEED(SPEED_HIGH), SLOT_PORT(3) | SLOT_PORTS(4),
		   SLOT_THINK_TIME(1));
	plug_stick(1, 2, SPEED_FULL);
	check_slot(2, SLOT_MTT | SLOT_SPEED(SPEED_FULL) | 2, SLOT_PORT(3), 1 | 2 << 8);
	plug_stick(1, 4, SPEED_LOW);
	check_slot(3, SLOT_MTT | SLOT_SPEED(SPEED_LOW) | 4, SLOT_PORT(3), 1 | 4 << 8);
	finish();
}

static void test_single(void)
{
	begin();
	forget_log();
	m.single_tt = m.plugs_hub = true;
	CU_ASSERT_EQUAL_FATAL(start(), 0);
	model_plug(3, SPEED_HIGH);
	UNTIL(hub_runs(1) && c->slots[1]->endpoints[3]->streams[0].first);
	check_slot(1, SLOT_HUB | SLOT_SPEED(SPEED_HIGH), SLOT_PORT(3) | SLOT_PORTS(4),
		   SLOT_THINK_TIME(1));
	plug_stick(1, 2, SPEED_LOW);
	check_slot(2, SLOT_SPEED(SPEED_LOW) | 2, SLOT_PORT(3), 1 | 2 << 8);
	finish();
}

/* Below a full-speed hub it is still the high-speed one that translates, by the port that leads
 * there. Behind a full-speed hub on a root port nobody does. */
static void test_full_speed(void)
{
	begin_hub(3, SPEED_HIGH);
	plug_hub(1, 3, SPEED_FULL, 2);
	check_slot(2, SLOT_HUB | SLOT_MTT | SLOT_SPEED(SPEED_FULL) | 3,
		   SLOT_PORT(3) | SLOT_PORTS(4), 1 | 3 << 8);
	plug_stick(2, 1, SPEED_LOW);
	check_slot(3, SLOT_MTT | SLOT_SPEED(SPEED_LOW) | 0x13, SLOT_PORT(3), 1 | 3 << 8);
	finish();
	begin_hub(4, SPEED_FULL);
	check_slot(1, SLOT_HUB | SLOT_SPEED(SPEED_FULL), SLOT_PORT(4) | SLOT_PORTS(4), 0);
	plug_stick(1, 1, SPEED_LOW);
	check_slot(2, SLOT_SPEED(SPEED_LOW) | 1, SLOT_PORT(4), 0);
	finish();
}

/* Hubs of USB 3 are told how deep they are; a sixth one in a row is refused. */
static void test_super(void)
{
	static const uint32_t route[] = {0, 1, 0x21, 0x321, 0x4321};

	begin_hub(1, SPEED_SUPER);
	for (unsigned depth = 1; depth < 5; depth++)
		plug_hub(depth, depth, SPEED_SUPER, depth + 1);
	for (unsigned i = 0; i < 5; i++) {
		check_slot(i + 1, SLOT_HUB | SLOT_SPEED(SPEED_SUPER) | route[i],
			   SLOT_PORT(1) | SLOT_PORTS(4), 0);
		CU_ASSERT_EQUAL(m.slot[i + 1].hub_depth, i + 1); /* depth + 1: told */
	}
	plug_stick(5, 3, SPEED_SUPER);
	check_slot(6, SLOT_SPEED(SPEED_SUPER) | 0x34321, SLOT_PORT(1), 0);
	CU_ASSERT_EQUAL(perform(&c->slots[6]->interfaces[0], RINGABI_USB_CONFIGURE, 0), 0);
	m.plugs_hub = true;
	model_plug_hub(5, 4, SPEED_SUPER);
	UNTIL(logged("too many in a row") && logged("the device at port 4 is not usable"));
	finish();
}

/* Below a hub of SuperSpeedPlus the hub says what its child speaks. */
static void test_super_plus(void)
{
	for (unsigned id = 0; id < 4; id++) {
		unsigned speed = id == 2 ? SPEED_SUPER_PLUS : SPEED_SUPER;

		begin_hub(1, SPEED_SUPER_PLUS);
		check_slot(1, SLOT_HUB | SLOT_SPEED(SPEED_SUPER_PLUS), SLOT_PORT(1) | SLOT_PORTS(4),
			   0);
		m.sublink = (uint8_t)(id | id << 4);
		plug_stick(1, 2, SPEED_SUPER);
		check_slot(2, SLOT_SPEED(speed) | 2, SLOT_PORT(1), 0);
		finish();
	}
}

/* ---- what ports report ---- */

static void test_overcurrent(void)
{
	begin();
	forget_log();
	CU_ASSERT_EQUAL_FATAL(start(), 0);
	model_plug(1, SPEED_SUPER);
	UNTIL(m.announced == 1 && !c->ports[1].busy);
	m.portsc[1] &= ~(PORTSC_POWER | PORTSC_ENABLED);
	m.portsc[1] |= PORTSC_OVERCURRENT | PORTSC_OVERCURRENT_CHANGE;
	model_port_event(1);
	UNTIL(m.gone_children == 1 && !c->ports[1].busy);
	CU_ASSERT_TRUE(c->ports[1].overcurrent);
	CU_ASSERT_TRUE(logged("port 1: overcurrent: it is off"));
	m.portsc[1] &= ~PORTSC_OVERCURRENT;
	m.portsc[1] |= PORTSC_OVERCURRENT_CHANGE;
	model_port_event(1);
	UNTIL(m.announced == 2 && !c->ports[1].busy);
	CU_ASSERT_FALSE(c->ports[1].overcurrent);
	CU_ASSERT_TRUE(m.portsc[1] & PORTSC_POWER);
	CU_ASSERT_TRUE(logged("port 1: no overcurrent any more"));
	finish();
}

static void test_hub_overcurrent(void)
{
	begin_hub(3, SPEED_HIGH);
	plug_stick(1, 2, SPEED_FULL);
	m.slot[1].hub[2] = 1 | 8 | 1u << 19; /* still connected, no power */
	model_run_endpoint(1, 3);
	UNTIL(m.gone_children == 1);
	CU_ASSERT_TRUE(logged("2-1: port 2: overcurrent: it is off"));
	m.slot[1].hub[2] = 1 | 1u << 19;
	UNTIL(!(c->slots[1]->tasks));
	model_run_endpoint(1, 3);
	UNTIL(m.announced == 2);
	CU_ASSERT_TRUE(m.slot[1].hub[2] & 1u << 8);
	CU_ASSERT_TRUE(logged("2-1: port 2: no overcurrent any more"));
	finish();
}

/* Of the whole hub: told, and cleared, or it would be told for ever. */
static void test_hub_itself(void)
{
	begin_hub(3, SPEED_HIGH);
	m.slot[1].hub[0] = 2 | 2u << 16; /* overcurrent */
	model_run_endpoint(1, 3);
	UNTIL(!(m.slot[1].hub[0] >> 16));
	CU_ASSERT_TRUE(logged("2-1: the hub: overcurrent, its power is good"));
	m.slot[1].hub[0] = 1 | 3u << 16; /* and its power is lost */
	UNTIL(c->slots[1]->endpoints[3]->streams[0].first);
	model_run_endpoint(1, 3);
	UNTIL(!(m.slot[1].hub[0] >> 16));
	CU_ASSERT_TRUE(logged("the hub: no overcurrent, no power of its own"));
	plug_stick(1, 2, SPEED_FULL);
	finish();
}

static void test_link_errors(void)
{
	begin();
	forget_log();
	CU_ASSERT_EQUAL_FATAL(start(), 0);
	model_plug(1, SPEED_SUPER);
	UNTIL(m.announced == 1 && !c->ports[1].busy);
	m.portsc[1] |= PORTSC_CONFIG_ERROR;
	model_port_event(1);
	UNTIL(logged("port 1: the link could not be configured"));
	UNTIL(!c->ports[1].busy);
	m.portsc[1] = (m.portsc[1] & ~PORTSC_ENABLED) | LINK_INACTIVE << 5 | PORTSC_LINK_CHANGE;
	model_port_event(1);
	UNTIL(m.gone_children == 1 && m.announced == 2); /* a warm reset brings it back */
	CU_ASSERT_EQUAL(m.warm_resets, 1);
	CU_ASSERT_TRUE(logged("its link has failed"));
	finish();
}

/* A hub whose status endpoint fails again and again is asked all the same, and listened to when it
 * has something to tell. */
static void test_deaf_hub(void)
{
	begin_hub(3, SPEED_HIGH);
	for (unsigned i = 0; i < 6; i++) {
		UNTIL(c->slots[1]->endpoints[3]->streams[0].first);
		model_halt(1, 3,
			   ring_address(&c->slots[1]->endpoints[3]->streams[0].ring,
					c->slots[1]->endpoints[3]->streams[0].first->first),
			   CC_TRANSACTION);
		UNTIL(!c->slots[1]->endpoints[3]->streams[0].first);
	}
	UNTIL(logged("the hub tells nothing of its ports: they are asked"));
	m.plugs_hub = false;
	m.slot[1].hub[2] |= 1 | 1u << 16; /* and it does not say so */
	UNTIL(m.announced == 1);
	plug_stick(1, 3, SPEED_FULL);
	finish();
}

/* ---- what never ends ---- */

/* A port whose overcurrent comes and goes: some of it is logged, not all. */
static void test_log(void)
{
	begin();
	forget_log();
	CU_ASSERT_EQUAL_FATAL(start(), 0);
	c->tick_ns = 1000000000; /* time passes slowly */
	for (unsigned i = 0; i < 100; i++) {
		UNTIL(!c->ports[1].busy);
		m.portsc[1] ^= PORTSC_OVERCURRENT;
		m.portsc[1] |= PORTSC_OVERCURRENT_CHANGE | PORTSC_CONFIG_ERROR;
		model_port_event(1);
		UNTIL(c->ports[1].overcurrent == !!(m.portsc[1] & PORTSC_OVERCURRENT));
	}
	CU_ASSERT_TRUE(logged("port 1: overcurrent: it is off"));
	CU_ASSERT_EQUAL(lines_logged("port 1:"), 10);
	model_plug(2, SPEED_SUPER); /* what others have to say is said */
	UNTIL(m.announced == 1);
	m.portsc[2] |= PORTSC_CONFIG_ERROR;
	model_port_event(2);
	UNTIL(logged("port 2: the link could not be configured"));
	c->tick_ns = 1000000;
	finish();
}

/* A device that comes and goes has to stay for longer, after some times. */
static void test_flapping(void)
{
	unsigned n = 0;

	begin();
	forget_log();
	CU_ASSERT_EQUAL_FATAL(start(), 0);
	c->tick_ns = 20000000;
	while (n < 100) {
		model_plug(1, SPEED_SUPER);
		UNTIL((m.announced > n && !c->ports[1].busy) || logged("comes and goes"));
		if (m.announced == n)
			break;
		model_unplug(1);
		n++;
		UNTIL(m.gone_children == n && !c->ports[1].busy);
	}
	CU_ASSERT_TRUE(n >= 8 && n < 100);
	c->tick_ns = 1000000;	    /* it has seconds to wait, which do not end */
	model_plug(2, SPEED_SUPER); /* others have nothing to do with it */
	UNTIL(m.announced == n + 1);
	CU_ASSERT_TRUE(c->ports[2].device && !c->ports[1].device);
	model_unplug(1); /* it has not stayed */
	UNTIL(!c->ports[1].busy);
	CU_ASSERT_EQUAL(m.announced, n + 1);
	c->tick_ns = 20000000;
	model_plug(1, SPEED_SUPER);
	UNTIL(m.announced == n + 2);
	c->tick_ns = 1000000;
	finish();
}

/* A hub that has something to tell all the time is not listened to all the time. */
static void test_chatty_hub(void)
{
	uint64_t begun;

	begin_hub(3, SPEED_HIGH);
	m.chatty_hub = true;
	m.statuses = 0;
	begun = pcidipc_loop_now(c->loop);
	model_run_endpoint(1, 3);
	UNTIL(m.statuses > 100);
	m.chatty_hub = false;
	CU_ASSERT_TRUE(pcidipc_loop_now(c->loop) - begun > 150000000);
	UNTIL(c->slots[1]->endpoints[3]->streams[0].first);
	plug_stick(1, 2, SPEED_FULL);
	finish();
}

/* No memory for a task, for a while: what was told is not forgotten. */
static void test_no_tasks(void)
{
	begin();
	CU_ASSERT_EQUAL_FATAL(start(), 0);
	UNTIL(!c->ports[1].busy);
	no_tasks = true;
	model_plug(1, SPEED_SUPER);
	UNTIL(c->ports[1].changed);
	no_tasks = false;
	CU_ASSERT_TRUE(SOON(m.announced == 1));
	finish();
}

static void test_no_tasks_for_hubs(void)
{
	begin_hub(3, SPEED_HIGH);
	m.plugs_hub = false;
	m.packet0 = 8;
	m.slot[1].hub[0] = 2 | 2u << 16;
	no_tasks = true;
	model_plug(4, SPEED_FULL);
	model_plug_hub(1, 2, SPEED_FULL);
	/* The hub tells it until it is heard; and at some time is not even listened to. */
	UNTIL(c->ports[4].changed && hub_port(c->slots[1], 2)->changed &&
	      !c->slots[1]->endpoints[3]->streams[0].first);
	no_tasks = false;
	CU_ASSERT_TRUE(SOON(m.announced == 2));
	CU_ASSERT_TRUE(SOON(!(m.slot[1].hub[0] >> 16)));
	CU_ASSERT_TRUE(SOON(c->slots[1]->endpoints[3]->streams[0].first));
	finish();
}

static CU_TestInfo tests[] = {
	{"a translator for each port", test_multiple},
	{"a single translator", test_single},
	{"hubs of full speed", test_full_speed},
	{"hubs of USB 3, five in a row", test_super},
	{"SuperSpeedPlus", test_super_plus},
	{"overcurrent", test_overcurrent},
	{"overcurrent of a hub's port", test_hub_overcurrent},
	{"a hub's own power and current", test_hub_itself},
	{"errors of a link", test_link_errors},
	{"a hub that tells nothing", test_deaf_hub},
	{"a hub that tells all the time", test_chatty_hub},
	{"a port that has something to say all the time", test_log},
	{"a device that comes and goes", test_flapping},
	{"no memory for a task", test_no_tasks},
	{"no memory for a task of a hub", test_no_tasks_for_hubs},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	log_fd = memfd_create("log", MFD_CLOEXEC);
	if (log_fd < 0 || dup2(log_fd, STDERR_FILENO) < 0)
		return 1;
	pcidipc_log_init("test_xhcid_hubs", PCIDIPC_NOTICE);
	return run_tests("xhcid and hubs", tests);
}
