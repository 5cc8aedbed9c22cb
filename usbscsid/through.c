/* SPDX-License-Identifier: MIT */
/* Pass-through of SCSI commands that only read, for admin connections. */
#include <errno.h>
#include <pcidipc/log.h>
#include <string.h>

#include "target.h"

/* What a client may ask for of the time limit of others' commands: they wait as long. */
#define MOST_LIMITS 10

static uint8_t cdb_bytes(uint8_t opcode)
{
	static const uint8_t bytes[8] = {6, 10, 10, 0, 16, 12, 0, 0};

	return bytes[opcode >> 5];
}

static bool allowed(const uint8_t *cdb)
{
	switch (cdb[0]) {
	case SCSI_TEST_UNIT_READY:
	case SCSI_REQUEST_SENSE:
	case SCSI_INQUIRY:
	case SCSI_MODE_SENSE_6:
	case SCSI_MODE_SENSE_10:
	case SCSI_READ_CAPACITY_10:
	case SCSI_REPORT_LUNS:
	case 0x4d: /* LOG SENSE */
		return true;
	case SCSI_SERVICE_ACTION_IN_16:
		return (cdb[1] & 0x1f) == 0x10; /* READ CAPACITY(16) */
	default:
		return false;
	}
}

static int check(const struct pcidipc_block_io *io, const uint8_t *cdb)
{
	const struct ringabi_block_passthrough *p = io->data;
	const struct lun *lun = io->disk->driver;

	if (p->kind != RINGABI_BLOCK_PT_SCSI || p->to_device ||
	    p->data_bytes > lun->target->most_bytes) {
		pcidipc_log_ratelimited(PCIDIPC_WARNING,
					"%s: pass-through: it must be a SCSI command that reads "
					"%u bytes or less",
					io->disk->name, lun->target->most_bytes);
		return -EINVAL;
	}
	if (!allowed(cdb)) {
		pcidipc_log_ratelimited(PCIDIPC_WARNING,
					"%s: pass-through: opcode %#x is not allowed",
					io->disk->name, cdb[0]);
		return -EACCES;
	}
	return 0;
}

static uint32_t ticks(const struct transport *t, uint32_t timeout_ms)
{
	uint64_t n = ((uint64_t)timeout_ms * 1000000 + t->tick_ns - 1) / t->tick_ns;
	uint64_t most = (uint64_t)t->limit * MOST_LIMITS;

	return (uint32_t)(n < most ? n : most);
}

static int perform(struct pcidipc_block_io *io, const struct scsi_cdb *cdb)
{
	struct ringabi_block_passthrough *p = io->data;
	struct lun *lun = io->disk->driver;
	struct transport *t = lun->target->transport;
	struct scsi_command c = {.cdb = *cdb,
				 .lun = lun->number,
				 .data = {.segments = &io->passthrough, .bytes = p->data_bytes},
				 .limit = ticks(t, p->timeout_ms)};
	struct scsi_sense sense;
	int ret;

	c.data.pool = p->data_bytes ? lun_io_pool(io) : 0;
	ret = transport_execute(t, &c);
	if (ret)
		return ret == -EPROTO ? -EIO : ret;
	sense = scsi_parse_sense(c.sense, c.sense_bytes);
	p->status = c.status | (uint32_t)sense.key << 8 | (uint32_t)sense.asc << 16 |
		    (uint32_t)sense.ascq << 24;
	p->result = c.moved;
	return scsi_error(c.status, &sense, false);
}

static void through_task(void *arg)
{
	struct pcidipc_block_io *io = arg;
	const struct ringabi_block_passthrough *p = io->data;
	struct scsi_cdb cdb;
	int ret;

	memcpy(cdb.byte, p->command, sizeof(cdb.byte));
	cdb.bytes = cdb_bytes(cdb.byte[0]);
	ret = check(io, cdb.byte);
	pcidipc_block_complete(io, ret ? ret : perform(io, &cdb));
}

int lun_through(struct pcidipc_block_io *io)
{
	const struct lun *lun = io->disk->driver;

	return pcidipc_spawn(lun->target->loop, through_task, io) ? -ENOMEM : PCIDIPC_PENDING;
}
