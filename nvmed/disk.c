/* SPDX-License-Identifier: MIT */
/* A namespace as a disk: what the block helper asks of its driver. */
#include <errno.h>
#include <libnvme.h>
#include <stdio.h>

#include "nvmed.h"

static struct namespace *namespace_of(struct pcidipc_session *s)
{
	struct pcidipc_disk *disk = pcidipc_session_scheme(s)->driver;

	return disk->driver;
}

static struct pair **session_pair(struct pcidipc_session *s)
{
	return &((struct share *)pcidipc_block_session_priv(s))->pair;
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
	struct pair *p = *session_pair(s);

	if (!p)
		return;
	nvme_queue_ring(&p->queue);
	if (p->queue.in_flight)
		watchdog_start(p->controller);
}

/* Where Write Zeroes is missing the disk's flags say so, and the helper refuses before we see it.
 */
static int submit(struct pcidipc_block_io *io)
{
	const struct namespace *ns = io->disk->driver;

	if (ns->controller->dead)
		return -ENODEV;
	if (ns->controller->stopping)
		return -ESHUTDOWN;
	switch (io->kind) {
	case PCIDIPC_BLOCK_HEALTH:
		return health_submit(io);
	case PCIDIPC_BLOCK_PASSTHROUGH:
		return passthrough_submit(io);
	default:
		return command_submit(io);
	}
}

int disk_publish(struct namespace *ns)
{
	struct pcidipc_disk *disk = &ns->disk;
	char suffix[16];
	int ret;

	snprintf(suffix, sizeof(suffix), "n%u", ns->nsid);
	ret = pcidipc_pci_publish(ns->controller->pci, "disk", suffix, &ns->service);
	if (ret)
		return ret;
	snprintf(disk->name, sizeof(disk->name), "%s", ns->service.name);
	disk->max_sessions = MAX_SESSIONS;
	disk->users = &ns->controller->users;
	disk->max_sq_entries = 1024;
	disk->io_bytes = COMMAND_IO_BYTES;
	disk->session_bytes = sizeof(struct share);
	disk->driver = ns;
	disk->submit = submit;
	disk->flush = flush_session;
	disk->open = open_session;
	disk->close = close_session;
	disk->pci = ns->controller->pci;
	ret = pcidipc_disk_serve(ns->controller->loop, disk, ns->service.listen_fd,
				 ns->service.admin_fd);
	if (ret)
		pcidipc_pci_unpublish(ns->controller->pci, &ns->service);
	return ret;
}
