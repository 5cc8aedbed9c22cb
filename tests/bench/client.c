// SPDX-License-Identifier: MIT
#include "client.h"

#include <liburing.h>
#include <string.h>
#include <unistd.h>

int client_open(struct client *c, const char *path, uint32_t bytes, uint32_t depth)
{
	uint32_t entries = RINGABI_MIN_ENTRIES;
	int ret;

	while (entries < depth)
		entries *= 2;
	*c = (struct client){.bytes = bytes, .depth = depth, .seed = (uint64_t)getpid()};
	ret = pcidipc_blockdev_open(path, 0, entries, &c->dev);
	if (ret)
		return ret;
	c->consumer = pcidipc_blockdev_consumer(c->dev);
	c->places = pcidipc_blockdev_info(c->dev)->bytes / bytes;
	ret = c->places ? 0 : -ENOSPC;
	if (!ret)
		ret = pcidipc_pool_create((uint64_t)bytes * depth, 0, &c->pool);
	if (!ret)
		ret = pcidipc_consumer_attach_pool(c->consumer, c->pool, &c->index);
	c->buffers = ret ? NULL : pcidipc_pool_alloc(c->pool, (size_t)bytes * depth, 4096);
	if (!ret && !c->buffers)
		ret = -ENOMEM;
	if (ret)
		client_close(c);
	return ret;
}

void client_close(struct client *c)
{
	pcidipc_blockdev_close(c->dev);
	if (c->pool)
		pcidipc_pool_destroy(c->pool);
	c->dev = NULL;
	c->pool = NULL;
}

static uint64_t next_offset(struct client *c)
{
	if (c->sequential)
		return c->seed++ % c->places * c->bytes;
	c->seed = c->seed * 6364136223846793005u + 1442695040888963407u;
	return (c->seed >> 33) % c->places * c->bytes;
}

/* user_data names the part of the buffers that the request has. */
static bool send_read(struct client *c, uint64_t part)
{
	struct io_uring_sqe *sqe = pcidipc_get_sqe(c->consumer);

	if (!sqe)
		return false;
	io_uring_prep_read_fixed(sqe, 0, (void *)(uintptr_t)(c->buffers->offset + part * c->bytes),
				 c->bytes, next_offset(c), c->index);
	io_uring_sqe_set_data64(sqe, part);
	c->in_flight++;
	return true;
}

/* Take all there are; each one's part of the buffers is used again at once, unless draining. */
static int take(struct client *c, bool again)
{
	struct pcidipc_cqe cqe;
	int ret;

	while ((ret = pcidipc_next_cqe(c->consumer, &cqe)) > 0) {
		c->in_flight--;
		c->done++;
		if (cqe.res != (int32_t)c->bytes)
			c->error = cqe.res < 0 ? cqe.res : -EIO;
		if (again && !c->error && !send_read(c, cqe.user_data))
			c->error = -EAGAIN;
	}
	return ret ? ret : c->error;
}

int client_step(struct client *c)
{
	int ret;

	if (!c->in_flight)
		for (uint64_t part = 0; part < c->depth; part++)
			if (!send_read(c, part))
				return -EAGAIN;
	ret = pcidipc_submit_and_wait(c->consumer, 1);
	return ret ? ret : take(c, true);
}

int client_drain(struct client *c)
{
	int ret = 0;

	while (c->in_flight && !ret) {
		ret = pcidipc_submit_and_wait(c->consumer, 1);
		if (!ret)
			ret = take(c, false);
	}
	return ret;
}

/* ---- in processes of their own ---- */

static void work(struct bench_process *process, void *arg)
{
	static struct client client;
	struct client_shared *shared = arg;
	int ret = 0;

	if (!client.dev)
		ret = client_open(&client, shared->path, shared->bytes, shared->depth);
	do {
		if (!ret)
			ret = client_step(&client);
		atomic_store_explicit(&shared->done, client.done, memory_order_relaxed);
		atomic_store_explicit(&shared->ready, 1, memory_order_relaxed);
	} while (!ret && bench_going(process));
	if (!ret)
		ret = client_drain(&client);
	if (ret)
		atomic_store(&shared->error, ret);
}

int client_spawn(struct client_process *p, const char *path, uint32_t bytes, uint32_t depth)
{
	int ret;

	p->shared = bench_shared(sizeof(*p->shared));
	snprintf(p->shared->path, sizeof(p->shared->path), "%s", path);
	p->shared->bytes = bytes;
	p->shared->depth = depth;
	ret = bench_spawn(&p->process, BENCH_CLIENT_CPU, work, p->shared);
	if (ret) {
		bench_unshare(p->shared, sizeof(*p->shared));
		return ret;
	}
	bench_go(&p->process);
	bench_park(&p->process);
	return p->shared->error;
}

void client_kill(struct client_process *p)
{
	bench_kill(&p->process);
	bench_unshare(p->shared, sizeof(*p->shared));
}
