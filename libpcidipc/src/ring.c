/* SPDX-License-Identifier: MIT */
/* Setting rings up; everything after that is inline in ring.h. */
#include <pcidipc/log.h>
#include <pcidipc/ring.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memfd.h"

#define RING_SEALS (MEMFD_FIXED_SIZE | F_SEAL_SEAL)

static bool entries_ok(uint32_t n)
{
	return n >= RINGABI_MIN_ENTRIES && n <= RINGABI_MAX_ENTRIES && !(n & (n - 1));
}

static uint64_t page_up(uint64_t n)
{
	return (n + 4095) & ~4095ull;
}

static uint32_t cqe_shift_of(uint32_t features)
{
	return features & RINGABI_RING_CQE32 ? 5 : 4;
}

/* The one place that says where things lie in a ring made by this library. */
static void describe(struct ringabi_ring *r, uint32_t sq, uint32_t cq, uint32_t features)
{
	r->magic = RINGABI_RING_MAGIC;
	r->version_major = RINGABI_VERSION_MAJOR;
	r->version_minor = RINGABI_VERSION_MINOR;
	r->features = features;
	r->sq_entries = sq;
	r->cq_entries = cq;
	r->sq_offset = RINGABI_HEADER_BYTES;
	r->cq_offset = RINGABI_HEADER_BYTES + sq * RINGABI_SQE_BYTES;
	r->bytes = page_up(r->cq_offset + ((uint64_t)cq << cqe_shift_of(features)));
}

static int map_ring(struct pcidipc_ring_map *map, int fd, const struct ringabi_ring *r)
{
	void *p = mmap(NULL, r->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	map->shared = p;
	map->sqes = (void *)((char *)p + r->sq_offset);
	map->cqes = (unsigned char *)p + r->cq_offset;
	map->sq_entries = r->sq_entries;
	map->cq_entries = r->cq_entries;
	map->cqe_shift = cqe_shift_of(r->features);
	map->bytes = r->bytes;
	return 0;
}

int pcidipc_producer_ring_create(struct pcidipc_producer_ring *ring, uint32_t sq_entries,
				 uint32_t cq_entries, uint32_t features, int *fd)
{
	struct ringabi_ring header = {0};
	int ret;

	if (!entries_ok(sq_entries) || !entries_ok(cq_entries) || cq_entries < sq_entries)
		return -EINVAL;
	memset(ring, 0, sizeof(*ring));
	describe(&header, sq_entries, cq_entries, features);
	*fd = memfd_make("pcidipc-ring", header.bytes, RING_SEALS);
	if (*fd < 0)
		return *fd;
	ret = map_ring(&ring->map, *fd, &header);
	if (!ret) {
		memcpy(ring->map.shared, &header, sizeof(header));
		return 0;
	}
	close(*fd);
	*fd = -1;
	return ret;
}

static const char *header_fault(const struct ringabi_ring *r, uint32_t features, uint64_t size)
{
	uint64_t sq_end = (uint64_t)r->sq_offset + (uint64_t)r->sq_entries * RINGABI_SQE_BYTES;
	uint64_t cq_end = r->cq_offset + ((uint64_t)r->cq_entries << cqe_shift_of(features));

	if (r->magic != RINGABI_RING_MAGIC)
		return "magic";
	if (r->version_major != RINGABI_VERSION_MAJOR)
		return "version";
	if (r->features != features)
		return "features";
	if (!entries_ok(r->sq_entries))
		return "sq_entries";
	if (!entries_ok(r->cq_entries) || r->cq_entries < r->sq_entries)
		return "cq_entries";
	if (r->bytes != size)
		return "bytes";
	if (r->sq_offset < sizeof(*r) || r->sq_offset % 64 || sq_end > size)
		return "sq_offset";
	if (r->cq_offset < sizeof(*r) || r->cq_offset % 64 || cq_end > size)
		return "cq_offset";
	if (r->sq_offset < cq_end && r->cq_offset < sq_end)
		return "overlapping arrays";
	return NULL;
}

/* By mapping and not by pread, which a driver's sandbox forbids. It is sealed: it does not shrink.
 */
static int copy_header(int fd, struct ringabi_ring *header)
{
	void *p = mmap(NULL, sizeof(*header), PROT_READ, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	pcidipc_copy_once(header, p, sizeof(*header));
	munmap(p, sizeof(*header));
	return 0;
}

static int read_header(int fd, struct ringabi_ring *header, uint32_t features)
{
	const char *fault = memfd_fault(fd, RING_SEALS);
	struct stat st;
	int ret;

	if (fault) {
		pcidipc_err("ring: refused, it %s", fault);
		return -EPROTO;
	}
	if (fstat(fd, &st))
		return -errno;
	if (st.st_size < (off_t)sizeof(*header)) {
		pcidipc_err("ring: refused, shorter than its %zu-byte header", sizeof(*header));
		return -EPROTO;
	}
	ret = copy_header(fd, header);
	if (ret)
		return ret;
	fault = header_fault(header, features, (uint64_t)st.st_size);
	if (!fault)
		return 0;
	pcidipc_err("ring: refused, its header's %s is wrong", fault);
	return -EPROTO;
}

int pcidipc_consumer_ring_attach(struct pcidipc_consumer_ring *ring, int fd, uint32_t features)
{
	struct ringabi_ring header;
	int ret;

	memset(ring, 0, sizeof(*ring));
	ret = read_header(fd, &header, features);
	if (ret)
		return ret;
	return map_ring(&ring->map, fd, &header);
}

static void unmap(struct pcidipc_ring_map *map)
{
	if (map->shared)
		munmap(map->shared, map->bytes);
	map->shared = NULL;
}

void pcidipc_consumer_ring_unmap(struct pcidipc_consumer_ring *ring)
{
	unmap(&ring->map);
}

void pcidipc_producer_ring_unmap(struct pcidipc_producer_ring *ring)
{
	unmap(&ring->map);
}
