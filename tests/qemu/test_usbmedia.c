// SPDX-License-Identifier: MIT
/*
 * Devices with several logical units, each of which is a disk of its own, and removable media that
 * leave and come back as others; all contents against the images.
 */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "monitor.h"
#include "usbrig.h"

#define MIB (1u << 20)
#define POOL_BYTES (16u << 20)

static struct rig rig;

/* usb-uas has u0, u1, u2; usb-bot b0, a CD that nobody drives, b2. rb and ru are removable; the
 * others are media to be inserted. */
static struct disk {
	const char *serial;
	uint32_t bytes;
	unsigned char *shadow;
} disks[] = {
	{.serial = "u0", .bytes = 8 * MIB},  {.serial = "u1", .bytes = 9 * MIB},
	{.serial = "u2", .bytes = 10 * MIB}, {.serial = "b0", .bytes = 11 * MIB},
	{.serial = "b2", .bytes = 12 * MIB}, {.serial = "rb", .bytes = 8 * MIB},
	{.serial = "ru", .bytes = 9 * MIB},  {.serial = "cd", .bytes = 1 * MIB},
	{.serial = "n0", .bytes = 13 * MIB}, {.serial = "n1", .bytes = 7 * MIB},
};

enum { U0, U1, U2, B0, B2, RB, RU, CD, N0, N1, DISKS };
#define UNITS (B2 + 1)

static bool open_disk(struct client *c, unsigned n)
{
	return !usb_open(c, disks[n].serial, POOL_BYTES);
}

/* ---- units ---- */

static void test_units(void)
{
	static const char *const transport[] = {"usb-uas", "usb-uas", "usb-uas", "usb-bot",
						"usb-bot"};
	static const uint32_t lun[] = {0, 1, 2, 0, 2};

	for (unsigned n = 0; n < UNITS; n++) {
		struct client c;

		CU_ASSERT_TRUE_FATAL(open_disk(&c, n));
		CU_ASSERT_EQUAL(c.info->bytes, disks[n].bytes);
		CU_ASSERT_STRING_EQUAL(c.info->transport, transport[n]);
		CU_ASSERT_EQUAL(c.info->name_space, lun[n]);
		for (uint32_t off = 0; off < disks[n].bytes; off += MIB)
			CU_ASSERT_TRUE(usb_reads(&c, disks[n].shadow, 0, MIB, off));
		client_close(&c);
	}
	CU_ASSERT_TRUE(RIG_UNTIL(rig_logged(&rig, "LUN 1 is no disk (type 5)")));
}

/* All at once; they share the pipes, and nothing of one goes to another. */
static void test_units_at_once(void)
{
	char name[UNITS][32];
	pid_t pid[UNITS];

	for (unsigned n = 0; n < UNITS; n++) {
		CU_ASSERT_TRUE_FATAL(usb_find(disks[n].serial, name[n]));
		pid[n] = work_fork(&(struct work){.disk = name[n],
						  .bytes = 8 * MIB,
						  .depth = 16,
						  .largest = 128 << 10,
						  .rounds = 100,
						  .pool_bytes = POOL_BYTES,
						  .stride = MIB / 2,
						  .seed = n + 5});
	}
	for (unsigned n = 0; n < UNITS; n++)
		CU_ASSERT_EQUAL(work_wait(pid[n]), 0);
}

/* ---- media ---- */

static bool medium_is(struct client *c, bool there)
{
	return !pcidipc_blockdev_refresh(c->dev) &&
	       !(c->info->flags & RINGABI_BLOCK_NO_MEDIUM) == there;
}

static bool take_out(unsigned n)
{
	return monitor_do(&rig,
			  "\"execute\":\"eject\",\"arguments\":{\"device\":\"d-%s\","
			  "\"force\":true}",
			  disks[n].serial);
}

static bool put_in(unsigned n, unsigned medium)
{
	const char *name = disks[n].serial;

	return monitor_do(&rig,
			  "\"execute\":\"blockdev-open-tray\",\"arguments\":{\"device\":\"d-%s\","
			  "\"force\":true}",
			  name) &&
	       monitor_do(&rig,
			  "\"execute\":\"blockdev-insert-medium\",\"arguments\":{\"id\":\"%s\","
			  "\"node-name\":\"%s\"}",
			  n == RB ? "rb-unit" : "ru-unit", disks[medium].serial) &&
	       monitor_do(&rig,
			  "\"execute\":\"blockdev-close-tray\",\"arguments\":{\"device\":\"d-%s\"}",
			  name);
}

static void swap(unsigned n, unsigned medium)
{
	struct client c;

	CU_ASSERT_TRUE_FATAL(open_disk(&c, n));
	CU_ASSERT_TRUE(c.info->flags & RINGABI_BLOCK_REMOVABLE);
	CU_ASSERT_TRUE(usb_reads(&c, disks[n].shadow, 0, MIB, 3 * MIB));
	CU_ASSERT_TRUE(take_out(n));
	CU_ASSERT_TRUE(RIG_UNTIL(medium_is(&c, false)));
	CU_ASSERT_EQUAL(c.info->bytes, 0);
	CU_ASSERT_EQUAL(client_read(&c, 0, 512, 0), -ENOMEDIUM);
	CU_ASSERT_TRUE(put_in(n, medium));
	CU_ASSERT_TRUE(RIG_UNTIL(medium_is(&c, true)));
	CU_ASSERT_EQUAL(c.info->bytes, disks[medium].bytes);
	for (uint32_t off = 0; off < disks[medium].bytes; off += MIB)
		CU_ASSERT_TRUE(usb_reads(&c, disks[medium].shadow, 0, MIB, off));
	client_close(&c);
}

static void test_swap_bot(void)
{
	swap(RB, N0);
}

static void test_swap_uas(void)
{
	swap(RU, N1);
}

/* ---- the rig ---- */

static void describe(void)
{
	usb_controller(&rig);
	for (unsigned n = 0; n < N0; n++)
		usb_drive(&rig, disks[n].serial, n == CD ? ",readonly=on" : "");
	for (unsigned n = N0; n < DISKS; n++) {
		rig_arg(&rig, "-blockdev");
		rig_arg(&rig, "driver=raw,node-name=%s,file.driver=file,file.filename=@/%s.img",
			disks[n].serial, disks[n].serial);
	}
	usb_adapter(&rig, "usb-uas", "u", "1");
	for (unsigned n = U0; n <= U2; n++)
		usb_unit(&rig, "u", "scsi-hd", n - U0, disks[n].serial, "");
	usb_adapter(&rig, "usb-bot", "b", "2");
	usb_unit(&rig, "b", "scsi-hd", 0, "b0", "");
	usb_unit(&rig, "b", "scsi-cd", 1, "cd", "");
	usb_unit(&rig, "b", "scsi-hd", 2, "b2", "");
	usb_adapter(&rig, "usb-bot", "r", "3");
	usb_unit(&rig, "r", "scsi-hd", 0, "rb", ",removable=on,id=rb-unit");
	usb_adapter(&rig, "usb-uas", "s", "4");
	usb_unit(&rig, "s", "scsi-hd", 0, "ru", ",removable=on,id=ru-unit");
}

static int start(void)
{
	int ret = rig_create(&rig, 300);

	for (unsigned n = 0; n < DISKS && !ret; n++)
		ret = rig_image(&rig, disks[n].serial, disks[n].bytes, n + 1, &disks[n].shadow);
	if (ret)
		return ret;
	describe();
	return rig_start(&rig, usb_config);
}

static CU_TestInfo tests[] = {{"units", test_units},
			      {"units at once", test_units_at_once},
			      {"another medium, Bulk-Only", test_swap_bot},
			      {"another medium, UAS", test_swap_uas},
			      CU_TEST_INFO_NULL};
static CU_SuiteInfo suites[] = {{.pName = "usb units", .pTests = tests}, CU_SUITE_INFO_NULL};

int main(void)
{
	int ret = rig_main(&rig, start(), suites);

	for (unsigned n = 0; n < DISKS; n++)
		free(disks[n].shadow);
	return ret;
}
