/* SPDX-License-Identifier: MIT */
/* What one user's clients may have of the controller, over all of its disks, unless the command
 * line says otherwise: half of what there is, and of pools three quarters, for clients have two. */
#include <stdlib.h>
#include <unistd.h>

#include "nvmed.h"

#define MIB 20
#define GIB 30
#define POOL_BYTES (1ull << 40) /* addresses: the QEMU bus has 8 TiB, an IOMMU 512 GiB or more */

/* What pcid lets the device reach, as it tells us; else what pcid does where it was told nothing.
 */
static uint64_t dma_quota(void)
{
	const char *text = getenv("PCID_DMA_QUOTA_MIB");
	uint64_t told = text ? strtoull(text, NULL, 10) : 0;

	if (told && told < 1ull << (63 - MIB))
		return told << MIB;
	return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 2;
}

static uint64_t half_of_quota(void)
{
	uint64_t quota = dma_quota(), half = quota > DMA_BYTES ? (quota - DMA_BYTES) / 2 : 0;

	return half > RINGABI_POOL_CHUNK ? half : RINGABI_POOL_CHUNK; /* less is nothing */
}

static uint64_t or_usual(uint64_t wanted, unsigned shift, uint64_t usual)
{
	return wanted ? wanted << shift : usual;
}

void limits_apply(const struct limits *limits, struct pcidipc_users *users)
{
	users->max_sessions = (uint32_t)or_usual(limits->connections, 0, MAX_SESSIONS / 2);
	users->max_pools = (uint32_t)or_usual(limits->pools, 0, RINGABI_MAX_POOLS / 4 * 3);
	users->max_pool_bytes = or_usual(limits->pool_gib, GIB, POOL_BYTES);
	users->max_mapped_bytes = or_usual(limits->dma_mib, MIB, half_of_quota());
}
