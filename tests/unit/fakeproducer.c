// SPDX-License-Identifier: MIT
#include "fakeproducer.h"

#include <CUnit/CUnit.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

void fake_await_message(struct fake *f, struct pcidipc_packet *packet)
{
	struct pollfd p = {.fd = f->channel, .events = POLLIN};

	while (!pcidipc_channel_receive(f->channel, packet, NULL))
		poll(&p, 1, -1);
}

void fake_accept(struct fake *f, uint32_t sq_entries, uint32_t cq_entries)
{
	struct ringabi_hello_reply r = {.version_major = RINGABI_VERSION_MAJOR,
					.interface = RINGABI_INTERFACE_BLOCK,
					.max_sq_entries = sq_entries,
					.max_cq_entries = cq_entries,
					.max_pools = RINGABI_MAX_POOLS};
	struct pollfd p = {.fd = f->listener, .events = POLLIN};
	struct pcidipc_packet asked;

	poll(&p, 1, -1);
	f->channel = accept4(f->listener, NULL, NULL, SOCK_NONBLOCK);
	fake_await_message(f, &asked);
	pcidipc_channel_reply(f->channel, &asked.msg, &r.msg, sizeof(r), 0, NULL, 0);
}

static void give_ring(struct fake *f)
{
	struct ringabi_attach_ring_reply r = {0};
	struct ringabi_attach_ring wish;
	struct pcidipc_packet asked;
	int fd;

	fake_await_message(f, &asked);
	memcpy(&wish, asked.bytes, sizeof(wish));
	if (pcidipc_producer_ring_create(&f->ring, wish.sq_entries, wish.cq_entries, 0, &fd))
		abort();
	r.bytes = f->ring.map.bytes;
	pcidipc_channel_reply(f->channel, &wish.msg, &r.msg, sizeof(r), 0, &fd, 1);
	close(fd);
}

void fake_connect(struct fake *f, uint32_t sq_entries, uint32_t cq_entries)
{
	fake_accept(f, sq_entries, cq_entries);
	give_ring(f);
}

void fake_die(struct fake *f)
{
	close(f->channel);
}

void fake_publish(struct fake *f)
{
	if (pcidipc_ring_publish_cq(&f->ring))
		pcidipc_channel_wake(f->channel);
}

void fake_take(struct fake *f, struct io_uring_sqe *sqes, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		while (!pcidipc_ring_next_sqe(&f->ring, &sqes[i]))
			sched_yield();
		fake_publish(f);
	}
}

void fake_complete(struct fake *f, uint64_t user_data, int res)
{
	pcidipc_ring_post_cqe(&f->ring, user_data, res, 0, NULL);
	fake_publish(f);
}

void fake_forge(struct fake *f, uint64_t user_data, int res)
{
	f->ring.reserved++;
	fake_complete(f, user_data, res);
}

void fake_await_published(struct fake *f, uint32_t n)
{
	while (pcidipc_load_acquire(&f->ring.map.shared->sq_tail) < n)
		sched_yield();
}

static char state_of(pid_t pid)
{
	char name[32], stat[256] = "", *end;
	FILE *file;

	snprintf(name, sizeof(name), "/proc/%d/stat", (int)pid);
	file = fopen(name, "re");
	if (!file || !fgets(stat, sizeof(stat), file))
		abort();
	fclose(file);
	end = strrchr(stat, ')');
	return end ? end[2] : '?';
}

void fake_await_client_asleep(void)
{
	while (state_of(getppid()) != 'S')
		sched_yield();
}

void fake_await_client_end(struct fake *f)
{
	struct pollfd p = {.fd = f->channel, .events = POLLIN};
	struct pcidipc_packet packet;
	int ret;

	while ((ret = pcidipc_channel_receive(f->channel, &packet, NULL)) >= 0) {
		if (ret)
			pcidipc_packet_close(&packet);
		else
			poll(&p, 1, -1);
	}
}

int fake_ask(struct pcidipc_consumer *c)
{
	struct pcidipc_pool *pool;
	uint16_t index;
	int ret;

	CU_ASSERT_EQUAL_FATAL(pcidipc_pool_create(2 << 20, 0, &pool), 0);
	ret = pcidipc_consumer_attach_pool(c, pool, &index);
	pcidipc_pool_destroy(pool);
	return ret;
}
