// SPDX-License-Identifier: MIT
/* usbscsid's SCSI: command blocks, answers of every length, and the states of a logical unit. */
#include <unistd.h>

#include "stickrig.h"

#include "../../usbscsid/bot.h"
#include "../../usbscsid/iu.h"
#include "../../usbscsid/pipes.h"
#include "suites.h"

/* ---- command blocks ---- */

static bool is(struct scsi_cdb cdb, const char *bytes, unsigned n)
{
	return cdb.bytes == n && !memcmp(cdb.byte, bytes, n);
}

static void test_cdbs(void)
{
	CU_ASSERT(
		is(scsi_read(0x12345678, 0x1234, false), "\x28\0\x12\x34\x56\x78\0\x12\x34\0", 10));
	CU_ASSERT(is(scsi_write(0xffffffff, 1, true), "\x2a\x08\xff\xff\xff\xff\0\0\x01\0", 10));
	CU_ASSERT(is(scsi_read(0xffffffff, 2, false),
		     "\x88\0\0\0\0\0\xff\xff\xff\xff\0\0\0\x02\0\0", 16));
	CU_ASSERT(is(scsi_write(0, 65536, false), "\x8a\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0", 16));
	CU_ASSERT(is(scsi_inquiry_vpd(0x83, 0x0102), "\x12\x01\x83\x01\x02\0", 6));
	CU_ASSERT(is(scsi_synchronize_cache(false), "\x35\0\0\0\0\0\0\0\0\0", 10));
	CU_ASSERT(is(scsi_read_capacity_16(32), "\x9e\x10\0\0\0\0\0\0\0\0\0\0\0\x20\0\0", 16));
	CU_ASSERT(
		is(scsi_write_same_16(1, 2, true), "\x93\x08\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0", 16));
	CU_ASSERT(is(scsi_start_stop_unit(true, false), "\x1b\0\0\0\x01\0", 6));
}

/* ---- answers ---- */

static void test_sense(void)
{
	static const uint8_t fixed[18] = {0xf0, 0, 0x23, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x11, 0x04};
	static const uint8_t described[8] = {0x72, 0x06, 0x28, 0x01};
	struct scsi_sense s = scsi_parse_sense(fixed, 18);

	CU_ASSERT(s.valid && s.key == 3 && s.asc == 0x11 && s.ascq == 4 && !s.deferred);
	s = scsi_parse_sense(fixed, 13);
	CU_ASSERT(s.valid && s.key == 3 && s.asc == 0);
	s = scsi_parse_sense(described, 8);
	CU_ASSERT(s.valid && s.key == 6 && s.asc == 0x28 && s.ascq == 1);
	CU_ASSERT(!scsi_parse_sense(described, 3).valid);
	CU_ASSERT(!scsi_parse_sense(fixed, 0).valid);
	CU_ASSERT(!scsi_parse_sense((const uint8_t[]){0x7f, 3}, 2).valid);
	CU_ASSERT(scsi_parse_sense((const uint8_t[]){0x71, 0, 4}, 3).deferred);
}

/* Every parser with every length of bytes that say the most they can, in a buffer that ends there.
 */
static void test_lengths(void)
{
	for (size_t n = 0; n <= 300; n++) {
		uint8_t *d = malloc(n ? n : 1), lun[MAX_LUNS], id[16];
		struct scsi_identity identity;
		struct scsi_capacity capacity;
		struct scsi_limits limits = {0};
		struct storage_pipes pipes;
		struct status_iu iu;
		struct scsi_mode mode;
		struct csw csw;
		const char *why;
		char serial[8];

		memset(d, 0xff, n);
		scsi_parse_sense(d, n);
		CU_ASSERT_EQUAL(scsi_parse_inquiry(d, n, &identity), n < 5 ? -EPROTO : 0);
		CU_ASSERT_EQUAL(scsi_parse_capacity_16(d, n, &capacity), n < 12 ? -EPROTO : 0);
		CU_ASSERT_EQUAL(scsi_parse_capacity_10(d, n, &capacity),
				n < 8 ? -EPROTO : -EOVERFLOW);
		CU_ASSERT_EQUAL(scsi_parse_mode_6(d, n, &mode), n < 4 ? -EPROTO : 0);
		CU_ASSERT_EQUAL(scsi_parse_mode_10(d, n, &mode), n < 8 ? -EPROTO : 0);
		CU_ASSERT_EQUAL(scsi_parse_luns(d, n, lun, MAX_LUNS), 0);
		CU_ASSERT_EQUAL(status_iu_parse(d, n, &iu), -EPROTO);
		CU_ASSERT_EQUAL(csw_parse(d, n, 1, 1, &csw, &why), -EPROTO);
		CU_ASSERT_EQUAL(pipes_parse(d, n, 0, &pipes), -ENOENT);
		for (unsigned page = 0x80; n > 1 && page <= 0xb2; page++) {
			d[1] = (uint8_t)page;
			scsi_vpd_serial(d, n, serial, sizeof(serial));
			scsi_vpd_id(d, n, id);
			scsi_vpd_limits(d, n, &limits);
			scsi_vpd_medium(d, n, &limits);
			scsi_vpd_provisioning(d, n, &limits);
		}
		free(d);
	}
}

/* ---- a unit and its states ---- */

static void started(void)
{
	start();
	CU_ASSERT_EQUAL_FATAL(start_result, 0);
	CU_ASSERT_EQUAL_FATAL(target.nluns, 1);
}

static uint32_t flags(void)
{
	return target.lun[0]->disk.info.flags;
}

static void test_becoming_ready(void)
{
	begin();
	stick.unit[0].becoming_ready = 5;
	stick.unit[0].wants_start = true;
	started();
	CU_ASSERT_EQUAL(stick.unit[0].count[SCSI_START_STOP_UNIT], 1);
	stick.unit[0].becoming_ready = 3;
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 0, 1, 0), 0);
	stick.unit[0].busy = 4;
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 0, 1, 0), 0);
	unit_attention(&stick.unit[0], 0x29, 0);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 0, 1, 0), 0);
	stick.unit[0].wants_start = true; /* it has gone to sleep */
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 0, 1, 0), 0);
	CU_ASSERT_EQUAL(stick.unit[0].count[SCSI_START_STOP_UNIT], 2);
	finish();
}

static void test_media(void)
{
	begin();
	stick.unit[0].removable = true;
	stick.unit[0].present = false;
	started();
	CU_ASSERT(flags() & RINGABI_BLOCK_NO_MEDIUM);
	stick.unit[0].present = true;
	unit_attention(&stick.unit[0], 0x28, 0);
	UNTIL(!(flags() & RINGABI_BLOCK_NO_MEDIUM));
	CU_ASSERT_EQUAL(target.lun[0]->disk.info.bytes, 100000 * 512);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 0, 1, 0), 0);
	/* Another medium, with other blocks, between two looks. */
	stick.unit[0].block_bytes = 4096;
	stick.unit[0].blocks = 50;
	unit_attention(&stick.unit[0], 0x28, 0);
	UNTIL(target.lun[0]->disk.info.bytes == 50 * 4096);
	stick.unit[0].present = false;
	UNTIL(flags() & RINGABI_BLOCK_NO_MEDIUM && !target.lun[0]->examining);
	CU_ASSERT_EQUAL(target.lun[0]->disk.info.bytes, 0);
	finish();
}

/* A write that was meant for one medium does not reach the next one. */
static void test_swapped(void)
{
	begin();
	stick.unit[0].removable = true;
	target.poll_ns = 3600000000000ull;
	started();
	unit_attention(&stick.unit[0], 0x28, 0);
	memset(client, 0xaa, 512);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_WRITE, 0, 1, 0), -EIO);
	CU_ASSERT_EQUAL(stick.unit[0].medium[0], 0);
	UNTIL(!target.lun[0]->examining);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_WRITE, 0, 1, 0), 0);
	finish();
}

/* Most sticks tell at once that there is a medium: nobody knows of another one. */
static void test_plugged_in(void)
{
	begin();
	stick.unit[0].removable = true;
	unit_attention(&stick.unit[0], 0x28, 0);
	target.poll_ns = 3600000000000ull;
	started();
	CU_ASSERT(!target.lun[0]->examining);
	CU_ASSERT(!(flags() & RINGABI_BLOCK_NO_MEDIUM));
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_WRITE, 0, 1, 0), 0);
	CU_ASSERT_EQUAL(disks_changed, 0);
	CU_ASSERT_EQUAL(stick.unit[0].count[SCSI_READ_CAPACITY_10], 1);
	finish();
}

/* None of those that wait, whoever hears of the change; and clients are told, although the next
 * medium looks like the one before. The first one is overlooked for a while by the device. */
static void swapped_meanwhile(bool by_others)
{
	struct ringabi_block_passthrough p = {.kind = RINGABI_BLOCK_PT_SCSI};
	struct asked first, other = {.res = -EIO, .done = true}, a[8];

	begin();
	stick.unit[0].removable = stick.unit[0].wce = true;
	target.poll_ns = 3600000000000ull;
	started();
	stick_misbehave(&stick, FAULT_LOST_CSW, 1, SCSI_READ_10);
	prepare(&first, 0, PCIDIPC_BLOCK_READ, 0, 1, 0);
	submit(&first);
	if (by_others) {
		prepare(&other, 0, PCIDIPC_BLOCK_PASSTHROUGH, 0, 0, 0); /* TEST UNIT READY */
		other.io->data = &p;
		submit(&other);
		while (pcidipc_list_empty(&target.transport->waiting))
			pcidipc_loop_turn(loop, false);
	}
	unit_attention(&stick.unit[0], 0x28, 0);
	memset(client + 512, 0xaa, 512);
	for (unsigned i = 0; i < 8; i++) {
		prepare(&a[i], 0, i == 7 ? PCIDIPC_BLOCK_FLUSH : PCIDIPC_BLOCK_WRITE, i, i < 7,
			512);
		submit(&a[i]);
	}
	CU_ASSERT_EQUAL(finish_request(&first), by_others ? 0 : -EIO);
	for (unsigned i = 0; i < 8; i++)
		CU_ASSERT_EQUAL(finish_request(&a[i]), -EIO);
	CU_ASSERT_EQUAL(finish_request(&other), -EIO);
	UNTIL(!target.lun[0]->examining);
	CU_ASSERT_EQUAL(disks_changed, 1);
	for (unsigned i = 0; i < 8; i++)
		CU_ASSERT_EQUAL(stick.unit[0].medium[i * 512], 0);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_WRITE, 0, 1, 0), 0);
	finish();
}

static void test_swapped_meanwhile(void)
{
	swapped_meanwhile(false);
	swapped_meanwhile(true);
}

/* Writes that were acknowledged and are lost: the next flush says so, once, and nobody else hears
 * of it. */
static void test_deferred(void)
{
	begin();
	stick.unit[0].wce = stick.unit[0].removable = true;
	target.poll_ns = 3600000000000ull;
	started();
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_WRITE, 0, 1, 0), 0);
	unit_deferred(&stick.unit[0], SENSE_MEDIUM_ERROR);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 0, 1, 0), 0);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_FLUSH, 0, 0, 0), -EIO);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_FLUSH, 0, 0, 0), 0);
	unit_deferred(&stick.unit[0], SENSE_HARDWARE_ERROR);
	CU_ASSERT_EQUAL(ask_fua(0, 1, 0), -EIO); /* by a flush behind it */
	unit_deferred(&stick.unit[0], SENSE_RECOVERED_ERROR);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_FLUSH, 0, 0, 0), 0);
	finish();
	begin();
	stick.unit[0].wce = stick.unit[0].removable = true;
	started();
	unit_deferred(&stick.unit[0], SENSE_MEDIUM_ERROR); /* a look at its medium hears of it */
	UNTIL(!stick.unit[0].attention && !target.lun[0]->polling);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_FLUSH, 0, 0, 0), -EIO);
	finish();
}

/* A reset may have cost it what was in its cache. */
static void test_reset_cache(void)
{
	begin();
	stick.unit[0].wce = true;
	started();
	unit_attention(&stick.unit[0], 0x29, 0); /* nothing was */
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_WRITE, 0, 1, 0), 0);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_FLUSH, 0, 0, 0), 0);
	unit_attention(&stick.unit[0], 0x29, 0);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_FLUSH, 0, 0, 0), 0);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_WRITE, 0, 1, 0), 0);
	unit_attention(&stick.unit[0], 0x29, 0);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 0, 1, 0), 0);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_FLUSH, 0, 0, 0), -EIO);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_FLUSH, 0, 0, 0), 0);
	finish();
}

/* A flush that fails while the unit is looked at does not mean that there is none. */
static void test_cache_stays(void)
{
	begin();
	stick.unit[0].wce = true;
	stick_misbehave(&stick, FAULT_PHASE, 6, SCSI_SYNCHRONIZE_CACHE_10);
	started();
	CU_ASSERT(flags() & RINGABI_BLOCK_VOLATILE_CACHE);
	stick_misbehave(&stick, FAULT_PHASE, 6, SCSI_SYNCHRONIZE_CACHE_10);
	unit_attention(&stick.unit[0], 0x2a, 9);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 0, 1, 0), 0);
	UNTIL(!target.lun[0]->examining);
	CU_ASSERT(flags() & RINGABI_BLOCK_VOLATILE_CACHE);
	stick.times = 0;
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_FLUSH, 0, 0, 0), 0);
	finish();
	begin();
	stick.unit[0].no_sync = true; /* and it does not tell of a cache */
	stick.unit[0].no_mode_sense = true;
	started();
	CU_ASSERT(!(flags() & RINGABI_BLOCK_VOLATILE_CACHE));
	finish();
}

/* A look at a disk that fails in passing does not take it away. */
static void test_not_examined(void)
{
	begin();
	started();
	stick_misbehave(&stick, FAULT_PHASE, 3, SCSI_TEST_UNIT_READY);
	unit_attention(&stick.unit[0], 0x2a, 9);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 0, 1, 0), 0);
	UNTIL(!stick.times && !target.lun[0]->examining && !target.lun[0]->retry);
	CU_ASSERT(!(flags() & RINGABI_BLOCK_NO_MEDIUM));
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 0, 1, 0), 0);
	/* Of another medium nothing is known until it was examined. */
	stick_misbehave(&stick, FAULT_PHASE, 3, SCSI_TEST_UNIT_READY);
	stick.unit[0].blocks = 5000;
	unit_attention(&stick.unit[0], 0x28, 0);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 0, 1, 0), -EIO);
	CU_ASSERT(flags() & RINGABI_BLOCK_NO_MEDIUM);
	UNTIL(!(flags() & RINGABI_BLOCK_NO_MEDIUM) && !target.lun[0]->examining);
	CU_ASSERT_EQUAL(target.lun[0]->disk.info.bytes, 5000 * 512);
	finish();
}

/* A medium that is of no use is told of once. */
static void test_no_use(void)
{
	unsigned looks;

	begin();
	stick.unit[0].removable = true;
	started();
	stick.unit[0].block_bytes = 513;
	unit_attention(&stick.unit[0], 0x28, 0);
	UNTIL(disks_changed == 1 && !target.lun[0]->examining);
	CU_ASSERT(flags() & RINGABI_BLOCK_NO_MEDIUM);
	looks = stick.unit[0].count[SCSI_READ_CAPACITY_10];
	stick.unit[0].count[SCSI_TEST_UNIT_READY] = 0;
	UNTIL(stick.unit[0].count[SCSI_TEST_UNIT_READY] > 3);
	CU_ASSERT_EQUAL(stick.unit[0].count[SCSI_READ_CAPACITY_10], looks);
	finish();
}

static void test_errors(void)
{
	begin();
	started();
	stick.unit[0].bad_block = 50;
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 40, 20, 0), -ENODATA);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_WRITE, 50, 1, 0), -EIO);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, 51, 20, 0), 0);
	stick.unit[0].write_protected = true;
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_WRITE, 0, 1, 0), -EROFS);
	UNTIL(flags() & RINGABI_BLOCK_READ_ONLY && !target.lun[0]->examining);
	finish();
}

static void test_stable(void)
{
	begin();
	stick.unit[0].wce = true;
	started();
	CU_ASSERT(flags() & RINGABI_BLOCK_VOLATILE_CACHE);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_WRITE, 0, 1, 0), 0);
	CU_ASSERT(!stick.unit[0].flushed);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_FLUSH, 0, 0, 0), 0);
	CU_ASSERT(stick.unit[0].flushed);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_WRITE, 0, 1, 0), 0);
	CU_ASSERT_EQUAL(ask_fua(0, 1, 0), 0); /* a flush follows */
	CU_ASSERT(stick.unit[0].flushed);
	CU_ASSERT_EQUAL(stick.unit[0].last[0], SCSI_SYNCHRONIZE_CACHE_10);
	finish();
	begin();
	stick.unit[0].wce = stick.unit[0].fua = true;
	started();
	CU_ASSERT_EQUAL(ask_fua(0, 1, 0), 0);
	CU_ASSERT(stick.unit[0].last[0] == SCSI_WRITE_10 && stick.unit[0].last[1] == 8);
	stick.unit[0].refuse_fua = true; /* it promised too much */
	CU_ASSERT_EQUAL(ask_fua(0, 1, 0), 0);
	CU_ASSERT_EQUAL(stick.unit[0].last[0], SCSI_SYNCHRONIZE_CACHE_10);
	CU_ASSERT(stick.unit[0].flushed);
	finish();
}

static void test_big(void)
{
	begin();
	stick.unit[0].blocks = 1ull << 33;
	started();
	CU_ASSERT_EQUAL(target.lun[0]->disk.info.bytes, 1ull << 42);
	memset(client, 0x5a, 512);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_WRITE, (1ull << 33) - 1, 1, 0), 0);
	CU_ASSERT_EQUAL(stick.unit[0].last[0], SCSI_WRITE_16);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_READ, (1ull << 33) - 1, 1, 512), 0);
	CU_ASSERT_EQUAL(memcmp(client, client + 512, 512), 0);
	finish();
}

static void unmap(bool uas)
{
	begin();
	stick.has_uas = stick.streams = uas;
	stick.unit[0].provisioned = true;
	started();
	CU_ASSERT(flags() & RINGABI_BLOCK_DISCARD_WORKS && flags() & RINGABI_BLOCK_ZEROES_WORK);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_DISCARD, 10, 2500, 0), 0);
	CU_ASSERT_EQUAL(stick.unit[0].count[SCSI_UNMAP], 3);
	CU_ASSERT_EQUAL(stick.unit[0].medium[10 * 512], 0xdd);
	CU_ASSERT_EQUAL(stick.unit[0].medium[2510 * 512 - 1], 0xdd);
	CU_ASSERT_EQUAL(stick.unit[0].medium[2510 * 512], 0);
	CU_ASSERT_EQUAL(ask(PCIDIPC_BLOCK_ZERO, 10, 1200, 0), 0);
	CU_ASSERT_EQUAL(stick.unit[0].count[SCSI_WRITE_SAME_16], 3);
	CU_ASSERT_EQUAL(stick.unit[0].medium[1210 * 512 - 1], 0);
	CU_ASSERT_EQUAL(stick.unit[0].medium[1210 * 512], 0xdd);
	finish();
}

/* By either transport; a stick that offers neither is not asked what it may not know. */
static void test_unmap(void)
{
	unmap(true);
	unmap(false);
	begin();
	started();
	CU_ASSERT(!(flags() & (RINGABI_BLOCK_DISCARD_WORKS | RINGABI_BLOCK_ZEROES_WORK)));
	CU_ASSERT_EQUAL(stick.unit[0].count[SCSI_SERVICE_ACTION_IN_16], 0);
	CU_ASSERT_EQUAL(stick.unit[0].count[SCSI_UNMAP], 0);
	finish();
}

static void test_odd_geometry(void)
{
	static const uint32_t odd[] = {0, 1, 511, 513, 131072, 0xffffffff};

	for (unsigned i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		begin();
		stick.unit[0].block_bytes = odd[i];
		start();
		CU_ASSERT(start_result < 0);
		finish();
	}
}

/* Pass-through: what reads, and nothing else. */
static int pass(const uint8_t *cdb, uint32_t bytes, bool to_device,
		struct ringabi_block_passthrough *p)
{
	uint32_t timeout_ms = p->timeout_ms;
	struct asked a;

	memset(p, 0, sizeof(*p));
	p->timeout_ms = timeout_ms;
	p->kind = RINGABI_BLOCK_PT_SCSI;
	p->data_bytes = bytes;
	p->to_device = to_device;
	memcpy(p->command, cdb, 16);
	prepare(&a, 0, PCIDIPC_BLOCK_PASSTHROUGH, 0, 0, 0);
	a.io->passthrough = (struct pcidipc_segment){100, bytes};
	a.io->data = p;
	submit(&a);
	return finish_request(&a);
}

static void test_through(void)
{
	struct ringabi_block_passthrough p = {0};

	begin();
	started();
	CU_ASSERT_EQUAL(pass((uint8_t[16]){0x12, 0, 0, 0, 36}, 36, false, &p), 0);
	CU_ASSERT_EQUAL(p.result, 36);
	CU_ASSERT_EQUAL(memcmp(client + 108, "Model", 5), 0);
	CU_ASSERT_EQUAL(pass((uint8_t[16]){0x2a}, 512, true, &p), -EINVAL);
	CU_ASSERT_EQUAL(pass((uint8_t[16]){0x2a}, 512, false, &p), -EACCES);
	CU_ASSERT_EQUAL(pass((uint8_t[16]){0x04}, 0, false, &p), -EACCES);
	CU_ASSERT_EQUAL(pass((uint8_t[16]){0x4d}, 16, false, &p), -EOPNOTSUPP);
	CU_ASSERT_EQUAL(p.status, 0x00200502);
	/* Others wait for it, so its time has an end. */
	stick_misbehave(&stick, FAULT_SILENT, 1, SCSI_INQUIRY);
	p.timeout_ms = UINT32_MAX;
	CU_ASSERT_EQUAL(pass((uint8_t[16]){0x12, 0, 0, 0, 36}, 36, false, &p), -ETIMEDOUT);
	finish();
}

/* ---- what a user may have ---- */

static uint64_t pool_limit(const char *dma_bits)
{
	struct pcidipc_users users = {0};

	if (dma_bits)
		setenv("PCID_DMA_BITS", dma_bits, 1);
	target_limits(&users);
	unsetenv("PCID_DMA_BITS");
	return users.max_pool_bytes;
}

static void test_addresses(void)
{
	CU_ASSERT_EQUAL(pool_limit(NULL), 1ull << 40);
	CU_ASSERT_EQUAL(pool_limit("64"), 1ull << 40);
	CU_ASSERT_EQUAL(pool_limit("42"), 1ull << 40);
	CU_ASSERT_EQUAL(pool_limit("41"), 1ull << 39);
	CU_ASSERT_EQUAL(pool_limit("32"), 1ull << 30);
	CU_ASSERT_EQUAL(pool_limit("24"), 1ull << 22);
	/* Nothing that pcid says: never no limit, which is what 0 would be. */
	CU_ASSERT_EQUAL(pool_limit("0"), 1ull << 40);
	CU_ASSERT_EQUAL(pool_limit("1"), 1ull << 40);
	CU_ASSERT_EQUAL(pool_limit("-1"), 1ull << 40);
	CU_ASSERT_EQUAL(pool_limit("many"), 1ull << 40);
}

int main(void)
{
	CU_TestInfo tests[] = {{"command blocks", test_cdbs},
			       {"addresses of a user", test_addresses},
			       {"sense", test_sense},
			       {"answers of every length", test_lengths},
			       {"becoming ready", test_becoming_ready},
			       {"media", test_media},
			       {"swapped", test_swapped},
			       {"plugged in", test_plugged_in},
			       {"swapped while requests wait", test_swapped_meanwhile},
			       {"deferred errors", test_deferred},
			       {"a cache and a reset", test_reset_cache},
			       {"a cache stays one", test_cache_stays},
			       {"a look that fails", test_not_examined},
			       {"a medium of no use", test_no_use},
			       {"errors", test_errors},
			       {"stable media", test_stable},
			       {"beyond 2 TiB", test_big},
			       {"unmap", test_unmap},
			       {"odd geometry", test_odd_geometry},
			       {"pass-through", test_through},
			       CU_TEST_INFO_NULL};

	pcidipc_log_init("test_scsi", getenv("TEST_VERBOSE") ? PCIDIPC_DEBUG : 0);
	return run_tests("scsi", tests);
}
