/* SPDX-License-Identifier: MIT */
/* The information units of UAS (T10/2095-D, 6.2): big-endian. */
#ifndef USBSCSID_IU_H
#define USBSCSID_IU_H

#include "scsi.h"

#define IU_COMMAND 0x01
#define IU_SENSE 0x03
#define IU_RESPONSE 0x04
#define IU_TASK_MANAGEMENT 0x05
#define IU_READ_READY 0x06
#define IU_WRITE_READY 0x07

#define IU_COMMAND_BYTES 32
#define IU_TASK_MANAGEMENT_BYTES 16
#define IU_STATUS_BYTES (16 + SCSI_SENSE_BYTES) /* room for any that the device sends */

/* Functions, and what a RESPONSE IU says of them (6.2.4, 6.2.7). */
#define TMF_ABORT_TASK 0x01
#define TMF_LOGICAL_UNIT_RESET 0x08
#define RESPONSE_COMPLETE 0x00
#define RESPONSE_SUCCEEDED 0x08

struct status_iu {
	uint8_t id; /* IU_SENSE, IU_RESPONSE, IU_READ_READY, IU_WRITE_READY */
	uint16_t tag;
	uint8_t status;	  /* SENSE: the SCSI status */
	uint8_t response; /* RESPONSE: its code */
	uint8_t sense_bytes;
	uint8_t sense[SCSI_SENSE_BYTES];
};

/* -EPROTO: too short for what it says it is, or none that comes on the status pipe. */
int status_iu_parse(const uint8_t *from, size_t bytes, struct status_iu *iu);
void command_iu_fill(uint8_t *to, uint16_t tag, uint8_t lun, const struct scsi_cdb *cdb);
/* about: the tag of the task to be managed. */
void tmf_iu_fill(uint8_t *to, uint16_t tag, uint8_t function, uint16_t about, uint8_t lun);

#endif
