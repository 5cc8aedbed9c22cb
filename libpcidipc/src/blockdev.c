/* SPDX-License-Identifier: MIT */
/* A client of the block interface. */
#include <fcntl.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pcidipc/disk.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <stdlib.h>

#define PATH_BYTES 108 /* sun_path */
/* Where in the pool of answers: each kind has a place, for tasks that ask at the same time. */
#define INFO_OFFSET 0
#define HEALTH_OFFSET 4096

struct pcidipc_blockdev {
	struct pcidipc_consumer *consumer;
	struct ringabi_block_info info;
	struct pcidipc_pool *answers; /* where the producer writes what does not fit a CQE */
	uint16_t answers_index;
};

/* "nvme0n1" is short for "disk/nvme0n1". */
static int service_name(const char *name, char *whole)
{
	int n = snprintf(whole, PATH_BYTES, "%s%s", strchr(name, '/') ? "" : "disk/", name);

	return n < PATH_BYTES ? 0 : -ENAMETOOLONG;
}

static int ask(struct pcidipc_blockdev *dev, uint32_t cmd_op, uint64_t offset, void *answer,
	       uint32_t bytes)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD};
	int ret;

	sqe.cmd_op = cmd_op;
	sqe.addr = offset;
	sqe.len = bytes;
	sqe.buf_index = dev->answers_index;
	ret = pcidipc_call(dev->consumer, &sqe, NULL);
	if (ret != (int)bytes)
		return ret < 0 ? ret : -EPROTO;
	pcidipc_copy_once(answer, (char *)pcidipc_pool_base(dev->answers) + offset, bytes);
	return 0;
}

static bool power_of_two(uint32_t n)
{
	return n && !(n & (n - 1));
}

/* What a driver says of its disk is no more to be trusted than what a client asks of it. */
static int check_info(const struct ringabi_block_info *info)
{
	if (info->flags & RINGABI_BLOCK_NO_MEDIUM)
		return 0;
	if (power_of_two(info->block_bytes) && power_of_two(info->dma_align) && info->max_bytes &&
	    info->bytes % info->block_bytes == 0)
		return 0;
	pcidipc_err("the disk says %llu bytes in blocks of %u, buffers aligned to %u, requests of "
		    "%u: that cannot be",
		    (unsigned long long)info->bytes, info->block_bytes, info->dma_align,
		    info->max_bytes);
	return -EPROTO;
}

/* Text from the other side ends where we say. */
static void terminate(struct ringabi_block_info *info)
{
	info->serial[sizeof(info->serial) - 1] = 0;
	info->model[sizeof(info->model) - 1] = 0;
	info->firmware[sizeof(info->firmware) - 1] = 0;
	info->transport[sizeof(info->transport) - 1] = 0;
}

int pcidipc_blockdev_refresh(struct pcidipc_blockdev *dev)
{
	struct ringabi_block_info info;
	int ret = ask(dev, RINGABI_BLOCK_INFO, INFO_OFFSET, &info, sizeof(info));

	if (!ret)
		ret = check_info(&info);
	if (ret)
		return ret;
	terminate(&info);
	dev->info = info;
	return 0;
}

static bool has_identity(const struct ringabi_block_info *info)
{
	static const __u8 none[sizeof(info->id)];

	return info->serial[0] || memcmp(info->id, none, sizeof(none)) != 0;
}

/* Where nothing tells one disk from another it is not. */
static bool same_disk(const struct ringabi_block_info *a, const struct ringabi_block_info *b)
{
	return has_identity(a) && !memcmp(a->id, b->id, sizeof(a->id)) &&
	       !strcmp(a->serial, b->serial) && !strcmp(a->model, b->model) &&
	       a->name_space == b->name_space && a->bytes == b->bytes &&
	       a->block_bytes == b->block_bytes;
}

static int resume(struct pcidipc_consumer *consumer, void *arg)
{
	struct pcidipc_blockdev *dev = arg;
	struct ringabi_block_info before = dev->info;
	int ret = pcidipc_blockdev_refresh(dev);

	(void)consumer;
	if (ret)
		return ret;
	if (!same_disk(&before, &dev->info)) {
		pcidipc_err("the disk's driver was restarted, and nothing says that its disk is the "
			    "same: %s, serial number \"%s\", %llu bytes; it was %s, \"%s\", %llu",
			    dev->info.model, dev->info.serial, (unsigned long long)dev->info.bytes,
			    before.model, before.serial, (unsigned long long)before.bytes);
		dev->info = before;
		return -ENODEV;
	}
	return dev->info.flags & RINGABI_BLOCK_CACHE_AT_RISK ? PCIDIPC_CACHE_LOST : 0;
}

int pcidipc_blockdev_replay(struct pcidipc_blockdev *dev)
{
	return pcidipc_consumer_replay(dev->consumer, resume, dev);
}

int pcidipc_blockdev_health(struct pcidipc_blockdev *dev, struct ringabi_block_health *health)
{
	return ask(dev, RINGABI_BLOCK_HEALTH, HEALTH_OFFSET, health, sizeof(*health));
}

int pcidipc_blockdev_open(const char *name, uint32_t open_flags, uint32_t depth,
			  struct pcidipc_blockdev **out)
{
	struct pcidipc_consumer_params params = {.interface = RINGABI_INTERFACE_BLOCK,
						 .open_flags = open_flags,
						 .sq_entries = depth};
	struct pcidipc_blockdev *dev;
	char path[PATH_BYTES];
	int ret = service_name(name, path);

	if (ret)
		return ret;
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return -ENOMEM;
	ret = pcidipc_pool_create(RINGABI_POOL_ALIGN, 0, &dev->answers);
	if (!ret)
		ret = pcidipc_consumer_open(path, &params, &dev->consumer);
	if (!ret)
		ret = pcidipc_consumer_attach_pool(dev->consumer, dev->answers,
						   &dev->answers_index);
	if (!ret)
		ret = pcidipc_blockdev_refresh(dev);
	if (ret)
		pcidipc_blockdev_close(dev);
	else
		*out = dev;
	return ret;
}

void pcidipc_blockdev_close(struct pcidipc_blockdev *dev)
{
	if (!dev)
		return;
	pcidipc_consumer_close(dev->consumer);
	if (dev->answers)
		pcidipc_pool_destroy(dev->answers);
	free(dev);
}

struct pcidipc_consumer *pcidipc_blockdev_consumer(struct pcidipc_blockdev *dev)
{
	return dev->consumer;
}

const struct ringabi_block_info *pcidipc_blockdev_info(const struct pcidipc_blockdev *dev)
{
	return &dev->info;
}

/* ---- calls ---- */

int pcidipc_blockdev_read(struct pcidipc_blockdev *dev, uint16_t index, uint64_t addr,
			  uint32_t bytes, uint64_t off)
{
	struct io_uring_sqe sqe = {0};

	io_uring_prep_read_fixed(&sqe, 0, (void *)(uintptr_t)addr, bytes, off, index);
	return pcidipc_call(dev->consumer, &sqe, NULL);
}

int pcidipc_blockdev_write(struct pcidipc_blockdev *dev, uint16_t index, uint64_t addr,
			   uint32_t bytes, uint64_t off, bool stable)
{
	struct io_uring_sqe sqe = {0};

	io_uring_prep_write_fixed(&sqe, 0, (void *)(uintptr_t)addr, bytes, off, index);
	sqe.rw_flags = stable ? RWF_DSYNC : 0;
	return pcidipc_call(dev->consumer, &sqe, NULL);
}

int pcidipc_blockdev_flush(struct pcidipc_blockdev *dev)
{
	struct io_uring_sqe sqe = {0};

	io_uring_prep_fsync(&sqe, 0, 0);
	return pcidipc_call(dev->consumer, &sqe, NULL);
}

int pcidipc_blockdev_zero(struct pcidipc_blockdev *dev, uint64_t off, uint64_t bytes,
			  bool deallocate)
{
	int mode = FALLOC_FL_KEEP_SIZE | (deallocate ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
	struct io_uring_sqe sqe = {0};

	io_uring_prep_fallocate(&sqe, 0, mode, (off_t)off, (off_t)bytes);
	return pcidipc_call(dev->consumer, &sqe, NULL);
}

void pcidipc_prep_discard(struct io_uring_sqe *sqe, uint64_t off, uint64_t bytes)
{
	struct ringabi_block_range range = {off, bytes};

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->cmd_op = RINGABI_BLOCK_DISCARD;
	memcpy((char *)sqe + offsetof(struct io_uring_sqe, cmd), &range, sizeof(range));
}

int pcidipc_blockdev_discard(struct pcidipc_blockdev *dev, uint64_t off, uint64_t bytes)
{
	struct io_uring_sqe sqe;

	pcidipc_prep_discard(&sqe, off, bytes);
	return pcidipc_call(dev->consumer, &sqe, NULL);
}

int pcidipc_blockdev_passthrough(struct pcidipc_blockdev *dev, uint16_t index, uint64_t addr)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD};

	sqe.cmd_op = RINGABI_BLOCK_PASSTHROUGH;
	sqe.addr = addr;
	sqe.len = sizeof(struct ringabi_block_passthrough);
	sqe.buf_index = index;
	return pcidipc_call(dev->consumer, &sqe, NULL);
}
