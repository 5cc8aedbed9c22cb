/* SPDX-License-Identifier: MIT */
/*
 * A client of the block interface: open a disk by name, then use its consumer connection as you
 * would use liburing (io_uring_prep_read_fixed with `buf` = the buffer's offset in the pool and
 * `buf_index` = the pool), or by the calls below, which block (or await inside a task).
 */
#ifndef PCIDIPC_DISK_H
#define PCIDIPC_DISK_H

#include <pcidipc/consumer.h>
#include <ringabi/block.h>

struct pcidipc_blockdev;

/*
 * `name`: a service ("disk/nvme0n1", or "nvme0n1" for short), below $PCID_RUNTIME_DIR or /run/pcid,
 * or a socket's path. open_flags: RINGABI_OPEN_*. depth: requests in flight, a power of two (0:
 * 128). Errors: those of pcidipc_consumer_open; -EPROTO, with a message: a geometry that cannot be.
 */
int pcidipc_blockdev_open(const char *name, uint32_t open_flags, uint32_t depth,
			  struct pcidipc_blockdev **dev);
/* As pcidipc_consumer_close. */
void pcidipc_blockdev_close(struct pcidipc_blockdev *dev);
/*
 * Outlive the disk's driver (pcidipc_consumer_replay has the terms; call it before the first
 * request of one's own): requests in flight when it dies are made again with its successor, if the
 * disk is still the same one by its identity (it needs one, or a serial number), model, size and blocks; else they get
 * -ENODEV. Where acknowledged writes may have been lost in the device's cache, the next FSYNC gets
 * -EIO.
 */
int pcidipc_blockdev_replay(struct pcidipc_blockdev *dev);
/* Its connection, which stays the disk's: to attach pools to, and to submit requests. */
struct pcidipc_consumer *pcidipc_blockdev_consumer(struct pcidipc_blockdev *dev);
/* As read at open, or by pcidipc_blockdev_refresh. */
const struct ringabi_block_info *pcidipc_blockdev_info(const struct pcidipc_blockdev *dev);
/* Read it again, after RINGABI_EVENT_CHANGED. On failure what was known stays. */
int pcidipc_blockdev_refresh(struct pcidipc_blockdev *dev);
/* -EOPNOTSUPP: the disk has no health log. */
int pcidipc_blockdev_health(struct pcidipc_blockdev *dev, struct ringabi_block_health *health);

/* Bytes at `off` on the disk from or to [addr, addr + bytes) of pool `index`. Returns bytes or
 * -errno. `stable`: on stable media when it returns. */
int pcidipc_blockdev_read(struct pcidipc_blockdev *dev, uint16_t index, uint64_t addr,
			  uint32_t bytes, uint64_t off);
int pcidipc_blockdev_write(struct pcidipc_blockdev *dev, uint16_t index, uint64_t addr,
			   uint32_t bytes, uint64_t off, bool stable);
/* All that was written before is on stable media. */
int pcidipc_blockdev_flush(struct pcidipc_blockdev *dev);
/* Write zeroes; `deallocate`: and give the space back where the disk can. */
int pcidipc_blockdev_zero(struct pcidipc_blockdev *dev, uint64_t off, uint64_t bytes,
			  bool deallocate);
/* Give the space back: what is read there afterwards is undefined. */
int pcidipc_blockdev_discard(struct pcidipc_blockdev *dev, uint64_t off, uint64_t bytes);
/*
 * A command as the device knows it: a struct ringabi_block_passthrough lies at `addr` of pool
 * `index`, and its result is written there. -EPERM: the disk was not opened by its admin socket;
 * -EACCES: the driver does not let that command through.
 */
int pcidipc_blockdev_passthrough(struct pcidipc_blockdev *dev, uint16_t index, uint64_t addr);

/* Fill in `sqe` for a DISCARD: the one request that liburing has no io_uring_prep_* for. */
void pcidipc_prep_discard(struct io_uring_sqe *sqe, uint64_t off, uint64_t bytes);

#endif
