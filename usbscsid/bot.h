/* SPDX-License-Identifier: MIT */
/* The wrappers of the USB Mass Storage Class Bulk-Only Transport, revision 1.0: little-endian. */
#ifndef USBSCSID_BOT_H
#define USBSCSID_BOT_H

#include <stddef.h>
#include <stdint.h>

#define CBW_BYTES 31
#define CSW_BYTES 13
#define CBW_SIGNATURE 0x43425355u
#define CSW_SIGNATURE 0x53425355u

/* bCSWStatus (table 5.3) */
#define CSW_PASSED 0
#define CSW_FAILED 1
#define CSW_PHASE_ERROR 2

struct csw {
	uint32_t residue;
	uint8_t status;
};

/*
 * A CSW that is valid and meaningful (6.3): 13 bytes, our signature and tag, a status of the three,
 * a residue of at most `length` unless it reports a phase error. Otherwise -EPROTO, and *why says
 * what is wrong with it.
 */
int csw_parse(const uint8_t *from, size_t bytes, uint32_t tag, uint32_t length, struct csw *csw,
	      const char **why);

#endif
