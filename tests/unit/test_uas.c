// SPDX-License-Identifier: MIT
/* usbscsid over UAS, with streams and without, against a stick that obeys, and one that does not.
 */
#include <unistd.h>

#include "stickrig.h"
#include "suites.h"

static bool with_streams;

static void fill(uint8_t *at, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i++)
		at[i] = (uint8_t)(i * 31 + (i >> 8) + seed);
}

static void begin_uas(void)
{
	begin();
	stick.has_uas = true;
	stick.streams = with_streams;
	stick.link.speed = with_streams ? RINGABI_USB_SPEED_SUPER : RINGABI_USB_SPEED_HIGH;
}

static void started(void)
{
	begin_uas();
	start();
	CU_ASSERT_EQUAL_FATAL(start_result, 0);
	CU_ASSERT_EQUAL_FATAL(target.nluns, 1);
	CU_ASSERT_STRING_EQUAL(target.lun[0]->disk.info.transport, "usb-uas");
}

static void test_start(void)
{
	begin_uas();
	stick.luns = 2;
	stick.unit[0].provisioned = true;
	stick.unit[0].descriptor_sense = true;
	unit_attention(&stick.unit[0], 0x29, 0);
	start();
	CU_ASSERT_EQUAL_FATAL(target.nluns, 2);
	CU_ASSERT_EQUAL(target.lun[0]->disk.info.physical_bytes, 4096);
	CU_ASSERT(target.lun[0]->disk.info.flags & RINGABI_BLOCK_DISCARD_WORKS);
	CU_ASSERT_EQUAL(stick.streams_granted, with_streams ? 16 : 0);
	finish();
}

static void test_sizes(void)
{
	unsigned seed = 1;

	started();
	for (uint64_t blocks = 1; blocks <= 32768; blocks += blocks < 40 ? 1 : blocks) {
		uint64_t bytes = blocks * 512, at = 1 + seed * 13 % 8191;

		fill(client + at, bytes, seed++);
		CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_WRITE, seed, blocks, at), 0);
		CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, seed, blocks, (20 << 20) + at / 2), 0);
		CU_ASSERT_EQUAL(memcmp(client + at, client + (20 << 20) + at / 2, bytes), 0);
	}
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 0, 32768, 4), 0);
	finish();
}

/* As many in flight as there are tags; they come back in another order. */
static void test_many(void)
{
	struct asked a[200];

	started();
	fill(stick.unit[0].medium, 200 * 512, 9);
	for (unsigned i = 0; i < 200; i++) {
		prepare(&a[i], 0, i % 3 ? PCIDIPC_BLOCK_READ : PCIDIPC_BLOCK_WRITE, i, 1, i * 512);
		if (!(i % 3))
			memcpy(client + i * 512, stick.unit[0].medium + i * 512, 512);
		submit(&a[i]);
	}
	for (unsigned i = 0; i < 200; i++)
		CU_ASSERT_EQUAL(finish_request(&a[i]), 0);
	CU_ASSERT_EQUAL(memcmp(client, stick.unit[0].medium, 200 * 512), 0);
	CU_ASSERT_EQUAL(stick.most_in_flight, with_streams ? 15 : 32);
	CU_ASSERT_EQUAL(stick.port_resets, 0);
	finish();
}

/* With `times` faults a read gives `expect`; those beside it, and the next one, are good. */
static void fault(enum stick_fault what, unsigned times, int expect, unsigned port_resets)
{
	struct asked a[6];

	started();
	fill(stick.unit[0].medium, 1 << 20, 4);
	stick_misbehave(&stick, what, times, SCSI_READ_10);
	for (unsigned i = 0; i < 6; i++) {
		bool odd = times == 1 && i;

		prepare(&a[i], 0, odd ? PCIDIPC_BLOCK_WRITE : PCIDIPC_BLOCK_READ, i * 10, 10,
			i * 5120);
		if (odd)
			memcpy(client + i * 5120, stick.unit[0].medium + i * 5120, 5120);
		submit(&a[i]);
	}
	for (unsigned i = 0; i < 6; i++)
		CU_ASSERT_EQUAL(finish_request(&a[i]), times > 1 || !i ? expect : 0);
	CU_ASSERT_EQUAL(stick.port_resets, port_resets);
	stick.times = 0;
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 0, 60, 1 << 20), 0);
	CU_ASSERT_EQUAL(memcmp(client + (1 << 20), stick.unit[0].medium, 60 * 512), 0);
	finish();
}

static void test_faults(void)
{
	fault(FAULT_TAG, 1, 0, 1);
	fault(FAULT_WRONG_IU, 1, 0, 1);
	fault(FAULT_SHORT_IU, 1, 0, 1);
	fault(FAULT_STALL_CBW, 1, 0, 1);
	fault(FAULT_STALL_DATA, 1, 0, 1);
	fault(FAULT_STALL_CSW, 1, 0, 1);
	fault(FAULT_BABBLE, 1, 0, 1);
	fault(FAULT_RESPONSE, 1, 0, 0);
	fault(FAULT_SHORT_DATA, 1, 0, 0);
	fault(FAULT_STATUS, 1, 0, 0);
	if (!with_streams)
		fault(FAULT_READY_TWICE, 1, 0, 1);
	fault(FAULT_SHORT_DATA, 1000, -EIO, 0);
	fault(FAULT_RESPONSE, 1000, -EIO, 0);
}

/* Faults that never end give errors, in finite time. */
static void test_endless(void)
{
	static const enum stick_fault faults[] = {FAULT_TAG, FAULT_WRONG_IU, FAULT_STALL_DATA,
						  FAULT_STALL_CSW, FAULT_STALL_CBW};

	for (unsigned i = 0; i < 5; i++) {
		started();
		stick_misbehave(&stick, faults[i], 1000000, SCSI_READ_10);
		CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 0, 1, 0), -EIO);
		stick.times = 0;
		CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 0, 1, 0), 0);
		finish();
	}
}

/* A command that never ends is aborted; the others live. */
static void test_abort(void)
{
	fault(FAULT_SILENT, 1, -ETIMEDOUT, 0);
	started();
	stick_misbehave(&stick, FAULT_SILENT, 1, SCSI_READ_10);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 0, 1, 0), -ETIMEDOUT);
	CU_ASSERT_EQUAL(stick.aborts, 1);
	CU_ASSERT_EQUAL(stick.lun_resets, 0);
	finish();
}

static void test_lun_reset(void)
{
	started();
	stick.refuses_abort = true;
	stick_misbehave(&stick, FAULT_SILENT, 1, SCSI_READ_10);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 0, 1, 0), -ETIMEDOUT);
	CU_ASSERT_EQUAL(stick.aborts, 1);
	CU_ASSERT_EQUAL(stick.lun_resets, 1);
	CU_ASSERT_EQUAL(stick.port_resets, 0);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 0, 1, 0), 0);
	finish();
}

static void test_device_reset(void)
{
	started();
	stick.ignores_abort = true;
	stick_misbehave(&stick, FAULT_SILENT, 1, SCSI_READ_10);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 0, 1, 0), -ETIMEDOUT);
	CU_ASSERT_EQUAL(stick.port_resets, 1);
	/* Nothing else is asked of it meanwhile: an answer that is late would be taken for that
	 * one's. */
	CU_ASSERT_EQUAL(stick.lun_resets, 0);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 0, 1, 0), 0);
	finish();
}

/* A link whose transfers end some time after they were stopped. */
static void test_slow_stop(void)
{
	started();
	stick.slow_stop = true;
	stick_misbehave(&stick, with_streams ? FAULT_SILENT : FAULT_READY_SILENT, 1, SCSI_READ_10);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 0, 1, 0), -ETIMEDOUT);
	CU_ASSERT_EQUAL(stick.aborts, 1);
	CU_ASSERT_EQUAL(stick.port_resets, 0);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 0, 1, 0), 0);
	finish();
}

/* One command's data cannot be stopped without that of another one, which is in time: it is tried
 * again. */
static void test_shared_pipe(void)
{
	struct asked a[2];

	if (with_streams)
		return;
	started();
	stick_misbehave(&stick, FAULT_READY_SILENT, 2, SCSI_READ_10);
	for (unsigned i = 0; i < 2; i++) {
		prepare(&a[i], 0, PCIDIPC_BLOCK_READ, i, 1, i * 512);
		submit(&a[i]);
		target.transport->limit = 1000000;
	}
	CU_ASSERT_EQUAL(finish_request(&a[0]), -ETIMEDOUT);
	CU_ASSERT_EQUAL(finish_request(&a[1]), 0);
	CU_ASSERT_EQUAL(stick.port_resets, 1);
	finish();
}

/* A tag that is not free again when it should be: its command goes out after the reset. */
static void test_no_tag(void)
{
	struct asked a[40];

	started();
	target.transport->depth++;
	for (unsigned i = 0; i < 40; i++) {
		prepare(&a[i], 0, PCIDIPC_BLOCK_READ, i, 1, 0);
		submit(&a[i]);
	}
	for (unsigned i = 0; i < 40; i++)
		CU_ASSERT_EQUAL(finish_request(&a[i]), 0);
	CU_ASSERT(stick.port_resets > 0);
	finish();
}

static void test_unplug(void)
{
	struct asked a[40];

	started();
	stick_misbehave(&stick, FAULT_SILENT, 3, SCSI_READ_10);
	for (unsigned i = 0; i < 40; i++) {
		prepare(&a[i], 0, PCIDIPC_BLOCK_READ, i, 1, 0);
		submit(&a[i]);
	}
	stick_unplug(&stick);
	for (unsigned i = 0; i < 40; i++)
		CU_ASSERT_EQUAL(finish_request(&a[i]), -ENODEV);
	UNTIL(ended);
	finish();
}

/* A device whose UAS does not come up is driven by Bulk-Only. */
static void test_fall_back(void)
{
	begin_uas();
	stick.refuses_uas = true;
	start();
	CU_ASSERT_EQUAL_FATAL(target.nluns, 1);
	CU_ASSERT_STRING_EQUAL(target.lun[0]->disk.info.transport, "usb-bot");
	finish();
}

static int init_streams(void)
{
	with_streams = true;
	return 0;
}

static int init_no_streams(void)
{
	with_streams = false;
	return 0;
}

int main(void)
{
	CU_TestInfo tests[] = {{"start", test_start},
			       {"every size", test_sizes},
			       {"many at once", test_many},
			       {"faults", test_faults},
			       {"endless faults", test_endless},
			       {"abort", test_abort},
			       {"LUN reset", test_lun_reset},
			       {"device reset", test_device_reset},
			       {"stops that take time", test_slow_stop},
			       {"a pipe that is shared", test_shared_pipe},
			       {"no tag", test_no_tag},
			       {"unplugged", test_unplug},
			       {"fall back", test_fall_back},
			       CU_TEST_INFO_NULL};
	CU_SuiteInfo suites[] = {
		{.pName = "streams", .pInitFunc = init_streams, .pTests = tests},
		{.pName = "no streams", .pInitFunc = init_no_streams, .pTests = tests},
		CU_SUITE_INFO_NULL};

	pcidipc_log_init("test_uas", getenv("TEST_VERBOSE") ? PCIDIPC_DEBUG : 0);
	return run_suites(suites);
}
