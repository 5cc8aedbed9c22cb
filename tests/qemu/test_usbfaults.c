// SPDX-License-Identifier: MIT
/*
 * Many sticks on one controller and behind a hub, and what happens to them under load: blocks that
 * cannot be read, a disk that is slow, a driver that dies, sticks that are pulled out and plugged
 * in. Who suffers from it, who does not, and that the data is right afterwards.
 */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "monitor.h"
#include "usbrig.h"

#define MIB (1u << 20)
#define BYTES (8 * MIB)
#define POOL_BYTES (16 * MIB)
#define BAD_BLOCK 1000u
#define PLUGS 4

static struct rig rig;

/* m0 to m3: Bulk-Only; u0, u1: UAS; h0, h1 behind the hub. bb and bu: bad blocks. */
static const char *const sticks[] = {"m0", "m1", "m2", "m3", "u0",   "u1",
				     "h0", "h1", "bb", "bu", "spare"};
enum { M0, M1, M2, M3, U0, U1, H0, H1, BB, BU, SPARE, STICKS };
#define SOUND (H1 + 1)
static unsigned char *shadow[STICKS];

static bool open_stick(struct client *c, unsigned n)
{
	return !usb_open(c, sticks[n], POOL_BYTES);
}

/* ---- work on them ---- */

struct worker {
	pid_t pid;
	volatile uint32_t *progress;
};

/* Of the upper half only, so that what a test reads is as it was. `rounds` 0: until it is killed.
 */
static void worker_start(struct worker *w, unsigned n, uint32_t rounds)
{
	char name[32];
	struct work work = {.disk = name,
			    .first = BYTES / 2,
			    .bytes = BYTES / 2,
			    .depth = 16,
			    .largest = 64 << 10,
			    .rounds = rounds,
			    .pool_bytes = POOL_BYTES,
			    .stride = MIB / 2,
			    .seed = n + 3};

	CU_ASSERT_TRUE_FATAL(usb_find(sticks[n], name));
	w->progress = work.progress = shared_words();
	w->pid = work_fork(&work);
	CU_ASSERT_TRUE_FATAL(RIG_UNTIL(*w->progress > 0));
}

static bool goes_on(const struct worker *w)
{
	uint32_t seen = *w->progress;

	return RIG_UNTIL(*w->progress > seen + 3);
}

static void worker_kill(struct worker *w)
{
	CU_ASSERT_TRUE(goes_on(w));
	kill(w->pid, SIGKILL);
	CU_ASSERT_EQUAL(work_wait(w->pid), -1);
}

/* ---- the tests ---- */

static void test_many(void)
{
	struct worker w[SOUND];

	for (unsigned n = 0; n < SOUND; n++) {
		struct client c;

		CU_ASSERT_TRUE_FATAL(open_stick(&c, n));
		for (uint32_t off = 0; off < BYTES; off += MIB)
			CU_ASSERT_TRUE(usb_reads(&c, shadow[n], 0, MIB, off));
		client_close(&c);
	}
	for (unsigned n = 0; n < SOUND; n++)
		worker_start(&w[n], n, n < H0 ? 120 : 20);
	for (unsigned n = 0; n < SOUND; n++)
		CU_ASSERT_EQUAL(work_wait(w[n].pid), 0);
}

/* One block cannot be read, and one can the second time only. */
static void bad_block(unsigned n)
{
	const uint64_t bad = BAD_BLOCK * 512;
	struct client c;

	CU_ASSERT_TRUE_FATAL(open_stick(&c, n));
	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(client_read(&c, 0, 512, bad), -EIO);
		CU_ASSERT_EQUAL(client_read(&c, 0, 64 << 10, bad - 4096), -EIO);
		CU_ASSERT_TRUE(usb_reads(&c, shadow[n], 0, 4096, bad - 4096));
		CU_ASSERT_TRUE(usb_reads(&c, shadow[n], 0, MIB, bad + 512));
	}
	CU_ASSERT_TRUE(usb_reads(&c, shadow[n], 0, 64 << 10, 4 * MIB - (32 << 10)));
	client_close(&c);
}

static void test_bad_blocks(void)
{
	struct worker other[2];

	worker_start(&other[0], M0, 0);
	worker_start(&other[1], U0, 0);
	bad_block(BB);
	bad_block(BU);
	worker_kill(&other[0]);
	worker_kill(&other[1]);
}

/* A disk that is slow holds up its own clients only. */
static void slow(unsigned n, unsigned neighbour)
{
	char drive[16];
	struct worker other, own;

	snprintf(drive, sizeof(drive), "d-%s", sticks[n]);
	worker_start(&own, n, 60);
	worker_start(&other, neighbour, 0);
	CU_ASSERT_TRUE(monitor_throttle(&rig, drive, 2 * MIB));
	for (unsigned i = 0; i < 5; i++)
		CU_ASSERT_TRUE(goes_on(&other));
	CU_ASSERT_TRUE(monitor_throttle(&rig, drive, 0));
	CU_ASSERT_EQUAL(work_wait(own.pid), 0);
	worker_kill(&other);
}

static void test_slow(void)
{
	slow(M1, M0);
	slow(U1, U0);
}

/* One write that takes far longer than any other: it is waited for, and nobody loses patience. */
static void slow_write(unsigned n)
{
	uint32_t seed = n + 5;
	char drive[16];
	struct client c;
	size_t mark = rig_mark(&rig);

	snprintf(drive, sizeof(drive), "d-%s", sticks[n]);
	CU_ASSERT_TRUE_FATAL(open_stick(&c, n));
	fill_random(&seed, c.base, MIB);
	CU_ASSERT_TRUE(monitor_throttle(&rig, drive, MIB));
	for (unsigned i = 0; i < 2; i++) /* the throttle lets the first one go */
		CU_ASSERT_EQUAL(client_write(&c, 0, MIB, BYTES / 2 + i * MIB), MIB);
	CU_ASSERT_TRUE(monitor_throttle(&rig, drive, 0));
	for (unsigned i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(client_read(&c, MIB, MIB, BYTES / 2 + i * MIB), MIB);
		CU_ASSERT_EQUAL(memcmp(c.base, c.base + MIB, MIB), 0);
		memcpy(shadow[n] + BYTES / 2 + i * MIB, c.base, MIB);
	}
	CU_ASSERT_FALSE(rig_logged_since(&rig, mark, "recovery"));
	client_close(&c);
}

static void test_slow_write(void)
{
	slow_write(M0);
	slow_write(U0);
}

/* ---- a driver that dies ---- */

/* The pid of the driver that serves this disk. */
static int64_t driver_of(const char *name)
{
	struct json_object *list = rig_ask(&rig, "drivers"), *pid, *service, *services;
	int64_t found = -1;

	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *d = json_object_array_get_idx(list, i);

		if (!json_object_object_get_ex(d, "services", &services) ||
		    !json_object_object_get_ex(d, "pid", &pid))
			continue;
		for (size_t j = 0; j < json_object_array_length(services); j++) {
			service = json_object_array_get_idx(services, j);
			if (!strcmp(json_object_get_string(service), name))
				found = json_object_get_int64(pid);
		}
	}
	json_object_put(list);
	return found;
}

static void queue_reads(struct client *c, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		io_uring_prep_read_fixed(pcidipc_get_sqe(c->consumer), 0,
					 (void *)(uintptr_t)(i * MIB / 2), MIB / 2, i * MIB / 4,
					 c->index);
	CU_ASSERT_EQUAL(pcidipc_submit(c->consumer), 0);
}

#define WRITES 8

static void queue_writes(struct client *c)
{
	for (unsigned i = 0; i < WRITES; i++)
		io_uring_prep_write_fixed(pcidipc_get_sqe(c->consumer), 0,
					  (void *)(uintptr_t)(i * MIB / 2), MIB / 2,
					  BYTES / 2 + i * MIB / 2, c->index);
	CU_ASSERT_EQUAL(pcidipc_submit(c->consumer), 0);
}

/* In the middle of one, since the disk is slow. Every block is as it was or as it was to be, and
 * the driver's successor had nothing to mend: no command of it was taken for data. */
static void killed_in_writes(unsigned n)
{
	uint32_t seed = n + 77, bytes = WRITES * MIB / 2, strange = 0;
	unsigned char *was = malloc(bytes), *is;
	struct client c;
	char name[32], drive[16];
	int64_t pid;
	size_t mark;

	snprintf(drive, sizeof(drive), "d-%s", sticks[n]);
	CU_ASSERT_TRUE_FATAL(was && usb_find(sticks[n], name));
	CU_ASSERT_EQUAL_FATAL(client_open(&c, name, 0, POOL_BYTES), 0);
	is = c.base + bytes;
	CU_ASSERT_EQUAL(client_read(&c, bytes, bytes, BYTES / 2), (int)bytes);
	memcpy(was, is, bytes);
	fill_random(&seed, c.base, bytes);
	pid = driver_of(name);
	CU_ASSERT_TRUE_FATAL(pid > 1);
	CU_ASSERT_TRUE(monitor_throttle(&rig, drive, 4 * MIB));
	queue_writes(&c);
	CU_ASSERT_EQUAL(client_reap(&c, NULL), MIB / 2);
	mark = rig_mark(&rig);
	CU_ASSERT_EQUAL(kill((pid_t)pid, SIGKILL), 0);
	CU_ASSERT_TRUE(monitor_throttle(&rig, drive, 0));
	for (unsigned i = 0; i < WRITES && client_reap(&c, NULL) == MIB / 2; i++)
		;
	RIG_UNTIL(client_read(&c, bytes, 512, 0) < 0);
	CU_ASSERT_EQUAL_FATAL(pcidipc_consumer_reconnect(c.consumer), 0);
	CU_ASSERT_EQUAL(client_read(&c, bytes, bytes, BYTES / 2), (int)bytes);
	for (uint32_t i = 0; i < bytes; i += 512)
		strange += memcmp(is + i, was + i, 512) && memcmp(is + i, c.base + i, 512);
	CU_ASSERT_EQUAL(strange, 0);
	CU_ASSERT_FALSE(rig_logged_since(&rig, mark, "reset recovery"));
	client_close(&c);
	free(was);
}

static void test_killed_in_writes(void)
{
	for (unsigned i = 0; i < 3; i++)
		killed_in_writes(M0);
}

/* Its client is told, its disk comes back under its name, the others have not noticed. */
static void driver_dies(unsigned n, unsigned neighbour, unsigned reads)
{
	struct worker other;
	struct client c;
	char name[32];
	int64_t pid;
	int res = 0;

	CU_ASSERT_TRUE_FATAL(usb_find(sticks[n], name));
	CU_ASSERT_EQUAL_FATAL(client_open(&c, name, 0, POOL_BYTES), 0);
	worker_start(&other, neighbour, 0);
	pid = driver_of(name);
	CU_ASSERT_TRUE_FATAL(pid > 1);
	queue_reads(&c, reads);
	CU_ASSERT_EQUAL(kill((pid_t)pid, SIGKILL), 0);
	for (unsigned i = 0; i < 17 && (res = client_reap(&c, NULL)) == MIB / 2; i++)
		;
	if (res == MIB / 2) /* it was quicker than its end */
		RIG_UNTIL((res = client_read(&c, 0, 512, 0)) < 0);
	CU_ASSERT_EQUAL(res, -ENOTCONN);
	CU_ASSERT_EQUAL_FATAL(pcidipc_consumer_reconnect(c.consumer), 0);
	CU_ASSERT_STRING_EQUAL(c.info->serial, sticks[n]);
	for (uint32_t off = 0; off < BYTES / 2; off += MIB)
		CU_ASSERT_TRUE(usb_reads(&c, shadow[n], 0, MIB, off));
	CU_ASSERT_NOT_EQUAL(driver_of(name), pid);
	worker_kill(&other);
	client_close(&c);
}

static void test_driver_dies(void)
{
	driver_dies(M0, M1, 16);
	driver_dies(U0, M1,
		    0); /* its device is stopped, at which QEMU 7.2 may abort: see pull_out */
	driver_dies(H0, U1, 16);
	driver_dies(M0, H1, 16);
}

/* ---- plugging ---- */

/* A node of its own for each: the one before is not let go in the moment that its stick is out. */
static bool plug(unsigned node, bool uas)
{
	if (!uas)
		return monitor_do(&rig,
				  "\"execute\":\"device_add\",\"arguments\":{"
				  "\"driver\":\"usb-storage\",\"id\":\"spare\",\"bus\":\"x.0\","
				  "\"port\":\"8\",\"drive\":\"spare%u\",\"serial\":\"spare\"}",
				  node);
	return monitor_do(&rig, "\"execute\":\"device_add\",\"arguments\":{\"driver\":\"usb-uas\","
				"\"id\":\"spare\",\"bus\":\"x.0\",\"port\":\"8\"}") &&
	       monitor_do(&rig,
			  "\"execute\":\"device_add\",\"arguments\":{\"driver\":\"scsi-hd\","
			  "\"bus\":\"spare.0\",\"drive\":\"spare%u\",\"serial\":\"spare\"}",
			  node) &&
	       monitor_do(&rig, "\"execute\":\"qom-set\",\"arguments\":{\"path\":\"spare\","
				"\"property\":\"attached\",\"value\":true}");
}

/* In mid-transfer: every request ends, with its data or -ENODEV. Of UAS when nothing is under way:
 * QEMU 7.2 aborts (usb_uas_cancel_io, or usb_packet_check_state after it) when data is. */
static void pull_out(struct client *c, unsigned n)
{
	int ret = 0;

	queue_reads(c, n);
	CU_ASSERT_TRUE(
		monitor_do(&rig, "\"execute\":\"device_del\",\"arguments\":{\"id\":\"spare\"}"));
	for (unsigned i = 0; i < n; i++) {
		ret = client_reap(c, NULL);
		CU_ASSERT_TRUE(ret == MIB / 2 || ret == -ENODEV);
	}
	CU_ASSERT_TRUE(RIG_UNTIL((ret = client_read(c, 0, 512, 0)) == -ENODEV));
}

/* The same port, one stick after the other, of either kind. */
static void test_plug(void)
{
	struct worker other;

	worker_start(&other, M0, 0);
	for (unsigned i = 0; i < PLUGS; i++) {
		struct client c;

		CU_ASSERT_TRUE_FATAL(plug(i, i % 2));
		CU_ASSERT_TRUE_FATAL(open_stick(&c, SPARE));
		CU_ASSERT_STRING_EQUAL(c.info->transport, i % 2 ? "usb-uas" : "usb-bot");
		for (uint32_t off = 0; off < BYTES; off += MIB)
			CU_ASSERT_TRUE(usb_reads(&c, shadow[SPARE], 0, MIB, off));
		pull_out(&c, i % 2 ? 0 : 16);
		client_close(&c);
	}
	worker_kill(&other);
}

/* ---- the rig ---- */

/* Reading BAD_BLOCK fails, and the block in the middle once. */
static void bad_drive(const char *name)
{
	rig_arg(&rig, "-drive");
	rig_arg(&rig,
		"if=none,id=d-%s,driver=raw,file.driver=blkdebug,file.image.driver=file,"
		"file.image.filename=@/%s.img,file.inject-error.0.event=read_aio,"
		"file.inject-error.0.sector=%u,file.inject-error.1.event=read_aio,"
		"file.inject-error.1.sector=%u,file.inject-error.1.once=on",
		name, name, BAD_BLOCK, BYTES / 1024);
}

static void describe(void)
{
	static const char *const port[] = {"1", "2", "3", "4", "5", "6", "7.1", "7.2"};

	usb_controller(&rig);
	rig_arg(&rig, "-device");
	rig_arg(&rig, "usb-hub,id=hub,bus=x.0,port=7");
	for (unsigned n = 0; n < SOUND; n++) {
		usb_drive(&rig, sticks[n], "");
		if (n != U0 && n != U1) {
			usb_stick(&rig, sticks[n], port[n], "");
			continue;
		}
		usb_adapter(&rig, "usb-uas", sticks[n], port[n]);
		usb_unit(&rig, sticks[n], "scsi-hd", 0, sticks[n], "");
	}
	bad_drive("bb");
	usb_stick(&rig, "bb", "9", "");
	bad_drive("bu");
	usb_adapter(&rig, "usb-uas", "bu", "10");
	usb_unit(&rig, "bu", "scsi-hd", 0, "bu", "");
	for (unsigned i = 0; i < PLUGS; i++) {
		rig_arg(&rig, "-blockdev");
		rig_arg(&rig,
			"driver=raw,node-name=spare%u,file.driver=file,file.locking=off,"
			"file.filename=@/spare.img",
			i);
	}
}

static int start(void)
{
	int ret = rig_create(&rig, 600);

	for (unsigned n = 0; n < STICKS && !ret; n++)
		ret = rig_image(&rig, sticks[n], BYTES, n + 1, &shadow[n]);
	if (ret)
		return ret;
	describe();
	return rig_start(&rig, usb_config);
}

static CU_TestInfo tests[] = {{"many at once", test_many},
			      {"bad blocks", test_bad_blocks},
			      {"a slow disk", test_slow},
			      {"a slow write", test_slow_write},
			      {"a driver dies under load", test_driver_dies},
			      {"a driver is killed in writes", test_killed_in_writes},
			      {"plugged in and pulled out", test_plug},
			      CU_TEST_INFO_NULL};
static CU_SuiteInfo suites[] = {{.pName = "usb faults", .pTests = tests}, CU_SUITE_INFO_NULL};

int main(void)
{
	int ret = rig_main(&rig, start(), suites);

	for (unsigned n = 0; n < STICKS; n++)
		free(shadow[n]);
	return ret;
}
