/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Section numbers are those of the VT-d specification. */
#include <errno.h>
#include <pcidipc/log.h>
#include <string.h>

#include "vtd.h"

#define VTD_BASE 0xfed90000ull
#define REG_CAP 0x08 /* 10.4.2 */
#define REG_ECAP 0x10
#define REG_GCMD 0x18
#define REG_GSTS 0x1c
#define REG_RTADDR 0x20
#define REG_CCMD 0x28

#define GCMD_TE (1u << 31)
#define GCMD_SRTP (1u << 30)
#define CCMD_ICC (1ull << 63)
#define CCMD_GLOBAL (1ull << 61)
#define IOTLB_IVT (1ull << 63)
#define IOTLB_GLOBAL (1ull << 60)

#define PTE_READ_WRITE 3ull
#define PTE_LARGE (1ull << 7)
#define CONTEXT_PRESENT 1ull
#define CONTEXT_48_BIT 2ull /* address width: four levels */
#define TABLE_MASK 0x000ffffffffff000ull
#define LARGE_PAGE (2ull << 20)
#define TABLES_START 0x100000ull /* above what a firmware would use */

static uint64_t *table_at(struct vtd *v, uint64_t address)
{
	return (uint64_t *)(v->ram + address);
}

static uint64_t new_table(struct vtd *v)
{
	uint64_t page = v->free_page;

	if (page)
		v->free_page = *table_at(v, page);
	else if (v->next_page + 4096 <= v->ram_bytes) {
		page = v->next_page;
		v->next_page += 4096;
	}
	if (page)
		memset(table_at(v, page), 0, 4096);
	return page;
}

static void free_table(struct vtd *v, uint64_t page)
{
	*table_at(v, page) = v->free_page;
	v->free_page = page;
}

static void free_tree(struct vtd *v, uint64_t page, int level)
{
	uint64_t *table = table_at(v, page);

	for (int i = 0; level > 1 && i < 512; i++)
		if (table[i] && !(table[i] & PTE_LARGE))
			free_tree(v, table[i] & TABLE_MASK, level - 1);
	free_table(v, page);
}

/* Wait until the hardware has cleared a bit of a 64-bit register. */
static int wait_clear(struct vtd *v, uint64_t reg, uint64_t bit)
{
	uint64_t value;
	int ret;

	do {
		ret = qtest_wait(v->qtest, &value, "readq 0x%llx",
				 (unsigned long long)(VTD_BASE + reg));
	} while (!ret && value & bit);
	return ret;
}

static int invalidate(struct vtd *v, bool context)
{
	int ret = 0;

	if (context) {
		ret = qtest_wait(v->qtest, NULL, "writeq 0x%llx 0x%llx",
				 (unsigned long long)(VTD_BASE + REG_CCMD),
				 (unsigned long long)(CCMD_ICC | CCMD_GLOBAL));
		if (!ret)
			ret = wait_clear(v, REG_CCMD, CCMD_ICC);
	}
	if (!ret)
		ret = qtest_wait(v->qtest, NULL, "writeq 0x%llx 0x%llx",
				 (unsigned long long)(VTD_BASE + v->iotlb + 8),
				 (unsigned long long)(IOTLB_IVT | IOTLB_GLOBAL));
	return ret ? ret : wait_clear(v, v->iotlb + 8, IOTLB_IVT);
}

static int enable(struct vtd *v)
{
	int ret = qtest_wait(v->qtest, NULL, "writeq 0x%llx 0x%llx",
			     (unsigned long long)(VTD_BASE + REG_RTADDR),
			     (unsigned long long)v->root);

	if (!ret)
		ret = qtest_wait(v->qtest, NULL, "writel 0x%llx 0x%x",
				 (unsigned long long)(VTD_BASE + REG_GCMD), GCMD_SRTP);
	if (!ret)
		ret = invalidate(v, true);
	if (!ret)
		ret = qtest_wait(v->qtest, NULL, "writel 0x%llx 0x%x",
				 (unsigned long long)(VTD_BASE + REG_GCMD), GCMD_TE);
	return ret;
}

int vtd_start(struct vtd *v, struct qtest *q, void *ram, uint64_t ram_bytes)
{
	uint64_t cap, ecap;
	int ret;

	v->qtest = q;
	v->ram = ram;
	v->ram_bytes = ram_bytes;
	v->next_page = TABLES_START;
	v->next_domain = 1;
	ret = qtest_wait(q, &cap, "readq 0x%llx", (unsigned long long)(VTD_BASE + REG_CAP));
	if (!ret)
		ret = qtest_wait(q, &ecap, "readq 0x%llx",
				 (unsigned long long)(VTD_BASE + REG_ECAP));
	if (ret)
		return ret;
	if (!(cap >> 8 & 4)) {
		pcidipc_err("qemu: its IOMMU has no four-level page tables (CAP %#llx)",
			    (unsigned long long)cap);
		return -ENODEV;
	}
	v->iotlb = (ecap >> 8 & 0x3ff) * 16;
	v->faults = (cap >> 24 & 0x3ff) * 16;
	v->nfaults = (cap >> 40 & 0xff) + 1;
	v->root = new_table(v);
	return v->root ? enable(v) : -ENOMEM;
}

static uint64_t *context_entry(struct vtd *v, uint16_t requester)
{
	uint64_t *root = table_at(v, v->root) + 2 * (requester >> 8);

	if (!*root) {
		uint64_t table = new_table(v);

		if (!table)
			return NULL;
		*root = table | CONTEXT_PRESENT;
	}
	return table_at(v, *root & TABLE_MASK) + 2 * (requester & 0xff);
}

int vtd_bind(struct vtd *v, struct vtd_domain *d, uint16_t requester)
{
	uint64_t *entry = context_entry(v, requester);

	d->table = entry ? new_table(v) : 0;
	if (!d->table)
		return -ENOMEM;
	d->requester = requester;
	d->id = v->next_domain++;
	entry[1] = (uint64_t)d->id << 8 | CONTEXT_48_BIT;
	__atomic_store_n(&entry[0], d->table | CONTEXT_PRESENT, __ATOMIC_RELEASE);
	return invalidate(v, true);
}

void vtd_unbind(struct vtd *v, struct vtd_domain *d)
{
	uint64_t *entry = context_entry(v, d->requester);

	if (!entry || !d->table)
		return;
	__atomic_store_n(&entry[0], 0, __ATOMIC_RELEASE);
	entry[1] = 0;
	invalidate(v, true);
	free_tree(v, d->table, 4);
	d->table = 0;
}

/* The entry that maps `iova` at `level` (1: 4 KiB, 2: 2 MiB), making tables on the way if `make`.
 */
static uint64_t *entry_of(struct vtd *v, struct vtd_domain *d, uint64_t iova, int level, bool make)
{
	uint64_t table = d->table;

	for (int l = 4; l > level; l--) {
		uint64_t *entry = table_at(v, table) + (iova >> (12 + 9 * (l - 1)) & 511);

		if (*entry & PTE_LARGE)
			return NULL;
		if (!*entry) {
			uint64_t next = make ? new_table(v) : 0;

			if (!next)
				return NULL;
			*entry = next | PTE_READ_WRITE;
		}
		table = *entry & TABLE_MASK;
	}
	return table_at(v, table) + (iova >> (12 + 9 * (level - 1)) & 511);
}

static bool is_large(uint64_t iova, uint64_t address, uint64_t bytes)
{
	return !((iova | address) % LARGE_PAGE) && bytes >= LARGE_PAGE;
}

int vtd_map(struct vtd *v, struct vtd_domain *d, uint64_t iova, uint64_t address, uint64_t bytes)
{
	while (bytes) {
		bool large = is_large(iova, address, bytes);
		uint64_t step = large ? LARGE_PAGE : 4096;
		uint64_t *entry = entry_of(v, d, iova, large ? 2 : 1, true);

		if (!entry)
			return -ENOMEM;
		*entry = address | PTE_READ_WRITE | (large ? PTE_LARGE : 0);
		iova += step;
		address += step;
		bytes -= step;
	}
	return 0; /* entries become present: nothing is cached of what was not */
}

void vtd_unmap(struct vtd *v, struct vtd_domain *d, uint64_t iova, uint64_t bytes)
{
	for (uint64_t at = iova; at < iova + bytes;) {
		uint64_t *entry = entry_of(v, d, at, 2, false);

		if (entry && *entry & PTE_LARGE) {
			*entry = 0;
			at += LARGE_PAGE;
			continue;
		}
		entry = entry ? entry_of(v, d, at, 1, false) : NULL;
		if (entry)
			*entry = 0;
		at += entry ? 4096 : LARGE_PAGE - at % LARGE_PAGE;
	}
	invalidate(v, false);
}
