// SPDX-License-Identifier: GPL-2.0-or-later
/* Functions that come and go on the QEMU bus. */
#include <signal.h>

#include "harness.h"
#include "qemudevices.h"

static void plug_and_unplug(void)
{
	for (unsigned i = 0; i < 5; i++) {
		struct pcid_function *f;
		struct memory m;

		CU_ASSERT(people_do(ADD("edu", "e", "r", "")));
		f = expect_arrival(0x1234, 0x11e8);
		check_all_bars();
		CU_ASSERT_EQUAL(claim_function(f), 0);
		CU_ASSERT_EQUAL(mmio_read(f, 0, EDU_ID, 4), 0x010000ed);
		CU_ASSERT_EQUAL(memory_attach(&m, f, MIB(2), MIB(2)), 0);
		CU_ASSERT_EQUAL(ops()->pool_map(&m.pool, 0, MIB(2)), 0);
		CU_ASSERT(people_do(DEL("e")));
		expect_event(PCID_FUNCTION_LEAVING, f);
		CU_ASSERT_EQUAL(mmio_read(f, 0, EDU_ID, 4), 0x010000ed); /* it works still */
		edu_copy(f, m.pool.iova, EDU_BYTES, true);
		memory_detach(&m);
		ops()->release(f);
		CU_ASSERT_EQUAL(ops()->claim(f), -ENODEV);
		expect_event(PCID_FUNCTION_GONE, f);
		CU_ASSERT(f->gone);
		CU_ASSERT_EQUAL(ops()->mmio_write(f, 0, 0, 4, 0), -ENODEV);
		ops()->forget(f);
	}
	CU_ASSERT_EQUAL(bus_rig.taken, bus_rig.nseen);
}

static void test_plug_and_unplug(void)
{
	with_bus(plug_and_unplug, ARGS("-device", "pcie-root-port,id=r,chassis=1,slot=1"));
}

/* What comes while the last one is not forgotten waits: it has the same address. */
static void plug_before_forgotten(void)
{
	struct pcid_function *f;

	CU_ASSERT(people_do(DEL("e")));
	f = EDU(0);
	expect_event(PCID_FUNCTION_LEAVING, f);
	ops()->release(f);
	expect_event(PCID_FUNCTION_GONE, f);
	CU_ASSERT(people_do(ADD("edu", "e2", "r", "")));
	for (unsigned i = 0; i < 100; i++) /* the slot's interrupt and its looks */
		qtest_task_sync(&qemu()->qtest);
	CU_ASSERT_EQUAL(bus_rig.taken, bus_rig.nseen);
	ops()->forget(f);
	f = expect_arrival(0x1234, 0x11e8);
	CU_ASSERT_EQUAL(claim_function(f), 0);
	ops()->release(f);
}

static void test_plug_before_forgotten(void)
{
	with_bus(plug_before_forgotten, ARGS("-device", "pcie-root-port,id=r,chassis=1,slot=1",
					     "-device", "edu,id=e,bus=r"));
}

/* A switch's port goes with what is behind it, from the far end. */
static void unplug_switch(void)
{
	struct pcid_function *up = find_function(0x104c, 0x8232, 0),
			     *down = find_function(0x104c, 0x8233, 0);
	struct pcid_function *edu = EDU(0);

	CU_ASSERT_PTR_NOT_NULL_FATAL(up);
	CU_ASSERT_PTR_NOT_NULL_FATAL(down);
	CU_ASSERT(people_do(DEL("up")));
	expect_event(PCID_FUNCTION_LEAVING, up);
	expect_event(PCID_FUNCTION_LEAVING, down);
	expect_event(PCID_FUNCTION_LEAVING, edu);
	ops()->release(up);
	ops()->release(down);
	CU_ASSERT_EQUAL(bus_rig.taken, bus_rig.nseen);
	ops()->release(edu);
	expect_event(PCID_FUNCTION_GONE, edu);
	expect_event(PCID_FUNCTION_GONE, down);
	expect_event(PCID_FUNCTION_GONE, up);
	ops()->forget(up);
	ops()->forget(down);
	ops()->forget(edu);
}

static void test_unplug_switch(void)
{
	with_bus(unplug_switch,
		 ARGS("-device", "pcie-root-port,id=r1,chassis=1,slot=1", "-device",
		      "x3130-upstream,id=up,bus=r1", "-device",
		      "xio3130-downstream,id=d1,bus=up,chassis=2,slot=1", "-device", "edu,bus=d1"));
}

int main(void)
{
	CU_TestInfo tests[] = {
		{"hot-plug and removal", test_plug_and_unplug},
		{"the next one waits for the last", test_plug_before_forgotten},
		{"a switch is removed", test_unplug_switch},
		CU_TEST_INFO_NULL,
	};

	signal(SIGPIPE, SIG_IGN);
	return run_tests("qemu hotplug", tests);
}
