// SPDX-License-Identifier: MIT
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"
#include "rig.h"

#define MAX_DEPTH 64

/* ---- a client ---- */

int client_open(struct client *client, const char *name, uint32_t open_flags, uint64_t pool_bytes)
{
	int ret;

	memset(client, 0, sizeof(*client));
	ret = pcidipc_blockdev_open(name, open_flags, 0, &client->dev);
	if (ret)
		return ret;
	client->consumer = pcidipc_blockdev_consumer(client->dev);
	client->info = pcidipc_blockdev_info(client->dev);
	ret = pcidipc_pool_create(pool_bytes, 0, &client->pool);
	if (!ret)
		ret = pcidipc_consumer_attach_pool(client->consumer, client->pool, &client->index);
	if (ret)
		client_close(client);
	else
		client->base = pcidipc_pool_base(client->pool);
	return ret;
}

void client_close(struct client *client)
{
	pcidipc_blockdev_close(client->dev);
	if (client->pool)
		pcidipc_pool_destroy(client->pool);
	memset(client, 0, sizeof(*client));
}

int client_read(struct client *client, uint64_t addr, uint32_t bytes, uint64_t off)
{
	return pcidipc_blockdev_read(client->dev, client->index, addr, bytes, off);
}

int client_write(struct client *client, uint64_t addr, uint32_t bytes, uint64_t off)
{
	return pcidipc_blockdev_write(client->dev, client->index, addr, bytes, off, false);
}

int client_call(struct client *client, const struct io_uring_sqe *sqe)
{
	return pcidipc_call(client->consumer, sqe, NULL);
}

int client_reap(struct client *client, uint64_t *user_data)
{
	struct pcidipc_cqe cqe;
	int ret = pcidipc_submit_and_wait(client->consumer, 1);

	if (!ret)
		ret = pcidipc_next_cqe(client->consumer, &cqe);
	if (ret <= 0)
		return ret ? ret : -ENODATA;
	if (user_data)
		*user_data = cqe.user_data;
	return cqe.res;
}

/* ---- work ---- */

/* Slot i of a worker owns slice i of the region and buffer i, and is either writing there or
 * reading it back. */
struct slot {
	uint64_t addr, first, off;
	uint32_t bytes, pattern;
	bool reading;
};

struct worker {
	struct client *client;
	const struct work *work;
	struct slot slots[MAX_DEPTH];
	uint64_t slice;
	uint32_t random, started, done;
};

static uint32_t below(struct worker *w, uint64_t n)
{
	return n ? (uint32_t)(next_random(&w->random) % n) : 0;
}

static int queue_rw(struct worker *w, struct slot *slot)
{
	struct io_uring_sqe *sqe = pcidipc_get_sqe(w->client->consumer);
	void *addr = (void *)(uintptr_t)slot->addr;

	if (!sqe)
		return pcidipc_consumer_error(w->client->consumer) ?: -ENOTCONN;
	if (slot->reading)
		io_uring_prep_read_fixed(sqe, 0, addr, slot->bytes, slot->off, w->client->index);
	else
		io_uring_prep_write_fixed(sqe, 0, addr, slot->bytes, slot->off, w->client->index);
	sqe->user_data = (uint64_t)(slot - w->slots);
	return 0;
}

static int start_write(struct worker *w, struct slot *slot)
{
	uint32_t block = w->client->info->block_bytes;
	uint32_t most = (uint32_t)(w->slice < w->work->largest ? w->slice : w->work->largest);
	uint32_t seed;

	slot->bytes = block * (1 + below(w, most / block));
	slot->off = slot->first + (uint64_t)block * below(w, (w->slice - slot->bytes) / block + 1);
	slot->pattern = seed = next_random(&w->random);
	slot->reading = false;
	fill_random(&seed, w->client->base + slot->addr, slot->bytes);
	w->started++;
	return queue_rw(w, slot);
}

static int start_read(struct worker *w, struct slot *slot)
{
	slot->reading = true;
	memset(w->client->base + slot->addr, 0, slot->bytes);
	return queue_rw(w, slot);
}

static int check(struct worker *w, const struct slot *slot)
{
	const uint32_t *words = (const void *)(w->client->base + slot->addr);
	uint32_t seed = slot->pattern;

	for (uint32_t i = 0; i < slot->bytes / 4; i++)
		if (words[i] != next_random(&seed)) {
			fprintf(stderr, "pid %d: wrong data at %llu of the disk\n", getpid(),
				(unsigned long long)slot->off + 4ull * i);
			return -EBADMSG;
		}
	return 0;
}

static bool more(const struct worker *w)
{
	return !w->work->rounds || w->started < w->work->rounds;
}

static int went(struct worker *w, struct slot *slot, int res)
{
	int ret;

	if (res != (int)slot->bytes)
		return res < 0 ? res : -EIO;
	if (!slot->reading)
		return start_read(w, slot);
	ret = check(w, slot);
	w->done++;
	if (w->work->progress)
		*w->work->progress = w->done;
	return ret || !more(w) ? ret : start_write(w, slot);
}

static void prepare(struct worker *w)
{
	const struct work *work = w->work;
	uint32_t block = w->client->info->block_bytes;

	w->random = work->seed;
	w->slice = work->bytes / work->depth / block * block;
	for (uint32_t i = 0; i < work->depth; i++) {
		w->slots[i].first = work->first + i * w->slice;
		w->slots[i].addr = i * work->stride;
	}
}

int work_on(struct client *client, const struct work *work)
{
	struct worker w = {.client = client, .work = work};
	int ret = 0;

	if (work->depth > MAX_DEPTH)
		return -EINVAL;
	prepare(&w);
	for (uint32_t i = 0; i < work->depth && more(&w) && !ret; i++)
		ret = start_write(&w, &w.slots[i]);
	while (!ret && w.done < w.started) {
		uint64_t index = UINT64_MAX;
		int res = client_reap(client, &index);

		if (index < MAX_DEPTH)
			ret = went(&w, &w.slots[index], res);
		else
			ret = res < 0 ? res : -EPROTO;
	}
	return ret;
}

int work_run(const struct work *work)
{
	struct client client;
	int ret = client_open(&client, work->disk, 0, work->pool_bytes);

	if (ret)
		return ret;
	ret = work_on(&client, work);
	client_close(&client);
	return ret;
}

pid_t work_fork(const struct work *work)
{
	pid_t pid, parent = getpid();
	int ret;

	fflush(NULL);
	pid = fork();
	if (pid)
		return pid;
	rig_forget_signals();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	ret = work_run(work);
	if (ret)
		fprintf(stderr, "pid %d: %s\n", getpid(), strerror(-ret));
	_exit(-ret & 0xff);
}

int work_wait(pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

volatile uint32_t *shared_words(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return page == MAP_FAILED ? NULL : page;
}
