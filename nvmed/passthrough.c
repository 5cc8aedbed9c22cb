/* SPDX-License-Identifier: MIT */
/*
 * Pass-through of admin commands that only read, for admin connections. Which commands, and how
 * many bytes the controller moves for each, must be known here: it is what keeps the transfer
 * inside of the buffer that the client named.
 */
#include <endian.h>
#include <errno.h>
#include <libnvme.h>
#include <pcidipc/log.h>
#include <string.h>

#include "nvmed.h"

static int refuse(const struct pcidipc_block_io *io, int error, const char *why, uint32_t what)
{
	pcidipc_log_ratelimited(PCIDIPC_WARNING, "%s: pass-through: %s (%#x)", io->disk->name, why,
				what);
	return error;
}

/* Features whose value is in the result alone: all others have a data structure, of their own size.
 */
static bool feature_without_data(uint32_t fid)
{
	switch (fid) {
	case NVME_FEAT_FID_ARBITRATION:
	case NVME_FEAT_FID_POWER_MGMT:
	case NVME_FEAT_FID_TEMP_THRESH:
	case NVME_FEAT_FID_ERR_RECOVERY:
	case NVME_FEAT_FID_VOLATILE_WC:
	case NVME_FEAT_FID_NUM_QUEUES:
	case NVME_FEAT_FID_IRQ_COALESCE:
	case NVME_FEAT_FID_IRQ_CONFIG:
	case NVME_FEAT_FID_WRITE_ATOMIC:
	case NVME_FEAT_FID_ASYNC_EVENT:
		return true;
	default:
		return false;
	}
}

/* The bytes that this command moves, or -errno. */
static int64_t transfer_bytes(const struct pcidipc_block_io *io, const struct nvme_sqe *sqe)
{
	uint32_t cdw10 = le32toh(sqe->cdw10);

	switch (sqe->opcode) {
	case nvme_admin_identify:
		return 4096;
	case nvme_admin_get_log_page:
		return ((int64_t)(le32toh(sqe->cdw11) & 0xffff) << 16 | cdw10 >> 16) * 4 + 4;
	case nvme_admin_get_features:
		if (feature_without_data(cdw10 & 0xff))
			return 0;
		return refuse(io, -EACCES, "this feature may not be read", cdw10 & 0xff);
	default:
		return refuse(
			io, -EACCES,
			"this opcode is not allowed; Identify, Get Log Page and Get Features are",
			sqe->opcode);
	}
}

static int check(struct pcidipc_block_io *io, struct nvme_sqe *sqe)
{
	const struct ringabi_block_passthrough *p = io->data;
	const struct namespace *ns = io->disk->driver;
	int64_t bytes;

	if (p->kind != RINGABI_BLOCK_PT_NVME_ADMIN)
		return refuse(io, -EINVAL, "an NVMe disk takes NVMe admin commands only", p->kind);
	memcpy(sqe, p->command, sizeof(*sqe));
	bytes = transfer_bytes(io, sqe);
	if (bytes < 0)
		return (int)bytes;
	if (p->to_device || bytes > p->data_bytes)
		return refuse(io, -EINVAL, "the data is smaller than what the command moves",
			      p->data_bytes);
	if (bytes > ns->controller->max_bytes)
		return refuse(io, -EINVAL, "the command moves more than MDTS allows",
			      (uint32_t)bytes);
	if (sqe->flags)
		return refuse(io, -EINVAL, "flags of the command must be 0", sqe->flags);
	return 0;
}

/* Up to two pages need no list; a longer transfer has one in memory of our own. */
static int describe_data(struct controller *c, struct pcidipc_block_io *io, struct nvme_sqe *sqe,
			 struct pcidipc_buf **buf)
{
	struct prp_cursor cursor = {.segments = &io->passthrough, .nsegments = 1};
	struct prp_list list = {.bytes = c->list_bytes < c->page ? c->page : c->list_bytes};

	sqe->prp1 = sqe->prp2 = sqe->metadata = 0;
	if (!io->passthrough.bytes)
		return 0;
	*buf = pcidipc_pool_alloc(c->dma.pool, list.bytes, c->page);
	if (!*buf)
		return -ENOMEM;
	list.entries = pcidipc_buf_ptr(*buf);
	list.iova = pcidipc_dma_iova(&c->dma, *buf);
	return prp_build(&cursor, io->passthrough.bytes, 1, c->page, &list, &sqe->prp1,
			 &sqe->prp2) == io->passthrough.bytes
		       ? 0
		       : -EINVAL;
}

static uint32_t ticks(const struct controller *c, uint32_t timeout_ms)
{
	uint64_t n = ((uint64_t)timeout_ms * 1000000 + c->tick_ns - 1) / c->tick_ns;

	return (uint32_t)(n < UINT32_MAX / 2 ? n : UINT32_MAX / 2);
}

static void passthrough_task(void *arg)
{
	struct pcidipc_block_io *io = arg;
	struct ringabi_block_passthrough *p = io->data;
	struct controller *c = ((struct namespace *)io->disk->driver)->controller;
	struct pcidipc_buf *buf = NULL;
	struct nvme_sqe sqe;
	uint32_t result = 0;
	int ret = check(io, &sqe);

	if (!ret)
		ret = describe_data(c, io, &sqe, &buf);
	if (!ret) {
		uint16_t status = admin_status(c, &sqe, ticks(c, p->timeout_ms), &result);

		p->status = status < STATUS_GONE ? status : 0;
		p->result = result;
		ret = status_error(c, status, "pass-through");
	}
	if (buf)
		pcidipc_buf_free(buf);
	pcidipc_block_complete(io, ret);
}

int passthrough_submit(struct pcidipc_block_io *io)
{
	const struct namespace *ns = io->disk->driver;

	return pcidipc_spawn(ns->controller->loop, passthrough_task, io) ? -ENOMEM
									 : PCIDIPC_PENDING;
}
