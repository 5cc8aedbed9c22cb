/* SPDX-License-Identifier: MIT */
/*
 * SCSI: command descriptor blocks and what devices answer to them. Sections are those of SPC-4
 * (T10/1731-D) and SBC-3 (T10/1799-D). Answers are a device's word: every parser takes the number
 * of bytes that came, reads no further, and says what it did not find.
 */
#ifndef USBSCSID_SCSI_H
#define USBSCSID_SCSI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCSI_TEST_UNIT_READY 0x00
#define SCSI_REQUEST_SENSE 0x03
#define SCSI_INQUIRY 0x12
#define SCSI_MODE_SENSE_6 0x1a
#define SCSI_START_STOP_UNIT 0x1b
#define SCSI_READ_CAPACITY_10 0x25
#define SCSI_READ_10 0x28
#define SCSI_WRITE_10 0x2a
#define SCSI_SYNCHRONIZE_CACHE_10 0x35
#define SCSI_UNMAP 0x42
#define SCSI_MODE_SENSE_10 0x5a
#define SCSI_READ_16 0x88
#define SCSI_WRITE_16 0x8a
#define SCSI_SYNCHRONIZE_CACHE_16 0x91
#define SCSI_WRITE_SAME_16 0x93
#define SCSI_SERVICE_ACTION_IN_16 0x9e
#define SCSI_REPORT_LUNS 0xa0

/* Status (SAM-5, 5.3.1) */
#define SCSI_GOOD 0x00
#define SCSI_CHECK_CONDITION 0x02
#define SCSI_CONDITION_MET 0x04
#define SCSI_BUSY 0x08
#define SCSI_RESERVATION_CONFLICT 0x18
#define SCSI_TASK_SET_FULL 0x28
#define SCSI_TASK_ABORTED 0x40

/* Sense keys (SPC-4, 4.5.6) */
#define SENSE_NO_SENSE 0x0
#define SENSE_RECOVERED_ERROR 0x1
#define SENSE_NOT_READY 0x2
#define SENSE_MEDIUM_ERROR 0x3
#define SENSE_HARDWARE_ERROR 0x4
#define SENSE_ILLEGAL_REQUEST 0x5
#define SENSE_UNIT_ATTENTION 0x6
#define SENSE_DATA_PROTECT 0x7
#define SENSE_ABORTED_COMMAND 0xb

#define SCSI_CDB_BYTES 16
#define SCSI_SENSE_BYTES 96
#define SCSI_SHORT_SENSE_BYTES 18 /* of the fixed format: what devices of old have */

struct scsi_cdb {
	uint8_t byte[SCSI_CDB_BYTES];
	uint8_t bytes;
};

/* ---- command descriptor blocks ---- */

struct scsi_cdb scsi_test_unit_ready(void);			      /* SPC-4, 6.47 */
struct scsi_cdb scsi_request_sense(uint8_t room);		      /* SPC-4, 6.39 */
struct scsi_cdb scsi_inquiry(uint16_t room);			      /* SPC-4, 6.6 */
struct scsi_cdb scsi_inquiry_vpd(uint8_t page, uint16_t room);	      /* SPC-4, 6.6 */
struct scsi_cdb scsi_report_luns(uint32_t room);		      /* SPC-4, 6.33 */
struct scsi_cdb scsi_mode_sense_6(uint8_t page, uint8_t room);	      /* SPC-4, 6.13 */
struct scsi_cdb scsi_mode_sense_10(uint8_t page, uint16_t room);      /* SPC-4, 6.14 */
struct scsi_cdb scsi_start_stop_unit(bool start, bool load_or_eject); /* SBC-3, 5.25 */
struct scsi_cdb scsi_read_capacity_10(void);			      /* SBC-3, 5.15 */
struct scsi_cdb scsi_read_capacity_16(uint32_t room);		      /* SBC-3, 5.16 */
/* READ and WRITE, 10 where that can name the range, else 16 (SBC-3, 5.11, 5.13, 5.34, 5.36). */
struct scsi_cdb scsi_read(uint64_t lba, uint32_t blocks, bool fua);
struct scsi_cdb scsi_write(uint64_t lba, uint32_t blocks, bool fua);
/* Of the whole medium; `big`: the 16-byte command (SBC-3, 5.26, 5.27). */
struct scsi_cdb scsi_synchronize_cache(bool big);
struct scsi_cdb scsi_unmap(uint16_t list_bytes);			       /* SBC-3, 5.32 */
struct scsi_cdb scsi_write_same_16(uint64_t lba, uint32_t blocks, bool unmap); /* SBC-3, 5.45 */

#define SCSI_UNMAP_LIST_BYTES 24
/* The parameter list of UNMAP for one range (SBC-3, 5.32.2). */
void scsi_unmap_list(uint8_t *list, uint64_t lba, uint32_t blocks);

/* ---- sense data (SPC-4, 4.5) ---- */

struct scsi_sense {
	bool valid;    /* there was sense data that could be read */
	bool deferred; /* about an earlier command */
	uint8_t key, asc, ascq;
};
/* Fixed and descriptor format. */
struct scsi_sense scsi_parse_sense(const uint8_t *sense, size_t bytes);
/* "MEDIUM ERROR", for messages. */
const char *scsi_sense_text(uint8_t key);

/* ---- standard INQUIRY data (SPC-4, 6.6.2) ---- */

struct scsi_identity {
	uint8_t qualifier, type; /* peripheral: 0 is a disk */
	bool removable;
	uint8_t version;
	char vendor[9], product[17], revision[5]; /* printable, without trailing spaces */
};
/* -EPROTO: too short to be one. */
int scsi_parse_inquiry(const uint8_t *data, size_t bytes, struct scsi_identity *identity);

/* ---- vital product data (SPC-4, 7.8; SBC-3, 6.5) ---- */

/* Is `page` in the list of page 00h? */
bool scsi_vpd_lists(const uint8_t *data, size_t bytes, uint8_t page);
/* Page 80h: the serial number, printable. -ENOENT: empty. */
int scsi_vpd_serial(const uint8_t *data, size_t bytes, char *serial, size_t room);
/* Page 83h: the logical unit's NAA or EUI-64 designator, zero-padded. -ENOENT. */
int scsi_vpd_id(const uint8_t *data, size_t bytes, uint8_t id[16]);

struct scsi_limits {
	uint32_t most_blocks;	       /* of one READ or WRITE; 0: none told */
	uint32_t unmap_blocks;	       /* of one UNMAP; 0: no UNMAP */
	uint32_t unmap_ranges;	       /* of one UNMAP */
	uint64_t write_same_blocks;    /* of one WRITE SAME; 0: none told */
	bool unmap, write_same_unmaps; /* LBPU, LBPWS of page B2h */
	bool reads_zero;	       /* LBPRZ */
	bool rotates;		       /* page B1h */
};
/* Pages B0h, B1h, B2h; each fills in its own members. -EPROTO: another page, or too short. */
int scsi_vpd_limits(const uint8_t *data, size_t bytes, struct scsi_limits *limits);
int scsi_vpd_medium(const uint8_t *data, size_t bytes, struct scsi_limits *limits);
int scsi_vpd_provisioning(const uint8_t *data, size_t bytes, struct scsi_limits *limits);

/* ---- capacity (SBC-3, 5.15.2, 5.16.2) ---- */

struct scsi_capacity {
	uint64_t blocks;
	uint32_t block_bytes;
	uint8_t physical_shift; /* logical blocks in a physical one: 2^this */
	bool provisioned;	/* LBPME: UNMAP may do something */
	bool reads_zero;	/* LBPRZ */
	bool protected;		/* PROT_EN: blocks carry protection information */
};
/* -EPROTO: too short. -EOVERFLOW: ask with READ CAPACITY(16). */
int scsi_parse_capacity_10(const uint8_t *data, size_t bytes, struct scsi_capacity *capacity);
int scsi_parse_capacity_16(const uint8_t *data, size_t bytes, struct scsi_capacity *capacity);

/* ---- mode parameters (SPC-4, 7.5) ---- */

struct scsi_mode {
	bool write_protected;
	bool fua;	  /* DPOFUA */
	bool has_caching; /* the caching page came along (SBC-3, 6.4.5) */
	bool write_cache; /* WCE */
};
int scsi_parse_mode_6(const uint8_t *data, size_t bytes, struct scsi_mode *mode);
int scsi_parse_mode_10(const uint8_t *data, size_t bytes, struct scsi_mode *mode);

/* ---- REPORT LUNS (SPC-4, 6.33; SAM-5, 4.7) ---- */

/* The LUNs below 256, in the device's order, each once. Returns their number, at most `most`. */
unsigned scsi_parse_luns(const uint8_t *data, size_t bytes, uint8_t *lun, unsigned most);
/* The eight bytes that name a LUN below 256 (SAM-5, 4.7.7.1). */
void scsi_lun_address(uint8_t address[8], uint8_t lun);

/* ---- big-endian fields ---- */

static inline uint16_t be16_at(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}
static inline uint32_t be32_at(const uint8_t *at)
{
	return (uint32_t)be16_at(at) << 16 | be16_at(at + 2);
}
static inline uint64_t be64_at(const uint8_t *at)
{
	return (uint64_t)be32_at(at) << 32 | be32_at(at + 4);
}
static inline void put_be16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}
static inline void put_be32(uint8_t *at, uint32_t value)
{
	put_be16(at, (uint16_t)(value >> 16));
	put_be16(at + 2, (uint16_t)value);
}
static inline void put_be64(uint8_t *at, uint64_t value)
{
	put_be32(at, (uint32_t)(value >> 32));
	put_be32(at + 4, (uint32_t)value);
}

#endif
