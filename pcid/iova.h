/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Addresses of one IOMMU domain, for both buses. Not thread-safe. */
#ifndef PCID_IOVA_H
#define PCID_IOVA_H

#include <stdint.h>

#define PCID_IOVA_RANGES 16

struct pcid_iova_used {
	struct pcid_iova_used *next; /* by address */
	uint64_t start, last;
};

struct pcid_iova {
	struct {
		uint64_t start, last;
	} range[PCID_IOVA_RANGES]; /* what the IOMMU can map, by address */
	unsigned ranges;
	struct pcid_iova_used *used;
	uint64_t next; /* the search begins here: addresses that were freed come last */
};

/* Take `bytes` (a multiple of RINGABI_POOL_ALIGN) that end at `last` or below. -ENOSPC, -ENOMEM. */
int pcid_iova_alloc(struct pcid_iova *space, uint64_t bytes, uint64_t last, uint64_t *iova);
void pcid_iova_free(struct pcid_iova *space, uint64_t iova);
/* All of them: the domain goes. `next` stays, for a device without a reset may go on with what its
 * driver had begun, and must not find there what the next driver maps. */
void pcid_iova_free_all(struct pcid_iova *space);

#endif
