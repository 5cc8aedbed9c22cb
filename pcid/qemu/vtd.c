// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The IOMMU: VT-d's root, context and second-level page tables in boot RAM, four levels, 48 bits.
 * One domain for each requester id with a driver; any other has no context entry and reaches
 * nothing. Section numbers are those of the VT-d specification 3.0.
 */
#include <errno.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu.h"

#define PAGE 4096ull
#define LARGE MIB(2)
#define ENTRIES 512u
#define TABLES_BASE MIB(1) /* below it lies what a CPU would execute */

/* Registers (10.4). */
#define REG_CAP 0x08u
#define REG_ECAP 0x10u
#define REG_GCMD 0x18u
#define REG_GSTS 0x1cu
#define REG_RTADDR 0x20u
#define REG_CCMD 0x28u
#define IOTLB_OFFSET 8u /* from where ECAP.IRO points */

#define CAP_SLLPS_2M (1ull << 34)
#define CAP_SAGAW_48 (1ull << 10) /* four levels */
#define GCMD_TE (1u << 31)
#define GCMD_SRTP (1u << 30)
#define CCMD_ICC (1ull << 63)
#define CCMD_DEVICE (3ull << 61)
#define IOTLB_IVT (1ull << 63)
#define IOTLB_DOMAIN (2ull << 60)
#define IOTLB_DRAIN (3ull << 48)

/* Entries (9.1, 9.3, 9.8). */
#define PRESENT 1ull
#define CONTEXT_48 2ull /* address width, of the upper half */
#define SL_READ_WRITE 3ull
#define SL_LARGE (1ull << 7)
#define SL_ADDRESS 0x000ffffffffff000ull

struct vtd_domain {
	struct pcidipc_list link; /* vtd.domains, by id */
	uint16_t id, rid;
	unsigned users; /* 0: on its way out */
	uint64_t table;
	struct pcid_iova iova;
	uint32_t pages; /* of tables */
};

/* ---- table pages ---- */

static uint64_t *page_at(struct qemu_bus *qb, uint64_t address)
{
	return (uint64_t *)(qb->ram + address);
}

static uint64_t load(const uint64_t *entry)
{
	return __atomic_load_n(entry, __ATOMIC_RELAXED);
}

/* QEMU reads tables from another process: a table is complete before anything points to it. */
static void store(uint64_t *entry, uint64_t value)
{
	__atomic_store_n(entry, value, __ATOMIC_RELEASE);
}

/* Returns 0 when boot RAM is used up. Free pages are chained through their first word. */
static uint64_t take_page(struct qemu_bus *qb)
{
	struct vtd *v = &qb->vtd;
	uint64_t page = v->free_page;

	if (page)
		v->free_page = *page_at(qb, page);
	else if (v->next_page + PAGE <= qb->ram_bytes)
		page = v->next_page;
	else
		return 0;
	if (page == v->next_page)
		v->next_page += PAGE;
	memset(page_at(qb, page), 0, PAGE);
	v->pages_used++;
	return page;
}

static void give_page(struct qemu_bus *qb, uint64_t page)
{
	*page_at(qb, page) = qb->vtd.free_page;
	qb->vtd.free_page = page;
	qb->vtd.pages_used--;
}

/* One driver must not use up what all others need. */
static uint64_t take_domain_page(struct qemu_bus *qb, struct vtd_domain *domain)
{
	uint64_t page;

	if (domain->pages >= qb->vtd.pages_most / 4) {
		pcidipc_log_ratelimited(PCIDIPC_WARNING,
					"qemu: domain %u has %u pages of IOMMU tables, a quarter "
					"of all, and gets no more",
					domain->id, domain->pages);
		return 0;
	}
	page = take_page(qb);
	if (page)
		domain->pages++;
	return page;
}

/* ---- page tables ---- */

static unsigned level_shift(unsigned level)
{
	return 12 + 9 * (level - 1);
}

static uint64_t *entry_of(struct qemu_bus *qb, uint64_t table, uint64_t iova, unsigned level)
{
	return page_at(qb, table) + (iova >> level_shift(level)) % ENTRIES;
}

static bool is_table(uint64_t entry)
{
	return entry && !(entry & SL_LARGE);
}

/* The entry for `iova` at `level`, or a large page that covers it; missing tables are made. NULL:
 * no memory. */
static uint64_t *walk(struct qemu_bus *qb, struct vtd_domain *domain, uint64_t iova, unsigned level)
{
	uint64_t table = domain->table;

	for (unsigned at = 4; at > level; at--) {
		uint64_t *entry = entry_of(qb, table, iova, at);

		if (load(entry) & SL_LARGE)
			return entry;
		if (!load(entry)) {
			uint64_t page = take_domain_page(qb, domain);

			if (!page)
				return NULL;
			store(entry, page | SL_READ_WRITE);
		}
		table = load(entry) & SL_ADDRESS;
	}
	return entry_of(qb, table, iova, level);
}

/* Large where all three allow it, and where no small pages are there already. */
static int map_step(struct qemu_bus *qb, struct vtd_domain *domain, uint64_t iova, uint64_t address,
		    uint64_t bytes, uint64_t *done)
{
	bool large = qb->vtd.large_pages && !((iova | address) % LARGE) && bytes >= LARGE;
	uint64_t *entry = walk(qb, domain, iova, large ? 2 : 1);

	if (entry && large && is_table(load(entry))) {
		large = false;
		entry = walk(qb, domain, iova, 1);
	}
	if (!entry)
		return -ENOMEM;
	if (!load(entry))
		store(entry, address | SL_READ_WRITE | (large ? SL_LARGE : 0));
	*done = large ? LARGE : PAGE;
	return 0;
}

int vtd_map(struct qemu_bus *qb, struct vtd_domain *domain, uint64_t iova, uint64_t address,
	    uint64_t bytes)
{
	while (bytes) {
		uint64_t done;
		int ret = map_step(qb, domain, iova, address, bytes, &done);

		if (ret)
			return ret;
		iova += done;
		address += done;
		bytes -= done;
	}
	return 0;
}

/*
 * Take everything in [iova, iova + bytes) out of `table`. Tables that are left empty are chained
 * into *freed: the IOMMU may still hold them until its cache has been flushed. Pools are multiples
 * of 2 MiB, so whole entries go from level 2 down, and those above stay for their neighbours.
 */
static void unmap_level2(struct qemu_bus *qb, struct vtd_domain *domain, uint64_t *entry,
			 uint64_t *freed)
{
	uint64_t old = load(entry);

	store(entry, 0);
	if (!is_table(old))
		return;
	*page_at(qb, old & SL_ADDRESS) = *freed;
	*freed = old & SL_ADDRESS;
	domain->pages--;
}

/* The level 2 entry for `iova`; where there is none, NULL and how many bytes can be skipped. */
static uint64_t *find_level2(struct qemu_bus *qb, struct vtd_domain *domain, uint64_t iova,
			     uint64_t *skip)
{
	uint64_t table = domain->table;

	for (unsigned level = 4; level > 2; level--) {
		uint64_t entry = load(entry_of(qb, table, iova, level));

		*skip = 1ull << level_shift(level);
		if (!entry)
			return NULL;
		table = entry & SL_ADDRESS;
	}
	*skip = LARGE;
	return entry_of(qb, table, iova, 2);
}

static uint64_t clear_range(struct qemu_bus *qb, struct vtd_domain *domain, uint64_t iova,
			    uint64_t bytes)
{
	uint64_t end = iova + bytes, freed = 0, skip;

	while (iova < end) {
		uint64_t *entry = find_level2(qb, domain, iova, &skip);

		if (entry && load(entry))
			unmap_level2(qb, domain, entry, &freed);
		iova = (iova / skip + 1) * skip;
	}
	return freed;
}

static void free_chain(struct qemu_bus *qb, uint64_t page)
{
	while (page) {
		uint64_t next = *page_at(qb, page);

		give_page(qb, page);
		page = next;
	}
}

static void free_tables(struct qemu_bus *qb, uint64_t table, unsigned level)
{
	for (unsigned i = 0; i < ENTRIES && level > 1; i++) {
		uint64_t entry = load(page_at(qb, table) + i);

		if (is_table(entry))
			free_tables(qb, entry & SL_ADDRESS, level - 1);
	}
	give_page(qb, table);
}

/* ---- invalidation (6.5.1, by registers) ---- */

static int run_register(struct qemu_bus *qb, uint64_t address, uint64_t command, uint64_t busy)
{
	int ret = qtest_task_write(&qb->qtest, QTEST_MEMORY, address, 8, command);
	uint64_t value = busy;

	while (!ret && (value & busy))
		ret = qtest_task_read(&qb->qtest, QTEST_MEMORY, address, 8, &value);
	return ret;
}

static void invalidate_iotlb(struct qemu_bus *qb, const struct vtd_domain *domain)
{
	pcidipc_task_lock(&qb->vtd.lock);
	run_register(qb, qb->vtd.iotlb,
		     IOTLB_IVT | IOTLB_DOMAIN | IOTLB_DRAIN | (uint64_t)domain->id << 32,
		     IOTLB_IVT);
	pcidipc_task_unlock(&qb->vtd.lock);
}

static void invalidate_context(struct qemu_bus *qb, const struct vtd_domain *domain)
{
	pcidipc_task_lock(&qb->vtd.lock);
	run_register(qb, VTD_BASE + REG_CCMD,
		     CCMD_ICC | CCMD_DEVICE | (uint64_t)domain->rid << 16 | domain->id, CCMD_ICC);
	pcidipc_task_unlock(&qb->vtd.lock);
	invalidate_iotlb(qb, domain);
}

void vtd_unmap(struct qemu_bus *qb, struct vtd_domain *domain, uint64_t iova, uint64_t bytes)
{
	uint64_t freed = clear_range(qb, domain, iova, bytes);

	invalidate_iotlb(qb, domain);
	free_chain(qb, freed);
}

/* ---- addresses of a domain ---- */

int vtd_reserve(struct vtd_domain *domain, uint64_t bytes, unsigned bits, uint64_t *iova)
{
	uint64_t end = 1ull << (bits < VTD_IOVA_BITS ? bits : VTD_IOVA_BITS);

	return pcid_iova_alloc(&domain->iova, bytes, end - 1, iova);
}

void vtd_release(struct vtd_domain *domain, uint64_t iova)
{
	pcid_iova_free(&domain->iova, iova);
}

/* ---- domains ---- */

static struct vtd_domain *find_domain(struct qemu_bus *qb, uint16_t rid)
{
	pcidipc_list_for_each(domain, &qb->vtd.domains, struct vtd_domain, link)
		if (domain->rid == rid && domain->users)
			return domain;
	return NULL;
}

/* The lowest free id, and the one after which it goes into the list. 0 is left out: hardware may
 * reserve it. */
static uint16_t free_id(struct qemu_bus *qb, struct pcidipc_list **next)
{
	uint16_t id = 1;

	*next = &qb->vtd.domains;
	pcidipc_list_for_each(domain, &qb->vtd.domains, struct vtd_domain, link) {
		if (domain->id != id) {
			*next = &domain->link;
			break;
		}
		id++;
	}
	return id;
}

/* The context entry of a requester: 128 bits in the context table of its bus. NULL: no memory. */
static uint64_t *context_of(struct qemu_bus *qb, uint16_t rid)
{
	uint64_t *root = page_at(qb, qb->vtd.root) + 2 * (rid >> 8);

	if (!load(root)) {
		uint64_t page = take_page(qb);

		if (!page)
			return NULL;
		store(root, page | PRESENT);
	}
	return page_at(qb, load(root) & SL_ADDRESS) + 2 * (rid & 0xff);
}

/* NULL: no memory. */
static uint64_t *next_iova_of(struct qemu_bus *qb, uint16_t rid)
{
	uint64_t **bus = &qb->vtd.next_iova[rid >> 8];

	if (!*bus)
		*bus = calloc(256, sizeof(**bus));
	return *bus ? *bus + (rid & 0xff) : NULL;
}

static int fill_domain(struct qemu_bus *qb, struct vtd_domain *domain)
{
	uint64_t *context = context_of(qb, domain->rid);
	uint64_t *next_iova = next_iova_of(qb, domain->rid);
	int ret;

	domain->table = take_domain_page(qb, domain);
	if (!context || !next_iova || !domain->table)
		return -ENOMEM;
	domain->iova.next = *next_iova;
	ret = vtd_map(qb, domain, VTD_DOORBELL_IOVA, qb->ivshmem.doorbell_page, PAGE);
	if (ret)
		return ret;
	store(context + 1, (uint64_t)domain->id << 8 | CONTEXT_48);
	store(context, domain->table | PRESENT);
	return 0;
}

static void drop_domain(struct qemu_bus *qb, struct vtd_domain *domain)
{
	pcidipc_list_remove(&domain->link);
	if (domain->table)
		free_tables(qb, domain->table, 4);
	pcid_iova_free_all(&domain->iova);
	free(domain);
}

static int new_domain(struct qemu_bus *qb, uint16_t rid, struct vtd_domain **out)
{
	struct vtd_domain *domain = calloc(1, sizeof(*domain));
	struct pcidipc_list *next;
	int ret;

	if (!domain)
		return -ENOMEM;
	domain->rid = rid;
	domain->users = 1;
	domain->iova = (struct pcid_iova){
		.range = {{VTD_FIRST_IOVA, VTD_INTERRUPTS - 1},
			  {VTD_INTERRUPTS_END, (1ull << VTD_IOVA_BITS) - 1}},
		.ranges = 2,
	};
	domain->id = free_id(qb, &next);
	pcidipc_list_append(next, &domain->link);
	ret = fill_domain(qb, domain);
	if (ret) {
		drop_domain(qb, domain);
		return ret;
	}
	*out = domain;
	return 0;
}

int vtd_domain_get(struct qemu_bus *qb, uint16_t rid, struct vtd_domain **out)
{
	struct vtd_domain *domain = find_domain(qb, rid);
	int ret;

	if (domain) {
		domain->users++;
		*out = domain;
		return 0;
	}
	ret = new_domain(qb, rid, &domain);
	if (ret)
		return ret;
	*out = domain;
	invalidate_context(qb, domain);
	return qb->dead ? -ENODEV : 0;
}

void vtd_domain_put(struct qemu_bus *qb, struct vtd_domain *domain)
{
	uint64_t *context = context_of(qb, domain->rid);

	if (--domain->users)
		return;
	*next_iova_of(qb, domain->rid) = domain->iova.next;
	store(context, 0);
	store(context + 1, 0);
	invalidate_context(qb, domain); /* awaits; the id stays taken meanwhile */
	drop_domain(qb, domain);
}

unsigned vtd_domain_id(const struct vtd_domain *domain)
{
	return domain->id;
}

/* ---- switching it on ---- */

static int wait_status(struct qemu_bus *qb, uint32_t command)
{
	int ret = qtest_task_write(&qb->qtest, QTEST_MEMORY, VTD_BASE + REG_GCMD, 4, command);
	uint64_t status = 0;

	while (!ret && !(status & command))
		ret = qtest_task_read(&qb->qtest, QTEST_MEMORY, VTD_BASE + REG_GSTS, 4, &status);
	return ret;
}

static int read_capabilities(struct qemu_bus *qb)
{
	uint64_t cap, ecap;
	int ret = qtest_task_read(&qb->qtest, QTEST_MEMORY, VTD_BASE + REG_CAP, 8, &cap);

	ret = ret ? ret : qtest_task_read(&qb->qtest, QTEST_MEMORY, VTD_BASE + REG_ECAP, 8, &ecap);
	if (ret)
		return ret;
	if (!(cap & CAP_SAGAW_48)) {
		pcidipc_err("qemu: its IOMMU has no tables of four levels (CAP 0x%llx)",
			    (unsigned long long)cap);
		return -EOPNOTSUPP;
	}
	qb->vtd.large_pages = cap & CAP_SLLPS_2M;
	qb->vtd.iotlb = VTD_BASE + (ecap >> 8 & 0x3ff) * 16 + IOTLB_OFFSET;
	return 0;
}

int vtd_init(struct qemu_bus *qb)
{
	struct vtd *v = &qb->vtd;
	int ret = read_capabilities(qb);

	if (ret)
		return ret;
	v->next_page = TABLES_BASE;
	v->pages_most = (uint32_t)((qb->ram_bytes - TABLES_BASE) / PAGE);
	v->root = take_page(qb);
	ret = qtest_task_write(&qb->qtest, QTEST_MEMORY, VTD_BASE + REG_RTADDR, 8, v->root);
	ret = ret ? ret : wait_status(qb, GCMD_SRTP);
	return ret ? ret : wait_status(qb, GCMD_TE);
}

void vtd_fini(struct qemu_bus *qb)
{
	pcidipc_list_for_each_safe(domain, after, &qb->vtd.domains, struct vtd_domain, link) {
		pcid_iova_free_all(&domain->iova);
		free(domain);
	}
	pcidipc_list_init(&qb->vtd.domains);
	for (unsigned i = 0; i < 256; i++) {
		free(qb->vtd.next_iova[i]);
		qb->vtd.next_iova[i] = NULL;
	}
}
