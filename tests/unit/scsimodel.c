// SPDX-License-Identifier: MIT
#include "scsimodel.h"

#include <stdlib.h>
#include <string.h>

void unit_init(struct scsi_unit *u, uint64_t blocks, uint32_t block_bytes)
{
	memset(u, 0, sizeof(*u));
	u->exists = u->present = true;
	u->blocks = blocks;
	u->block_bytes = block_bytes;
	u->bad_block = UINT64_MAX;
	u->version = 5;
	u->medium = calloc(1, MODEL_WINDOW);
	u->flushed = true;
	if (!u->medium)
		abort();
}

void unit_free(struct scsi_unit *u)
{
	free(u->medium);
	u->medium = NULL;
}

void unit_attention(struct scsi_unit *u, uint8_t asc, uint8_t ascq)
{
	u->attention = true;
	u->key = SENSE_UNIT_ATTENTION;
	u->asc = asc;
	u->ascq = ascq;
}

void unit_deferred(struct scsi_unit *u, uint8_t key)
{
	u->attention = u->deferred = true;
	u->key = key;
	u->asc = 0x0c;
	u->ascq = 0;
}

/* ---- CDBs, taken apart by hand ---- */

static bool is_rw(uint8_t op)
{
	return op == SCSI_READ_10 || op == SCSI_WRITE_10 || op == SCSI_READ_16 ||
	       op == SCSI_WRITE_16;
}

static uint64_t lba_of(const uint8_t *cdb)
{
	return cdb[0] >= 0x80 ? be64_at(cdb + 2) : be32_at(cdb + 2);
}

static uint32_t blocks_of(const uint8_t *cdb)
{
	return cdb[0] >= 0x80 ? be32_at(cdb + 10) : be16_at(cdb + 7);
}

uint32_t unit_wants(const struct scsi_unit *u, const uint8_t *cdb)
{
	switch (cdb[0]) {
	case SCSI_WRITE_10:
	case SCSI_WRITE_16:
		return blocks_of(cdb) * u->block_bytes;
	case SCSI_WRITE_SAME_16:
		return u->block_bytes;
	case SCSI_UNMAP:
		return be16_at(cdb + 7);
	default:
		return 0;
	}
}

/* ---- answers ---- */

static struct scsi_answer sense(struct scsi_unit *u, uint8_t key, uint8_t asc, uint8_t ascq)
{
	struct scsi_answer a = {.status = SCSI_CHECK_CONDITION};

	u->key = key;
	u->asc = asc;
	u->ascq = ascq;
	if (u->descriptor_sense) {
		memcpy(a.sense, (uint8_t[8]){0x72, key, asc, ascq}, 8);
		a.sense_bytes = 8;
	} else {
		memcpy(a.sense,
		       (uint8_t[18]){0x70 + u->deferred, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, asc,
				     ascq},
		       18);
		a.sense_bytes = 18;
	}
	return a;
}

static struct scsi_answer data(uint32_t bytes, uint32_t room)
{
	return (struct scsi_answer){.in_bytes = bytes < room ? bytes : room};
}

static struct scsi_answer inquiry(struct scsi_unit *u, const uint8_t *cdb, uint8_t *in)
{
	uint32_t room = be16_at(cdb + 3);

	memset(in, 0, 256);
	if (!(cdb[1] & 1)) {
		in[0] = u->type;
		in[1] = u->removable ? 0x80 : 0;
		in[2] = u->version;
		in[4] = 31;
		memcpy(in + 8, "Model   Stick           1.0 ", 28);
		return data(36, room);
	}
	in[1] = cdb[2];
	switch (cdb[2]) {
	case 0x00:
		memcpy(in + 4, "\x00\x80\x83\xb0\xb1\xb2", 6);
		in[3] = 6;
		return data(10, room);
	case 0x80:
		memcpy(in + 4, "SER1AL", 6);
		in[3] = 6;
		return data(10, room);
	case 0x83:
		memcpy(in + 4, "\x01\x03\x00\x08\x50\x01\x02\x03\x04\x05\x06\x07", 12);
		in[3] = 12;
		return data(16, room);
	case 0xb0:
		in[3] = 0x3c;
		put_be32(in + 20, u->provisioned ? 1000 : 0);
		put_be32(in + 24, u->provisioned ? 1 : 0);
		put_be64(in + 36, 500);
		return data(64, room);
	case 0xb1:
		in[3] = 0x3c;
		in[5] = 1;
		return data(64, room);
	case 0xb2:
		in[3] = 4;
		in[5] = u->provisioned ? 0xc4 : 0;
		return data(8, room);
	default:
		return sense(u, SENSE_ILLEGAL_REQUEST, 0x24, 0);
	}
}

static struct scsi_answer capacity(struct scsi_unit *u, const uint8_t *cdb, uint8_t *in)
{
	memset(in, 0, 32);
	if (cdb[0] == SCSI_READ_CAPACITY_10) {
		put_be32(in, u->blocks > UINT32_MAX ? UINT32_MAX : (uint32_t)(u->blocks - 1));
		put_be32(in + 4, u->block_bytes);
		return data(8, 8);
	}
	put_be64(in, u->blocks - 1);
	put_be32(in + 8, u->block_bytes);
	in[13] = 3;
	in[14] = u->provisioned ? 0xc0 : 0;
	return data(32, be32_at(cdb + 10));
}

static struct scsi_answer mode(struct scsi_unit *u, const uint8_t *cdb, uint8_t *in)
{
	uint8_t specific = (uint8_t)((u->write_protected ? 0x80 : 0) | (u->fua ? 0x10 : 0));

	if (u->no_mode_sense)
		return sense(u, SENSE_ILLEGAL_REQUEST, 0x20, 0);
	memset(in, 0, 64);
	if (cdb[0] == SCSI_MODE_SENSE_10)
		return sense(u, SENSE_ILLEGAL_REQUEST, 0x20, 0);
	in[0] = 3 + 20;
	in[2] = specific;
	in[4] = 0x08;
	in[5] = 18;
	in[6] = u->wce ? 0x04 : 0;
	return data(24, cdb[4]);
}

static struct scsi_answer luns(unsigned n, const uint8_t *cdb, uint8_t *in)
{
	memset(in, 0, 8 + 8 * n);
	put_be32(in, 8 * n);
	for (unsigned i = 0; i < n; i++)
		scsi_lun_address(in + 8 + 8 * i, (uint8_t)i);
	return data(8 + 8 * n, be32_at(cdb + 6));
}

/* ---- the medium ---- */

static void copy(struct scsi_unit *u, uint64_t lba, uint8_t *bytes, uint64_t n, bool write)
{
	uint64_t at = lba * u->block_bytes % MODEL_WINDOW;

	for (uint64_t done = 0; done < n;) {
		uint64_t piece = MODEL_WINDOW - at < n - done ? MODEL_WINDOW - at : n - done;

		if (write)
			memcpy(u->medium + at, bytes + done, piece);
		else
			memcpy(bytes + done, u->medium + at, piece);
		done += piece;
		at = 0;
	}
}

static struct scsi_answer read_write(struct scsi_unit *u, const uint8_t *cdb, const uint8_t *out,
				     uint8_t *in)
{
	uint64_t lba = lba_of(cdb), n = blocks_of(cdb);
	bool write = cdb[0] == SCSI_WRITE_10 || cdb[0] == SCSI_WRITE_16;

	if (lba > u->blocks || n > u->blocks - lba)
		return sense(u, SENSE_ILLEGAL_REQUEST, 0x21, 0);
	if (u->refuse_fua && cdb[1] & 8)
		return sense(u, SENSE_ILLEGAL_REQUEST, 0x24, 0);
	if (write && u->write_protected)
		return sense(u, SENSE_DATA_PROTECT, 0x27, 0);
	if (u->bad_block >= lba && u->bad_block < lba + n)
		return sense(u, SENSE_MEDIUM_ERROR, 0x11, 0);
	copy(u, lba, write ? (uint8_t *)(uintptr_t)out : in, n * u->block_bytes, write);
	if (write)
		u->flushed = cdb[1] & 8;
	return data(write ? 0 : (uint32_t)(n * u->block_bytes), UINT32_MAX);
}

static struct scsi_answer write_same(struct scsi_unit *u, const uint8_t *cdb, const uint8_t *out)
{
	uint64_t lba = lba_of(cdb), n = blocks_of(cdb);

	if (lba > u->blocks || n > u->blocks - lba || n > 500)
		return sense(u, SENSE_ILLEGAL_REQUEST, 0x24, 0);
	for (uint64_t i = 0; i < n; i++)
		copy(u, lba + i, (uint8_t *)(uintptr_t)out, u->block_bytes, true);
	return data(0, 0);
}

/* The blocks get a pattern, so that a test sees which ones. */
static struct scsi_answer unmap(struct scsi_unit *u, const uint8_t *out, uint32_t bytes)
{
	static uint8_t pattern[65536];
	uint64_t lba, n;

	if (bytes != 24 || be16_at(out) != 22 || be16_at(out + 2) != 16)
		return sense(u, SENSE_ILLEGAL_REQUEST, 0x26, 0);
	lba = be64_at(out + 8);
	n = be32_at(out + 16);
	if (lba > u->blocks || n > u->blocks - lba || n > 1000)
		return sense(u, SENSE_ILLEGAL_REQUEST, 0x26, 0);
	memset(pattern, 0xdd, sizeof(pattern));
	for (uint64_t i = 0; i < n; i++)
		copy(u, lba + i, pattern, u->block_bytes, true);
	return data(0, 0);
}

/* ---- one command ---- */

/* Commands that work whatever state the unit is in (SPC-4, 5.3 and SAM-5, 5.14). */
static bool always(uint8_t op)
{
	return op == SCSI_INQUIRY || op == SCSI_REPORT_LUNS || op == SCSI_REQUEST_SENSE;
}

static struct scsi_answer request_sense(struct scsi_unit *u, const uint8_t *cdb, uint8_t *in)
{
	struct scsi_answer s = sense(u, u->key, u->asc, u->ascq);

	memcpy(in, s.sense, s.sense_bytes);
	u->sense_room = cdb[4];
	u->deferred = false;
	u->key = u->asc = u->ascq = 0;
	return data(s.sense_bytes, cdb[4]);
}

/* True: the unit is in no state to perform anything. */
static bool not_now(struct scsi_unit *u, struct scsi_answer *a)
{
	if (u->attention) {
		u->attention = false;
		*a = sense(u, u->key, u->asc, u->ascq);
	} else if (u->busy) {
		u->busy--;
		*a = (struct scsi_answer){.status = SCSI_BUSY};
	} else if (u->becoming_ready) {
		u->becoming_ready--;
		*a = sense(u, SENSE_NOT_READY, 0x04, 0x01);
	} else if (u->wants_start) {
		*a = sense(u, SENSE_NOT_READY, 0x04, 0x02);
	} else if (!u->present) {
		*a = sense(u, SENSE_NOT_READY, 0x3a, 0x00);
	} else {
		return false;
	}
	return true;
}

static struct scsi_answer perform(struct scsi_unit *u, const uint8_t *cdb, const uint8_t *out,
				  uint32_t out_bytes, uint8_t *in)
{
	switch (cdb[0]) {
	case SCSI_TEST_UNIT_READY:
		return data(0, 0);
	case SCSI_READ_CAPACITY_10:
	case SCSI_SERVICE_ACTION_IN_16:
		return capacity(u, cdb, in);
	case SCSI_MODE_SENSE_6:
	case SCSI_MODE_SENSE_10:
		return mode(u, cdb, in);
	case SCSI_SYNCHRONIZE_CACHE_10:
	case SCSI_SYNCHRONIZE_CACHE_16:
		if (u->no_sync)
			return sense(u, SENSE_ILLEGAL_REQUEST, 0x20, 0);
		u->flushed = true;
		return data(0, 0);
	case SCSI_WRITE_SAME_16:
		return write_same(u, cdb, out);
	case SCSI_UNMAP:
		return unmap(u, out, out_bytes);
	default:
		return is_rw(cdb[0]) ? read_write(u, cdb, out, in)
				     : sense(u, SENSE_ILLEGAL_REQUEST, 0x20, 0);
	}
}

struct scsi_answer unit_execute(struct scsi_unit *u, const uint8_t *cdb, const uint8_t *out,
				uint32_t out_bytes, uint8_t *in, unsigned n)
{
	struct scsi_answer a;

	u->count[cdb[0]]++;
	memcpy(u->last, cdb, sizeof(u->last));
	if (cdb[0] == SCSI_INQUIRY)
		return inquiry(u, cdb, in);
	if (cdb[0] == SCSI_REPORT_LUNS)
		return luns(n, cdb, in);
	if (cdb[0] == SCSI_REQUEST_SENSE)
		return request_sense(u, cdb, in);
	if (cdb[0] == SCSI_START_STOP_UNIT) {
		u->wants_start = u->wants_start && !(cdb[4] & 1);
		return data(0, 0);
	}
	if (!always(cdb[0]) && not_now(u, &a))
		return a;
	return perform(u, cdb, out, out_bytes, in);
}
