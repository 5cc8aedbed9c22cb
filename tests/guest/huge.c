// SPDX-License-Identifier: MIT
/*
 * A client of a disk whose pool consists of huge pages: "huge nvme0n1". Prints what it has seen,
 * one line per fact: "ok FACT" or "not ok FACT"; the exit status says whether all of them hold.
 */
#include <liburing.h>
#include <pcidipc/disk.h>
#include <stdio.h>
#include <string.h>

#define MIB (1u << 20)
#define BYTES (32u * MIB) /* sixteen huge pages */
#define PIECE MIB
#define ON_DISK (8ull * MIB)

static bool wrong;

static void fact(bool holds, const char *what)
{
	printf("%s %s\n", holds ? "ok" : "not ok", what);
	wrong |= !holds;
}

/* Of shared memory, on this machine, in bytes. */
static long long huge_bytes(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	long long kib = 0;
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "ShmemHugePages: %lld", &kib) == 1)
			break;
	if (file)
		fclose(file);
	return kib * 1024;
}

static void fill(unsigned char *at)
{
	for (uint32_t i = 0; i < BYTES; i += 4)
		memcpy(at + i, &i, 4);
}

static bool is_filled(const unsigned char *at)
{
	for (uint32_t i = 0; i < BYTES; i += 4)
		if (memcmp(at + i, &i, 4))
			return false;
	return true;
}

static void prepare(struct io_uring_sqe *sqe, bool write, uint64_t at, uint16_t index)
{
	if (write)
		io_uring_prep_write_fixed(sqe, 0, (void *)at, PIECE, ON_DISK + at, index);
	else
		io_uring_prep_read_fixed(sqe, 0, (void *)at, PIECE, ON_DISK + at, index);
}

/* The buffer lies at the pool's begin. */
static bool move(struct pcidipc_consumer *ring, bool write, uint16_t index)
{
	struct pcidipc_cqe cqe;
	struct io_uring_sqe *sqe;

	for (uint64_t at = 0; at < BYTES; at += PIECE) {
		sqe = pcidipc_get_sqe(ring);
		if (!sqe)
			return false;
		prepare(sqe, write, at, index);
		if (pcidipc_submit_and_wait(ring, 1) || pcidipc_next_cqe(ring, &cqe) != 1 ||
		    cqe.res != (int)PIECE)
			return false;
	}
	return true;
}

static void use(struct pcidipc_consumer *ring, struct pcidipc_pool *pool)
{
	struct pcidipc_buf *buf = pcidipc_pool_alloc(pool, BYTES, 0);
	unsigned char *at = pcidipc_pool_base(pool);
	long long before = huge_bytes();
	uint16_t index;

	fact(buf && !buf->offset, "a buffer at the pool's begin");
	fill(at);
	fact(huge_bytes() - before >= (long long)BYTES, "its memory is huge pages");
	fact(!pcidipc_consumer_attach_pool(ring, pool, &index), "the pool is attached");
	fact(move(ring, true, index), "written to the disk");
	memset(at, 0, BYTES);
	fact(move(ring, false, index), "read from the disk");
	fact(is_filled(at), "what was read is what was written");
	fact(huge_bytes() - before >= (long long)BYTES, "it is huge pages still");
	fact(!pcidipc_consumer_detach_pool(ring, index), "the pool is detached");
}

int main(int argc, char **argv)
{
	struct pcidipc_blockdev *disk;
	struct pcidipc_pool *pool;
	int ret = pcidipc_blockdev_open(argc > 1 ? argv[1] : "nvme0n1", 0, 8, &disk);

	if (!ret)
		ret = pcidipc_pool_create(BYTES, PCIDIPC_POOL_HUGE, &pool);
	if (ret) {
		fprintf(stderr, "huge: %s\n", strerror(-ret));
		return 1;
	}
	use(pcidipc_blockdev_consumer(disk), pool);
	pcidipc_blockdev_close(disk);
	pcidipc_pool_destroy(pool);
	return wrong;
}
