/* SPDX-License-Identifier: MIT */
/* What one user's clients may have of the device, over all of its units: half of what there is, of
 * pools three quarters, for clients have two, and of few addresses a quarter, for other devices of
 * the controller need some. */
#include <ringabi/pci.h>
#include <stdlib.h>
#include <unistd.h>

#include "target.h"

#define POOL_BYTES (1ull << 40) /* addresses: the QEMU bus has 8 TiB, an IOMMU 512 GiB or more */
#define CONTROLLER_BYTES (64u << 20) /* what the controller's driver has for itself */

/* What pcid lets the controller reach, as it tells us; else what pcid does where it was told
 * nothing. */
static uint64_t dma_quota(void)
{
	const char *text = getenv("PCID_DMA_QUOTA_MIB");
	uint64_t told = text ? strtoull(text, NULL, 10) : 0;

	if (told && told < 1ull << 43)
		return told << 20;
	return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 2;
}

static uint64_t half_of_quota(void)
{
	uint64_t quota = dma_quota();
	uint64_t half = quota > CONTROLLER_BYTES ? (quota - CONTROLLER_BYTES) / 2 : 0;

	return half > RINGABI_POOL_CHUNK ? half : RINGABI_POOL_CHUNK; /* less is nothing */
}

/* A quarter of what the controller can address, as pcid tells us: 1 GiB where that is 32 bits. */
static uint64_t pool_bytes(void)
{
	const char *text = getenv("PCID_DMA_BITS");
	unsigned long bits = text ? strtoul(text, NULL, 10) : 0;
	uint64_t quarter;

	if (bits < RINGABI_PCI_MIN_DMA_BITS || bits >= 64)
		return POOL_BYTES;
	quarter = 1ull << bits >> 2;
	return quarter < POOL_BYTES ? quarter : POOL_BYTES;
}

void target_limits(struct pcidipc_users *users)
{
	users->max_sessions = MOST_SESSIONS / 2;
	users->max_pools = RINGABI_MAX_POOLS / 4 * 3;
	users->max_pool_bytes = pool_bytes();
	users->max_mapped_bytes = half_of_quota();
}
