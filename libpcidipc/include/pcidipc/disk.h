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
 * or a socket's path. depth: requests in flight, a power of two (0: 128).
 */
int pcidipc_blockdev_open(const char *name, uint32_t open_flags, uint32_t depth,
			  struct pcidipc_blockdev **dev);
void pcidipc_blockdev_close(struct pcidipc_blockdev *dev);
struct pcidipc_consumer *pcidipc_blockdev_consumer(struct pcidipc_blockdev *dev);
/* As read at open, or by pcidipc_blockdev_refresh. */
const struct ringabi_block_info *pcidipc_blockdev_info(const struct pcidipc_blockdev *dev);
int pcidipc_blockdev_refresh(struct pcidipc_blockdev *dev);
int pcidipc_blockdev_health(struct pcidipc_blockdev *dev, struct ringabi_block_health *health);

/* Bytes at `off` on the disk from or to [addr, addr + bytes) of pool `index`. Returns bytes or
 * -errno. */
int pcidipc_blockdev_read(struct pcidipc_blockdev *dev, uint16_t index, uint64_t addr,
			  uint32_t bytes, uint64_t off);
int pcidipc_blockdev_write(struct pcidipc_blockdev *dev, uint16_t index, uint64_t addr,
			   uint32_t bytes, uint64_t off, bool stable);
int pcidipc_blockdev_flush(struct pcidipc_blockdev *dev);
int pcidipc_blockdev_zero(struct pcidipc_blockdev *dev, uint64_t off, uint64_t bytes,
			  bool deallocate);
int pcidipc_blockdev_discard(struct pcidipc_blockdev *dev, uint64_t off, uint64_t bytes);
int pcidipc_blockdev_passthrough(struct pcidipc_blockdev *dev, uint16_t index, uint64_t addr);

/* Fill in `sqe` for a DISCARD: the one request that liburing has no io_uring_prep_* for. */
void pcidipc_prep_discard(struct io_uring_sqe *sqe, uint64_t off, uint64_t bytes);

#endif
