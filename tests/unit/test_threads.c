/* SPDX-License-Identifier: MIT */
/*
 * The ring between two threads that share one mapping: what ThreadSanitizer can judge. Between two
 * processes it sees neither's accesses to the other's mapping. Entries are plain memory on one side
 * and copied on the other; only the indices order the two.
 */
#include "harness.h"
#include <pcidipc/channel.h>
#include <pcidipc/log.h>
#include <pcidipc/ring.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#define REQUESTS 200000u

static struct pcidipc_producer_ring p;
static struct pcidipc_consumer_ring c;
static int channel[2]; /* the consumer's end, the producer's */
static bool may_sleep;

static void receive_wakes(int fd)
{
	struct pcidipc_packet packet;

	while (pcidipc_channel_receive(fd, &packet, NULL) > 0)
		pcidipc_packet_close(&packet);
}

static void wait_readable(int fd)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};

	poll(&wait, 1, -1);
	receive_wakes(fd);
}

/* Each side: nothing to do, so look again later, or sleep by the protocol. */
static void producer_pause(void)
{
	uint32_t *need = &p.map.shared->producer_need_wakeup;

	if (!may_sleep) {
		sched_yield();
		return;
	}
	pcidipc_set_need_wakeup(need);
	if (!pcidipc_producer_ring_ready(&p))
		wait_readable(channel[1]);
	pcidipc_clear_need_wakeup(need);
}

static void consumer_pause(void)
{
	uint32_t *need = &c.map.shared->consumer_need_wakeup;

	if (!may_sleep) {
		sched_yield();
		return;
	}
	pcidipc_set_need_wakeup(need);
	if (!pcidipc_consumer_ring_ready(&c))
		wait_readable(channel[0]);
	pcidipc_clear_need_wakeup(need);
}

/* An answer is derived from every part of the request, so that a torn or stale entry shows. */
static int32_t answer_to(const struct io_uring_sqe *sqe)
{
	return (int32_t)((sqe->addr ^ sqe->off ^ sqe->len) & 0x7fffffff);
}

static void *produce(void *arg)
{
	struct io_uring_sqe sqe;
	uint32_t served = 0;

	while (served < REQUESTS) {
		int ret = pcidipc_ring_next_sqe(&p, &sqe);

		if (ret < 0)
			break;
		if (ret) {
			pcidipc_ring_post_cqe(&p, sqe.user_data, answer_to(&sqe), 0, NULL);
			served++;
			continue;
		}
		if (pcidipc_ring_publish_cq(&p))
			pcidipc_channel_wake(channel[1]);
		else if (!pcidipc_producer_ring_ready(&p))
			producer_pause();
	}
	if (pcidipc_ring_publish_cq(&p))
		pcidipc_channel_wake(channel[1]);
	*(uint32_t *)arg = served;
	return NULL;
}

static void fill(struct io_uring_sqe *sqe, uint32_t i)
{
	*sqe = (struct io_uring_sqe){
		.user_data = i, .addr = i * 0x9e3779b1ull, .off = ~(uint64_t)i, .len = i * 7};
}

static uint32_t take_answers(uint32_t done)
{
	struct io_uring_sqe expected;
	struct pcidipc_cqe cqe;

	while (pcidipc_ring_peek_cqe(&c, &cqe) == 1) {
		fill(&expected, done);
		if (cqe.user_data != done || cqe.res != answer_to(&expected))
			return UINT32_MAX;
		pcidipc_ring_cqe_seen(&c);
		done++;
	}
	return done;
}

static uint32_t consume(void)
{
	uint32_t sent = 0, done = 0;
	struct io_uring_sqe *sqe;

	while (done < REQUESTS && !c.error) {
		uint32_t before = done;

		while (sent < REQUESTS && (sqe = pcidipc_ring_get_sqe(&c)))
			fill(sqe, sent++);
		if (pcidipc_ring_publish_sq(&c))
			pcidipc_channel_wake(channel[0]);
		done = take_answers(done);
		if (done == UINT32_MAX)
			return done;
		if (done == before && !pcidipc_consumer_ring_ready(&c))
			consumer_pause();
	}
	return done;
}

static void exchange(bool sleeping, uint32_t sq, uint32_t cq)
{
	uint32_t served = 0;
	pthread_t thread;
	int fd = -1;

	may_sleep = sleeping;
	CU_ASSERT_EQUAL_FATAL(pcidipc_channel_pair(channel), 0);
	CU_ASSERT_EQUAL_FATAL(pcidipc_producer_ring_create(&p, sq, cq, 0, &fd), 0);
	close(fd);
	c = (struct pcidipc_consumer_ring){
		.map = p.map}; /* the same addresses, not a second mapping */
	CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, produce, &served), 0);
	CU_ASSERT_EQUAL(consume(), REQUESTS);
	CU_ASSERT_EQUAL(pthread_join(thread, NULL), 0);
	CU_ASSERT_EQUAL(served, REQUESTS);
	CU_ASSERT_EQUAL(p.error, 0);
	CU_ASSERT_EQUAL(c.error, 0);
	pcidipc_producer_ring_unmap(&p);
	close(channel[0]);
	close(channel[1]);
}

static void test_spinning(void)
{
	exchange(false, 64, 128);
}

static void test_sleeping(void)
{
	exchange(true, 64, 128);
}

/* One request at a time: every index is published for itself. */
static void test_smallest(void)
{
	exchange(true, 2, 2);
}

static CU_TestInfo tests[] = {
	{"both spin", test_spinning},
	{"both sleep", test_sleeping},
	{"the smallest ring", test_smallest},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	pcidipc_log_init("test_threads", 0);
	return run_tests("threads", tests);
}
