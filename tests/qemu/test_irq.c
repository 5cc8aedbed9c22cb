// SPDX-License-Identifier: MIT
/*
 * Interrupts, masked and unmasked, none lost: under load by the disk's driver (MSI-X, masked in the
 * device), and step by step by a driver of QEMU's edu device (MSI without mask bits: pcid relays it
 * and keeps the mask). That driver is this same program, started by pcid with the argument
 * "driver"; what it finds stands in pcid's log.
 */
#include <CUnit/Basic.h>
#include <errno.h>
#include <poll.h>
#include <pcidipc/log.h>
#include <pcidipc/pci.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "rig.h"

#define EDU_STATUS 0x24
#define EDU_RAISE 0x60
#define EDU_ACK 0x64
#define PATIENCE_MS 20000
#define QUIET_MS 200 /* how long nothing must come, where nothing may */

/* ---- the driver ---- */

static struct pcidipc_pci *pci;
static struct pcidipc_mmio bar;
static struct pcidipc_vectors vectors;

static void verdict(const char *what, bool right)
{
	pcidipc_notice("edu: %s: %s", what, right ? "right" : "WRONG");
}

/* The read comes back after the device has raised its interrupt. */
static void raise_irq(uint32_t bits)
{
	pcidipc_write32(&bar, EDU_RAISE, bits);
	pcidipc_read32(&bar, EDU_STATUS);
}

static void acknowledge(void)
{
	pcidipc_write32(&bar, EDU_ACK, pcidipc_read32(&bar, EDU_STATUS));
}

/* Did the interrupt fire within this time? Takes it. */
static bool fired(int ms)
{
	struct pollfd fd = {.fd = vectors.fds[0], .events = POLLIN};

	return poll(&fd, 1, ms) == 1 && pcidipc_vector_ack(vectors.fds[0]) == 1;
}

static bool came_once(void)
{
	return fired(PATIENCE_MS) && !fired(QUIET_MS);
}

static void check_plain(void)
{
	raise_irq(1);
	verdict("an interrupt comes once", came_once());
	acknowledge();
}

static void check_masked(void)
{
	bool quiet;

	pcidipc_pci_mask_sync(pci, 0, true);
	raise_irq(2);
	quiet = !fired(QUIET_MS);
	verdict("nothing comes while masked", quiet);
	pcidipc_pci_mask_sync(pci, 0, false);
	verdict("it comes once on unmask", came_once());
	acknowledge();
}

static void check_function_mask(void)
{
	pcidipc_pci_mask_all(pci);
	pcidipc_pci_mask_sync(pci, 0, true);
	raise_irq(4);
	pcidipc_pci_mask_sync(pci, 0, false);
	verdict("nothing comes while the function is masked", !fired(QUIET_MS));
	pcidipc_pci_unmask_all(pci);
	verdict("it comes once when the function is unmasked", came_once());
	acknowledge();
}

/* Nothing was raised: masking and unmasking by itself brings nothing. */
static void check_nothing(void)
{
	for (unsigned i = 0; i < 10; i++) {
		pcidipc_pci_mask(pci, 0);
		pcidipc_pci_unmask(pci, 0);
	}
	pcidipc_pci_mask_sync(pci, 0, false);
	verdict("nothing comes of masking alone", !fired(QUIET_MS));
}

/* In the manner of a driver: interrupt, mask, work, unmask; the next one comes somewhere in
 * between. */
static void check_many(void)
{
	unsigned lost = 0;

	for (unsigned i = 0; i < 500; i++) {
		if (i & 1)
			pcidipc_pci_mask(pci, 0);
		raise_irq(1u << (i % 31));
		acknowledge();
		pcidipc_pci_unmask(pci, 0);
		lost += !fired(PATIENCE_MS);
	}
	verdict("500 of 500 came", !lost);
	verdict("and no more than that", !fired(QUIET_MS));
}

static void on_event(uint32_t event, void *loop)
{
	if (event == RINGABI_EVENT_SHUTDOWN || event == RINGABI_EVENT_REMOVED)
		pcidipc_loop_stop(loop, 0);
}

static int open_device(struct pcidipc_loop **loop)
{
	int ret = pcidipc_loop_create(0, loop);

	if (!ret)
		ret = pcidipc_pci_open(*loop, &pci);
	if (!ret) {
		pcidipc_pci_on_event(pci, on_event, *loop);
		ret = pcidipc_pci_enable(pci, true, true);
	}
	if (!ret)
		ret = pcidipc_pci_map(pci, 0, &bar);
	if (!ret)
		ret = pcidipc_pci_alloc_vectors(pci, 1, 4, &vectors);
	return ret;
}

static int drive(void)
{
	struct pcidipc_loop *loop = NULL;
	int ret;

	pcidipc_log_init("edu", PCIDIPC_NOTICE);
	ret = open_device(&loop);
	if (ret) {
		pcidipc_err("edu: %s", strerror(-ret));
		return 1;
	}
	verdict("kind and number of vectors",
		vectors.kind == RINGABI_IRQ_MSI && vectors.count == 1);
	check_plain();
	check_masked();
	check_function_mask();
	check_nothing();
	check_many();
	pcidipc_notice("edu: done");
	ret = pcidipc_loop_run(loop);
	pcidipc_mmio_unmap(&bar);
	pcidipc_pci_close(pci);
	close(vectors.fds[0]);
	pcidipc_loop_destroy(loop);
	return ret;
}

/* ---- the tests ---- */

static struct rig rig;
static unsigned char *shadow;

static const char config[] = "driver \"nvmed\" {\n"
			     "	class = 0x01\n"
			     "	subclass = 0x08\n"
			     "	interface = 0x02\n"
			     "	command = \"nvmed\"\n"
			     "	service = \"nvme\"\n"
			     "}\n"
			     "driver \"edu\" {\n"
			     "	vendor = 0x1234\n"
			     "	device = 0x11e8\n"
			     "	command = \"%s\"\n"
			     "	args = { \"driver\" }\n"
			     "}\n";

static void edu_said(const char *what)
{
	char line[160];

	snprintf(line, sizeof(line), "edu: %s: right", what);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_logged(&rig, line) || rig_logged(&rig, "edu: done")));
	CU_ASSERT_TRUE(rig_logged(&rig, line));
}

static void test_edu_plain(void)
{
	edu_said("kind and number of vectors");
	edu_said("an interrupt comes once");
}

static void test_edu_masked(void)
{
	edu_said("nothing comes while masked");
	edu_said("it comes once on unmask");
	edu_said("nothing comes of masking alone");
}

static void test_edu_function(void)
{
	edu_said("nothing comes while the function is masked");
	edu_said("it comes once when the function is unmasked");
}

static void test_edu_many(void)
{
	edu_said("500 of 500 came");
	edu_said("and no more than that");
	CU_ASSERT_TRUE(rig_sum(&rig, "irq", "edu", "relayed") >= 500);
	CU_ASSERT_FALSE(rig_logged(&rig, "WRONG"));
}

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
	int64_t masks = rig_sum(&rig, "irq", "nvmed", "masks"),
		unmasks = rig_sum(&rig, "irq", "nvmed", "unmasks");

	CU_ASSERT_EQUAL(work_wait(work_fork(&work)), 0);
	CU_ASSERT_TRUE(rig_sum(&rig, "irq", "nvmed", "masks") > masks);
	CU_ASSERT_TRUE(rig_sum(&rig, "irq", "nvmed", "unmasks") > unmasks);
	CU_ASSERT_TRUE(RIG_UNTIL(idle_and_unmasked()));
}

static void test_depth_1(void)
{
	load(1, 500);
}

static void test_depth_4(void)
{
	load(4, 2000);
}

static void test_depth_64(void)
{
	load(64, 6000);
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
	char text[8192];
	int ret = rig_create(&rig, 300);

	if (!ret)
		ret = rig_image(&rig, "a", RIG_SIMPLE_BYTES, 1, &shadow);
	if (ret)
		return ret;
	rig_nvme(&rig, "a");
	rig_arg(&rig, "-device");
	rig_arg(&rig, "edu");
	snprintf(text, sizeof(text), config, rig_self());
	return rig_start(&rig, text);
}

static CU_TestInfo edu_tests[] = {
	{"an MSI comes", test_edu_plain},
	{"masked: kept; unmasked: once", test_edu_masked},
	{"the whole function masked", test_edu_function},
	{"500 in a row, half of them masked", test_edu_many},
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
	{"interrupts, MSI relayed", NULL, NULL, NULL, NULL, edu_tests},
	{"interrupts, MSI-X under load", NULL, NULL, NULL, NULL, nvme_tests},
	CU_SUITE_INFO_NULL,
};

int main(int argc, char **argv)
{
	int ret = 1;

	if (argc > 1 && !strcmp(argv[1], "driver"))
		return drive();
	if (!start() && !CU_initialize_registry() && !CU_register_suites(suites))
		ret = rig_run_tests();
	if (rig_stop(&rig))
		ret = 1;
	free(shadow);
	return ret;
}
