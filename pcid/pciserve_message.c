// SPDX-License-Identifier: GPL-2.0-or-later
/* The PCI interface's channel messages: those that carry file descriptors. */
#include <errno.h>
#include <pcidipc/log.h>
#include <string.h>
#include <unistd.h>

#include "driver.h"

#define PAGE 4096u

static void close_all(int *fds, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static void alloc_vectors(struct pcid_driver *d, int channel, const struct ringabi_alloc_vectors *m)
{
	struct ringabi_alloc_vectors_reply reply = {0};
	int fds[RINGABI_MSG_MAX_FDS];
	int n = -ENODEV;

	if (d->function) {
		pcidipc_task_lock(&d->bus_lock);
		n = d->quiet ? -ENODEV : pcid_irq_alloc(d, m->least, m->most, fds);
		pcidipc_task_unlock(&d->bus_lock);
	}
	reply.kind = n > 0 ? d->irq.kind : 0;
	reply.granted = n > 0 ? (unsigned)n : 0;
	pcidipc_channel_reply(channel, &m->msg, &reply.msg, sizeof(reply), n < 0 ? n : 0, fds,
			      reply.granted);
	close_all(fds, reply.granted);
}

/* ---- regions ---- */

static uint64_t round_up(uint64_t value)
{
	return (value + PAGE - 1) & ~(uint64_t)(PAGE - 1);
}

/* Add the pages of [offset, offset + bytes), in order, joined with one that they touch. */
static void add_hole(struct ringabi_map_region_reply *r, uint64_t offset, uint64_t bytes)
{
	uint64_t start = offset & ~(uint64_t)(PAGE - 1), end = round_up(offset + bytes);
	struct ringabi_hole *first = &r->hole[0];

	if (end > r->bytes)
		end = r->bytes;
	if (start >= end)
		return;
	if (!r->holes) {
		*first = (struct ringabi_hole){start, end - start};
		r->holes = 1;
	} else if (start <= first->offset + first->bytes && first->offset <= end) {
		uint64_t old_end = first->offset + first->bytes;

		first->offset = start < first->offset ? start : first->offset;
		first->bytes = (end > old_end ? end : old_end) - first->offset;
	} else {
		unsigned at = start < first->offset ? 0 : 1;

		r->hole[1] = *first;
		r->hole[at] = (struct ringabi_hole){start, end - start};
		r->holes = 2;
	}
}

static int open_region(struct pcid_driver *d, uint32_t bar, struct ringabi_map_region_reply *r)
{
	struct pcid_function *f = d->function;
	uint64_t offset = 0;
	int fd;

	if (!f || d->quiet)
		return -ENODEV;
	if (d->confined)
		return -EPERM;
	if (bar >= PCID_BARS)
		return -EINVAL;
	if (!f->bars[bar].bytes)
		return -ENXIO;
	fd = f->bus->ops->region_fd(f, bar, &offset);
	if (fd < 0)
		return fd;
	r->offset = offset;
	r->bytes = f->bars[bar].bytes;
	if (f->msix.cap && f->msix.bar == bar)
		add_hole(r, f->msix.offset, 16ull * f->msix.count);
	if (f->msix.cap && f->msix.pba_bar == bar)
		add_hole(r, f->msix.pba_offset, (f->msix.count + 63ull) / 64 * 8);
	return fd;
}

static void map_region(struct pcid_driver *d, int channel, const struct ringabi_map_region *m)
{
	struct ringabi_map_region_reply reply = {0};
	int fd = m->reserved ? -EINVAL : open_region(d, m->region, &reply);

	pcidipc_channel_reply(channel, &m->msg, &reply.msg, sizeof(reply), fd < 0 ? fd : 0, &fd,
			      fd >= 0);
	if (fd >= 0)
		close(fd);
}

/* ---- services and children ---- */

static int text_ok(const char *text, size_t room, bool digits, size_t least)
{
	size_t n = strnlen(text, room);

	if (n == room || n < least)
		return -EINVAL;
	for (size_t i = 0; i < room; i++) {
		bool letter = text[i] >= 'a' && text[i] <= 'z';
		bool digit = digits && text[i] >= '0' && text[i] <= '9';

		if (i < n ? !letter && !digit : text[i])
			return -EINVAL;
	}
	return 0;
}

static void publish(struct pcid_driver *d, int channel, const struct ringabi_publish *m)
{
	struct ringabi_publish_reply reply = {0};
	struct pcid_service *service = NULL;
	int fds[2] = {-1, -1};
	int ret = text_ok(m->kind, sizeof(m->kind), false, 1);

	if (!ret)
		ret = text_ok(m->suffix, sizeof(m->suffix), true, 0);
	if (d->quiet) /* it would be taken when the next process wants it */
		ret = -ENODEV;
	else if (ret)
		pcidipc_log_ratelimited(
			PCIDIPC_WARNING,
			"%s: a service's kind must be 1 to 15 letters, its suffix up to 15 letters "
			"and digits",
			d->name);
	else
		ret = pcid_check_confined(d, "publish a service");
	if (!ret)
		ret = pcid_service_publish(d, m->kind, m->suffix, &service);
	if (!ret) {
		reply.service = service->id;
		memcpy(reply.name, service->name, sizeof(reply.name));
		fds[0] = service->fd;
		fds[1] = service->admin_fd;
	}
	pcidipc_channel_reply(channel, &m->msg, &reply.msg, sizeof(reply), ret, fds, 2);
}

static void announce(struct pcid_driver *d, int channel, const struct ringabi_announce *m)
{
	struct ringabi_msg reply = {0};
	int ret = d->quiet ? -ENODEV : pcid_check_confined(d, "announce a child");

	if (!ret)
		ret = pcid_child_announce(d, m);

	pcidipc_channel_reply(channel, &m->msg, &reply, sizeof(reply), ret, NULL, 0);
}

void pcid_message(struct pcidipc_session *session, struct pcidipc_packet *packet)
{
	struct pcid_driver *d = pcidipc_session_scheme(session)->driver;
	int channel = pcidipc_session_channel(session);
	struct ringabi_msg reply = {0};

	switch (packet->msg.type) {
	case RINGABI_MSG_ALLOC_VECTORS:
		alloc_vectors(d, channel, (const void *)packet->bytes);
		break;
	case RINGABI_MSG_MAP_REGION:
		map_region(d, channel, (const void *)packet->bytes);
		break;
	case RINGABI_MSG_PUBLISH:
		publish(d, channel, (const void *)packet->bytes);
		break;
	case RINGABI_MSG_ANNOUNCE:
		announce(d, channel, (const void *)packet->bytes);
		break;
	default:
		pcidipc_channel_reply(channel, &packet->msg, &reply, sizeof(reply), -EOPNOTSUPP,
				      NULL, 0);
	}
}
