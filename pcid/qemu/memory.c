/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pools: a memfd becomes guest-physical memory as a DIMM, and pieces of that become reachable for
 * one function through its page tables.
 */
#include <errno.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "machine.h"

#define ACPI_MEMORY_SELECT 0xa00  /* memory hot-plug registers: slot ... */
#define ACPI_MEMORY_CONTROL 0xa14 /* ... and what to do with it */
#define ACPI_MEMORY_EJECT 8

struct dimm {
	struct pcidipc_list link; /* machine.pools, by address */
	uint64_t address, bytes;
	unsigned slot;
	char name[24];
	struct pcidipc_completion deleted;
};

static struct dimm *dimm_of(struct pcidipc_list *link)
{
	return pcidipc_container_of(link, struct dimm, link);
}

static int free_slot(struct machine *m)
{
	for (int i = 0; i < DIMM_SLOTS; i++)
		if (!m->dimm_used[i])
			return i;
	pcidipc_warn("qemu: %u pools are attached, the limit; one more refused", DIMM_SLOTS);
	return -ENOSPC;
}

/* First fit among the others. */
static int place(struct machine *m, struct dimm *d)
{
	struct pcidipc_list *at = m->pools.next;
	uint64_t address = DIMM_BASE;

	while (at != &m->pools && dimm_of(at)->address - address < d->bytes) {
		address = dimm_of(at)->address + dimm_of(at)->bytes;
		at = at->next;
	}
	if (d->bytes > DIMM_END - address) {
		pcidipc_warn("qemu: no room for a pool of %llu bytes below %llu GiB",
			     (unsigned long long)d->bytes, DIMM_END >> 30);
		return -ENOSPC;
	}
	d->address = address;
	d->link.next = at;
	d->link.prev = at->prev;
	at->prev->next = &d->link;
	at->prev = &d->link;
	return 0;
}

static void forget(struct machine *m, struct dimm *d)
{
	d->link.prev->next = d->link.next;
	d->link.next->prev = d->link.prev;
	m->dimm_used[d->slot] = 0;
	free(d);
}

static int add_backend(struct machine *m, struct dimm *d, int fd)
{
	struct json_object *args = json_object_new_object();
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", getpid(), fd);
	json_object_object_add(args, "qom-type", json_object_new_string("memory-backend-file"));
	json_object_object_add(args, "id", json_object_new_string(d->name));
	json_object_object_add(args, "size", json_object_new_int64((int64_t)d->bytes));
	json_object_object_add(args, "mem-path", json_object_new_string(path));
	json_object_object_add(args, "share", json_object_new_boolean(1));
	return qmp_execute(&m->qmp, "object-add", args);
}

static int by_id(struct machine *m, const char *command, const char *prefix, const struct dimm *d)
{
	struct json_object *args = json_object_new_object();
	char id[32];

	snprintf(id, sizeof(id), "%s%s", prefix, d->name);
	json_object_object_add(args, "id", json_object_new_string(id));
	return qmp_execute(&m->qmp, command, args);
}

static int add_dimm(struct machine *m, struct dimm *d)
{
	struct json_object *args = json_object_new_object();
	char id[32];

	snprintf(id, sizeof(id), "dimm-%s", d->name);
	json_object_object_add(args, "driver", json_object_new_string("pc-dimm"));
	json_object_object_add(args, "id", json_object_new_string(id));
	json_object_object_add(args, "memdev", json_object_new_string(d->name));
	json_object_object_add(args, "slot", json_object_new_int((int)d->slot));
	json_object_object_add(args, "addr", json_object_new_int64((int64_t)d->address));
	return qmp_execute(&m->qmp, "device_add", args);
}

static int plug(struct machine *m, struct dimm *d, int fd)
{
	int ret = add_backend(m, d, fd);

	if (ret)
		return ret;
	ret = add_dimm(m, d);
	if (ret)
		by_id(m, "object-del", "", d);
	return ret;
}

static struct dimm *new_dimm(struct machine *m, uint64_t bytes)
{
	struct dimm *d = calloc(1, sizeof(*d));
	int slot = free_slot(m);

	if (!d || slot < 0 || (d->bytes = bytes, place(m, d))) {
		free(d);
		return NULL;
	}
	d->slot = (unsigned)slot;
	m->dimm_used[slot] = 1;
	snprintf(d->name, sizeof(d->name), "pool%llu", (unsigned long long)m->next_dimm_name++);
	return d;
}

/* Addresses go up and are not used again while the function is claimed. */
static int reserve_iova(struct pcid_pool *pool)
{
	struct qemu_function *p = pool->function->bus_priv;
	uint64_t limit = 1ull << (pool->function->dma_bits < 47 ? pool->function->dma_bits : 47);

	/* The doorbell's page must stay where interrupts find it. */
	if (p->next_iova < MMIO_END + (2u << 20) && p->next_iova + pool->bytes > ECAM_BASE)
		p->next_iova = 4ull << 30;
	if (pool->bytes > limit || p->next_iova > limit - pool->bytes)
		return -ENOSPC;
	pool->iova = p->next_iova;
	p->next_iova += pool->bytes;
	return 0;
}

int pool_attach(struct pcid_pool *pool)
{
	struct machine *m = machine_of(pool->function);
	struct dimm *d;
	int ret = reserve_iova(pool);

	if (ret)
		return ret;
	d = new_dimm(m, pool->bytes);
	if (!d)
		return -ENOSPC;
	ret = plug(m, d, pool->fd);
	if (ret) {
		forget(m, d);
		return ret;
	}
	pool->bus_priv = d;
	return 0;
}

int pool_map(struct pcid_pool *pool, uint64_t offset, uint64_t bytes)
{
	struct qemu_function *p = pool->function->bus_priv;
	struct dimm *d = pool->bus_priv;

	return vtd_map(&machine_of(pool->function)->vtd, &p->domain, pool->iova + offset,
		       d->address + offset, bytes);
}

/* QMP's DEVICE_DELETED for a DIMM. */
void memory_event(struct qmp *q, const char *name, struct json_object *data);
void memory_event(struct qmp *q, const char *name, struct json_object *data)
{
	struct machine *m = q->owner;
	struct json_object *device;
	const char *id;

	if (strcmp(name, "DEVICE_DELETED") || !data ||
	    !json_object_object_get_ex(data, "device", &device))
		return;
	id = json_object_get_string(device);
	for (struct pcidipc_list *l = m->pools.next; l != &m->pools; l = l->next)
		if (!strncmp(id, "dimm-", 5) && !strcmp(id + 5, dimm_of(l)->name))
			pcidipc_post(&dimm_of(l)->deleted, 0);
}

/* The guest's part of memory unplug, as the ACPI tables would have it done. */
static int eject(struct machine *m, const struct dimm *d)
{
	int ret = qtest_wait(&m->qtest, NULL, "outl 0x%x %u", ACPI_MEMORY_SELECT, d->slot);

	return ret ? ret
		   : qtest_wait(&m->qtest, NULL, "outb 0x%x %u", ACPI_MEMORY_CONTROL,
				ACPI_MEMORY_EJECT);
}

void pool_detach(struct pcid_pool *pool)
{
	struct machine *m = machine_of(pool->function);
	struct qemu_function *p = pool->function->bus_priv;
	struct dimm *d = pool->bus_priv;

	if (!d)
		return;
	if (p->domain.table)
		vtd_unmap(&m->vtd, &p->domain, pool->iova, pool->bytes);
	if (!by_id(m, "device_del", "dimm-", d) && !eject(m, d) && !m->qmp.error)
		pcidipc_await(&d->deleted);
	by_id(m, "object-del", "", d);
	forget(m, d);
	pool->bus_priv = NULL;
}
