// SPDX-License-Identifier: MIT
/* usbscsid over Bulk-Only Transport, against a stick that obeys, and one that does not. */
#include <unistd.h>

#include "stickrig.h"
#include "suites.h"

static void fill(uint8_t *at, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i++)
		at[i] = (uint8_t)(i * 31 + (i >> 8) + seed);
}

static void started(void)
{
	begin();
	start();
	CU_ASSERT_EQUAL_FATAL(start_result, 0);
	CU_ASSERT_EQUAL_FATAL(target.nluns, 1);
	CU_ASSERT_EQUAL(stick.resets, 1);
	stick.resets = stick.clears = 0;
}

/* ---- what a good stick does ---- */

static void test_start(void)
{
	const struct ringabi_block_info *info;

	begin();
	unit_attention(&stick.unit[0], 0x29, 0);
	start();
	CU_ASSERT_EQUAL_FATAL(start_result, 0);
	CU_ASSERT_EQUAL_FATAL(target.nluns, 1);
	CU_ASSERT_EQUAL(disks_served, 1);
	info = &target.lun[0]->disk.info;
	CU_ASSERT_STRING_EQUAL(target.lun[0]->disk.name, "disk/usb0");
	CU_ASSERT_EQUAL(info->bytes, 100000 * 512);
	CU_ASSERT_EQUAL(info->block_bytes, 512);
	CU_ASSERT_STRING_EQUAL(info->model, "Model Stick");
	CU_ASSERT_STRING_EQUAL(info->firmware, "1.0");
	CU_ASSERT_STRING_EQUAL(info->serial, "SER1AL");
	CU_ASSERT_STRING_EQUAL(info->transport, "usb-bot");
	CU_ASSERT_EQUAL(memcmp(info->id, "\x50\x01\x02\x03\x04\x05\x06\x07\0\0", 10), 0);
	CU_ASSERT(!(info->flags & RINGABI_BLOCK_READ_ONLY));
	CU_ASSERT(!(info->flags & RINGABI_BLOCK_VOLATILE_CACHE));
	finish();
	CU_ASSERT_EQUAL(disks_removed, 1);
}

/* Whoever drove it before has ended in the middle of a command: our first one is not taken for that
 * one's data, nor its CSW for our first one's. */
static void test_interrupted(void)
{
	static const uint8_t write[31] = {0x55, 0x53, 0x42, 0x43, 1, 0, 0, 0, 0, 2, 0, 0,
					  0,	0,    10,   0x2a, 0, 0, 0, 0, 0, 0, 0, 1};

	for (unsigned i = 0; i < 4; i++) {
		begin();
		memcpy(stick.cbw, write, sizeof(write));
		stick.cbw[12] = i & 1 ? 0x80 : 0; /* it reads */
		stick.phase = i < 2 ? STICK_DATA : STICK_CSW;
		stick.answer.in_bytes = 512;
		stick.pipe[STICK_IN].halted = true;
		start();
		CU_ASSERT_EQUAL(start_result, 0);
		CU_ASSERT_EQUAL(stick.unit[0].medium[0], 0);
		CU_ASSERT_EQUAL(stick.unit[0].count[SCSI_WRITE_10], 0);
		CU_ASSERT_EQUAL(target.transport->recoveries, 0);
		CU_ASSERT_STRING_EQUAL(target.lun[0]->disk.info.model, "Model Stick");
		finish();
	}
	begin();
	stick.reset_fails = true;
	start();
	CU_ASSERT_EQUAL(start_result, 0);
	finish();
}

static void test_read_write(void)
{
	started();
	fill(client, 200 * 512, 1);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_WRITE, 77, 200, 0), 0);
	CU_ASSERT_EQUAL(memcmp(stick.unit[0].medium + 77 * 512, client, 200 * 512), 0);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 77, 200, 1 << 20), 0);
	CU_ASSERT_EQUAL(memcmp(client, client + (1 << 20), 200 * 512), 0);
	CU_ASSERT_EQUAL(stick.unit[0].count[SCSI_READ_10], 1);
	CU_ASSERT_EQUAL(stick.resets + stick.clears + stick.port_resets, 0);
	CU_ASSERT_EQUAL(stick.chained > 0, stick_chains);
	finish();
}

/* Every size up to 64 blocks, then doubling up to 16 MiB, at alignments of all kinds. */
static void test_sizes(void)
{
	unsigned seed = 1;

	started();
	for (uint64_t blocks = 1; blocks <= 32768; blocks += blocks < 64 ? 1 : blocks + 1) {
		uint64_t bytes = blocks * 512, at = 1 + seed * 13 % 8191;

		if (blocks > 16384 && blocks != 32768)
			blocks = 32768, bytes = blocks * 512;
		fill(client + at, bytes, seed++);
		CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_WRITE, seed, blocks, at), 0);
		memset(client + (20 << 20), 0, bytes + at);
		CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, seed, blocks, (20 << 20) + at / 2), 0);
		CU_ASSERT_EQUAL(memcmp(client + at, client + (20 << 20) + at / 2, bytes), 0);
	}
	finish();
}

/* Pieces of a vector, with commands that end in the middle of some. */
static void test_vector(void)
{
	struct asked a;
	uint64_t total = 0;

	started();
	fill(stick.unit[0].medium, 8 << 20, 3);
	prepare(&a, 0, PCIDIPC_BLOCK_READ, 5, 0, 0);
	for (unsigned i = 0; i < RINGABI_BLOCK_MAX_IOV; i++) {
		a.segments[i] = (struct pcidipc_segment){i * 100000 + i, 512 * (i % 90 + 1)};
		total += a.segments[i].bytes;
	}
	a.io->segments = a.segments;
	a.io->nsegments = RINGABI_BLOCK_MAX_IOV;
	a.io->blocks = total / 512;
	submit(&a);
	CU_ASSERT_EQUAL(finish_request(&a), 0);
	CU_ASSERT(stick.unit[0].count[SCSI_READ_10] > 2);
	total = 5 * 512;
	for (unsigned i = 0; i < RINGABI_BLOCK_MAX_IOV; i++) {
		CU_ASSERT_EQUAL(memcmp(client + a.segments[i].iova, stick.unit[0].medium + total,
				       a.segments[i].bytes),
				0);
		total += a.segments[i].bytes;
	}
	finish();
}

static void test_many(void)
{
	struct asked a[64];

	started();
	fill(stick.unit[0].medium, 64 * 512, 9);
	for (unsigned i = 0; i < 64; i++) {
		prepare(&a[i], 0, PCIDIPC_BLOCK_READ, i, 1, i * 512);
		submit(&a[i]);
	}
	for (unsigned i = 0; i < 64; i++)
		CU_ASSERT_EQUAL(finish_request(&a[i]), 0);
	CU_ASSERT_EQUAL(memcmp(client, stick.unit[0].medium, 64 * 512), 0);
	finish();
}

/* ---- batches: what is there at the same time goes out as one chain ---- */

#define MANY 20
#define MIDDLE \
	5 /* the place of the odd one, a write: with six commands of the first batch before it */

/* Reads of a block each into its own place, and a write in the middle. */
static void ask_many(struct asked *a)
{
	fill(stick.unit[0].medium, 100 * 512, 9);
	fill(client + (1 << 20), 512, 77);
	for (unsigned i = 0; i < MANY; i++) {
		if (i == MIDDLE)
			prepare(&a[i], 0, PCIDIPC_BLOCK_WRITE, 90, 1, 1 << 20);
		else
			prepare(&a[i], 0, PCIDIPC_BLOCK_READ, i, 1, i * 512);
		submit_with_next(&a[i]);
	}
	transport_flush(target.transport);
}

/* What all must have got, whatever became of the one in the middle. */
static void all_but_middle(struct asked *a, int middle)
{
	for (unsigned i = 0; i < MANY; i++) {
		CU_ASSERT_EQUAL(finish_request(&a[i]), i == MIDDLE ? middle : 0);
		if (i != MIDDLE)
			CU_ASSERT_EQUAL(
				memcmp(client + i * 512, stick.unit[0].medium + i * 512, 512), 0);
	}
	CU_ASSERT_EQUAL(stick.early, 0);
	if (!middle)
		CU_ASSERT_EQUAL(memcmp(client + (1 << 20), stick.unit[0].medium + 90 * 512, 512),
				0);
}

static void test_batch(void)
{
	struct asked a[MANY];
	unsigned before;

	started();
	before = stick.commands;
	ask_many(a);
	all_but_middle(a, 0);
	CU_ASSERT_EQUAL(stick.commands - before, MANY);
	CU_ASSERT_EQUAL(stick.expecting > 0, stick_chains);
	CU_ASSERT_EQUAL(target.transport->recoveries, 0);
	finish();
}

/* One of them fails: those behind it are sent once all the same, after it was asked why. */
static void test_broken_batch(void)
{
	static const struct {
		enum stick_fault fault;
		int middle;
		unsigned resets, again;
	} cases[] = {
		{FAULT_SIGNATURE, 0, 1, 1},	  {FAULT_TAG, 0, 1, 1},
		{FAULT_RESIDUE, 0, 1, 1},	  {FAULT_STATUS, 0, 1, 1},
		{FAULT_SHORT_CSW, 0, 1, 1},	  {FAULT_EMPTY_CSW, 0, 0, 0},
		{FAULT_PHASE, 0, 1, 1},		  {FAULT_STALL_CBW, 0, 1, 1},
		{FAULT_STALL_DATA, 0, 0, 1},	  {FAULT_STALL_DATA_LYING, 0, 0, 1},
		{FAULT_STALL_CSW, 0, 0, 0},	  {FAULT_STALL_CSW_TWICE, 0, 1, 1},
		{FAULT_LOST_CSW, 0, 0, 0},	  {FAULT_LOST_STALL, 0, 0, 0},
		{FAULT_SILENT, -ETIMEDOUT, 1, 0},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct asked a[MANY];
		unsigned before;

		started();
		before = stick.commands;
		stick_misbehave(&stick, cases[i].fault, 1, SCSI_WRITE_10);
		ask_many(a);
		all_but_middle(a, cases[i].middle);
		CU_ASSERT_EQUAL(stick.resets, cases[i].resets);
		CU_ASSERT_EQUAL(stick.commands - before, MANY + cases[i].again);
		CU_ASSERT_EQUAL(stick.unit[0].count[SCSI_READ_10], MANY - 1);
		finish();
	}
}

/* The CSW comes at last while the chain is being stopped, and the chain goes on by so many steps
 * meanwhile, perhaps to a command that fails. */
static void stop_in_batch(unsigned steps, bool fails, bool slow)
{
	struct asked a[MANY];

	started();
	if (fails)
		stick.unit[0].bad_block = MIDDLE + 1;
	stick.stop_steps = steps;
	stick.slow_stop = slow;
	stick_misbehave(&stick, FAULT_LOST_CSW, 1, SCSI_WRITE_10);
	ask_many(a);
	for (unsigned i = 0; i < MANY; i++) {
		CU_ASSERT_EQUAL(finish_request(&a[i]), fails && i == MIDDLE + 1 ? -ENODATA : 0);
		if (i != MIDDLE && !(fails && i == MIDDLE + 1))
			CU_ASSERT_EQUAL(
				memcmp(client + i * 512, stick.unit[0].medium + i * 512, 512), 0);
	}
	CU_ASSERT_EQUAL(memcmp(client + (1 << 20), stick.unit[0].medium + 90 * 512, 512), 0);
	CU_ASSERT_EQUAL(stick.early, 0);
	CU_ASSERT_EQUAL(stick.unit[0].count[SCSI_REQUEST_SENSE], fails);
	finish();
}

static void test_stop_in_batch(void)
{
	for (unsigned steps = 0; steps < 40; steps++)
		for (unsigned how = 0; how < 4; how++)
			stop_in_batch(steps, how & 1, how & 2);
}

/* It is asked for its sense data before anything else is sent. */
static void test_sense_in_batch(void)
{
	struct asked a[MANY];

	started();
	stick.unit[0].bad_block = 3;
	ask_many(a);
	for (unsigned i = 0; i < MANY; i++)
		CU_ASSERT_EQUAL(finish_request(&a[i]), i == 3 ? -ENODATA : 0);
	CU_ASSERT_EQUAL(stick.unit[0].count[SCSI_READ_10], MANY - 1);
	CU_ASSERT_EQUAL(stick.unit[0].count[SCSI_REQUEST_SENSE], 1);
	CU_ASSERT_EQUAL(stick.early, 0);
	CU_ASSERT_EQUAL(target.transport->recoveries, 0);
	finish();
}

/* Another medium: what was meant for the old one does not reach it. */
static void test_medium_in_batch(void)
{
	struct asked a[MANY];

	begin();
	stick.unit[0].removable = true;
	start();
	CU_ASSERT_EQUAL_FATAL(start_result, 0);
	unit_attention(&stick.unit[0], 0x28, 0);
	ask_many(a);
	for (unsigned i = 0; i < MANY; i++)
		CU_ASSERT_EQUAL(finish_request(&a[i]), -EIO);
	CU_ASSERT_EQUAL(stick.unit[0].count[SCSI_READ_10], 1);
	CU_ASSERT_EQUAL(stick.unit[0].count[SCSI_WRITE_10], 0);
	finish();
}

/* What cannot have others behind it, a flush, is the last of its batch. */
static void test_flush_in_batch(void)
{
	struct asked a[6];

	begin();
	stick.unit[0].wce = true;
	start();
	CU_ASSERT_EQUAL_FATAL(start_result, 0);
	for (unsigned i = 0; i < 6; i++) {
		prepare(&a[i], 0, i == 1 || i == 4 ? PCIDIPC_BLOCK_FLUSH : PCIDIPC_BLOCK_WRITE, i,
			i == 1 || i == 4 ? 0 : 1, 0);
		submit_with_next(&a[i]);
	}
	transport_flush(target.transport);
	for (unsigned i = 0; i < 6; i++)
		CU_ASSERT_EQUAL(finish_request(&a[i]), 0);
	CU_ASSERT_EQUAL(stick.unit[0].count[SCSI_WRITE_10], 4);
	CU_ASSERT_EQUAL(stick.early, 0);
	finish();
}

static void test_unplug_in_batch(void)
{
	struct asked a[MANY];

	started();
	stick_misbehave(&stick, FAULT_SILENT, 1, SCSI_WRITE_10);
	ask_many(a);
	UNTIL(stick.now == FAULT_SILENT);
	stick_unplug(&stick);
	for (unsigned i = 0; i < MANY; i++)
		CU_ASSERT_EQUAL(finish_request(&a[i]), i < MIDDLE ? 0 : -ENODEV);
	UNTIL(ended);
	finish();
}

/* ---- a stick that does not obey ---- */

/* With `times` faults a read of `blocks` gives `expect`, and the next one is good. */
static void fault(enum stick_fault what, unsigned times, int expect, unsigned resets)
{
	started();
	fill(stick.unit[0].medium, 1 << 20, 4);
	stick_misbehave(&stick, what, times, SCSI_READ_10);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 3, 100, 12345), expect);
	if (!expect)
		CU_ASSERT_EQUAL(memcmp(client + 12345, stick.unit[0].medium + 3 * 512, 100 * 512),
				0);
	CU_ASSERT_EQUAL(stick.resets, resets);
	stick.times = 0;
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 7, 9, 0), 0);
	CU_ASSERT_EQUAL(memcmp(client, stick.unit[0].medium + 7 * 512, 9 * 512), 0);
	CU_ASSERT_EQUAL(stick.port_resets, 0);
	finish();
}

static void test_bad_csw(void)
{
	fault(FAULT_SIGNATURE, 1, 0, 1);
	fault(FAULT_TAG, 1, 0, 1);
	fault(FAULT_RESIDUE, 1, 0, 1);
	fault(FAULT_STATUS, 1, 0, 1);
	fault(FAULT_SHORT_CSW, 1, 0, 1);
	fault(FAULT_PHASE, 1, 0, 1);
	fault(FAULT_PHASE, 2, 0, 2);
	fault(FAULT_TAG, 1000, -EIO, 5);
	fault(FAULT_SIGNATURE, 1000, -EIO, 5);
}

static void test_stalls(void)
{
	fault(FAULT_STALL_CBW, 1, 0, 1);
	fault(FAULT_STALL_DATA, 1, 0, 0);
	fault(FAULT_STALL_DATA_LYING, 1, 0, 0);
	fault(FAULT_STALL_CSW, 1, 0, 0);
	fault(FAULT_STALL_CSW_TWICE, 1, 0, 1);
	fault(FAULT_EMPTY_CSW, 1, 0, 0);
	fault(FAULT_LOST_CSW, 1, 0, 0);
	fault(FAULT_LOST_STALL, 1, 0, 0);
	fault(FAULT_STALL_DATA, 1000, -EIO, 0);
	fault(FAULT_STALL_DATA_LYING, 1000, -EIO, 0);
	fault(FAULT_STALL_CBW, 1000, -EIO, 5);
	fault(FAULT_STALL_CSW_TWICE, 1000, -EIO, 5);
}

static void test_transfers(void)
{
	fault(FAULT_SHORT_DATA, 1, 0, 0);
	fault(FAULT_FULL_LENGTH, 1, 0, 0);
	fault(FAULT_BABBLE, 1, 0, 1);
	fault(FAULT_TRANSACTION, 1, 0, 1);
	fault(FAULT_SHORT_DATA, 1000, -EIO, 0);
	fault(FAULT_FULL_LENGTH, 1000, -EIO, 0);
}

/* Devices of old are not asked for more sense data than they have. */
static void test_sense_room(void)
{
	for (unsigned old = 0; old < 2; old++) {
		begin();
		stick.unit[0].bad_block = 9;
		stick.unit[0].version = old ? 2 : 5;
		start();
		CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 9, 1, 0), -ENODATA);
		CU_ASSERT_EQUAL(stick.unit[0].sense_room, old ? 18 : 96);
		finish();
	}
}

/* The CSW in place of the data, seen at once in our own memory; in a client's as soon as no CSW
 * comes. */
static void test_skipped_data(void)
{
	uint32_t clock;

	begin();
	stick_misbehave(&stick, FAULT_SKIP_DATA, 3, SCSI_MODE_SENSE_6);
	start();
	CU_ASSERT_EQUAL_FATAL(start_result, 0);
	CU_ASSERT_EQUAL(target.transport->recoveries, 0);
	stick_misbehave(&stick, FAULT_SKIP_DATA, 1, SCSI_READ_10);
	clock = target.transport->clock;
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 3, 1, 0), -EIO);
	CU_ASSERT(target.transport->clock - clock < target.limit);
	CU_ASSERT_EQUAL(target.transport->recoveries, 0);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 3, 1, 0), 0);
	finish();
}

/* A CSW that never comes, asked for again in vain. */
static void test_no_csw(void)
{
	int ret;

	started();
	stick_misbehave(&stick, FAULT_NO_CSW, 1, SCSI_READ_10);
	ret = ask(PCIDIPC_BLOCK_READ, 3, 1, 0);
	CU_ASSERT(ret == -ETIMEDOUT || !ret); /* it may still be in time for another try */
	CU_ASSERT_EQUAL(stick.resets, 1);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 3, 1, 0), 0);
	finish();
}

/* A command that never ends: the limit, then reset recovery. */
static void test_silent(void)
{
	fault(FAULT_SILENT, 1, -ETIMEDOUT, 1);
}

static void write_fault(enum stick_fault what, unsigned times, int expect)
{
	started();
	fill(client, 100 * 512, 5);
	stick_misbehave(&stick, what, times, SCSI_WRITE_10);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_WRITE, 3, 100, 0), expect);
	if (!expect)
		CU_ASSERT_EQUAL(memcmp(client, stick.unit[0].medium + 3 * 512, 100 * 512), 0);
	stick.times = 0;
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_WRITE, 3, 1, 0), 0);
	finish();
}

static void test_write_faults(void)
{
	write_fault(FAULT_STALL_CBW, 1, 0);
	write_fault(FAULT_STALL_DATA, 1, 0);
	write_fault(FAULT_STALL_DATA_LYING, 1, 0);
	write_fault(FAULT_STALL_CSW, 1, 0);
	write_fault(FAULT_TAG, 1, 0);
	write_fault(FAULT_LOST_CSW, 1, 0);
	write_fault(FAULT_PHASE, 1000, -EIO);
	write_fault(FAULT_STALL_DATA, 1000, -EIO);
	write_fault(FAULT_SILENT, 1, -ETIMEDOUT);
}

/* Where the class's reset fails the port is reset; where that fails the device is given up. */
static void test_port_reset(void)
{
	started();
	stick.reset_fails = true;
	stick_misbehave(&stick, FAULT_PHASE, 1, SCSI_READ_10);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 3, 1, 0), 0);
	CU_ASSERT_EQUAL(stick.port_resets, 1);
	stick.port_reset_fails = true;
	stick_misbehave(&stick, FAULT_PHASE, 1, SCSI_READ_10);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 3, 1, 0), -ENODEV);
	UNTIL(ended);
	CU_ASSERT_EQUAL(disks_removed, 1);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 3, 1, 0), -ENODEV);
	finish();
}

/* What lay in its cache only may be gone by a reset of ours, although it says nothing. */
static void test_reset_cache(void)
{
	begin();
	stick.unit[0].wce = stick.reset_fails = stick.quiet_reset = true;
	stick.others_reset = 3; /* another driver resets it just then */
	start();
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_WRITE, 0, 1, 0), 0);
	stick_misbehave(&stick, FAULT_PHASE, 1, SCSI_READ_10);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 0, 1, 0), 0);
	CU_ASSERT_EQUAL(stick.port_resets, 4);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_FLUSH, 0, 0, 0), -EIO);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_FLUSH, 0, 0, 0), 0);
	stick_misbehave(&stick, FAULT_PHASE, 1, SCSI_READ_10);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 0, 1, 0), 0);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_FLUSH, 0, 0, 0), 0); /* nothing was */
	finish();
}

/* Unplugged with commands in flight and waiting. */
static void test_unplug(void)
{
	struct asked a[8];

	started();
	stick_misbehave(&stick, FAULT_SILENT, 1, SCSI_READ_10);
	for (unsigned i = 0; i < 8; i++) {
		prepare(&a[i], 0, PCIDIPC_BLOCK_READ, i, 1, 0);
		submit(&a[i]);
	}
	pcidipc_loop_turn(loop, false);
	stick_unplug(&stick);
	for (unsigned i = 0; i < 8; i++)
		CU_ASSERT_EQUAL(finish_request(&a[i]), -ENODEV);
	UNTIL(ended);
	finish();
}

/* What was waiting can be cancelled; what the device has cannot. */
static void test_cancel(void)
{
	struct asked a[2];

	started();
	for (unsigned i = 0; i < 2; i++) {
		prepare(&a[i], 0, PCIDIPC_BLOCK_READ, i, 1, 0);
		submit(&a[i]);
	}
	CU_ASSERT_EQUAL(a[0].io->disk->cancel(a[0].io), -EALREADY);
	CU_ASSERT_EQUAL(a[1].io->disk->cancel(a[1].io), 0);
	CU_ASSERT(a[1].done);
	CU_ASSERT_EQUAL(finish_request(&a[1]), -ECANCELED);
	CU_ASSERT_EQUAL(finish_request(&a[0]), 0);
	finish();
}

/* ---- Get Max LUN ---- */

static void test_luns(void)
{
	begin();
	stick.luns = 3;
	stick.unit[1].block_bytes = 4096;
	start();
	CU_ASSERT_EQUAL_FATAL(target.nluns, 3);
	CU_ASSERT_STRING_EQUAL(target.lun[2]->disk.name, "disk/usb0l2");
	CU_ASSERT_EQUAL(target.lun[1]->disk.info.bytes, 100001ull * 4096);
	CU_ASSERT_EQUAL(target.lun[2]->disk.info.name_space, 2);
	for (unsigned i = 0; i < 3; i++) /* one account for a user, whichever unit it uses */
		CU_ASSERT_PTR_EQUAL(target.lun[i]->disk.users, &target.users);
	CU_ASSERT(target.users.max_sessions && target.users.max_pools &&
		  target.users.max_pool_bytes && target.users.max_mapped_bytes);
	finish();
	CU_ASSERT_EQUAL(disks_removed, 3);
	begin();
	stick.stalls_max_lun = true;
	start();
	CU_ASSERT_EQUAL(target.nluns, 1);
	finish();
	begin();
	stick.max_lun_lie = 200;
	start();
	CU_ASSERT_EQUAL(target.nluns, 1);
	finish();
	begin();
	stick.max_lun_lie = 5; /* the others are not there */
	start();
	CU_ASSERT_EQUAL(start_result, 0);
	CU_ASSERT_EQUAL(target.nluns, 1);
	finish();
}

/* A stick that never answers anything right while it is brought up: an error, in finite time. */
static void test_hopeless(void)
{
	static const enum stick_fault faults[] = {FAULT_SILENT,	    FAULT_TAG,
						  FAULT_PHASE,	    FAULT_STALL_CBW,
						  FAULT_STALL_DATA, FAULT_STALL_CSW_TWICE,
						  FAULT_TRANSACTION};

	for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		begin();
		stick_misbehave(&stick, faults[i], 1000000, 0xff);
		start();
		CU_ASSERT(start_result < 0);
		CU_ASSERT_EQUAL(disks_served, 0);
		finish();
	}
}

static int one_by_one(void)
{
	stick_chains = false;
	return 0;
}

int main(void)
{
	CU_TestInfo tests[] = {{"start", test_start},
			       {"a command that was interrupted", test_interrupted},
			       {"read and write", test_read_write},
			       {"every size", test_sizes},
			       {"vectors", test_vector},
			       {"many at once", test_many},
			       {"a batch", test_batch},
			       {"a batch that breaks", test_broken_batch},
			       {"a batch that is stopped and goes on", test_stop_in_batch},
			       {"sense data in a batch", test_sense_in_batch},
			       {"another medium in a batch", test_medium_in_batch},
			       {"flushes in batches", test_flush_in_batch},
			       {"unplugged in a batch", test_unplug_in_batch},
			       {"bad CSWs", test_bad_csw},
			       {"stalls", test_stalls},
			       {"bad transfers", test_transfers},
			       {"sense data", test_sense_room},
			       {"data that is skipped", test_skipped_data},
			       {"no CSW", test_no_csw},
			       {"a command that never ends", test_silent},
			       {"bad writes", test_write_faults},
			       {"port reset", test_port_reset},
			       {"a cache and a port reset", test_reset_cache},
			       {"unplugged", test_unplug},
			       {"cancel", test_cancel},
			       {"LUNs", test_luns},
			       {"hopeless", test_hopeless},
			       CU_TEST_INFO_NULL};
	CU_SuiteInfo suites[] = {{.pName = "bot", .pTests = tests},
				 {"bot, a link that knows no chains", one_by_one, .pTests = tests},
				 CU_SUITE_INFO_NULL};

	pcidipc_log_init("test_bot", getenv("TEST_VERBOSE") ? PCIDIPC_DEBUG : 0);
	return run_suites(suites);
}
