// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pools: a client's memfd is plugged into the machine as a dimm, at a guest-physical address that
 * only the IOMMU's tables name. The ports are those of ACPI's memory hot-plug, which a guest's
 * firmware would use.
 */
#include <errno.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "qemu.h"

#define PORT_SELECT 0xa00u
#define PORT_FLAGS 0xa14u
#define FLAG_EJECT 8u

#define DIMM_ALIGN GIB(1) /* lets the IOMMU use large pages, and keeps the map easy to read */
#define BUSY_NS 1000000ull
#define BUSY_TRIES 2000
#define DELETED_NS 10000000000ull /* from the ejection to QEMU's word that the dimm is gone */

/* The last slots are for functions that have few pools: no function can keep another from starting.
 */
#define LAST_SLOTS 32u
#define FEW_POOLS 4u

struct qemu_pool {
	struct pcidipc_list link; /* qemu_memory.pools */
	struct pcid_pool *pool;
	struct vtd_domain *domain;
	uint64_t address, bytes;
	unsigned slot, number;
	bool stuck; /* its pool is gone, and QEMU would not let go of the dimm */
	struct pcidipc_completion deleted;
	struct pcidipc_timer patience; /* for that */
};

static struct qemu_bus *bus_of(struct pcid_pool *pool)
{
	return qemu_bus_of(pool->function->bus);
}

/* ---- guest-physical addresses and slots ---- */

static uint64_t align_up(uint64_t value, uint64_t align)
{
	return (value + align - 1) / align * align;
}

/* First fit between the pools that are there. */
static int take_address(struct qemu_memory *memory, struct qemu_pool *qp)
{
	struct pcidipc_list *next = &memory->pools;
	uint64_t at = POOL_BASE;

	pcidipc_list_for_each(other, &memory->pools, struct qemu_pool, link) {
		if (other->address - at >= qp->bytes) {
			next = &other->link;
			break;
		}
		at = align_up(other->address + other->bytes, DIMM_ALIGN);
	}
	if (qp->bytes > POOL_END - POOL_BASE || at > POOL_END - qp->bytes)
		return -ENOSPC;
	qp->address = at;
	pcidipc_list_append(next, &qp->link);
	return 0;
}

static unsigned free_slots(const struct qemu_memory *memory)
{
	unsigned n = 0;

	for (unsigned i = 0; i < POOL_SLOTS; i++)
		n += !memory->slots[i];
	return n;
}

static int take_slot(struct qemu_memory *memory, struct qemu_pool *qp, unsigned has)
{
	if (has > FEW_POOLS && free_slots(memory) <= LAST_SLOTS)
		return -EDQUOT;
	for (unsigned i = 0; i < POOL_SLOTS; i++) {
		if (memory->slots[i])
			continue;
		memory->slots[i] = true;
		qp->slot = i;
		return 0;
	}
	return -ENOSPC;
}

static void give_place(struct qemu_memory *memory, struct qemu_pool *qp)
{
	memory->slots[qp->slot] = false;
	pcidipc_list_remove(&qp->link);
}

static int refuse_slot(const struct qemu_function *qf, int error)
{
	if (error == -EDQUOT)
		pcidipc_log_ratelimited(
			PCIDIPC_WARNING,
			"%s: it has %u pools; the last %u of %u memory slots are for "
			"functions with fewer than %u",
			qf->f.address, qf->pools - 1, LAST_SLOTS, POOL_SLOTS, FEW_POOLS);
	else
		pcidipc_log_ratelimited(PCIDIPC_WARNING, "qemu: all %u memory slots are in use",
					POOL_SLOTS);
	return -ENOSPC;
}

/* qf->pools counts this one. */
static int take_place(struct qemu_memory *memory, struct qemu_pool *qp,
		      const struct qemu_function *qf)
{
	int ret = take_slot(memory, qp, qf->pools);

	if (ret)
		return refuse_slot(qf, ret);
	ret = take_address(memory, qp);
	if (!ret)
		return 0;
	memory->slots[qp->slot] = false;
	pcidipc_log_ratelimited(PCIDIPC_WARNING,
				"qemu: no room for a pool of %llu MiB among the %llu GiB that this "
				"machine can address",
				(unsigned long long)qp->bytes >> 20,
				(unsigned long long)(POOL_END - POOL_BASE) >> 30);
	return ret;
}

/* ---- plugging ---- */

/* An object stays "in use" for a moment after its device has gone. */
static void delete_object(struct qemu_bus *qb, struct qemu_pool *qp)
{
	char why[QMP_WHY_BYTES];
	int ret = -EREMOTEIO;

	for (unsigned i = 0; i < BUSY_TRIES && ret == -EREMOTEIO; i++) {
		if (i)
			pcidipc_task_sleep(BUSY_NS);
		ret = qmp_run(&qb->qmp, why,
			      "{\"execute\":\"object-del\",\"arguments\":{\"id\":\"pool%u\"}}",
			      qp->number);
	}
	if (ret == -EREMOTEIO)
		pcidipc_err("qemu: it does not let go of pool %u: %s", qp->number, why);
}

static int plug(struct qemu_bus *qb, struct qemu_pool *qp)
{
	char why[QMP_WHY_BYTES];
	int ret = qmp_run(&qb->qmp, why,
			  "{\"execute\":\"object-add\",\"arguments\":{"
			  "\"qom-type\":\"memory-backend-file\",\"id\":\"pool%u\",\"size\":%llu,"
			  "\"mem-path\":\"/proc/%d/fd/%d\",\"share\":true}}",
			  qp->number, (unsigned long long)qp->bytes, getpid(), qp->pool->fd);

	if (!ret) {
		ret = qmp_run(&qb->qmp, why,
			      "{\"execute\":\"device_add\",\"arguments\":{\"driver\":\"pc-dimm\","
			      "\"id\":\"dimm%u\",\"memdev\":\"pool%u\",\"addr\":%llu,\"slot\":%u}}",
			      qp->number, qp->number, (unsigned long long)qp->address, qp->slot);
		if (ret == -EREMOTEIO)
			delete_object(qb, qp);
	}
	if (ret != -EREMOTEIO)
		return ret;
	pcidipc_warn("qemu: a pool of %llu MiB could not be plugged in: %s",
		     (unsigned long long)qp->bytes >> 20, why);
	return -ENOSPC;
}

/* Its addresses in the domain are reserved. */
static int plug_reserved(struct qemu_bus *qb, struct qemu_pool *qp)
{
	int ret = plug(qb, qp);

	if (ret)
		vtd_release(qp->domain, qp->pool->iova);
	return ret;
}

static int eject(struct qemu_bus *qb, struct qemu_pool *qp)
{
	int ret = qtest_task_write(&qb->qtest, QTEST_PORTS, PORT_SELECT, 4, qp->slot);

	ret = ret ? ret : qtest_task_write(&qb->qtest, QTEST_PORTS, PORT_FLAGS, 1, FLAG_EJECT);
	return ret ? ret : qtest_task_sync(&qb->qtest);
}

static void deleted_too_late(struct pcidipc_timer *timer)
{
	pcidipc_post(&pcidipc_container_of(timer, struct qemu_pool, patience)->deleted, -ETIMEDOUT);
}

/* Not without a limit: whoever wants memory waits for the lock that the caller holds. */
static int await_deleted(struct qemu_bus *qb, struct qemu_pool *qp)
{
	int ret;

	pcidipc_timer_set(qb->bus.loop, &qp->patience, DELETED_NS, deleted_too_late);
	ret = pcidipc_await(&qp->deleted);
	pcidipc_timer_cancel(&qp->patience);
	if (ret == -ETIMEDOUT)
		pcidipc_err("qemu: dimm %u is not gone %llu s after its ejection; its slot and "
			    "%llu MiB of addresses stay taken",
			    qp->number, DELETED_NS / 1000000000u,
			    (unsigned long long)qp->bytes >> 20);
	return ret;
}

/* 0, or the dimm is still there, unless QEMU is gone. */
static int unplug(struct qemu_bus *qb, struct qemu_pool *qp)
{
	char why[QMP_WHY_BYTES];
	int ret = qmp_run(&qb->qmp, why,
			  "{\"execute\":\"device_del\",\"arguments\":{\"id\":\"dimm%u\"}}",
			  qp->number);

	if (ret == -EREMOTEIO)
		pcidipc_err("qemu: dimm %u cannot be removed: %s", qp->number, why);
	ret = ret ? ret : eject(qb, qp);
	ret = ret ? ret : await_deleted(qb, qp);
	if (!ret)
		delete_object(qb, qp);
	return ret;
}

/* DEVICE_DELETED comes for every device that had an id. */
void qemu_memory_device_deleted(struct qemu_bus *qb, const char *id)
{
	unsigned number;

	if (sscanf(id, "dimm%u", &number) != 1)
		return;
	pcidipc_list_for_each(qp, &qb->memory.pools, struct qemu_pool, link)
		if (qp->number == number)
			pcidipc_post(&qp->deleted, 0);
}

void qemu_memory_fini(struct qemu_bus *qb)
{
	pcidipc_list_for_each_safe(qp, after, &qb->memory.pools, struct qemu_pool, link) {
		pcidipc_post(&qp->deleted, -ENODEV);
		if (!qp->stuck)
			continue;
		give_place(&qb->memory, qp);
		free(qp);
	}
}

/* ---- operations ---- */

static int attach(struct qemu_bus *qb, struct qemu_pool *qp, struct qemu_function *qf)
{
	int ret = take_place(&qb->memory, qp, qf);

	if (ret)
		return ret;
	ret = vtd_reserve(qf->domain, qp->bytes, qf->f.dma_bits, &qp->pool->iova);
	if (ret)
		pcidipc_log_ratelimited(PCIDIPC_WARNING,
					"%s: no room for a pool of %llu MiB in its %u address bits",
					qf->f.address, (unsigned long long)qp->bytes >> 20,
					qf->f.dma_bits);
	else
		ret = plug_reserved(qb, qp);
	if (ret)
		give_place(&qb->memory, qp);
	return ret;
}

static struct qemu_pool *new_pool(struct qemu_bus *qb, struct pcid_pool *pool)
{
	struct qemu_pool *qp = calloc(1, sizeof(*qp));

	if (!qp)
		return NULL;
	qp->pool = pool;
	qp->bytes = pool->bytes;
	qp->number = qb->memory.counter++;
	qp->domain = qemu_function_of(pool->function)->domain;
	return qp;
}

int qemu_pool_attach(struct pcid_pool *pool)
{
	struct qemu_function *qf = qemu_function_of(pool->function);
	struct qemu_bus *qb = bus_of(pool);
	struct qemu_pool *qp;
	int ret;

	if (qb->dead || qf->f.gone || !qf->claimed)
		return -ENODEV;
	if (!pool->bytes || pool->bytes % MIB(2))
		return -EINVAL;
	if (pool->bytes > POOL_MOST) {
		pcidipc_log_ratelimited(
			PCIDIPC_WARNING,
			"%s: a pool of %llu GiB is more than the %llu GiB that one may have here",
			qf->f.address, (unsigned long long)pool->bytes >> 30,
			(unsigned long long)POOL_MOST >> 30);
		return -ENOSPC;
	}
	qp = new_pool(qb, pool);
	if (!qp)
		return -ENOMEM;
	qf->pools++; /* before anything awaits: the domain stays */
	pcidipc_task_lock(&qb->memory.lock);
	ret = attach(qb, qp, qf);
	pcidipc_task_unlock(&qb->memory.lock);
	if (ret) {
		qf->pools--;
		free(qp);
		return ret;
	}
	pool->bus_priv = qp;
	return 0;
}

int qemu_pool_map(struct pcid_pool *pool, uint64_t offset, uint64_t bytes)
{
	struct qemu_pool *qp = pool->bus_priv;
	struct qemu_bus *qb = bus_of(pool);
	int ret;

	if (qb->dead || pool->function->gone)
		return -ENODEV;
	if ((offset | bytes) % 4096 || offset > pool->bytes || bytes > pool->bytes - offset)
		return -EINVAL;
	ret = vtd_map(qb, qp->domain, pool->iova + offset, qp->address + offset, bytes);
	if (ret == -ENOMEM)
		pcidipc_log_ratelimited(
			PCIDIPC_WARNING,
			"%s: no memory for IOMMU tables is left (%u pages are in use)",
			pool->function->address, qb->vtd.pages_used);
	return ret;
}

void qemu_pool_detach(struct pcid_pool *pool)
{
	struct qemu_pool *qp = pool->bus_priv;
	struct qemu_bus *qb = bus_of(pool);

	vtd_unmap(qb, qp->domain, pool->iova, pool->bytes);
	vtd_release(qp->domain, pool->iova);
	pcidipc_task_lock(&qb->memory.lock);
	qp->stuck = !qb->dead && unplug(qb, qp) && !qb->dead;
	if (!qp->stuck)
		give_place(&qb->memory, qp);
	pcidipc_task_unlock(&qb->memory.lock);
	qemu_function_of(pool->function)->pools--;
	pool->bus_priv = NULL;
	if (!qp->stuck) /* otherwise nobody else gets its slot and addresses */
		free(qp);
}
