/* SPDX-License-Identifier: MIT */
/*
 * The block interface, served by nvmed and usbscsid alike. `addr` is always an offset in pool
 * `buf_index`; `off` is a byte offset on the disk. fd is 0. Requests with Linux's opcodes:
 *
 *   IORING_OP_READ_FIXED, _WRITE_FIXED   len bytes between disk and pool; rw_flags: 0 or RWF_DSYNC
 *                                        (force unit access). res: len
 *   IORING_OP_READV, _WRITEV             addr = offset in the pool of `len` struct iovec whose
 *                                        iov_base are pool offsets; 1 to RINGABI_BLOCK_MAX_IOV
 *   IORING_OP_FSYNC                      everything acknowledged before is on stable media. res: 0
 *   IORING_OP_FALLOCATE                  off, addr = bytes, len = mode: FALLOC_FL_ZERO_RANGE |
 *                                        FALLOC_FL_KEEP_SIZE (write zeroes) or
 *                                        FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE (write zeroes,
 *                                        deallocating). res: 0
 *   IORING_OP_NOP                        res: 0
 *   IORING_OP_ASYNC_CANCEL               as in Linux
 *
 * off and lengths are multiples of the block size, buffers of dma_align; else -EINVAL. -EFAULT:
 * outside the pool. -ENXIO: no such pool. -ENOSPC: beyond the disk's end. -EROFS: read-only.
 * -EIO, -ENODATA (unrecovered read), -EBADMSG (integrity), -ETIMEDOUT, -ENODEV (the disk is
 * gone), -ENOMEDIUM: what became of it. -ECANCELED: canceled, and the device is done with the
 * buffer. -EDQUOT, -ENOMEM: the pool's memory could not be made reachable.
 */
#ifndef RINGABI_BLOCK_H
#define RINGABI_BLOCK_H

#include <ringabi/ring.h>

#define RINGABI_BLOCK_MAX_IOV 128u

/* A cmd_op of this interface. */
#define RINGABI_BLOCK_CMD(number) RINGABI_CMD_OP(RINGABI_INTERFACE_BLOCK, number)

/* INFO: writes a struct ringabi_block_info to (addr, buf_index); len = its size or more. res: its
 * size. */
#define RINGABI_BLOCK_INFO RINGABI_BLOCK_CMD(1u)

#define RINGABI_BLOCK_READ_ONLY (1u << 0)
#define RINGABI_BLOCK_VOLATILE_CACHE (1u << 1) /* FSYNC matters */
#define RINGABI_BLOCK_REMOVABLE (1u << 2)
#define RINGABI_BLOCK_DISCARD_WORKS (1u << 3)
#define RINGABI_BLOCK_ZEROES_WORK (1u << 4)
#define RINGABI_BLOCK_NO_MEDIUM (1u << 5) /* bytes and block_bytes are 0 */
#define RINGABI_BLOCK_ADMIN (1u << 6)	  /* this connection may use PASSTHROUGH */
/* A restart of its driver may take the device's power, and its volatile cache with it. */
#define RINGABI_BLOCK_CACHE_AT_RISK (1u << 7)

struct ringabi_block_info {
	__u64 bytes;	      /* size of the disk */
	__u32 block_bytes;    /* logical block: granule of off and len */
	__u32 physical_bytes; /* writes smaller than this may be slower */
	__u32 dma_align;      /* granule of addr */
	__u32 flags;	      /* RINGABI_BLOCK_* */
	__u32 max_bytes;      /* largest request; larger ones get -EINVAL */
	__u32 best_bytes;     /* requests up to this are one command of the device */
	__u32 name_space;     /* NVMe namespace, or SCSI LUN */
	__u32 reserved0;
	__u8 id[16];	 /* EUI-64 (first 8 bytes), NGUID or NAA; zero where there is none */
	char serial[32]; /* NUL-terminated, as all text here */
	char model[48];
	char firmware[16];
	char transport[16]; /* "nvme", "usb-bot", "usb-uas" */
	__u8 reserved1[88];
};
RINGABI_SIZE(ringabi_block_info, 256);
RINGABI_AT(ringabi_block_info, bytes, 0);
RINGABI_AT(ringabi_block_info, block_bytes, 8);
RINGABI_AT(ringabi_block_info, physical_bytes, 12);
RINGABI_AT(ringabi_block_info, dma_align, 16);
RINGABI_AT(ringabi_block_info, flags, 20);
RINGABI_AT(ringabi_block_info, max_bytes, 24);
RINGABI_AT(ringabi_block_info, best_bytes, 28);
RINGABI_AT(ringabi_block_info, name_space, 32);
RINGABI_AT(ringabi_block_info, id, 40);
RINGABI_AT(ringabi_block_info, serial, 56);
RINGABI_AT(ringabi_block_info, model, 88);
RINGABI_AT(ringabi_block_info, firmware, 136);
RINGABI_AT(ringabi_block_info, transport, 152);

/* HEALTH: writes a struct ringabi_block_health to (addr, buf_index). res: its size; -EOPNOTSUPP. */
#define RINGABI_BLOCK_HEALTH RINGABI_BLOCK_CMD(2u)

#define RINGABI_BLOCK_WARN_SPARE (1u << 0) /* as the NVMe critical warning bits */
#define RINGABI_BLOCK_WARN_TEMPERATURE (1u << 1)
#define RINGABI_BLOCK_WARN_DEGRADED (1u << 2)
#define RINGABI_BLOCK_WARN_READ_ONLY (1u << 3)
#define RINGABI_BLOCK_WARN_BACKUP (1u << 4)

struct ringabi_block_health {
	__u32 warnings;	   /* RINGABI_BLOCK_WARN_* */
	__u32 temperature; /* kelvin; 0: unknown */
	__u32 spare;	   /* percent left */
	__u32 spare_limit; /* percent */
	__u32 used;	   /* percent of the rated life; may pass 100 */
	__u32 reserved0;
	__u64 bytes_read; /* saturates */
	__u64 bytes_written;
	__u64 reads; /* commands */
	__u64 writes;
	__u64 power_cycles;
	__u64 power_on_hours;
	__u64 unsafe_shutdowns;
	__u64 media_errors;
	__u64 error_log_entries;
	__u8 reserved1[32];
};
RINGABI_SIZE(ringabi_block_health, 128);
RINGABI_AT(ringabi_block_health, warnings, 0);
RINGABI_AT(ringabi_block_health, temperature, 4);
RINGABI_AT(ringabi_block_health, spare, 8);
RINGABI_AT(ringabi_block_health, spare_limit, 12);
RINGABI_AT(ringabi_block_health, used, 16);
RINGABI_AT(ringabi_block_health, bytes_read, 24);
RINGABI_AT(ringabi_block_health, bytes_written, 32);
RINGABI_AT(ringabi_block_health, reads, 40);
RINGABI_AT(ringabi_block_health, writes, 48);
RINGABI_AT(ringabi_block_health, power_cycles, 56);
RINGABI_AT(ringabi_block_health, power_on_hours, 64);
RINGABI_AT(ringabi_block_health, unsafe_shutdowns, 72);
RINGABI_AT(ringabi_block_health, media_errors, 80);
RINGABI_AT(ringabi_block_health, error_log_entries, 88);

/*
 * DISCARD: the 16 argument bytes are a struct ringabi_block_range. The contents are undefined
 * afterwards. res: 0; -EOPNOTSUPP.
 */
#define RINGABI_BLOCK_DISCARD RINGABI_BLOCK_CMD(3u)

struct ringabi_block_range {
	__u64 off; /* bytes */
	__u64 bytes;
};
RINGABI_SIZE(ringabi_block_range, 16);
RINGABI_AT(ringabi_block_range, off, 0);
RINGABI_AT(ringabi_block_range, bytes, 8);

/*
 * PASSTHROUGH, admin connections only (-EPERM otherwise): one command of the device's own
 * set, from the producer's allow-list (-EACCES otherwise). (addr, len, buf_index) is the
 * struct ringabi_block_passthrough; it is copied once, and result is written back to it.
 * res: 0, or the error that the device's status stands for.
 */
#define RINGABI_BLOCK_PASSTHROUGH RINGABI_BLOCK_CMD(4u)

#define RINGABI_BLOCK_PT_NVME_ADMIN 1u
#define RINGABI_BLOCK_PT_SCSI 2u

struct ringabi_block_passthrough {
	__u32 kind;	   /* RINGABI_BLOCK_PT_* */
	__u32 flags;	   /* 0 */
	__u64 data;	   /* offset of the data in the same pool */
	__u32 data_bytes;  /* 0: no data */
	__u32 to_device;   /* 1: data goes to the device, 0: comes from it */
	__u32 timeout_ms;  /* 0: the driver's own */
	__u32 status;	   /* written back: NVMe status field, or SCSI status and sense key */
	__u64 result;	   /* written back: NVMe dword 0, or bytes transferred */
	__u32 command[16]; /* the NVMe submission entry, or the CDB; the driver fills in ids and
			      pointers */
	__u8 reserved[24];
};
RINGABI_SIZE(ringabi_block_passthrough, 128);
RINGABI_AT(ringabi_block_passthrough, kind, 0);
RINGABI_AT(ringabi_block_passthrough, flags, 4);
RINGABI_AT(ringabi_block_passthrough, data, 8);
RINGABI_AT(ringabi_block_passthrough, data_bytes, 16);
RINGABI_AT(ringabi_block_passthrough, to_device, 20);
RINGABI_AT(ringabi_block_passthrough, timeout_ms, 24);
RINGABI_AT(ringabi_block_passthrough, status, 28);
RINGABI_AT(ringabi_block_passthrough, result, 32);
RINGABI_AT(ringabi_block_passthrough, command, 40);

#endif
