// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pools as dimms when QEMU refuses: memory.c is taken in as it is, and this file answers for QEMU
 * and the IOMMU. A place in the machine is given to one dimm at a time, whatever fails.
 */
#include "harness.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../pcid/qemu/qemu.h"

#define SIZE MIB(64)

static struct qemu_bus machine;
static struct qemu_function functions[2];

/* ---- QEMU, as far as dimms go ---- */

static struct {
	bool dimm[POOL_SLOTS];
	uint64_t at[POOL_SLOTS];
	unsigned number[POOL_SLOTS];
	unsigned selected, objects, collisions, reserved;
	const char *refuse; /* a command */
	int error;	    /* of one that is refused */
	unsigned refused;
	bool keeps;	   /* a dimm that is ejected: nothing is heard of it */
	uint64_t patience; /* the last one that was asked for */
} vm;

/* What the machine does with it is said by `format` alone. */
static int vm_run(struct qmp *q, char why[QMP_WHY_BYTES], const char *format, ...)
{
	va_list args;
	int ret = 0;

	(void)q;
	strcpy(why, "no");
	if (vm.refuse && strstr(format, vm.refuse)) {
		vm.refused++;
		return vm.error;
	}
	va_start(args, format);
	if (strstr(format, "object-add")) {
		vm.objects++;
	} else if (strstr(format, "object-del")) {
		vm.objects--;
	} else if (strstr(format, "device_add")) {
		unsigned number = va_arg(args, unsigned), slot;
		unsigned long long at;

		va_arg(args, unsigned);
		at = va_arg(args, unsigned long long);
		slot = va_arg(args, unsigned);
		for (unsigned i = 0; i < POOL_SLOTS; i++)
			if (vm.dimm[i] && (i == slot || vm.at[i] == at))
				ret = -EREMOTEIO;
		vm.collisions += ret != 0;
		if (!ret) {
			vm.dimm[slot] = true;
			vm.at[slot] = at;
			vm.number[slot] = number;
		}
	}
	va_end(args);
	return ret;
}

void tested_device_deleted(struct qemu_bus *bus, const char *id);

static int vm_write(struct qtest *q, enum qtest_space space, uint64_t address, unsigned width,
		    uint64_t value)
{
	char id[32];

	(void)q;
	(void)space;
	(void)width;
	if (address == 0xa00)
		vm.selected = (unsigned)value;
	if (address == 0xa14 && value == 8 && vm.dimm[vm.selected] && !vm.keeps) {
		vm.dimm[vm.selected] = false;
		snprintf(id, sizeof(id), "dimm%u", vm.number[vm.selected]);
		tested_device_deleted(&machine, id);
	}
	return 0;
}

static int vm_sync(struct qtest *q)
{
	(void)q;
	return 0;
}

static int reserve(struct vtd_domain *domain, uint64_t bytes, unsigned bits, uint64_t *iova)
{
	(void)domain;
	(void)bytes;
	(void)bits;
	*iova = GIB(1) * ++vm.reserved;
	return 0;
}

static void release(struct vtd_domain *domain, uint64_t iova)
{
	(void)domain;
	(void)iova;
	vm.reserved--;
}

static int map(struct qemu_bus *bus, struct vtd_domain *domain, uint64_t iova, uint64_t address,
	       uint64_t bytes)
{
	(void)bus;
	(void)domain;
	(void)iova;
	(void)address;
	(void)bytes;
	return 0;
}

static void unmap(struct qemu_bus *bus, struct vtd_domain *domain, uint64_t iova, uint64_t bytes)
{
	map(bus, domain, iova, 0, bytes);
}

/* No test waits for as long as pcid does. */
static void set_timer(struct pcidipc_loop *on, struct pcidipc_timer *timer, uint64_t ns,
		      void (*fire)(struct pcidipc_timer *))
{
	vm.patience = ns;
	pcidipc_timer_set(on, timer, vm.keeps ? 1 : ns, fire);
}

#define pcidipc_timer_set set_timer
#define qmp_run vm_run
#define qtest_task_write vm_write
#define qtest_task_sync vm_sync
#define vtd_reserve reserve
#define vtd_release release
#define vtd_map map
#define vtd_unmap unmap
#pragma GCC diagnostic ignored "-Wmissing-prototypes" /* of what is renamed here */
#define qemu_pool_attach tested_attach
#define qemu_pool_map tested_map
#define qemu_pool_detach tested_detach
#define qemu_memory_device_deleted tested_device_deleted
#define qemu_memory_fini tested_fini
#include "../../pcid/qemu/memory.c"

/* ---- tests: each a task ---- */

static struct pcidipc_loop *loop;

static void run_task(void *arg)
{
	(*(void (**)(void))arg)();
	pcidipc_loop_stop(loop, 0);
}

static void in_task(void (*test)(void))
{
	memset(&vm, 0, sizeof(vm));
	memset(&machine, 0, sizeof(machine));
	memset(functions, 0, sizeof(functions));
	pcidipc_list_init(&machine.memory.pools);
	for (unsigned i = 0; i < 2; i++) {
		functions[i].f.bus = &machine.bus;
		functions[i].claimed = true;
		snprintf(functions[i].f.address, sizeof(functions[i].f.address), "0000:00:0%u.0",
			 i);
	}
	CU_ASSERT_EQUAL_FATAL(pcidipc_loop_create(0, &loop), 0);
	machine.bus.loop = loop;
	CU_ASSERT_EQUAL_FATAL(pcidipc_spawn(loop, run_task, &test), 0);
	pcidipc_loop_run(loop);
	tested_fini(&machine);
	CU_ASSERT_TRUE(pcidipc_list_empty(&machine.memory.pools));
	CU_ASSERT_EQUAL(vm.collisions, 0);
	CU_ASSERT_EQUAL(vm.reserved, 0);
	pcidipc_loop_destroy(loop);
}

static struct pcid_pool pool_of(unsigned function)
{
	return (struct pcid_pool){.function = &functions[function].f, .bytes = SIZE};
}

static unsigned slots_in_use(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < POOL_SLOTS; i++)
		n += machine.memory.slots[i];
	return n;
}

/* QEMU keeps the dimm: its slot and its addresses are nobody else's, and all goes on beside it. */
static void kept(void)
{
	struct pcid_pool a = pool_of(0), b = pool_of(0);

	CU_ASSERT_EQUAL_FATAL(tested_attach(&a), 0);
	vm.refuse = "device_del";
	vm.error = -EREMOTEIO;
	tested_detach(&a);
	CU_ASSERT_EQUAL(vm.refused, 1);
	vm.refuse = NULL;
	for (int i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL_FATAL(tested_attach(&b), 0);
		tested_detach(&b);
	}
	CU_ASSERT_EQUAL(slots_in_use(), 1);
	CU_ASSERT_EQUAL(functions[0].pools, 0);
}

static void test_kept(void)
{
	in_task(kept);
}

/* It takes the order to let go, and nothing follows: whoever else wants memory must not wait for
 * ever. What it says after all, late, is about nobody. */
static void silent(void)
{
	struct pcid_pool a = pool_of(0), b = pool_of(1);

	CU_ASSERT_EQUAL_FATAL(tested_attach(&a), 0);
	vm.keeps = true;
	tested_detach(&a);
	CU_ASSERT_TRUE(vm.patience >= 1000000000ull && vm.patience <= 60000000000ull);
	CU_ASSERT_EQUAL(functions[0].pools, 0);
	CU_ASSERT_EQUAL(slots_in_use(), 1);
	vm.keeps = false;
	CU_ASSERT_EQUAL_FATAL(tested_attach(&b), 0);
	CU_ASSERT_EQUAL(slots_in_use(), 2);
	tested_device_deleted(&machine, "dimm0");
	tested_detach(&b);
	CU_ASSERT_EQUAL(slots_in_use(), 1);
}

static void test_silent(void)
{
	in_task(silent);
}

/* Whatever step of plugging fails, nothing is left of it. */
static void refused(void)
{
	static const char *const steps[] = {"object-add", "device_add"};

	for (unsigned i = 0; i < 2; i++) {
		struct pcid_pool a = pool_of(0);

		vm.refuse = steps[i];
		vm.error = -EREMOTEIO;
		CU_ASSERT_EQUAL(tested_attach(&a), -ENOSPC);
		vm.refuse = NULL;
		CU_ASSERT_EQUAL(vm.objects, 0);
		CU_ASSERT_EQUAL(slots_in_use(), 0);
		CU_ASSERT_EQUAL(functions[0].pools, 0);
		CU_ASSERT_EQUAL_FATAL(tested_attach(&a), 0);
		tested_detach(&a);
		CU_ASSERT_EQUAL(vm.objects, 0);
	}
}

static void test_refused(void)
{
	in_task(refused);
}

/* It dies while a dimm is on its way out. */
static void dies(void)
{
	struct pcid_pool a = pool_of(0);

	CU_ASSERT_EQUAL_FATAL(tested_attach(&a), 0);
	vm.refuse = "device_del";
	vm.error = -ENODEV;
	machine.dead = true;
	tested_detach(&a);
	CU_ASSERT_EQUAL(slots_in_use(), 0);
}

static void test_dies(void)
{
	in_task(dies);
}

/* One function takes slots until it is refused; another one still finds some. */
static void greedy(void)
{
	static struct pcid_pool many[POOL_SLOTS + 1], other[4];
	unsigned n = 0;

	for (; n <= POOL_SLOTS; n++) {
		many[n] = pool_of(0);
		if (tested_attach(&many[n]))
			break;
	}
	CU_ASSERT_TRUE(n >= POOL_SLOTS * 3 / 4 && n < POOL_SLOTS);
	for (unsigned i = 0; i < 4; i++) {
		other[i] = pool_of(1);
		CU_ASSERT_EQUAL(tested_attach(&other[i]), 0);
	}
	tested_detach(&many[--n]);
	CU_ASSERT_EQUAL(tested_attach(&many[n]), -ENOSPC); /* there are still few */
	for (unsigned i = 0; i < 4; i++)
		tested_detach(&other[i]);
	CU_ASSERT_EQUAL(tested_attach(&many[n]), 0);
	for (unsigned i = 0; i <= n; i++)
		tested_detach(&many[i]);
	CU_ASSERT_EQUAL(slots_in_use(), 0);
}

static void test_greedy(void)
{
	in_task(greedy);
}

static CU_TestInfo tests[] = {
	{"a dimm that QEMU keeps", test_kept},
	{"a dimm of which nothing is heard", test_silent},
	{"a dimm that it does not take", test_refused},
	{"it dies", test_dies},
	{"slots for everybody", test_greedy},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return run_tests("memory of QEMU", tests);
}
