// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pools that a driver's device reaches: the driver's own, and its clients', forwarded. What is
 * mapped is counted in whole chunks, per driver and per user, because mapped memory may be pinned.
 */
#include <errno.h>
#include <pcidipc/log.h>
#include <poll.h>
#include <stdlib.h>

#include "driver.h"

static struct pcid_driver *driver_of(struct pcidipc_session *session)
{
	return pcidipc_session_scheme(session)->driver;
}

static uint64_t chunk_bytes(const struct pcid_mapping *m, uint64_t chunk)
{
	uint64_t left = m->pool.bytes - chunk * RINGABI_POOL_CHUNK;

	return left < RINGABI_POOL_CHUNK ? left : RINGABI_POOL_CHUNK;
}

static bool chunk_mapped(const struct pcid_mapping *m, uint64_t chunk)
{
	return m->chunks[chunk / 8] >> chunk % 8 & 1;
}

/* ---- attach ---- */

static struct pcid_mapping *new_mapping(struct pcid_driver *d, const struct pcidipc_pool_view *view)
{
	struct pcid_mapping *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->driver = d;
	m->pool.function = d->function;
	m->pool.fd = view->fd;
	m->pool.bytes = view->bytes;
	m->chunks = calloc(view->bytes / RINGABI_POOL_CHUNK / 8 + 1, 1);
	if (m->chunks)
		return m;
	free(m);
	return NULL;
}

int pcid_pool_attach(struct pcidipc_session *session, struct pcidipc_pool_view *view)
{
	struct pcid_driver *d = driver_of(session);
	struct pcid_mapping *m;
	int ret;

	if (!d->function)
		return -ENODEV;
	m = new_mapping(d, view);
	if (!m)
		return -ENOMEM;
	ret = d->function->bus->ops->pool_attach(&m->pool);
	if (ret) {
		pcidipc_log_ratelimited(PCIDIPC_WARNING,
					"%s: a pool of %llu MiB could not be attached: %s", d->name,
					(unsigned long long)view->bytes >> 20, strerror(-ret));
		free(m->chunks);
		free(m);
		return ret;
	}
	view->iova = m->pool.iova;
	view->driver = m;
	pcidipc_list_append(&d->pools, &m->link);
	return 0;
}

/* ---- map ---- */

uint64_t pcid_dma_quota(const struct pcid_driver *d)
{
	uint64_t user = d->pcid->config->user_dma_quota;

	while (d->parent)
		d = d->parent;
	return d->stanza->dma_quota < user ? d->stanza->dma_quota : user;
}

unsigned pcid_dma_bits(const struct pcid_driver *d)
{
	if (!d->parent)
		return 0;
	while (d->parent)
		d = d->parent;
	return d->function ? d->function->dma_bits : 0;
}

/* Those that have one each by default count as one: the memory is the machine's. */
static uint64_t mapped_for_user(struct pcid_driver *d)
{
	uint64_t sum = 0;

	pcidipc_list_for_each(other, &d->pcid->drivers, struct pcid_driver, link)
		if (other->stanza->uid == d->stanza->uid)
			sum += other->mapped_bytes;
	return sum;
}

static bool exceeds(uint64_t used, uint64_t more, uint64_t limit)
{
	return used > limit || more > limit - used;
}

static int check_quota(struct pcid_driver *d, uint64_t bytes)
{
	uint64_t limit = d->pcid->config->user_dma_quota;
	bool own = d->stanza->uid == PCID_OWN_ID;

	if (exceeds(d->mapped_bytes, bytes, d->stanza->dma_quota)) {
		pcidipc_log_ratelimited(
			PCIDIPC_WARNING,
			"%s: %llu MiB more would pass its dma_quota_mib of %llu (%llu are mapped)",
			d->name, (unsigned long long)bytes >> 20,
			(unsigned long long)d->stanza->dma_quota >> 20,
			(unsigned long long)d->mapped_bytes >> 20);
		return -EDQUOT;
	}
	if (exceeds(mapped_for_user(d), bytes, limit)) {
		pcidipc_log_ratelimited(
			PCIDIPC_WARNING,
			"%s: %llu MiB more would pass user_dma_quota_mib of %llu "
			"(%s%s have %llu)",
			d->name, (unsigned long long)bytes >> 20, (unsigned long long)limit >> 20,
			own ? "all that have a user " : "the drivers of user ", d->stanza->user,
			(unsigned long long)mapped_for_user(d) >> 20);
		return -EDQUOT;
	}
	return 0;
}

/* The quota is charged before the bus is asked, which may await: two at once must not both fit. */
static int map_chunk(struct pcid_mapping *m, uint64_t chunk)
{
	struct pcid_driver *d = m->driver;
	uint64_t bytes = chunk_bytes(m, chunk);
	int ret;

	if (chunk_mapped(m, chunk))
		return 0;
	ret = check_quota(d, bytes);
	if (ret)
		return ret;
	d->mapped_bytes += bytes;
	ret = d->function->bus->ops->pool_map(&m->pool, chunk * RINGABI_POOL_CHUNK, bytes);
	if (ret) {
		d->mapped_bytes -= bytes;
		return ret;
	}
	m->mapped_bytes += bytes;
	m->chunks[chunk / 8] |= (uint8_t)(1u << chunk % 8);
	return 0;
}

int pcid_pool_map(struct pcidipc_session *session, struct pcidipc_pool_view *view, uint64_t offset,
		  uint64_t bytes)
{
	struct pcid_mapping *m = view->driver;
	uint64_t last = (offset + bytes - 1) / RINGABI_POOL_CHUNK;
	int ret = 0;

	(void)session;
	pcidipc_task_lock(&m->lock);
	for (uint64_t chunk = offset / RINGABI_POOL_CHUNK; chunk <= last && !ret; chunk++)
		ret = map_chunk(m, chunk);
	pcidipc_task_unlock(&m->lock);
	return ret;
}

/* ---- detach ---- */

/* The driver hung up, or was cut off: then its device is not stopped, as it is when a driver
 * detaches a pool. */
static bool connected(struct pcidipc_session *session)
{
	struct pollfd p = {.fd = pcidipc_session_channel(session), .events = POLLRDHUP};

	return poll(&p, 1, 0) == 0;
}

void pcid_pool_detach(struct pcidipc_session *session, struct pcidipc_pool_view *view)
{
	struct pcid_mapping *m = view->driver;
	struct pcid_driver *d = m->driver;

	if (!connected(session))
		pcid_driver_quiesce(d);
	d->function->bus->ops->pool_detach(&m->pool);
	d->mapped_bytes -= m->mapped_bytes;
	pcidipc_list_remove(&m->link);
	free(m->chunks);
	free(m);
}
