// SPDX-License-Identifier: MIT
/*
 * xhcid on QEMU's controller: sticks on USB 3 and USB 2 ports and behind a hub, UAS with streams,
 * driven step by step by a class driver of the test's own (usbdriver.h) through pcid, xhcid and the
 * rings between them; stalls, stops, time limits, resets, plugging and unplugging.
 */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "monitor.h"
#include "ringabi/usb.h"
#include "usbdriver.h"

#define IMAGE_BYTES (24u << 20)
#define BLOCK 512u

static struct rig rig;
static unsigned char *shadow[3]; /* USB 3, USB 2 behind the hub, UAS */
static int stick[3];

static const char config[] = "driver \"xhcid\" {\n"
			     "	class = 0x0c\n"
			     "	subclass = 0x03\n"
			     "	interface = 0x30\n"
			     "	command = \"xhcid\"\n"
			     "	service = \"xhci\"\n"
			     "}\n"
			     "driver \"stick\" {\n"
			     "	below = \"usb\"\n"
			     "	class = 0x08\n"
			     "	command = \"%s\"\n"
			     "	service = \"stick\"\n"
			     "	args = { \"driver\" }\n"
			     "	restart_limit = -1\n"
			     "}\n";

static int64_t step(unsigned n, enum usb_step what, uint32_t a, uint32_t b, uint32_t c)
{
	return usb_step(stick[n], what, a, b, c);
}

static bool reads(unsigned n, uint32_t block, uint32_t blocks, uint32_t pieces)
{
	int64_t is = step(n, n == 2 ? USB_READ_UAS : USB_READ, block, blocks, pieces);
	uint32_t should = usb_fnv(shadow[n] + (size_t)block * BLOCK, (size_t)blocks * BLOCK);

	if (is == should)
		return true;
	fprintf(stderr, "stick %u: %u blocks from %u in %u pieces: %lld\n", n, blocks, block,
		pieces, (long long)is);
	return false;
}

/* ---- the tests ---- */

static void test_speeds(void)
{
	CU_ASSERT_EQUAL(step(0, USB_SPEED, 0, 0, 0), RINGABI_USB_SPEED_SUPER);
	CU_ASSERT_EQUAL(step(1, USB_SPEED, 0, 0, 0), RINGABI_USB_SPEED_FULL);
	CU_ASSERT_EQUAL(step(2, USB_SPEED, 0, 0, 0), RINGABI_USB_SPEED_SUPER);
	CU_ASSERT_EQUAL(step(0, USB_CONFIGURE, 0, 0, 0), 0);
	CU_ASSERT_EQUAL(step(1, USB_CONFIGURE, 0, 0, 0), 0);
	CU_ASSERT_EQUAL(step(2, USB_CONFIGURE, 16, 0, 0), 16);
}

static void test_descriptors(void)
{
	int64_t device = step(0, USB_DESCRIPTOR, 1, 0, 0);

	CU_ASSERT_EQUAL(device >> 32, 18);
	CU_ASSERT_TRUE(step(0, USB_DESCRIPTOR, 2, 0, 0) >> 32 > 9);
	CU_ASSERT_TRUE(step(0, USB_DESCRIPTOR, 15, 0, 0) >> 32 > 5);
	CU_ASSERT_TRUE(step(0, USB_DESCRIPTOR, 3, 0, 0) >> 32 >= 4);
	CU_ASSERT_EQUAL(step(0, USB_DESCRIPTOR, 3, 0xee, 0), -ENOENT);
	CU_ASSERT_EQUAL(step(0, USB_DESCRIPTOR, 0x42, 0, 0), -ENOENT);
	CU_ASSERT_EQUAL(step(0, USB_MAX_LUN, 0, 0, 0), 0);
}

/* Every kind of length: around packets, around 64 KiB, and the most that one transfer may be. */
static void test_reads(void)
{
	static const uint32_t blocks[] = {1, 2, 3, 127, 128, 129, 255, 300, 1000, 4096, 32768};

	for (unsigned i = 0; i < sizeof(blocks) / sizeof(*blocks); i++) {
		CU_ASSERT_TRUE(reads(0, i * 7, blocks[i], 0));
		CU_ASSERT_TRUE(reads(2, i * 5, blocks[i], 0));
		if (blocks[i] <= 300)
			CU_ASSERT_TRUE(reads(1, i * 3, blocks[i], 0));
	}
}

static void test_pieces(void)
{
	for (unsigned pieces = 1; pieces <= 128; pieces = pieces * 2 + 1) {
		CU_ASSERT_TRUE(reads(0, pieces, 1024, pieces));
		CU_ASSERT_TRUE(reads(2, pieces, 1024, pieces));
	}
	CU_ASSERT_TRUE(reads(1, 1, 300, 5));
	CU_ASSERT_TRUE(reads(0, 0, 32768, 128));
}

static void test_writes(void)
{
	for (uint32_t i = 0; i < 40; i++) {
		uint32_t block = i * 997, blocks = 1 + i * 13;

		CU_ASSERT_EQUAL(step(0, USB_WRITE, block, blocks, i), 0);
		usb_pattern(shadow[0] + (size_t)block * BLOCK, (size_t)blocks * BLOCK, i);
		CU_ASSERT_TRUE(reads(0, block, blocks, 0));
	}
	CU_ASSERT_EQUAL(rig_compare(&rig, "s0", shadow[0], IMAGE_BYTES), 0);
}

static void test_many(void)
{
	unsigned wrong = 0;

	for (uint32_t i = 0; i < 500; i++) /* the rings go round several times */
		wrong += !reads(0, i * 31 % 4000, 16 + i % 64, i % 4);
	CU_ASSERT_EQUAL(wrong, 0);
}

static void test_forbidden(void)
{
	CU_ASSERT_EQUAL(step(0, USB_FORBIDDEN, 0, 0, 0), 0);
	CU_ASSERT_TRUE(reads(0, 5, 5, 0));
}

/* A command block that is none halts the endpoint, until both sides have cleared it. */
static void test_stall(void)
{
	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(step(0, USB_NONSENSE, 0, 0, 0), -EPIPE);
		CU_ASSERT_EQUAL(step(0, USB_NONSENSE, 0, 0, 0), -EPIPE);
		CU_ASSERT_EQUAL(step(0, USB_CLEAR, 0, 0, 0), 0);
		CU_ASSERT_TRUE(reads(0, i, 9, 0));
	}
	CU_ASSERT_EQUAL(step(0, USB_CLEAR, 0, 0, 0), 0); /* nothing was halted */
	CU_ASSERT_TRUE(reads(0, 3, 9, 0));
}

static void test_reset(void)
{
	CU_ASSERT_EQUAL(step(0, USB_RESET, 0, 0, 0), 0);
	CU_ASSERT_TRUE(reads(0, 3, 9, 0));
	CU_ASSERT_EQUAL(step(0, USB_NONSENSE, 0, 0, 0), -EPIPE);
	CU_ASSERT_EQUAL(step(0, USB_RESET, 0, 0, 0), 0);
	CU_ASSERT_TRUE(reads(0, 3, 200, 3));
	CU_ASSERT_EQUAL(step(1, USB_RESET, 0, 0, 0), 0); /* behind the hub */
	CU_ASSERT_TRUE(reads(1, 3, 9, 0));
	CU_ASSERT_EQUAL(step(2, USB_RESET, 0, 0, 0), 0);
	CU_ASSERT_TRUE(reads(2, 3, 9, 0));
}

static void test_stop(void)
{
	for (uint32_t stream = 0; stream <= 5; stream += 5) {
		CU_ASSERT_EQUAL(step(2, USB_HANG, 0, 0, 0), 0);
		CU_ASSERT_EQUAL(step(2, USB_STOP, stream, 0, 0), 0);
		CU_ASSERT_EQUAL(step(2, USB_HUNG, 0, 0, 0), -ECANCELED);
		CU_ASSERT_TRUE(reads(2, 3, 9, 0));
	}
	/* another stream: what hangs is left alone */
	CU_ASSERT_EQUAL(step(2, USB_HANG, 0, 0, 0), 0);
	CU_ASSERT_EQUAL(step(2, USB_STOP, 4, 0, 0), 0);
	CU_ASSERT_TRUE(reads(2, 3, 9, 0));
	CU_ASSERT_EQUAL(step(2, USB_RESET, 0, 0, 0), 0);
	CU_ASSERT_EQUAL(step(2, USB_HUNG, 0, 0, 0), -ECANCELED);
	CU_ASSERT_TRUE(reads(2, 3, 9, 0));
}

static void test_timeout(void)
{
	CU_ASSERT_EQUAL(step(2, USB_TIMEOUT, 200, 0, 0), -ETIMEDOUT);
	CU_ASSERT_TRUE(reads(2, 3, 9, 0));
}

/* Pulled out while a transfer is on the way: it ends, the others go on. */
static void test_unplug(void)
{
	CU_ASSERT_EQUAL(step(2, USB_HANG, 0, 0, 0), 0);
	CU_ASSERT_TRUE(
		monitor_do(&rig, "\"execute\":\"device_del\",\"arguments\":{\"id\":\"uas\"}"));
	CU_ASSERT_EQUAL(step(2, USB_HUNG, 0, 0, 0), -ENODEV);
	CU_ASSERT_TRUE(RIG_UNTIL(rig_logged(&rig, "3-2: unplugged")));
	close(stick[2]);
	CU_ASSERT_TRUE(reads(0, 3, 90, 0));
	CU_ASSERT_TRUE(reads(1, 3, 9, 0));
}

static bool plug(const char *driver, const char *id, const char *port)
{
	return monitor_do(&rig,
			  "\"execute\":\"device_add\",\"arguments\":{\"driver\":\"%s\",\"id\":"
			  "\"%s\",\"bus\":\"x.0\",\"port\":\"%s\"}",
			  driver, id, port);
}

/* A hub in a hub, and what is in that, into the same port again and again, beside transfers. */
static void test_nested_hubs(void)
{
	for (unsigned i = 0; i < 5; i++) {
		size_t mark = rig_mark(&rig);

		CU_ASSERT_TRUE(plug("usb-hub", "outer", "4"));
		CU_ASSERT_TRUE(plug("usb-hub", "inner", "4.1"));
		CU_ASSERT_TRUE(plug("usb-tablet", "tablet", "4.1.2"));
		CU_ASSERT_TRUE(reads(0, i, 900, 0));
		CU_ASSERT_TRUE(RIG_UNTIL(rig_logged_since(&rig, mark, "2-4.1.2: 0627:0001")));
		if (i & 1) {
			CU_ASSERT_TRUE(monitor_do(
				&rig,
				"\"execute\":\"device_del\",\"arguments\":{\"id\":\"tablet\"}"));
			CU_ASSERT_TRUE(
				RIG_UNTIL(rig_logged_since(&rig, mark, "2-4.1.2: unplugged")));
		}
		CU_ASSERT_TRUE(monitor_do(
			&rig, "\"execute\":\"device_del\",\"arguments\":{\"id\":\"outer\"}"));
		CU_ASSERT_TRUE(RIG_UNTIL(rig_logged_since(&rig, mark, "2-4: unplugged")));
		CU_ASSERT_TRUE(reads(1, i, 90, 0));
	}
}

/* Which driver is whose is a matter of who was first. UAS has four endpoints, BOT two. */
static unsigned which(int fd)
{
	if (usb_step(fd, USB_SPEED, 0, 0, 0) == RINGABI_USB_SPEED_FULL)
		return 1;
	return usb_step(fd, USB_DESCRIPTOR, 2, 0, 0) >> 32 > 60 ? 2 : 0;
}

static int connect_sticks(void)
{
	for (unsigned n = 0; n < 3; n++) {
		int fd = -1;

		if (!RIG_UNTIL((fd = usb_connect(&rig, n)) >= 0))
			return -1;
		stick[which(fd)] = fd;
	}
	return 0;
}

/* A driver that dies leaves its interface as it should be for the next one. */
static void test_driver_dies(void)
{
	int64_t pid = rig_number(&rig, "drivers", "stick", "pid"), next = -1;
	unsigned n = 0;

	CU_ASSERT_TRUE_FATAL(pid > 0);
	for (unsigned i = 0; i < 3; i++)
		close(stick[i]);
	CU_ASSERT_EQUAL(kill((pid_t)pid, SIGKILL), 0);
	CU_ASSERT_TRUE_FATAL(
		RIG_UNTIL((next = rig_number(&rig, "drivers", "stick", "pid")) > 0 && next != pid));
	CU_ASSERT_EQUAL_FATAL(connect_sticks(), 0);
	for (; n < 3; n++) {
		CU_ASSERT_EQUAL(step(n, USB_CONFIGURE, n == 2 ? 16 : 0, 0, 0), n == 2 ? 16 : 0);
		CU_ASSERT_TRUE(reads(n, 3, 90, 0));
	}
}

static void add_stick(unsigned n, const char *port)
{
	rig_arg(&rig, "-drive");
	rig_arg(&rig, "file=@/s%u.img,if=none,id=d%u,format=raw", n, n);
	rig_arg(&rig, "-device");
	if (n == 2) {
		rig_arg(&rig, "usb-uas,id=uas,bus=x.0,port=%s", port);
		rig_arg(&rig, "-device");
		rig_arg(&rig, "scsi-hd,bus=uas.0,drive=d%u", n);
	} else {
		rig_arg(&rig, "usb-storage,id=st%u,bus=x.0,port=%s,drive=d%u", n, port, n);
	}
}

static int start(void)
{
	char text[4096 + sizeof(config)], name[8];
	int ret = rig_create(&rig, 120);

	for (unsigned n = 0; n < 3 && !ret; n++) {
		snprintf(name, sizeof(name), "s%u", n);
		ret = rig_image(&rig, name, IMAGE_BYTES, n + 1, &shadow[n]);
	}
	if (ret)
		return ret;
	rig_arg(&rig, "-device");
	rig_arg(&rig, "qemu-xhci,id=x");
	add_stick(0, "1");
	rig_arg(&rig, "-device");
	rig_arg(&rig, "usb-hub,id=hub,bus=x.0,port=3");
	add_stick(1, "3.1");
	add_stick(2, "2");
	snprintf(text, sizeof(text), config, rig_self());
	return rig_start(&rig, text);
}

static CU_TestInfo tests[] = {
	{"three sticks, speeds, streams", test_speeds},
	{"descriptors", test_descriptors},
	{"reads of every size", test_reads},
	{"in pieces", test_pieces},
	{"writes", test_writes},
	{"many", test_many},
	{"what is forbidden", test_forbidden},
	{"a stall and its recovery", test_stall},
	{"reset of a device", test_reset},
	{"stop", test_stop},
	{"a time limit", test_timeout},
	{"hubs in a row, plugged in again and again", test_nested_hubs},
	{"a driver dies", test_driver_dies},
	{"unplugged in mid-transfer", test_unplug},
	CU_TEST_INFO_NULL,
};

static CU_SuiteInfo suites[] = {
	{"USB", connect_sticks, NULL, NULL, NULL, tests},
	CU_SUITE_INFO_NULL,
};

int main(int argc, char **argv)
{
	int ret;

	if (argc > 1 && !strcmp(argv[1], "driver"))
		return usb_driver();
	ret = rig_main(&rig, start(), suites);
	for (unsigned n = 0; n < 3; n++)
		free(shadow[n]);
	return ret;
}
