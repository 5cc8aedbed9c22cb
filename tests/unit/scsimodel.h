/* SPDX-License-Identifier: MIT */
/* A SCSI disk of memory, as a target device has it, for the tests of usbscsid. */
#ifndef SCSIMODEL_H
#define SCSIMODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "../../usbscsid/scsi.h"

#define MODEL_WINDOW (32u << 20) /* bytes that the medium has: block n lies at n modulo these */
#define MODEL_MOST_IN (17u << 20)

struct scsi_unit {
	bool exists, removable, present, write_protected, wce, fua;
	bool no_mode_sense, no_sync, refuse_fua, provisioned, descriptor_sense;
	uint8_t type, version;
	uint64_t blocks;
	uint32_t block_bytes;
	uint8_t *medium;	/* MODEL_WINDOW */
	uint8_t key, asc, ascq; /* pending sense: a unit attention, or of the last command */
	bool attention, deferred;
	unsigned becoming_ready; /* so many commands find it not ready yet */
	bool wants_start;
	unsigned busy;	    /* so many commands are told to come again */
	uint64_t bad_block; /* UINT64_MAX: none */
	/* What happened. */
	unsigned count[256];
	uint8_t sense_room; /* of the last REQUEST SENSE */
	bool flushed;	    /* since the last write */
	uint8_t last[16];
};

struct scsi_answer {
	uint8_t status;
	uint32_t in_bytes; /* at model_in */
	uint8_t sense[32];
	uint8_t sense_bytes;
};

void unit_init(struct scsi_unit *unit, uint64_t blocks, uint32_t block_bytes);
void unit_free(struct scsi_unit *unit);
void unit_attention(struct scsi_unit *unit, uint8_t asc, uint8_t ascq);
/* The next command, which is not begun, hears of an error of an earlier one. */
void unit_deferred(struct scsi_unit *unit, uint8_t key);
/* Bytes that a CDB wants from the host. */
uint32_t unit_wants(const struct scsi_unit *unit, const uint8_t *cdb);
/* Perform it; what it answers is written to `in`, MODEL_MOST_IN. luns: how many there are. */
struct scsi_answer unit_execute(struct scsi_unit *unit, const uint8_t *cdb, const uint8_t *out,
				uint32_t out_bytes, uint8_t *in, unsigned luns);

#endif
