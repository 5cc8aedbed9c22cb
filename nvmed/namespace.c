/* SPDX-License-Identifier: MIT */
/* Namespaces: each active one that can be driven becomes a disk, and stays one while it is there.
 */
#include <endian.h>
#include <errno.h>
#include <libnvme.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nvmed.h"

#define ONCS_DSM (1u << 2)
#define ONCS_WRITE_ZEROES (1u << 3)
#define NSFEAT_OPTIMAL (1u << 4) /* NPWG is there */
#define DLFEAT_WRITE_ZEROES (1u << 3)
#define LIST_ENTRIES 1024u
#define MOST_PHYSICAL (1u << 20)

/* ---- identify ---- */

static bool all_zero(const __u8 *at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		if (at[i])
			return false;
	return true;
}

/* The preferred write granularity, if it is a size that a physical block can have. */
static uint32_t physical_bytes(const struct nvme_id_ns *id, unsigned shift)
{
	uint64_t bytes = ((uint64_t)le16toh(id->npwg) + 1) << shift;

	if (!(id->nsfeat & NSFEAT_OPTIMAL) || bytes & (bytes - 1) || bytes > MOST_PHYSICAL)
		return 1u << shift;
	return (uint32_t)bytes;
}

/* The geometry is a device's word: check it before it becomes a disk. */
static int geometry(struct namespace *ns, const struct nvme_id_ns *id)
{
	const struct nvme_lbaf *format = &id->lbaf[id->flbas & 15];
	struct ringabi_block_info *info = &ns->disk.info;
	uint64_t blocks = le64toh(id->nsze);
	uint32_t most = ns->controller->max_bytes;

	if (format->ds < 9 || format->ds > 16 || 1u << format->ds > most || le16toh(format->ms)) {
		pcidipc_log_ratelimited(
			PCIDIPC_WARNING,
			"%s: namespace %u has blocks of 2^%u bytes with %u of metadata: left "
			"alone; 512 to 65536 bytes, at most %u, without metadata, can be driven",
			ns->controller->address, ns->nsid, format->ds, le16toh(format->ms), most);
		return -EOPNOTSUPP;
	}
	if (!blocks || blocks > (uint64_t)INT64_MAX >> format->ds) {
		pcidipc_log_ratelimited(
			PCIDIPC_WARNING, "%s: namespace %u says %llu blocks: left alone",
			ns->controller->address, ns->nsid, (unsigned long long)blocks);
		return -EOPNOTSUPP;
	}
	info->block_bytes = 1u << format->ds;
	info->physical_bytes = physical_bytes(id, format->ds);
	info->bytes = blocks << format->ds;
	info->flags = id->nsattr & 1 ? RINGABI_BLOCK_READ_ONLY : 0;
	ns->deallocates_zeroes = id->dlfeat & DLFEAT_WRITE_ZEROES;
	memcpy(info->id, id->nguid, sizeof(info->id));
	if (all_zero(info->id, sizeof(info->id)))
		memcpy(info->id, id->eui64, sizeof(id->eui64));
	return 0;
}

static void describe(struct namespace *ns)
{
	struct controller *c = ns->controller;
	struct ringabi_block_info *info = &ns->disk.info;

	info->dma_align = 4;
	info->best_bytes = c->max_bytes;
	info->name_space = ns->nsid;
	info->flags |= (c->volatile_cache ? RINGABI_BLOCK_VOLATILE_CACHE : 0) |
		       (c->oncs & ONCS_DSM ? RINGABI_BLOCK_DISCARD_WORKS : 0) |
		       (c->oncs & ONCS_WRITE_ZEROES ? RINGABI_BLOCK_ZEROES_WORK : 0);
	snprintf(info->serial, sizeof(info->serial), "%s", c->serial);
	snprintf(info->model, sizeof(info->model), "%s", c->model);
	snprintf(info->firmware, sizeof(info->firmware), "%s", c->firmware);
	snprintf(info->transport, sizeof(info->transport), "nvme");
}

/* Fill in ns->disk.info. */
static int examine(struct namespace *ns)
{
	struct nvme_id_ns *id = malloc(sizeof(*id));
	int ret = id ? identify(ns->controller, NVME_IDENTIFY_CNS_NS, ns->nsid, id) : -ENOMEM;

	if (!ret)
		ret = geometry(ns, id);
	if (!ret)
		describe(ns);
	free(id);
	return ret;
}

/* ---- coming, changing, going ---- */

static void start_namespace(struct controller *c, uint32_t nsid)
{
	struct namespace *ns = calloc(1, sizeof(*ns));

	if (!ns)
		return;
	ns->controller = c;
	ns->nsid = nsid;
	ns->seen = true;
	if (examine(ns) || disk_publish(ns)) {
		pcidipc_log_ratelimited(PCIDIPC_WARNING, "%s: namespace %u does not become a disk",
					c->address, nsid);
		free(ns);
		return;
	}
	c->namespaces[c->nnamespaces++] = ns;
	pcidipc_info("%s: %s: %llu MiB, blocks of %u", c->address, ns->disk.name,
		     (unsigned long long)(ns->disk.info.bytes >> 20), ns->disk.info.block_bytes);
}

static void end_namespace(struct namespace *ns)
{
	pcidipc_info("%s: %s is gone", ns->controller->address, ns->disk.name);
	pcidipc_disk_remove(&ns->disk);
	pcidipc_pci_unpublish(ns->controller->pci, &ns->service);
	free(ns);
}

/* Another block size under the feet of requests already checked would be another disk. */
static void check_namespace(struct namespace *ns)
{
	struct ringabi_block_info before = ns->disk.info;
	int ret = examine(ns);

	ns->seen = true;
	if (ret == -EOPNOTSUPP || (!ret && before.block_bytes != ns->disk.info.block_bytes)) {
		ns->disk.info = before;
		ns->seen = false;
	} else if (ret) {
		ns->disk.info = before;
	} else if (memcmp(&before, &ns->disk.info, sizeof(before))) {
		pcidipc_notice("%s: %s changed: %llu MiB", ns->controller->address, ns->disk.name,
			       (unsigned long long)(ns->disk.info.bytes >> 20));
		pcidipc_disk_changed(&ns->disk);
	}
}

static struct namespace *find(struct controller *c, uint32_t nsid)
{
	for (unsigned i = 0; i < c->nnamespaces; i++)
		if (c->namespaces[i]->nsid == nsid)
			return c->namespaces[i];
	return NULL;
}

/* ---- all of them ---- */

/* A list of more than 1024 goes on behind its last entry. Ascending, or it would have no end. */
static int list_active(struct controller *c, uint32_t *list, uint32_t after)
{
	int ret = identify(c, NVME_IDENTIFY_CNS_NS_ACTIVE_LIST, after, list);

	for (unsigned i = 0; !ret && i < LIST_ENTRIES && list[i]; i++) {
		list[i] = le32toh(list[i]);
		if (list[i] <= after || list[i] >= NVME_NSID_ALL - 1) {
			pcidipc_err(
				"%s: its list of namespaces has %u after %u: the rest is left out",
				c->address, list[i], after);
			list[i] = 0;
			break;
		}
		after = list[i];
	}
	return ret;
}

/* Returns the number taken in, or -errno. */
static int scan_page(struct controller *c, uint32_t *list, uint32_t *after)
{
	int ret = list_active(c, list, *after);
	unsigned i;

	if (ret)
		return ret;
	for (i = 0; i < LIST_ENTRIES && list[i]; i++) {
		struct namespace *ns = find(c, list[i]);

		*after = list[i];
		if (ns) {
			check_namespace(ns);
		} else if (c->nnamespaces == MAX_NAMESPACES) {
			pcidipc_warn("%s: more than %u namespaces: the rest is left out",
				     c->address, MAX_NAMESPACES);
			return 0;
		} else {
			start_namespace(c, list[i]);
		}
	}
	return (int)i;
}

static int scan(struct controller *c)
{
	uint32_t *list = malloc(LIST_ENTRIES * sizeof(*list));
	uint32_t after = 0;
	int n = list ? (int)LIST_ENTRIES : -ENOMEM;

	for (unsigned i = 0; i < c->nnamespaces; i++)
		c->namespaces[i]->seen = false;
	while (n == (int)LIST_ENTRIES && !c->dead)
		n = scan_page(c, list, &after);
	free(list);
	return n < 0 ? n : 0;
}

static void drop_unseen(struct controller *c)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < c->nnamespaces; i++)
		if (c->namespaces[i]->seen)
			c->namespaces[kept++] = c->namespaces[i];
		else
			end_namespace(c->namespaces[i]);
	c->nnamespaces = kept;
}

int namespaces_start(struct controller *c)
{
	int ret;

	pcidipc_task_lock(&c->namespaces_lock);
	ret = scan(c);
	pcidipc_task_unlock(&c->namespaces_lock);
	return ret;
}

void namespaces_rescan(struct controller *c)
{
	pcidipc_task_lock(&c->namespaces_lock);
	if (!c->stopping && !c->dead && !scan(c))
		drop_unseen(c);
	pcidipc_task_unlock(&c->namespaces_lock);
}

void namespaces_stop(struct controller *c)
{
	pcidipc_task_lock(&c->namespaces_lock);
	for (unsigned i = 0; i < c->nnamespaces; i++)
		pcidipc_disk_remove(&c->namespaces[i]->disk);
	pcidipc_task_unlock(&c->namespaces_lock);
}
