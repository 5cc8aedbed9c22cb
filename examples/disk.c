/* SPDX-License-Identifier: MIT */
/* A first client: "disk nvme0n1" writes the first 4 KiB of a disk to standard output. */
#include <liburing.h>
#include <pcidipc/disk.h>
#include <stdio.h>
#include <string.h>

#define BYTES 4096u

static int show(struct pcidipc_blockdev *disk)
{
	struct pcidipc_consumer *ring = pcidipc_blockdev_consumer(disk);
	struct pcidipc_pool *pool;
	struct pcidipc_buf *buf;
	struct io_uring_sqe *sqe;
	struct pcidipc_cqe cqe = {0};
	uint16_t index;
	int ret = pcidipc_pool_create(1 << 20, 0, &pool); /* memory that the device can reach */

	if (ret)
		return ret;
	ret = pcidipc_consumer_attach_pool(ring, pool, &index);
	if (!ret) {
		buf = pcidipc_pool_alloc(pool, BYTES, 4096);
		sqe = pcidipc_get_sqe(ring); /* from here on as with liburing */
		io_uring_prep_read_fixed(sqe, 0, (void *)buf->offset, BYTES, 0, index);
		ret = pcidipc_submit_and_wait(ring, 1);
		if (!ret && pcidipc_next_cqe(ring, &cqe) == 1)
			ret = cqe.res;
		if (ret > 0) /* the device wrote it there: nobody copied it */
			fwrite(pcidipc_buf_ptr(buf), 1, (size_t)ret, stdout);
		pcidipc_consumer_detach_pool(ring, index);
	}
	pcidipc_pool_destroy(pool);
	return ret < 0 ? ret : 0;
}

int main(int argc, char **argv)
{
	struct pcidipc_blockdev *disk;
	int ret = pcidipc_blockdev_open(argc > 1 ? argv[1] : "nvme0n1", RINGABI_OPEN_READ_ONLY, 8,
					&disk);

	if (!ret) {
		ret = show(disk);
		pcidipc_blockdev_close(disk);
	}
	if (ret)
		fprintf(stderr, "disk: %s\n", strerror(-ret));
	return ret != 0;
}
