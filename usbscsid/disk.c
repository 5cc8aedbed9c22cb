/* SPDX-License-Identifier: MIT */
/* A logical unit as a disk: what the block helper asks of its driver. */
#include <errno.h>
#include <stdio.h>

#include "target.h"

static struct target *target_of(struct pcidipc_session *s)
{
	struct pcidipc_disk *disk = pcidipc_session_scheme(s)->driver;

	return ((struct lun *)disk->driver)->target;
}

static void flush_session(struct pcidipc_session *s)
{
	transport_flush(target_of(s)->transport);
}

static int pool_attach(struct pcidipc_session *s, struct pcidipc_pool_view *pool)
{
	struct usb_link *link = target_of(s)->link;

	return link->ops->pool_attach(link, pool);
}

static int pool_map(struct pcidipc_session *s, struct pcidipc_pool_view *pool, uint64_t offset,
		    uint64_t bytes)
{
	struct usb_link *link = target_of(s)->link;

	return link->ops->pool_map(link, pool, offset, bytes);
}

static void pool_detach(struct pcidipc_session *s, struct pcidipc_pool_view *pool)
{
	struct usb_link *link = target_of(s)->link;

	link->ops->pool_detach(link, pool);
}

/* Its buffer was found in that pool. */
uint16_t lun_io_pool(const struct pcidipc_block_io *io)
{
	const struct pcidipc_request *rq = pcidipc_block_request(io);

	return pcidipc_request_pool(rq, rq->sqe.buf_index)->forwarded;
}

static int submit(struct pcidipc_block_io *io)
{
	const struct lun *lun = io->disk->driver;

	if (lun->target->device_gone)
		return -ENODEV;
	if (lun->target->stopping)
		return -ESHUTDOWN;
	switch (io->kind) {
	case PCIDIPC_BLOCK_HEALTH:
		return -EOPNOTSUPP;
	case PCIDIPC_BLOCK_PASSTHROUGH:
		return lun_through(io);
	default:
		return lun_io_start(io);
	}
}

static void fill_disk(struct lun *lun)
{
	struct pcidipc_disk *disk = &lun->disk;

	snprintf(disk->name, sizeof(disk->name), "%s", lun->service.name);
	disk->max_sessions = MOST_SESSIONS;
	disk->users = &lun->target->users;
	disk->max_sq_entries = 1024;
	disk->io_bytes = lun_io_bytes();
	disk->driver = lun;
	disk->submit = submit;
	disk->flush = flush_session;
	disk->cancel = lun_io_cancel;
	disk->pool_attach = pool_attach;
	disk->pool_map = pool_map;
	disk->pool_detach = pool_detach;
}

/* The first LUN's disk has the device's name, e.g. disk/usb0; the others' are disk/usb0l1, ... */
int lun_publish(struct lun *lun)
{
	struct target *t = lun->target;
	char suffix[16] = "";
	int ret;

	if (lun->number)
		snprintf(suffix, sizeof(suffix), "l%u", lun->number);
	ret = t->publish(t, suffix, &lun->service);
	if (ret)
		return ret;
	fill_disk(lun);
	ret = pcidipc_disk_serve(t->loop, &lun->disk, lun->service.listen_fd,
				 lun->service.admin_fd);
	if (ret)
		t->unpublish(t, &lun->service);
	else
		lun->published = true;
	return ret;
}
