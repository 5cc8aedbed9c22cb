/* SPDX-License-Identifier: MIT */
/* Rings that are refused when they are made or attached: by their header, their memory, their size.
 */
#include <errno.h>
#include <fcntl.h>
#include <pcidipc/log.h>
#include <sys/mman.h>

#include "ringpair.h"

static int refuse(uint32_t features, int seals, unsigned memfd_flags,
		  void (*spoil)(struct ringabi_ring *))
{
	struct pcidipc_producer_ring good;
	struct pcidipc_consumer_ring ring;
	struct ringabi_ring header;
	size_t bytes;
	int fd, ret;

	CU_ASSERT_EQUAL_FATAL(pcidipc_producer_ring_create(&good, 4, 8, 0, &fd), 0);
	header = *good.map.shared;
	bytes = header.bytes;
	pcidipc_producer_ring_unmap(&good);
	close(fd);
	if (memfd_flags & MFD_HUGETLB)
		header.bytes = bytes = 2 << 20;
	fd = memfd_create("test", MFD_ALLOW_SEALING | memfd_flags);
	if (fd < 0)
		return -errno;
	if (spoil)
		spoil(&header);
	CU_ASSERT_EQUAL_FATAL(ftruncate(fd, (off_t)bytes), 0);
	if (!(memfd_flags & MFD_HUGETLB))
		CU_ASSERT_EQUAL_FATAL(pwrite(fd, &header, sizeof(header), 0), sizeof(header));
	CU_ASSERT_EQUAL_FATAL(fcntl(fd, F_ADD_SEALS, seals), 0);
	ret = pcidipc_consumer_ring_attach(&ring, fd, features);
	CU_ASSERT_PTR_NULL(ret ? ring.map.shared : NULL);
	pcidipc_consumer_ring_unmap(&ring);
	close(fd);
	return ret;
}

#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define SPOIL(name, statement)                   \
	static void name(struct ringabi_ring *r) \
	{                                        \
		statement;                       \
	}
SPOIL(bad_magic, r->magic++)
SPOIL(bad_version, r->version_major++)
SPOIL(next_minor, r->version_minor++)
SPOIL(bad_features, r->features = RINGABI_RING_CQE32)
SPOIL(bad_sq, r->sq_entries = 3)
SPOIL(no_sq, r->sq_entries = 0)
SPOIL(huge_sq, r->sq_entries = 0x80000000)
SPOIL(huge_cq, r->cq_entries = 0x80000000)
SPOIL(long_cq, r->cq_entries = 32768)
SPOIL(short_cq, r->cq_entries = 2)
SPOIL(bad_bytes, r->bytes += 4096)
SPOIL(small_bytes, r->bytes = 0)
SPOIL(sq_in_header, r->sq_offset = 0)
SPOIL(cq_in_header, r->cq_offset = 4032)
SPOIL(sq_crooked, r->sq_offset += 8)
SPOIL(cq_crooked, r->cq_offset += 16)
SPOIL(sq_beyond, r->sq_offset = 0xffffffc0)
SPOIL(cq_beyond, r->cq_offset = 0xffffffc0)
SPOIL(overlap, r->cq_offset = r->sq_offset + 64)

static void test_headers(void)
{
	static void (*const spoils[])(struct ringabi_ring *) = {
		bad_magic,    bad_version, bad_features, bad_sq,    no_sq,	 huge_sq,
		huge_cq,      long_cq,	   short_cq,	 bad_bytes, small_bytes, sq_in_header,
		cq_in_header, sq_crooked,  cq_crooked,	 sq_beyond, cq_beyond,	 overlap,
	};

	CU_ASSERT_EQUAL(refuse(0, ALL_SEALS, 0, NULL), 0);
	CU_ASSERT_EQUAL(refuse(0, ALL_SEALS, 0, next_minor), 0);
	for (size_t i = 0; i < sizeof(spoils) / sizeof(spoils[0]); i++)
		CU_ASSERT_EQUAL(refuse(0, ALL_SEALS, 0, spoils[i]), -EPROTO);
	CU_ASSERT_EQUAL(refuse(RINGABI_RING_CQE32, ALL_SEALS, 0, NULL), -EPROTO);
}

static void test_memfds(void)
{
	struct pcidipc_consumer_ring ring;
	int ends[2], ret;

	CU_ASSERT_EQUAL(refuse(0, F_SEAL_SHRINK | F_SEAL_GROW, 0, NULL), -EPROTO);
	CU_ASSERT_EQUAL(refuse(0, F_SEAL_SHRINK | F_SEAL_SEAL, 0, NULL), -EPROTO);
	CU_ASSERT_EQUAL(refuse(0, F_SEAL_GROW | F_SEAL_SEAL, 0, NULL), -EPROTO);
	CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
	CU_ASSERT_EQUAL(pcidipc_consumer_ring_attach(&ring, ends[0], 0), -EPROTO);
	close(ends[0]);
	close(ends[1]);
	/* Huge pages: there may be none left when it is touched. Kernels may come without them. */
	ret = refuse(0, ALL_SEALS, MFD_HUGETLB, NULL);
	CU_ASSERT_TRUE(ret == -EPROTO || ret == -EINVAL || ret == -ENOSYS);
}

static void test_sizes(void)
{
	static const uint32_t wrong[][2] = {{0, 0}, {1, 2},	    {3, 4},    {4, 6},
					    {8, 4}, {65536, 65536}, {4, 65536}};
	struct pcidipc_producer_ring ring;
	int fd;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		CU_ASSERT_EQUAL(
			pcidipc_producer_ring_create(&ring, wrong[i][0], wrong[i][1], 0, &fd),
			-EINVAL);
	make(2, 2, 0, 0);
	unmake();
	make(32768, 32768, RINGABI_RING_CQE32, 0);
	unmake();
}

static CU_TestInfo tests[] = {
	{"headers that are refused", test_headers},
	{"memory that is refused", test_memfds},
	{"sizes that are refused", test_sizes},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	pcidipc_log_init("test_ring_attach", 0);
	return run_tests("ring, attaching", tests);
}
