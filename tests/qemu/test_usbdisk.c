// SPDX-License-Identifier: MIT
/*
 * Disks behind pcid, xhcid and usbscsid, rings all the way, on QEMU's controller: Bulk-Only on
 * USB 3 and USB 2 ports, UAS with streams and without, blocks of 4096 bytes, a medium that may not
 * be written. All contents are checked against the images.
 */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "monitor.h"
#include "usbrig.h"

#define IMAGE_BYTES (24u << 20)
#define POOL_BYTES (96u << 20)
#define DISKS 6

static struct rig rig;

/* What is what: by the serial numbers that QEMU's devices have. */
static struct disk {
	const char *serial, *transport;
	uint32_t block;
	bool read_only;
	char name[32];
	unsigned char *shadow;
} disks[DISKS] = {
	{.serial = "bot3", .transport = "usb-bot", .block = 512},
	{.serial = "bot2", .transport = "usb-bot", .block = 512},
	{.serial = "uas", .transport = "usb-uas", .block = 512},
	{.serial = "uas2", .transport = "usb-uas", .block = 512},
	{.serial = "big", .transport = "usb-uas", .block = 4096},
	{.serial = "locked", .transport = "usb-bot", .block = 512, .read_only = true},
};

enum { BOT3, BOT2, UAS, UAS2, BIG, LOCKED };

static bool open_disk(struct client *c, const struct disk *d)
{
	int ret = client_open(c, d->name, 0, POOL_BYTES);

	if (ret)
		fprintf(stderr, "%s (%s): %s\n", d->name, d->serial, strerror(-ret));
	return !ret;
}

/* ---- the tests ---- */

static void test_identity(void)
{
	for (unsigned i = 0; i < DISKS; i++) {
		struct client c;

		if (!open_disk(&c, &disks[i])) {
			CU_FAIL("it cannot be opened");
			continue;
		}
		CU_ASSERT_EQUAL(c.info->bytes, IMAGE_BYTES);
		CU_ASSERT_EQUAL(c.info->block_bytes, disks[i].block);
		CU_ASSERT_STRING_EQUAL(c.info->transport, disks[i].transport);
		CU_ASSERT_EQUAL(!!(c.info->flags & RINGABI_BLOCK_READ_ONLY), disks[i].read_only);
		CU_ASSERT_STRING_EQUAL(c.info->model, "QEMU QEMU HARDDISK");
		client_close(&c);
	}
}

/* From one block to 16 MiB, at alignments down to a byte. */
static void sizes(const struct disk *d)
{
	static const uint32_t blocks[] = {1, 2, 3, 7, 8, 9, 127, 128, 129, 255, 256, 257, 2047};
	struct client c;
	uint32_t n = 0;

	CU_ASSERT_TRUE_FATAL(open_disk(&c, d));
	for (unsigned i = 0; i < sizeof(blocks) / sizeof(*blocks); i++)
		for (uint64_t align = 1; align <= 8192; align *= 8) {
			uint32_t bytes = blocks[i] * d->block;
			uint64_t off = n++ * 5 % 1000 * d->block;

			CU_ASSERT_TRUE(usb_reads(&c, d->shadow, 65536 - align, bytes, off));
		}
	for (uint32_t mib = 1; mib <= 16; mib *= 2)
		CU_ASSERT_TRUE(usb_reads(&c, d->shadow, 4096 - 1, mib << 20, mib << 12));
	client_close(&c);
}

static void test_sizes(void)
{
	for (unsigned i = 0; i < DISKS; i++)
		sizes(&disks[i]);
}

static void writes(struct disk *d)
{
	struct client c;
	uint32_t seed = 77;

	CU_ASSERT_TRUE_FATAL(open_disk(&c, d));
	for (uint32_t bytes = d->block; bytes <= 16u << 20; bytes *= 4) {
		uint64_t off = bytes / d->block % 64 * d->block;

		fill_random(&seed, c.base + (60u << 20), bytes);
		memcpy(c.base + 12345, c.base + (60u << 20), bytes);
		memcpy(d->shadow + off, c.base + 12345, bytes);
		CU_ASSERT_EQUAL(client_write(&c, 12345, bytes, off), (int)bytes);
		CU_ASSERT_TRUE(usb_reads(&c, d->shadow, 40u << 20, bytes, off));
	}
	CU_ASSERT_EQUAL(pcidipc_blockdev_flush(c.dev), 0);
	CU_ASSERT_EQUAL(pcidipc_blockdev_write(c.dev, c.index, 0, d->block, 0, true),
			(int)d->block);
	memcpy(d->shadow, c.base, d->block);
	client_close(&c);
	CU_ASSERT_EQUAL(rig_compare(&rig, d->serial, d->shadow, IMAGE_BYTES), 0);
}

static void test_writes(void)
{
	for (unsigned i = 0; i < LOCKED; i++)
		writes(&disks[i]);
}

static void test_read_only(void)
{
	struct client c;

	CU_ASSERT_TRUE_FATAL(open_disk(&c, &disks[LOCKED]));
	CU_ASSERT_EQUAL(client_write(&c, 0, 512, 0), -EROFS);
	client_close(&c);
}

/* Writes and reads at random, 32 deep, by two clients each on disks of both transports. */
static void test_random(void)
{
	pid_t pid[8];
	unsigned n = 0;

	for (unsigned i = BOT3; i <= UAS2; i++)
		for (unsigned half = 0; half < 2; half++) {
			struct work work = {.disk = disks[i].name,
					    .first = half * (8u << 20),
					    .bytes = 8u << 20,
					    .depth = 32,
					    .largest = 256 << 10,
					    .rounds = 150,
					    .pool_bytes = 64u << 20,
					    .stride = 1u << 20,
					    .seed = n + 1};

			pid[n++] = work_fork(&work);
		}
	for (unsigned i = 0; i < n; i++)
		CU_ASSERT_EQUAL(work_wait(pid[i]), 0);
}

/* The disk's owner in mid-transfer: gone. The other sticks live. */
static void test_unplug(void)
{
	struct client c, other;
	int ret = 0;

	CU_ASSERT_TRUE_FATAL(open_disk(&c, &disks[BOT3]));
	CU_ASSERT_TRUE_FATAL(open_disk(&other, &disks[UAS]));
	for (uint64_t i = 0; i < 16; i++) {
		struct io_uring_sqe *sqe = pcidipc_get_sqe(c.consumer);

		io_uring_prep_read_fixed(sqe, 0, (void *)(uintptr_t)(i << 20), 1 << 20, i << 20,
					 c.index);
		sqe->user_data = i;
	}
	pcidipc_submit(c.consumer);
	CU_ASSERT_TRUE(
		monitor_do(&rig, "\"execute\":\"device_del\",\"arguments\":{\"id\":\"bot3\"}"));
	for (unsigned i = 0; i < 16; i++) {
		ret = client_reap(&c, NULL);
		CU_ASSERT_TRUE(ret == 1 << 20 || ret == -ENODEV);
	}
	RIG_UNTIL((ret = client_read(&c, 0, 512, 0)) == -ENODEV);
	CU_ASSERT_EQUAL(ret, -ENODEV);
	CU_ASSERT_TRUE(usb_reads(&other, disks[UAS].shadow, 0, 4096, 17u << 20));
	client_close(&c);
	client_close(&other);
}

/* ---- the rig ---- */

static void attach(const char *serial, const char *port, bool uas, const char *more)
{
	usb_drive(&rig, serial, !strcmp(serial, "locked") ? ",readonly=on" : "");
	if (uas) {
		usb_adapter(&rig, "usb-uas", serial, port);
		usb_unit(&rig, serial, "scsi-hd", 0, serial, more);
	} else {
		usb_stick(&rig, serial, port, more);
	}
}

static int start(void)
{
	int ret = rig_create(&rig, 600);

	for (unsigned i = 0; i < DISKS && !ret; i++)
		ret = rig_image(&rig, disks[i].serial, IMAGE_BYTES, i + 1, &disks[i].shadow);
	if (ret)
		return ret;
	rig_arg(&rig, "-device");
	rig_arg(&rig, "qemu-xhci,id=x,p2=8,p3=4");
	attach("bot3", "1", false, "");
	attach("bot2", "5", false, ""); /* 5 to 8 are USB 2 ports */
	attach("uas", "2", true, "");
	attach("uas2", "6", true, "");
	attach("big", "3", true, ",logical_block_size=4096,physical_block_size=4096");
	attach("locked", "4", false, "");
	ret = rig_start(&rig, usb_config);
	for (unsigned i = 0; i < DISKS && !ret; i++)
		ret = usb_find(disks[i].serial, disks[i].name) ? 0 : -ENOENT;
	if (ret) {
		fprintf(stderr, "the disks did not come: %s\n", strerror(-ret));
		rig_show_log(&rig);
	}
	return ret;
}

static CU_TestInfo tests[] = {{"identity", test_identity},
			      {"every size", test_sizes},
			      {"writes", test_writes},
			      {"read-only", test_read_only},
			      {"random", test_random},
			      {"unplugged", test_unplug},
			      CU_TEST_INFO_NULL};
static CU_SuiteInfo suites[] = {{.pName = "usb disks", .pTests = tests}, CU_SUITE_INFO_NULL};

int main(void)
{
	int ret = rig_main(&rig, start(), suites);

	for (unsigned i = 0; i < DISKS; i++)
		free(disks[i].shadow);
	return ret;
}
