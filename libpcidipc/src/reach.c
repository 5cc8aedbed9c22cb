/* SPDX-License-Identifier: MIT */
/*
 * Consumers' pools on the producer's side: attaching them, making chunks of them reachable for the
 * device when an SQE first names them, letting go.
 */
#include <fcntl.h>
#include <pcidipc/log.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memfd.h"
#include "scheme_internal.h"

#define EVERYBODY UINT64_MAX

struct pcidipc_pool_view *pcidipc_session_pool(struct pcidipc_session *s, uint32_t index)
{
	if (index >= RINGABI_MAX_POOLS || !s->pools[index] ||
	    s->pools[index]->users_before != EVERYBODY)
		return NULL;
	return &s->pools[index]->view;
}

struct pcidipc_pool_view *pcidipc_request_pool(const struct pcidipc_request *rq, uint32_t index)
{
	struct session_pool *p = index < RINGABI_MAX_POOLS ? rq->session->pools[index] : NULL;

	return p && rq->order < p->users_before ? &p->view : NULL;
}

/* ---- attach ---- */

/* Every pool takes addresses, the device's and ours, that others need too. */
static int check_room(const struct pcidipc_session *s, uint64_t bytes)
{
	uint64_t most = session_max_pool_bytes(s);

	if (s->pool_bytes <= most && bytes <= most - s->pool_bytes)
		return 0;
	pcidipc_log_ratelimited(PCIDIPC_WARNING,
				"%s: pid %d: pools of %llu bytes and one of %llu more, the limit "
				"is %llu in all",
				s->scheme->name, s->pid, (unsigned long long)s->pool_bytes,
				(unsigned long long)bytes, (unsigned long long)most);
	return -EDQUOT;
}

static int check_pool(struct pcidipc_session *s, const struct ringabi_attach_pool *m, int fd)
{
	const char *fault = memfd_fault(fd, MEMFD_FIXED_SIZE);
	struct stat st;

	if (m->index >= session_max_pools(s)) {
		pcidipc_log_ratelimited(
			PCIDIPC_WARNING, "%s: pid %d: pool index %u, the limit is %u",
			s->scheme->name, s->pid, m->index, session_max_pools(s) - 1);
		return -EINVAL;
	}
	if (s->pools[m->index]) {
		pcidipc_log_ratelimited(PCIDIPC_WARNING,
					"%s: pid %d: pool %u is attached already; it must be "
					"detached first",
					s->scheme->name, s->pid, m->index);
		return -EEXIST;
	}
	if (fault) {
		pcidipc_log_ratelimited(PCIDIPC_WARNING, "%s: pid %d: pool %u %s", s->scheme->name,
					s->pid, m->index, fault);
		return -EINVAL;
	}
	if (fstat(fd, &st) || (uint64_t)st.st_size != m->bytes || !m->bytes ||
	    m->bytes % RINGABI_POOL_ALIGN || m->bytes > RINGABI_POOL_MAX_BYTES) {
		pcidipc_log_ratelimited(
			PCIDIPC_WARNING,
			"%s: pid %d: pool %u says %llu bytes; it must be the memfd's size and a "
			"multiple of %u",
			s->scheme->name, s->pid, m->index, (unsigned long long)m->bytes,
			RINGABI_POOL_ALIGN);
		return -EINVAL;
	}
	return check_room(s, m->bytes);
}

static void free_pool(struct session_pool *pool)
{
	if (pool->view.base)
		munmap(pool->view.base, pool->view.bytes);
	if (pool->view.fd >= 0)
		close(pool->view.fd);
	free(pool->view.chunks);
	free(pool);
}

static uint64_t chunks_of(uint64_t bytes)
{
	return (bytes + RINGABI_POOL_CHUNK - 1) / RINGABI_POOL_CHUNK;
}

static struct session_pool *new_pool(struct pcidipc_session *s, uint32_t index, uint64_t bytes,
				     int fd)
{
	struct session_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->view = (struct pcidipc_pool_view){.fd = -1, .index = index, .bytes = bytes};
	pool->view.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	pool->view.chunks = calloc((chunks_of(bytes) + 63) / 64, sizeof(uint64_t));
	if (pool->view.fd < 0 || !pool->view.chunks)
		goto fail;
	if (s->scheme->flags & PCIDIPC_SCHEME_MAP_POOLS) {
		void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
			       pool->view.fd, 0);

		if (p == MAP_FAILED)
			goto fail;
		pool->view.base = p;
	}
	return pool;
fail:
	free_pool(pool);
	return NULL;
}

static void forget_pool(struct pcidipc_session *s, struct session_pool *pool)
{
	s->pools[pool->view.index] = NULL;
	s->pool_bytes -= pool->view.bytes;
	users_give_memory(s->user, pool->mapped_bytes);
	users_give_pool(s->user, pool->view.bytes);
	free_pool(pool);
}

/* Task. */
int reach_attach(struct pcidipc_session *s, const struct ringabi_attach_pool *m, int fd,
		 uint64_t *iova)
{
	struct session_pool *pool;
	int ret = check_pool(s, m, fd);

	if (!ret)
		ret = users_take_pool(s->user, m->bytes, s->scheme->name);
	if (ret)
		return ret;
	pool = new_pool(s, m->index, m->bytes, fd);
	if (!pool) {
		users_give_pool(s->user, m->bytes);
		return -ENOMEM;
	}
	pool->users_before = 0;
	s->pools[m->index] = pool;
	s->pool_bytes += m->bytes;
	ret = s->scheme->pool_attach ? s->scheme->pool_attach(s, &pool->view) : 0;
	pool->users_before = EVERYBODY;
	*iova = pool->view.iova;
	if (ret)
		forget_pool(s, pool);
	return ret;
}

/* ---- detach ---- */

/* Task. */
static void detach(struct pcidipc_session *s, struct session_pool *pool)
{
	if (s->scheme->pool_detach)
		s->scheme->pool_detach(s, &pool->view);
	forget_pool(s, pool);
}

void reach_detach_all(struct pcidipc_session *s)
{
	for (uint32_t i = 0; i < RINGABI_MAX_POOLS; i++)
		if (s->pools[i])
			detach(s, s->pools[i]);
}

static void detach_task(void *arg)
{
	struct pcidipc_request *rq = arg;
	struct pcidipc_session *s = rq->session;
	struct session_pool *pool = s->pools[rq->sqe.buf_index];

	session_await_users(s, rq);
	if (!s->ending)
		detach(s, pool); /* otherwise the session's end does it */
	pcidipc_complete(rq, 0);
}

/* ---- growth ---- */

static bool chunk_mapped(const struct pcidipc_pool_view *pool, uint64_t chunk)
{
	return pool->chunks[chunk / 64] >> (chunk % 64) & 1;
}

static bool range_mapped(const struct pcidipc_pool_view *pool, uint64_t first, uint64_t last)
{
	for (uint64_t chunk = first; chunk <= last; chunk++)
		if (!chunk_mapped(pool, chunk))
			return false;
	return true;
}

static uint64_t chunk_bytes(const struct session_pool *pool, uint64_t chunk)
{
	uint64_t left = pool->view.bytes - chunk * RINGABI_POOL_CHUNK;

	return left < RINGABI_POOL_CHUNK ? left : RINGABI_POOL_CHUNK;
}

/* Task. The whole chunk is mapped, so that this happens once per 32 MiB. Charged before the driver
 * is asked, which awaits: two at once must not both fit. */
static int map_chunk(struct pcidipc_session *s, struct session_pool *pool, uint64_t chunk)
{
	uint64_t bytes = chunk_bytes(pool, chunk);
	int ret;

	if (chunk_mapped(&pool->view, chunk))
		return 0;
	ret = users_take_memory(s->user, bytes, s->scheme->name);
	if (ret)
		return ret;
	ret = s->scheme->pool_map(s, &pool->view, chunk * RINGABI_POOL_CHUNK, bytes);
	if (ret) {
		users_give_memory(s->user, bytes);
		return ret;
	}
	pool->mapped_bytes += bytes;
	pool->view.chunks[chunk / 64] |= 1ull << (chunk % 64);
	return 0;
}

/* Task. */
static int grow(struct pcidipc_session *s, struct session_pool *pool, uint64_t offset,
		uint64_t bytes)
{
	uint64_t last = (offset + bytes - 1) / RINGABI_POOL_CHUNK;
	int ret = 0;

	pcidipc_task_lock(&pool->growing);
	for (uint64_t chunk = offset / RINGABI_POOL_CHUNK; chunk <= last && !ret && !s->ending;
	     chunk++)
		ret = map_chunk(s, pool, chunk);
	pcidipc_task_unlock(&pool->growing);
	return s->ending ? -ECANCELED : ret;
}

struct growth {
	struct pcidipc_request *rq;
	struct session_pool *pool;
	uint64_t offset, bytes;
};

static void grow_task(void *arg)
{
	struct growth growth = *(struct growth *)arg;
	struct pcidipc_request *rq = growth.rq;
	struct pcidipc_session *s = rq->session;
	int ret;

	free(arg);
	ret = grow(s, growth.pool, growth.offset, growth.bytes);
	if (ret) {
		pcidipc_complete(rq, ret);
		return;
	}
	s->pending--; /* its handler runs again, from the start */
	order_run(s, rq);
	order_pump(s);
	if (s->scheme->flush)
		s->scheme->flush(s);
	session_publish_soon(s);
}

static int park(struct pcidipc_request *rq, struct pcidipc_pool_view *view, uint64_t offset,
		uint64_t bytes)
{
	struct growth *growth = malloc(sizeof(*growth));
	int ret;

	if (!growth)
		return -ENOMEM;
	*growth = (struct growth){rq, pcidipc_container_of(view, struct session_pool, view), offset,
				  bytes};
	ret = pcidipc_spawn(rq->session->loop, grow_task, growth);
	if (ret) {
		free(growth);
		return ret;
	}
	rq->state = REQUEST_PARKED;
	return PCIDIPC_PENDING;
}

static int check_range(struct pcidipc_request *rq, uint32_t index, uint64_t offset, uint64_t bytes,
		       struct pcidipc_pool_view **pool)
{
	*pool = pcidipc_request_pool(rq, index);
	if (!*pool)
		return -ENXIO;
	if (offset > (*pool)->bytes || bytes > (*pool)->bytes - offset)
		return -EFAULT;
	return 0;
}

static inline bool must_grow(const struct pcidipc_session *s, const struct pcidipc_pool_view *pool,
			     uint64_t offset, uint64_t bytes)
{
	return s->scheme->pool_map && !range_mapped(pool, offset / RINGABI_POOL_CHUNK,
						    (offset + bytes - 1) / RINGABI_POOL_CHUNK);
}

int pcidipc_request_reach(struct pcidipc_request *rq, uint32_t index, uint64_t offset,
			  uint64_t bytes, uint64_t *iova)
{
	struct pcidipc_pool_view *pool;
	int ret = check_range(rq, index, offset, bytes, &pool);

	if (ret || !bytes)
		return ret;
	if (must_grow(rq->session, pool, offset, bytes))
		return park(rq, pool, offset, bytes);
	*iova = pool->iova + offset;
	return 0;
}

int pcidipc_request_await_reach(struct pcidipc_request *rq, uint32_t index, uint64_t offset,
				uint64_t bytes, uint64_t *iova)
{
	struct pcidipc_session *s = rq->session;
	struct pcidipc_pool_view *pool;
	int ret = check_range(rq, index, offset, bytes, &pool);

	if (ret)
		return pcidipc_refuse(rq, ret, "%llu bytes at %#llx are not in pool %u",
				      (unsigned long long)bytes, (unsigned long long)offset, index);
	if (bytes && must_grow(s, pool, offset, bytes))
		ret = grow(s, pcidipc_container_of(pool, struct session_pool, view), offset, bytes);
	if (!ret)
		*iova = pool->iova + offset;
	return ret;
}

int pcidipc_request_map(struct pcidipc_request *rq, uint32_t index, uint64_t offset, uint64_t bytes,
			void **address)
{
	struct pcidipc_pool_view *pool;
	int ret = check_range(rq, index, offset, bytes, &pool);

	if (ret)
		return ret;
	if (!pool->base)
		return -EOPNOTSUPP;
	*address = (char *)pool->base + offset;
	return 0;
}

/* ---- the two commands of every interface ---- */

/* Whole chunks, as when a request needs them: what is mapped is charged once, whoever asked. */
static void map_task(void *arg)
{
	struct pcidipc_request *rq = arg;
	struct pcidipc_session *s = rq->session;
	struct session_pool *pool =
		s->pools[rq->sqe.buf_index]; /* not detached before this request is done */

	pcidipc_complete(rq, grow(s, pool, rq->sqe.addr, rq->sqe.len));
}

static int check_map(struct pcidipc_request *rq)
{
	struct pcidipc_pool_view *pool;

	if (rq->sqe.addr % RINGABI_POOL_PAGE || rq->sqe.len % RINGABI_POOL_PAGE || !rq->sqe.len ||
	    rq->sqe.len > RINGABI_POOL_CHUNK)
		return -EINVAL;
	return check_range(rq, rq->sqe.buf_index, rq->sqe.addr, rq->sqe.len, &pool);
}

/* Parked, so that the driver is not asked to cancel what it was never given. */
static int hand_to_task(struct pcidipc_request *rq, void (*task)(void *arg))
{
	int ret = pcidipc_spawn(rq->session->loop, task, rq);

	if (ret)
		return ret;
	rq->state = REQUEST_PARKED;
	return PCIDIPC_PENDING;
}

int reach_command(struct pcidipc_request *rq)
{
	struct pcidipc_session *s = rq->session;
	int ret;

	switch (rq->sqe.cmd_op) {
	case RINGABI_CMD_POOL_MAP:
		ret = s->scheme->pool_map ? check_map(rq) : -EOPNOTSUPP;
		return ret ? ret : hand_to_task(rq, map_task);
	case RINGABI_CMD_POOL_DETACH:
		if (!pcidipc_session_pool(s, rq->sqe.buf_index))
			return -ENXIO;
		ret = hand_to_task(rq, detach_task);
		if (ret == PCIDIPC_PENDING)
			s->pools[rq->sqe.buf_index]->users_before = rq->order;
		return ret;
	default:
		return -EOPNOTSUPP;
	}
}
