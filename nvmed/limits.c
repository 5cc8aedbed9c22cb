/* SPDX-License-Identifier: MIT */
/* What one user's clients may have of the controller, over all of its disks, unless the command
 * line says otherwise: half of what there is, and of pools three quarters, for clients have two. */
#include <errno.h>
#include <stdio.h>
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

void limits_default(struct pcidipc_users *users)
{
	users->max_sessions = MAX_SESSIONS / 2;
	users->max_pools = RINGABI_MAX_POOLS / 4 * 3;
	users->max_pool_bytes = POOL_BYTES;
	users->max_mapped_bytes = half_of_quota();
}

static int number(const char *option, const char *text, unsigned long most, unsigned long *value)
{
	char *end;

	*value = strtoul(text, &end, 10);
	if (!*end && end != text && *text != '-' && *value >= 1 && *value <= most)
		return 0;
	fprintf(stderr, "nvmed: --%s %s: it must be 1 to %lu\n", option, text, most);
	return -EINVAL;
}

int limits_set(struct pcidipc_users *users, int option, const char *text)
{
	unsigned long value;
	int ret = -EINVAL;

	if (option == OPTION_USER_CONNECTIONS) {
		ret = number("user-connections", text, MAX_SESSIONS, &value);
		users->max_sessions = (uint32_t)value;
	} else if (option == OPTION_USER_POOLS) {
		ret = number("user-pools", text, RINGABI_MAX_POOLS, &value);
		users->max_pools = (uint32_t)value;
	} else if (option == OPTION_USER_POOL_GIB) {
		ret = number("user-pool-gib", text, 1ul << 20, &value);
		users->max_pool_bytes = (uint64_t)value << GIB;
	} else if (option == OPTION_USER_DMA_MIB) {
		ret = number("user-dma-mib", text, 1ul << 30, &value);
		users->max_mapped_bytes = (uint64_t)value << MIB;
	}
	return ret;
}
