/* SPDX-License-Identifier: MIT */
/* Command descriptor blocks. */
#include "scsi.h"

#include <string.h>

#define FUA 0x08
#define UNMAP_BIT 0x08
#define READ_CAPACITY_16_ACTION 0x10

struct scsi_cdb scsi_test_unit_ready(void)
{
	return (struct scsi_cdb){{SCSI_TEST_UNIT_READY}, 6};
}

struct scsi_cdb scsi_request_sense(uint8_t room)
{
	return (struct scsi_cdb){{SCSI_REQUEST_SENSE, 0, 0, 0, room}, 6};
}

struct scsi_cdb scsi_inquiry(uint16_t room)
{
	struct scsi_cdb cdb = {{SCSI_INQUIRY}, 6};

	put_be16(cdb.byte + 3, room);
	return cdb;
}

struct scsi_cdb scsi_inquiry_vpd(uint8_t page, uint16_t room)
{
	struct scsi_cdb cdb = scsi_inquiry(room);

	cdb.byte[1] = 1; /* EVPD */
	cdb.byte[2] = page;
	return cdb;
}

struct scsi_cdb scsi_report_luns(uint32_t room)
{
	struct scsi_cdb cdb = {{SCSI_REPORT_LUNS}, 12};

	put_be32(cdb.byte + 6, room);
	return cdb;
}

struct scsi_cdb scsi_mode_sense_6(uint8_t page, uint8_t room)
{
	return (struct scsi_cdb){{SCSI_MODE_SENSE_6, 0, page, 0, room}, 6};
}

struct scsi_cdb scsi_mode_sense_10(uint8_t page, uint16_t room)
{
	struct scsi_cdb cdb = {{SCSI_MODE_SENSE_10, 0, page}, 10};

	put_be16(cdb.byte + 7, room);
	return cdb;
}

struct scsi_cdb scsi_start_stop_unit(bool start, bool load_or_eject)
{
	uint8_t what = (uint8_t)(start | load_or_eject << 1);

	return (struct scsi_cdb){{SCSI_START_STOP_UNIT, 0, 0, 0, what}, 6};
}

struct scsi_cdb scsi_read_capacity_10(void)
{
	return (struct scsi_cdb){{SCSI_READ_CAPACITY_10}, 10};
}

struct scsi_cdb scsi_read_capacity_16(uint32_t room)
{
	struct scsi_cdb cdb = {{SCSI_SERVICE_ACTION_IN_16, READ_CAPACITY_16_ACTION}, 16};

	put_be32(cdb.byte + 10, room);
	return cdb;
}

static struct scsi_cdb long_range(uint8_t opcode, uint8_t flags, uint64_t lba, uint32_t blocks)
{
	struct scsi_cdb cdb = {{opcode, flags}, 16};

	put_be64(cdb.byte + 2, lba);
	put_be32(cdb.byte + 10, blocks);
	return cdb;
}

static struct scsi_cdb range(uint8_t op10, uint8_t op16, uint8_t flags, uint64_t lba,
			     uint32_t blocks)
{
	struct scsi_cdb cdb = {{op10, flags}, 10};

	if (lba + blocks > 1ull << 32 || blocks > UINT16_MAX)
		return long_range(op16, flags, lba, blocks);
	put_be32(cdb.byte + 2, (uint32_t)lba);
	put_be16(cdb.byte + 7, (uint16_t)blocks);
	return cdb;
}

struct scsi_cdb scsi_read(uint64_t lba, uint32_t blocks, bool fua)
{
	return range(SCSI_READ_10, SCSI_READ_16, fua ? FUA : 0, lba, blocks);
}

struct scsi_cdb scsi_write(uint64_t lba, uint32_t blocks, bool fua)
{
	return range(SCSI_WRITE_10, SCSI_WRITE_16, fua ? FUA : 0, lba, blocks);
}

struct scsi_cdb scsi_synchronize_cache(bool big)
{
	if (big)
		return (struct scsi_cdb){{SCSI_SYNCHRONIZE_CACHE_16}, 16};
	return (struct scsi_cdb){{SCSI_SYNCHRONIZE_CACHE_10}, 10};
}

struct scsi_cdb scsi_unmap(uint16_t list_bytes)
{
	struct scsi_cdb cdb = {{SCSI_UNMAP}, 10};

	put_be16(cdb.byte + 7, list_bytes);
	return cdb;
}

struct scsi_cdb scsi_write_same_16(uint64_t lba, uint32_t blocks, bool unmap)
{
	return long_range(SCSI_WRITE_SAME_16, unmap ? UNMAP_BIT : 0, lba, blocks);
}

void scsi_unmap_list(uint8_t *list, uint64_t lba, uint32_t blocks)
{
	memset(list, 0, SCSI_UNMAP_LIST_BYTES);
	put_be16(list, SCSI_UNMAP_LIST_BYTES - 2);
	put_be16(list + 2, SCSI_UNMAP_LIST_BYTES - 8);
	put_be64(list + 8, lba);
	put_be32(list + 16, blocks);
}

void scsi_lun_address(uint8_t address[8], uint8_t lun)
{
	memset(address, 0, 8);
	address[1] = lun; /* peripheral device addressing, bus 0 */
}
