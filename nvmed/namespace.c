/* SPDX-License-Identifier: MIT */
/* Namespaces: each becomes a disk. */
#include <errno.h>
#include <libnvme.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nvmed.h"

#define ONCS_DSM (1u << 2)
#define ONCS_WRITE_ZEROES (1u << 3)

/* ---- what the block helper asks for ---- */

static struct namespace *namespace_of(struct pcidipc_session *s)
{
	struct pcidipc_disk *disk = pcidipc_session_scheme(s)->driver;

	return disk->driver;
}

static struct pair **session_pair(struct pcidipc_session *s)
{
	return pcidipc_block_session_priv(s);
}

static int open_session(struct pcidipc_session *s)
{
	return pair_get(namespace_of(s)->controller, session_pair(s));
}

static void close_session(struct pcidipc_session *s)
{
	pair_put(*session_pair(s));
}

static void flush_session(struct pcidipc_session *s)
{
	if (*session_pair(s))
		nvme_queue_ring(&(*session_pair(s))->queue);
}

static int pool_attach(struct pcidipc_session *s, struct pcidipc_pool_view *pool)
{
	return pcidipc_pci_pool_attach(namespace_of(s)->controller->pci, pool);
}

static int pool_map(struct pcidipc_session *s, struct pcidipc_pool_view *pool, uint64_t offset,
		    uint64_t bytes)
{
	return pcidipc_pci_pool_map(namespace_of(s)->controller->pci, pool, offset, bytes);
}

static void pool_detach(struct pcidipc_session *s, struct pcidipc_pool_view *pool)
{
	pcidipc_pci_pool_detach(namespace_of(s)->controller->pci, pool);
}

/* ---- health ---- */

static uint64_t low64(const uint8_t *le128)
{
	uint64_t low, high;

	memcpy(&low, le128, 8);
	memcpy(&high, le128 + 8, 8);
	return high ? UINT64_MAX : le64toh(low);
}

/* Data units are thousands of 512 bytes. */
static uint64_t unit_bytes(const uint8_t *le128)
{
	uint64_t units = low64(le128);

	return units > UINT64_MAX / 512000 ? UINT64_MAX : units * 512000;
}

static void convert(const struct nvme_smart_log *log, struct ringabi_block_health *h)
{
	h->warnings = log->critical_warning & 0x1f;
	h->temperature = log->temperature[0] | (uint32_t)log->temperature[1] << 8;
	h->spare = log->avail_spare;
	h->spare_limit = log->spare_thresh;
	h->used = log->percent_used;
	h->bytes_read = unit_bytes(log->data_units_read);
	h->bytes_written = unit_bytes(log->data_units_written);
	h->reads = low64(log->host_reads);
	h->writes = low64(log->host_writes);
	h->power_cycles = low64(log->power_cycles);
	h->power_on_hours = low64(log->power_on_hours);
	h->unsafe_shutdowns = low64(log->unsafe_shutdowns);
	h->media_errors = low64(log->media_errors);
	h->error_log_entries = low64(log->num_err_log_entries);
}

static void health_task(void *arg)
{
	struct pcidipc_block_io *io = arg;
	struct namespace *ns = io->disk->driver;
	struct controller *c = ns->controller;
	struct nvme_sqe sqe = {.opcode = nvme_admin_get_log_page,
			       .nsid = NVME_NSID_ALL,
			       .prp1 = pcidipc_dma_iova(&c->dma, c->scratch),
			       .cdw10 = NVME_LOG_LID_SMART | (512 / 4 - 1) << 16};
	int ret;

	pcidipc_task_lock(&c->scratch_lock);
	ret = admin_command(c, &sqe, NULL);
	if (!ret)
		convert(pcidipc_buf_ptr(c->scratch), io->data);
	pcidipc_task_unlock(&c->scratch_lock);
	pcidipc_block_complete(io, ret);
}

static int submit(struct pcidipc_block_io *io)
{
	struct namespace *ns = io->disk->driver;

	if (ns->controller->stopping)
		return -ESHUTDOWN;
	switch (io->kind) {
	case PCIDIPC_BLOCK_HEALTH:
		return pcidipc_spawn(ns->controller->loop, health_task, io) ? -ENOMEM
									    : PCIDIPC_PENDING;
	case PCIDIPC_BLOCK_PASSTHROUGH:
		return -EOPNOTSUPP;
	case PCIDIPC_BLOCK_ZERO:
		if (!(ns->controller->oncs & ONCS_WRITE_ZEROES))
			return -EOPNOTSUPP;
		return command_submit(io);
	default:
		return command_submit(io);
	}
}

/* ---- identify ---- */

/* The geometry is a device's word: check it before it becomes a disk. */
static int geometry(struct namespace *ns, const struct nvme_id_ns *id)
{
	const struct nvme_lbaf *format = &id->lbaf[id->flbas & 15];
	struct ringabi_block_info *info = &ns->disk.info;
	uint64_t blocks = le64toh(id->nsze);

	if (format->ds < 9 || format->ds > 16 || le16toh(format->ms)) {
		pcidipc_warn("%s: namespace %u has blocks of 2^%u bytes with %u of metadata: left "
			     "alone; 2^9 to 2^16 "
			     "without metadata can be driven",
			     ns->controller->address, ns->nsid, format->ds, le16toh(format->ms));
		return -EOPNOTSUPP;
	}
	if (!blocks || blocks > UINT64_MAX >> format->ds) {
		pcidipc_warn("%s: namespace %u says %llu blocks: left alone",
			     ns->controller->address, ns->nsid, (unsigned long long)blocks);
		return -EOPNOTSUPP;
	}
	info->block_bytes = info->physical_bytes = 1u << format->ds;
	info->bytes = blocks << format->ds;
	if (id->nsattr & 1)
		info->flags |= RINGABI_BLOCK_READ_ONLY;
	memcpy(info->id, id->nguid, sizeof(info->id));
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

static int publish(struct namespace *ns)
{
	struct pcidipc_disk *disk = &ns->disk;
	char suffix[16];
	int ret;

	snprintf(suffix, sizeof(suffix), "n%u", ns->nsid);
	ret = pcidipc_pci_publish(ns->controller->pci, "disk", suffix, &ns->service);
	if (ret)
		return ret;
	snprintf(disk->name, sizeof(disk->name), "%s", ns->service.name);
	disk->max_sessions = 1024;
	disk->max_sq_entries = 1024;
	disk->io_bytes = 128;
	disk->session_bytes = sizeof(struct pair *);
	disk->driver = ns;
	disk->submit = submit;
	disk->flush = flush_session;
	disk->open = open_session;
	disk->close = close_session;
	disk->pool_attach = pool_attach;
	disk->pool_map = pool_map;
	disk->pool_detach = pool_detach;
	return pcidipc_disk_serve(ns->controller->loop, disk, ns->service.listen_fd,
				  ns->service.admin_fd);
}

static int start_namespace(struct controller *c, uint32_t nsid)
{
	static struct nvme_id_ns id;
	struct namespace *ns = calloc(1, sizeof(*ns));
	int ret = ns ? identify(c, NVME_IDENTIFY_CNS_NS, nsid, &id) : -ENOMEM;

	if (!ret) {
		ns->controller = c;
		ns->nsid = nsid;
		ret = geometry(ns, &id);
	}
	if (!ret) {
		describe(ns);
		ret = publish(ns);
	}
	if (ret) {
		free(ns);
		return ret;
	}
	c->namespaces[c->nnamespaces++] = ns;
	pcidipc_info("%s: %s: %llu MiB, blocks of %u", c->address, ns->disk.name,
		     (unsigned long long)(ns->disk.info.bytes >> 20), ns->disk.info.block_bytes);
	return 0;
}

int namespaces_start(struct controller *c)
{
	uint32_t *list = malloc(4096);
	int ret = list ? identify(c, NVME_IDENTIFY_CNS_NS_ACTIVE_LIST, 0, list) : -ENOMEM;

	for (unsigned i = 0; !ret && i < 1024 && list[i]; i++) {
		if (c->nnamespaces == MAX_NAMESPACES) {
			pcidipc_warn("%s: more than %u namespaces: the rest is left out",
				     c->address, MAX_NAMESPACES);
			break;
		}
		start_namespace(c, le32toh(list[i]));
	}
	free(list);
	return ret;
}

void namespaces_stop(struct controller *c)
{
	for (unsigned i = 0; i < c->nnamespaces; i++)
		pcidipc_disk_remove(&c->namespaces[i]->disk);
}
