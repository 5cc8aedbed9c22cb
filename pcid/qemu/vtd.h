/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Intel VT-d, the IOMMU: root, context and second-level page tables, which lie in QEMU's boot
 * memory. */
#ifndef VTD_H
#define VTD_H

#include "qtest.h"

struct vtd {
	struct qtest *qtest;
	unsigned char *ram; /* boot memory, mapped */
	uint64_t ram_bytes;
	uint64_t next_page;
	uint64_t free_page; /* list through the first word of free pages; 0: empty */
	uint64_t root;
	uint16_t next_domain;
	uint64_t iotlb; /* register offsets, from CAP and ECAP */
	uint64_t faults;
	unsigned nfaults;
};

struct vtd_domain {
	uint16_t id;
	uint16_t requester; /* bus << 8 | devfn */
	uint64_t table;	    /* level 4 */
};

/* Task. */
int vtd_start(struct vtd *v, struct qtest *q, void *ram, uint64_t ram_bytes);
int vtd_bind(struct vtd *v, struct vtd_domain *d, uint16_t requester);
void vtd_unbind(struct vtd *v, struct vtd_domain *d);
int vtd_map(struct vtd *v, struct vtd_domain *d, uint64_t iova, uint64_t address, uint64_t bytes);
void vtd_unmap(struct vtd *v, struct vtd_domain *d, uint64_t iova, uint64_t bytes);

#endif
