/* SPDX-License-Identifier: MIT */
#include "iu.h"

#include <errno.h>
#include <string.h>

static int parse_sense_iu(const uint8_t *from, size_t bytes, struct status_iu *iu)
{
	size_t n;

	if (bytes < 16)
		return -EPROTO;
	iu->status = from[6];
	n = be16_at(from + 14);
	if (n > bytes - 16)
		n = bytes - 16;
	iu->sense_bytes = (uint8_t)(n < sizeof(iu->sense) ? n : sizeof(iu->sense));
	memcpy(iu->sense, from + 16, iu->sense_bytes);
	return 0;
}

int status_iu_parse(const uint8_t *from, size_t bytes, struct status_iu *iu)
{
	memset(iu, 0, sizeof(*iu));
	if (bytes < 4)
		return -EPROTO;
	iu->id = from[0];
	iu->tag = be16_at(from + 2);
	switch (iu->id) {
	case IU_SENSE:
		return parse_sense_iu(from, bytes, iu);
	case IU_RESPONSE:
		if (bytes < 8)
			return -EPROTO;
		iu->response = from[7];
		return 0;
	case IU_READ_READY:
	case IU_WRITE_READY:
		return 0;
	default:
		return -EPROTO;
	}
}

void command_iu_fill(uint8_t *to, uint16_t tag, uint8_t lun, const struct scsi_cdb *cdb)
{
	memset(to, 0, IU_COMMAND_BYTES);
	to[0] = IU_COMMAND;
	put_be16(to + 2, tag); /* SIMPLE task attribute */
	scsi_lun_address(to + 8, lun);
	memcpy(to + 16, cdb->byte, sizeof(cdb->byte));
}

void tmf_iu_fill(uint8_t *to, uint16_t tag, uint8_t function, uint16_t about, uint8_t lun)
{
	memset(to, 0, IU_TASK_MANAGEMENT_BYTES);
	to[0] = IU_TASK_MANAGEMENT;
	put_be16(to + 2, tag);
	to[4] = function;
	put_be16(to + 6, about);
	scsi_lun_address(to + 8, lun);
}
