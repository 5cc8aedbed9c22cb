// SPDX-License-Identifier: MIT
/*
 * Interrupts, masked and unmasked, none lost: under load by the disk's driver (MSI-X), and step by
 * step by a driver that does what the test says (irqdriver.h), once for QEMU's edu device (MSI
 * without mask bits: pcid relays it and keeps the mask) and once for an NVMe controller (MSI-X: the
 * device itself keeps the mask and the pending bit).
 */
#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ringabi/channel.h>

#include "client.h"
#include "irqdriver.h"
#include "rig.h"

/* ---- the tests ---- */

static struct rig rig;
static unsigned char *shadow;

static int steps; /* connection to the driver under test */

static const char config[] = RIG_NVMED("") "driver \"edu\" {\n"
					   "	vendor = 0x1234\n"
					   "	device = 0x11e8\n"
					   "	command = \"%s\"\n"
					   "	service = \"edu\"\n"
					   "	args = { \"driver\", \"edu\" }\n"
					   "}\n"
					   "driver \"stepper\" {\n"
					   "	vendor = 0x8086\n"
					   "	device = 0x5845\n"
					   "	command = \"%s\"\n"
					   "	service = \"nvmesteps\"\n"
					   "	args = { \"driver\", \"nvme\" }\n"
					   "}\n";

/* ---- step by step ---- */

#define STEP(step, result) CU_ASSERT_EQUAL(irq_step(steps, (step)), (result))

/* Also the control for all that follows: what has been sent is seen by the next look. */
static void test_plain(void)
{
	STEP(STEP_LOOK, 0);
	for (unsigned i = 0; i < 20; i++) {
		STEP(STEP_CAUSE, 0);
		STEP(STEP_AWAIT, 1);
	}
	STEP(STEP_LOOK, 0);
}

/* In the device for MSI-X: its pending bit array. In pcid where it relays. */
static int64_t pending_in_device(void)
{
	struct json_object *show = rig_show(&rig, "stepper"), *msix, *bars, *bar;
	int64_t address = -1;

	msix = json_object_object_get(show, "msix");
	bars = json_object_object_get(show, "bars");
	for (size_t i = 0; i < json_object_array_length(bars); i++) {
		bar = json_object_array_get_idx(bars, i);
		if (json_object_get_int(json_object_object_get(bar, "index")) ==
		    json_object_get_int(json_object_object_get(msix, "pba_bar")))
			address = json_object_get_int64(json_object_object_get(bar, "address")) +
				  json_object_get_int64(json_object_object_get(msix, "pba_offset"));
	}
	json_object_put(show);
	CU_ASSERT_TRUE_FATAL(address > 0);
	address = rig_peek(&rig, (uint64_t)address);
	CU_ASSERT_TRUE(address >= 0);
	return address & 1;
}

static int64_t pending_in_pcid(void)
{
	return rig_sum(&rig, "irq", "edu", "pending");
}

static int64_t (*pending)(void);
static const char *driver;

static int64_t masked(void)
{
	return rig_sum(&rig, "irq", driver, "masked");
}

static void test_masked(void)
{
	for (unsigned causes = 1; causes < 4; causes++) {
		STEP(STEP_MASK, 0);
		CU_ASSERT_EQUAL(masked(), 1);
		CU_ASSERT_EQUAL(pending(), 0);
		for (unsigned i = 0; i < causes; i++)
			STEP(STEP_CAUSE, 0);
		STEP(STEP_LOOK, 0);
		CU_ASSERT_TRUE(RIG_UNTIL(pending() == 1));
		STEP(STEP_LOOK, 0);
		STEP(STEP_UNMASK, 0);
		STEP(STEP_AWAIT, 1);
		CU_ASSERT_EQUAL(masked(), 0);
		CU_ASSERT_EQUAL(pending(), 0);
		STEP(STEP_LOOK, 0);
	}
}

/* It fires when neither the vector nor its function is masked. */
static void test_function(void)
{
	STEP(STEP_MASK_ALL, 0);
	STEP(STEP_MASK, 0);
	STEP(STEP_CAUSE, 0);
	STEP(STEP_UNMASK, 0);
	STEP(STEP_LOOK, 0);
	CU_ASSERT_TRUE(RIG_UNTIL(pending() == 1));
	STEP(STEP_MASK, 0);
	STEP(STEP_UNMASK_ALL, 0);
	STEP(STEP_LOOK, 0);
	CU_ASSERT_TRUE(RIG_UNTIL(pending() == 1));
	STEP(STEP_UNMASK, 0);
	STEP(STEP_AWAIT, 1);
	CU_ASSERT_EQUAL(pending(), 0);
}

/* Nothing was raised: masking and unmasking by itself brings nothing. */
static void test_nothing(void)
{
	for (unsigned i = 0; i < 10; i++) {
		STEP(STEP_MASK, 0);
		STEP(STEP_UNMASK, 0);
	}
	STEP(STEP_LOOK, 0);
	STEP(STEP_MASK_ALL, 0);
	STEP(STEP_UNMASK_ALL, 0);
	STEP(STEP_LOOK, 0);
}

static void test_many(void)
{
	STEP(STEP_MANY, 0);
	STEP(STEP_LOOK, 0);
}

static int begin(const char *which, const char *service, int64_t (*of)(void), int64_t kind)
{
	driver = which;
	pending = of;
	steps = irq_connect(&rig, service);
	return steps >= 0 && irq_step(steps, STEP_VECTORS) == (kind << 8 | 1) ? 0 : -1;
}

static int begin_edu(void)
{
	return begin("edu", "edu", pending_in_pcid, RINGABI_IRQ_MSI);
}

static int begin_nvme(void)
{
	return begin("stepper", "nvmesteps", pending_in_device, RINGABI_IRQ_MSIX);
}

static int end(void)
{
	close(steps);
	return 0;
}

/* pcid relays for edu only: it has seen every one of them. */
static int end_edu(void)
{
	return rig_sum(&rig, "irq", "edu", "relayed") < STEPS_MANY + 20 || end();
}

/* ---- under load ---- */

static bool idle_and_unmasked(void)
{
	return rig_sum(&rig, "irq", "nvmed", "masked") == 0 &&
	       rig_sum(&rig, "irq", "nvmed", "function_masked") == 0;
}

/* A lost interrupt would hang this until time is up. */
static void load(uint32_t depth, uint32_t rounds)
{
	struct work work = {.disk = "nvme0n1",
			    .first = 1u << 20,
			    .bytes = 32u << 20,
			    .depth = depth,
			    .largest = 16u << 10,
			    .rounds = rounds,
			    .pool_bytes = 32u << 20,
			    .stride = 64u << 10,
			    .seed = depth};

	CU_ASSERT_EQUAL(work_wait(work_fork(&work)), 0);
	CU_ASSERT_TRUE(RIG_UNTIL(idle_and_unmasked()));
}

#define MASKING_LOADS 50

/*
 * With more than one in flight, interrupts come while nvmed is awake; on a busy machine it may be
 * so late each time that it finds all completions there, so go on until one was masked.
 */
static void masking_load(uint32_t depth, uint32_t rounds)
{
	int64_t masks = rig_sum(&rig, "irq", "nvmed", "masks"),
		unmasks = rig_sum(&rig, "irq", "nvmed", "unmasks");

	for (unsigned i = 0; i < MASKING_LOADS; i++) {
		load(depth, rounds);
		if (rig_sum(&rig, "irq", "nvmed", "masks") > masks)
			break;
	}
	CU_ASSERT_TRUE(rig_sum(&rig, "irq", "nvmed", "masks") > masks);
	CU_ASSERT_TRUE(rig_sum(&rig, "irq", "nvmed", "unmasks") > unmasks);
}

/* One at a time: a second interrupt need not come, so there need be no mask. */
static void test_depth_1(void)
{
	load(1, 500);
}

static void test_depth_4(void)
{
	masking_load(4, 2000);
}

static void test_depth_64(void)
{
	masking_load(64, 6000);
}

/* Each request alone, with the driver asleep before it. */
static void test_sleepy(void)
{
	struct client c;
	unsigned wrong = 0;

	CU_ASSERT_EQUAL_FATAL(client_open(&c, "nvme0n1", 0, 1u << 20), 0);
	for (unsigned i = 0; i < 50; i++) {
		rig_pause();
		wrong += client_read(&c, 0, 4096, 4096ull * i) != 4096;
	}
	CU_ASSERT_EQUAL(wrong, 0);
	client_close(&c);
}

static int start(void)
{
	char text[2 * 4096 + sizeof(config)], self[4096];
	int ret = rig_create(&rig, 300);

	if (!ret)
		ret = rig_image(&rig, "a", RIG_SIMPLE_BYTES, 1, &shadow);
	if (!ret)
		ret = rig_image(&rig, "b", 1u << 20, 0, NULL);
	if (ret)
		return ret;
	rig_nvme(&rig, "a");
	rig_arg(&rig, "-device");
	rig_arg(&rig, "edu");
	/* Intel's number, so that not nvmed is its driver. */
	rig_arg(&rig, "-drive");
	rig_arg(&rig, "file=@/b.img,if=none,id=db,format=raw");
	rig_arg(&rig, "-device");
	rig_arg(&rig, "nvme,drive=db,serial=b,use-intel-id=on");
	snprintf(self, sizeof(self), "%s", rig_self());
	snprintf(text, sizeof(text), config, self, self);
	return rig_start(&rig, text);
}

static CU_TestInfo step_tests[] = {
	{"unmasked: it comes, once", test_plain},
	{"masked: silence, pending; unmasked: once", test_masked},
	{"the whole function masked", test_function},
	{"nothing comes of masking alone", test_nothing},
	{"500 in a row, half of them masked", test_many},
	CU_TEST_INFO_NULL,
};

static CU_TestInfo nvme_tests[] = {
	{"load at depth 1", test_depth_1},
	{"load at depth 4", test_depth_4},
	{"load at depth 64", test_depth_64},
	{"a driver that sleeps between requests", test_sleepy},
	CU_TEST_INFO_NULL,
};

static CU_SuiteInfo suites[] = {
	{"interrupts, MSI relayed", begin_edu, end_edu, NULL, NULL, step_tests},
	{"interrupts, MSI-X step by step", begin_nvme, end, NULL, NULL, step_tests},
	{"interrupts, MSI-X under load", NULL, NULL, NULL, NULL, nvme_tests},
	CU_SUITE_INFO_NULL,
};

int main(int argc, char **argv)
{
	int ret;

	if (argc > 2 && !strcmp(argv[1], "driver"))
		return irq_driver(argv[2]);
	ret = rig_main(&rig, start(), suites);
	free(shadow);
	return ret;
}
