/* SPDX-License-Identifier: MIT */
/* The ring without its library, in one process, where every step is seen. */
#include <pcidipc/log.h>

#include "ringpair.h"

static bool fill(uint64_t user_data)
{
	struct io_uring_sqe *sqe = pcidipc_ring_get_sqe(&c);

	if (!sqe)
		return false;
	*sqe = (struct io_uring_sqe){.user_data = user_data};
	return true;
}

static int serve(unsigned most)
{
	struct io_uring_sqe sqe;
	unsigned n = 0;

	while (n < most && pcidipc_ring_next_sqe(&p, &sqe) == 1) {
		pcidipc_ring_post_cqe(&p, sqe.user_data, (int)n, 0,
				      (uint64_t[]){~sqe.user_data, 7});
		n++;
	}
	pcidipc_ring_publish_cq(&p);
	return (int)n;
}

static unsigned reap(uint64_t *next)
{
	struct pcidipc_cqe cqe;
	unsigned n = 0;

	for (; pcidipc_ring_peek_cqe(&c, &cqe) == 1; n++) {
		CU_ASSERT_EQUAL(cqe.user_data, *next);
		CU_ASSERT_EQUAL(cqe.big[0], c.map.cqe_shift == 5 ? ~*next : 0);
		++*next;
		pcidipc_ring_cqe_seen(&c);
	}
	return n;
}

/* Both queues fill up, and nothing is overwritten; over the counters' end. */
static void fill_and_empty(uint32_t sq, uint32_t cq, uint32_t features, uint32_t start)
{
	uint64_t sent = 0, got = 0;

	make(sq, cq, features, start);
	for (int round = 0; round < 40; round++) {
		while (fill(sent))
			sent++;
		CU_ASSERT_EQUAL(sent - got, sq); /* the SQ's worth, no more */
		CU_ASSERT_EQUAL(pcidipc_ring_sq_space(&c), 0);
		pcidipc_ring_publish_sq(&c);
		for (uint32_t room = cq; room; room -= sq) {
			CU_ASSERT_EQUAL(serve(1000), (int)sq);
			if (room == sq)
				break;
			while (fill(sent))
				sent++;
			pcidipc_ring_publish_sq(&c);
		}
		while (fill(sent))
			sent++;
		pcidipc_ring_publish_sq(&c);
		CU_ASSERT_EQUAL(sent - got, sq + cq);
		CU_ASSERT_EQUAL(serve(1000), 0); /* the CQ is full */
		CU_ASSERT_FALSE(pcidipc_producer_ring_ready(&p));
		CU_ASSERT_EQUAL(reap(&got), cq);
		CU_ASSERT_EQUAL(serve(1000), 0); /* it has not been told */
		pcidipc_ring_publish_sq(&c);
		CU_ASSERT_TRUE(pcidipc_producer_ring_ready(&p));
		CU_ASSERT_EQUAL(serve(1000), (int)sq);
		CU_ASSERT_EQUAL(reap(&got), sq);
		pcidipc_ring_publish_sq(&c);
		CU_ASSERT_EQUAL(got, sent);
	}
	CU_ASSERT_FALSE(p.error || c.error);
	unmake();
}

static void test_full(void)
{
	fill_and_empty(2, 2, 0, 0);
	fill_and_empty(2, 8, 0, 0);
	fill_and_empty(64, 128, 0, 0);
	fill_and_empty(64, 64, RINGABI_RING_CQE32, 0);
	fill_and_empty(8, 32768, RINGABI_RING_CQE32, 0);
}

static void test_wrap(void)
{
	fill_and_empty(2, 2, 0, NEAR_WRAP);
	fill_and_empty(64, 128, 0, NEAR_WRAP);
	fill_and_empty(4, 8, RINGABI_RING_CQE32, NEAR_WRAP);
}

/* A slot is held from the moment that an SQE is taken, and given back in silence too. */
static void test_slots(void)
{
	struct io_uring_sqe sqe;

	make(4, 4, 0, NEAR_WRAP);
	for (int i = 0; i < 4; i++)
		CU_ASSERT_TRUE(fill((uint64_t)i));
	pcidipc_ring_publish_sq(&c);
	for (int i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(pcidipc_ring_next_sqe(&p, &sqe), 1);
	pcidipc_ring_publish_cq(&p);
	CU_ASSERT_TRUE(fill(4));
	pcidipc_ring_publish_sq(&c);
	CU_ASSERT_EQUAL(pcidipc_ring_next_sqe(&p, &sqe), 0);
	CU_ASSERT_FALSE(pcidipc_producer_ring_ready(&p));
	pcidipc_ring_skip_cqe(&p);
	CU_ASSERT_TRUE(pcidipc_producer_ring_ready(&p));
	CU_ASSERT_EQUAL(pcidipc_ring_next_sqe(&p, &sqe), 1);
	CU_ASSERT_EQUAL(sqe.user_data, 4);
	unmake();
}

/* What one store of a hostile side does to the other. `word` may be ahead of what it was by `most`.
 */
static void expect_limit(uint32_t *word, uint32_t was, uint32_t most, int (*look)(void))
{
	const uint32_t wrong[] = {was + most + 1, was - 1, was + 0x80000000u,
				  was + most + 0x10000u};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		*word = wrong[i];
		CU_ASSERT_EQUAL(look(), -EPROTO);
		p.error = c.error = 0;
	}
	*word = was + most;
	CU_ASSERT_TRUE(look() >= 0);
	CU_ASSERT_FALSE(p.error || c.error);
}

static int look_sqe(void)
{
	struct pcidipc_producer_ring saved = p;
	struct io_uring_sqe sqe;
	int ret = pcidipc_ring_next_sqe(&p, &sqe);

	CU_ASSERT_EQUAL(p.error, ret < 0 ? ret : 0);
	p = saved;
	return ret;
}

static int look_cqe(void)
{
	struct pcidipc_consumer_ring saved = c;
	struct pcidipc_cqe cqe;
	int ret = pcidipc_ring_peek_cqe(&c, &cqe);

	CU_ASSERT_EQUAL(c.error, ret < 0 ? ret : 0);
	c = saved;
	return ret;
}

static int look_space(void)
{
	struct pcidipc_consumer_ring saved = c;
	int ret;

	pcidipc_ring_sq_space(&c);
	ret = c.error;
	c = saved;
	CU_ASSERT_PTR_NULL(ret ? pcidipc_ring_get_sqe(&c) : NULL);
	ret = ret ? c.error : 0;
	c = saved;
	return ret;
}

static void hostile_indices(uint32_t start)
{
	uint64_t got = 0;

	make(4, 8, 0, start);
	expect_limit(&p.map.shared->sq_tail, start, 4, look_sqe);
	p.map.shared->sq_tail = start;
	expect_limit(&p.map.shared->cq_tail, start, 8, look_cqe);
	p.map.shared->cq_tail = start;

	/* The SQ full and published, the CQ full too. */
	for (uint64_t i = 0; i < 8; i++) {
		CU_ASSERT_TRUE(fill(i));
		pcidipc_ring_publish_sq(&c);
		CU_ASSERT_EQUAL(serve(1), 1);
	}
	while (fill(99))
		;
	pcidipc_ring_publish_sq(&c);
	expect_limit(&p.map.shared->sq_head, start + 8, 4, look_space);
	p.map.shared->sq_head = start + 8;
	expect_limit(&p.map.shared->cq_head, start, 8, look_sqe);
	p.map.shared->cq_head = start;
	CU_ASSERT_EQUAL(reap(&got), 8);
	unmake();
}

static void test_hostile_indices(void)
{
	hostile_indices(0);
	hostile_indices(NEAR_WRAP);
	hostile_indices(0xfffffffcu);
}

/* One sleep costs one wake, however much is published meanwhile; none when nobody sleeps. */
static void test_wakes(void)
{
	make(8, 8, 0, 0);
	fill(1);
	CU_ASSERT_FALSE(pcidipc_ring_publish_sq(&c));
	pcidipc_set_need_wakeup(&p.map.shared->producer_need_wakeup);
	CU_ASSERT_FALSE(pcidipc_ring_publish_sq(&c)); /* nothing new */
	fill(2);
	CU_ASSERT_TRUE(pcidipc_ring_publish_sq(&c));
	fill(3);
	CU_ASSERT_FALSE(pcidipc_ring_publish_sq(&c));
	pcidipc_set_need_wakeup(&c.map.shared->consumer_need_wakeup);
	CU_ASSERT_EQUAL(serve(0), 0);
	CU_ASSERT_EQUAL(c.map.shared->consumer_need_wakeup, 1);
	CU_ASSERT_EQUAL(serve(3), 3);
	CU_ASSERT_EQUAL(c.map.shared->consumer_need_wakeup, 0);
	unmake();
}

/* Take an SQE, and publish only that. */
static bool take_wakes(void)
{
	struct io_uring_sqe sqe;

	CU_ASSERT_EQUAL(pcidipc_ring_next_sqe(&p, &sqe), 1);
	pcidipc_ring_skip_cqe(&p);
	return pcidipc_ring_publish_cq(&p);
}

/* How many SQEs are taken until a consumer that filled the SQ and sleeps is woken. */
static unsigned taken_until_woken(void)
{
	unsigned n = 1;

	while (fill(0))
		;
	pcidipc_ring_publish_sq(&c);
	pcidipc_set_need_wakeup(&c.map.shared->consumer_need_wakeup);
	while (!take_wakes() && n < c.map.sq_entries)
		n++;
	CU_ASSERT_EQUAL(c.map.shared->consumer_need_wakeup, 0);
	return n;
}

/* A consumer that waits for a CQE sleeps on while SQEs are taken; one that waits until half the SQ
 * is free hears of it, wherever the producer stood when it was tested last. */
static void test_sq_space(void)
{
	make(8, 8, 0, NEAR_WRAP);
	pcidipc_set_need_wakeup(&c.map.shared->consumer_need_wakeup);
	for (int i = 0; i < 3; i++) {
		fill(0);
		pcidipc_ring_publish_sq(&c);
		CU_ASSERT_FALSE(take_wakes());
	}
	CU_ASSERT_EQUAL(taken_until_woken(), 1); /* the fourth since the start */
	CU_ASSERT_EQUAL(pcidipc_ring_sq_space(&c), 1);
	CU_ASSERT_FALSE(take_wakes());
	CU_ASSERT_EQUAL(taken_until_woken(), 3);
	CU_ASSERT_EQUAL(taken_until_woken(), 4);
	unmake();
	make(2, 2, 0, 0);
	CU_ASSERT_EQUAL(taken_until_woken(), 2);
	unmake();
}

/* A producer that waits for a CQ slot has an SQE that it has not taken; without one it sleeps on.
 */
static void test_cq_space(void)
{
	uint64_t next = 0;

	make(2, 2, 0, 0);
	fill(0);
	pcidipc_ring_publish_sq(&c);
	CU_ASSERT_EQUAL(serve(1), 1);
	pcidipc_set_need_wakeup(&p.map.shared->producer_need_wakeup);
	CU_ASSERT_EQUAL(reap(&next), 1);
	CU_ASSERT_FALSE(pcidipc_ring_publish_sq(&c));
	CU_ASSERT_EQUAL(p.map.shared->producer_need_wakeup, 1);

	for (uint64_t i = 1; i < 3; i++)
		fill(i);
	pcidipc_ring_publish_sq(&c);
	CU_ASSERT_EQUAL(serve(2), 2);
	fill(3);
	pcidipc_ring_publish_sq(&c);
	CU_ASSERT_EQUAL(serve(1), 0); /* the CQ is full */
	pcidipc_set_need_wakeup(&p.map.shared->producer_need_wakeup);
	CU_ASSERT_FALSE(pcidipc_producer_ring_ready(&p));
	CU_ASSERT_EQUAL(reap(&next), 2);
	CU_ASSERT_TRUE(pcidipc_ring_publish_sq(&c));
	CU_ASSERT_TRUE(pcidipc_producer_ring_ready(&p));
	unmake();
}

static CU_TestInfo tests[] = {
	{"full queues", test_full},
	{"the counters' end", test_wrap},
	{"an SQE holds a CQ slot", test_slots},
	{"run-away indices", test_hostile_indices},
	{"one wake per sleep", test_wakes},
	{"space in the SQ wakes who waits for it", test_sq_space},
	{"space in the CQ wakes who waits for it", test_cq_space},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	pcidipc_log_init("test_ring", 0);
	return run_tests("ring", tests);
}
