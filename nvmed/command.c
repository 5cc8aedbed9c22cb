/* SPDX-License-Identifier: MIT */
/* From a checked block request to NVMe commands: split at what one command can carry, counted until
 * the last is done. */
#include <endian.h>
#include <errno.h>
#include <libnvme.h>
#include <string.h>

#include "nvmed.h"

#define MAX_NLB 65536u
#define NLB_FUA (1u << 30)
#define NLB_DEALLOCATE (1u << 25)

/* In pcidipc_block_io.driver. */
struct progress {
	struct prp_cursor cursor;
	uint64_t lba, blocks; /* still to be sent */
	uint32_t outstanding;
	int error;
};

_Static_assert(sizeof(struct progress) <= COMMAND_IO_BYTES, "it does not fit");

static struct progress *progress(struct pcidipc_block_io *io)
{
	return (void *)io->driver;
}

static struct namespace *namespace_of(struct pcidipc_block_io *io)
{
	return io->disk->driver;
}

static struct share *share_of(struct pcidipc_block_io *io)
{
	return pcidipc_block_session_priv(pcidipc_block_session(io));
}

static void command_done(struct nvme_command *command, uint16_t status, uint32_t result)
{
	struct pcidipc_block_io *io = command->arg;
	struct progress *p = progress(io);

	(void)result;
	share_completed(share_of(io));
	if (status && !p->error)
		p->error = status_error(namespace_of(io)->controller, status, io->disk->name);
	if (!--p->outstanding && (!p->blocks || p->error))
		pcidipc_block_complete(io, p->error);
}

static uint64_t fill_rw(struct pcidipc_block_io *io, struct pair *pair,
			const struct nvme_command *c, struct nvme_sqe *sqe)
{
	struct controller *ctrl = pair->controller;
	struct progress *p = progress(io);
	uint32_t block = io->disk->info.block_bytes;
	uint64_t limit = p->blocks * block < ctrl->max_bytes ? p->blocks * block : ctrl->max_bytes;
	struct prp_list list = nvme_command_list(&pair->queue, c);
	uint64_t bytes =
		prp_build(&p->cursor, limit, block, ctrl->page, &list, &sqe->prp1, &sqe->prp2);

	sqe->opcode = io->kind == PCIDIPC_BLOCK_READ ? nvme_cmd_read : nvme_cmd_write;
	return bytes / block;
}

static uint64_t fill_zero(struct pcidipc_block_io *io, struct nvme_sqe *sqe)
{
	struct progress *p = progress(io);

	sqe->opcode = nvme_cmd_write_zeroes;
	return p->blocks < MAX_NLB ? p->blocks : MAX_NLB;
}

/* One range per command, in the page that the command's PRP list would have used. */
static uint64_t fill_discard(struct pcidipc_block_io *io, struct pair *pair,
			     const struct nvme_command *c, struct nvme_sqe *sqe)
{
	struct progress *p = progress(io);
	struct prp_list list = nvme_command_list(&pair->queue, c);
	struct nvme_dsm_range *range = (void *)list.entries;
	uint64_t blocks = p->blocks < UINT32_MAX ? p->blocks : UINT32_MAX;

	*range = (struct nvme_dsm_range){.nlb = htole32((uint32_t)blocks), .slba = htole64(p->lba)};
	sqe->opcode = nvme_cmd_dsm;
	sqe->prp1 = htole64(list.iova);
	sqe->cdw10 = 0; /* one range */
	sqe->cdw11 = htole32(NVME_DSMGMT_AD);
	return blocks;
}

static void set_range(struct pcidipc_block_io *io, struct nvme_sqe *sqe, uint64_t blocks)
{
	struct progress *p = progress(io);

	bool deallocate =
		io->kind == PCIDIPC_BLOCK_ZERO && io->unmap && namespace_of(io)->deallocates_zeroes;

	sqe->cdw10 = htole32((uint32_t)p->lba);
	sqe->cdw11 = htole32((uint32_t)(p->lba >> 32));
	sqe->cdw12 = htole32((uint32_t)(blocks - 1) | (io->fua ? NLB_FUA : 0) |
			     (deallocate ? NLB_DEALLOCATE : 0));
}

static struct nvme_sqe *get_slot(struct share *share, struct nvme_command **c)
{
	if (share->pair->controller->paused || share_is_used_up(share))
		return NULL;
	return nvme_queue_get(&share->pair->queue, c);
}

/* The next command of this io: 1 sent, 0 no slot, -errno. */
static int send_one(struct pcidipc_block_io *io, struct share *share)
{
	struct pair *pair = share->pair;
	struct progress *p = progress(io);
	struct nvme_command *c;
	struct nvme_sqe *sqe = get_slot(share, &c);
	uint64_t blocks = 0;

	if (!sqe)
		return 0;
	sqe->nsid = htole32(namespace_of(io)->nsid);
	switch (io->kind) {
	case PCIDIPC_BLOCK_FLUSH:
		sqe->opcode = nvme_cmd_flush;
		break;
	case PCIDIPC_BLOCK_DISCARD:
		blocks = fill_discard(io, pair, c, sqe);
		break;
	case PCIDIPC_BLOCK_ZERO:
		blocks = fill_zero(io, sqe);
		set_range(io, sqe, blocks);
		break;
	default:
		blocks = fill_rw(io, pair, c, sqe);
		if (blocks)
			set_range(io, sqe, blocks);
	}
	if (!blocks && io->kind != PCIDIPC_BLOCK_FLUSH) {
		nvme_queue_unget(&pair->queue, c);
		return -EINVAL; /* a vector whose pieces no PRP list can join within a block */
	}
	c->done = command_done;
	c->arg = io;
	p->lba += blocks;
	p->blocks -= blocks;
	p->outstanding++;
	share_sent(share);
	return 1;
}

/* Parked counts as outstanding, so that it is not complete while it waits. */
static int send_all(struct pcidipc_block_io *io, struct share *share,
		    void (*park)(struct share *, struct pcidipc_request *))
{
	struct progress *p = progress(io);
	int ret;

	do {
		ret = send_one(io, share);
	} while (ret > 0 && p->blocks);
	if (ret < 0) {
		p->error = ret;
		return p->outstanding ? PCIDIPC_PENDING : ret;
	}
	if (!ret) {
		p->outstanding++;
		park(share, pcidipc_block_request(io));
	}
	return PCIDIPC_PENDING;
}

int command_submit(struct pcidipc_block_io *io)
{
	struct share *share = share_of(io);
	struct progress *p = progress(io);

	*p = (struct progress){.cursor = {.segments = io->segments, .nsegments = io->nsegments},
			       .lba = io->lba,
			       .blocks = io->blocks};
	share_note(share);
	if (!share->parked_first && !share->pair->line_first)
		return send_all(io, share, share_park);
	p->outstanding++;
	share_park(share, pcidipc_block_request(io)); /* others came before */
	return PCIDIPC_PENDING;
}

static void resume_one(struct pcidipc_block_io *io, struct share *share)
{
	struct progress *p = progress(io);
	int ret;

	p->outstanding--;
	if (share->pair->controller->dead)
		p->error = -ENODEV;
	if (p->error) { /* its other commands complete it, if there are any left */
		if (!p->outstanding)
			pcidipc_block_complete(io, p->error);
		return;
	}
	ret = send_all(io, share, share_park_first);
	if (ret != PCIDIPC_PENDING)
		pcidipc_block_complete(io, ret);
}

/* One request, then it is the next session's turn. */
static void resume_share(struct share *share)
{
	if (!share->pair->controller->dead && share_is_used_up(share))
		return;
	resume_one((void *)share_unpark(share)->priv, share);
	share_line_up(share);
}

/* Slots came free, or there will be none any more: go on with those that wait for one. */
void command_resume(struct pair *pair)
{
	const struct controller *c = pair->controller;

	while (pair->line_first &&
	       (c->dead || (!c->paused && pair->queue.first_free != NVME_NO_COMMAND)))
		resume_share(share_next(pair));
	nvme_queue_ring(&pair->queue);
}
