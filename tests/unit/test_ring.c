/* SPDX-License-Identifier: MIT */
/* The ring without its library: in one process, where every step is seen, and under two that sleep
 * and wake. */
#include "harness.h"
#include <fcntl.h>
#include <pcidipc/channel.h>
#include <pcidipc/log.h>
#include <pcidipc/ring.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define NEAR_WRAP 0xfffffff0u

static struct pcidipc_producer_ring p;
static struct pcidipc_consumer_ring c;

/* A ring that has done `start` requests before. */
static void make(uint32_t sq, uint32_t cq, uint32_t features, uint32_t start)
{
	struct ringabi_ring *shared;
	int fd = -1;

	CU_ASSERT_EQUAL_FATAL(pcidipc_producer_ring_create(&p, sq, cq, features, &fd), 0);
	CU_ASSERT_EQUAL_FATAL(pcidipc_consumer_ring_attach(&c, fd, features), 0);
	close(fd);
	shared = p.map.shared;
	shared->sq_tail = shared->sq_head = shared->cq_tail = shared->cq_head = start;
	p.sq_head = p.sq_head_told = p.sq_head_woke = p.sq_tail = start;
	p.cq_tail = p.cq_tail_told = p.cq_head = start;
	c.sqe_tail = c.sq_tail = c.sq_head = c.cq_head = c.cq_head_told = c.cq_tail = start;
}

static void unmake(void)
{
	pcidipc_producer_ring_unmap(&p);
	pcidipc_consumer_ring_unmap(&c);
}

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

/* ---- attaching ---- */

static int refuse(uint32_t features, int seals, unsigned memfd_flags,
		  void (*spoil)(struct ringabi_ring *))
{
	struct pcidipc_producer_ring good;
	struct pcidipc_consumer_ring ring;
	struct ringabi_ring header;
	size_t bytes;
	int fd, ret;

	CU_ASSERT_EQUAL_FATAL(pcidipc_producer_ring_create(&good, 4, 8, 0, &fd), 0);
	header = *good.map.shared;
	bytes = header.bytes;
	pcidipc_producer_ring_unmap(&good);
	close(fd);
	if (memfd_flags & MFD_HUGETLB)
		header.bytes = bytes = 2 << 20;
	fd = memfd_create("test", MFD_ALLOW_SEALING | memfd_flags);
	if (fd < 0)
		return -errno;
	if (spoil)
		spoil(&header);
	CU_ASSERT_EQUAL_FATAL(ftruncate(fd, (off_t)bytes), 0);
	if (!(memfd_flags & MFD_HUGETLB))
		CU_ASSERT_EQUAL_FATAL(pwrite(fd, &header, sizeof(header), 0), sizeof(header));
	CU_ASSERT_EQUAL_FATAL(fcntl(fd, F_ADD_SEALS, seals), 0);
	ret = pcidipc_consumer_ring_attach(&ring, fd, features);
	CU_ASSERT_PTR_NULL(ret ? ring.map.shared : NULL);
	pcidipc_consumer_ring_unmap(&ring);
	close(fd);
	return ret;
}

#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define SPOIL(name, statement)                   \
	static void name(struct ringabi_ring *r) \
	{                                        \
		statement;                       \
	}
SPOIL(bad_magic, r->magic++)
SPOIL(bad_version, r->version_major++)
SPOIL(next_minor, r->version_minor++)
SPOIL(bad_features, r->features = RINGABI_RING_CQE32)
SPOIL(bad_sq, r->sq_entries = 3)
SPOIL(no_sq, r->sq_entries = 0)
SPOIL(huge_sq, r->sq_entries = 0x80000000)
SPOIL(huge_cq, r->cq_entries = 0x80000000)
SPOIL(long_cq, r->cq_entries = 32768)
SPOIL(short_cq, r->cq_entries = 2)
SPOIL(bad_bytes, r->bytes += 4096)
SPOIL(small_bytes, r->bytes = 0)
SPOIL(sq_in_header, r->sq_offset = 0)
SPOIL(cq_in_header, r->cq_offset = 4032)
SPOIL(sq_crooked, r->sq_offset += 8)
SPOIL(cq_crooked, r->cq_offset += 16)
SPOIL(sq_beyond, r->sq_offset = 0xffffffc0)
SPOIL(cq_beyond, r->cq_offset = 0xffffffc0)
SPOIL(overlap, r->cq_offset = r->sq_offset + 64)

static void test_headers(void)
{
	static void (*const spoils[])(struct ringabi_ring *) = {
		bad_magic,    bad_version, bad_features, bad_sq,    no_sq,	 huge_sq,
		huge_cq,      long_cq,	   short_cq,	 bad_bytes, small_bytes, sq_in_header,
		cq_in_header, sq_crooked,  cq_crooked,	 sq_beyond, cq_beyond,	 overlap,
	};

	CU_ASSERT_EQUAL(refuse(0, ALL_SEALS, 0, NULL), 0);
	CU_ASSERT_EQUAL(refuse(0, ALL_SEALS, 0, next_minor), 0);
	for (size_t i = 0; i < sizeof(spoils) / sizeof(spoils[0]); i++)
		CU_ASSERT_EQUAL(refuse(0, ALL_SEALS, 0, spoils[i]), -EPROTO);
	CU_ASSERT_EQUAL(refuse(RINGABI_RING_CQE32, ALL_SEALS, 0, NULL), -EPROTO);
}

static void test_memfds(void)
{
	struct pcidipc_consumer_ring ring;
	int ends[2], ret;

	CU_ASSERT_EQUAL(refuse(0, F_SEAL_SHRINK | F_SEAL_GROW, 0, NULL), -EPROTO);
	CU_ASSERT_EQUAL(refuse(0, F_SEAL_SHRINK | F_SEAL_SEAL, 0, NULL), -EPROTO);
	CU_ASSERT_EQUAL(refuse(0, F_SEAL_GROW | F_SEAL_SEAL, 0, NULL), -EPROTO);
	CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
	CU_ASSERT_EQUAL(pcidipc_consumer_ring_attach(&ring, ends[0], 0), -EPROTO);
	close(ends[0]);
	close(ends[1]);
	/* Huge pages: there may be none left when it is touched. Kernels may come without them. */
	ret = refuse(0, ALL_SEALS, MFD_HUGETLB, NULL);
	CU_ASSERT_TRUE(ret == -EPROTO || ret == -EINVAL || ret == -ENOSYS);
}

static void test_sizes(void)
{
	static const uint32_t wrong[][2] = {{0, 0}, {1, 2},	    {3, 4},    {4, 6},
					    {8, 4}, {65536, 65536}, {4, 65536}};
	struct pcidipc_producer_ring ring;
	int fd;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		CU_ASSERT_EQUAL(
			pcidipc_producer_ring_create(&ring, wrong[i][0], wrong[i][1], 0, &fd),
			-EINVAL);
	make(2, 2, 0, 0);
	unmake();
	make(32768, 32768, RINGABI_RING_CQE32, 0);
	unmake();
}

/* ---- two processes ---- */

/* How a run is done. */
struct run {
	uint32_t sq, cq, features, start;
	uint32_t total;
	uint32_t depth; /* most in flight; 0: as many as fit the SQ and the CQ, and only then are
			   CQEs taken */
	bool consumer_sleeps, producer_sleeps;
};

struct side {
	int channel;
	unsigned sleeps, wakes;
};

static void wake(struct side *side, bool needed)
{
	if (!needed)
		return;
	side->wakes++;
	pcidipc_channel_wake(side->channel);
}

static void sleep_on(struct side *side)
{
	struct pollfd fd = {.fd = side->channel, .events = POLLIN};

	side->sleeps++;
	poll(&fd, 1, -1);
}

static void empty_channel(struct side *side)
{
	struct pcidipc_packet packet;

	pcidipc_channel_receive(side->channel, &packet, NULL);
}

static void producer_idle(struct side *side, bool sleeps)
{
	if (!sleeps) {
		sched_yield();
		return;
	}
	pcidipc_set_need_wakeup(&p.map.shared->producer_need_wakeup);
	if (!pcidipc_producer_ring_ready(&p))
		sleep_on(side);
	pcidipc_clear_need_wakeup(&p.map.shared->producer_need_wakeup);
	empty_channel(side);
}

static int produce(int channel, const struct run *run)
{
	struct side side = {.channel = channel};
	struct io_uring_sqe sqe;
	uint32_t n = 0;

	while (n < run->total) {
		uint32_t before = n;

		for (; n - before < 32 && pcidipc_ring_next_sqe(&p, &sqe) == 1; n++) {
			if (sqe.user_data != n || sqe.addr != ~(uint64_t)n || sqe.len != n * 3)
				return 1;
			pcidipc_ring_post_cqe(&p, sqe.user_data, (int32_t)(n & 0x7fffffff), n,
					      (uint64_t[]){~(uint64_t)n, n * 5ull});
		}
		if (p.error)
			return 2;
		wake(&side, pcidipc_ring_publish_cq(&p));
		if (n == before)
			producer_idle(&side, run->producer_sleeps);
	}
	return 0;
}

static void consumer_idle(struct side *side, bool sleeps)
{
	if (!sleeps) {
		sched_yield();
		return;
	}
	pcidipc_set_need_wakeup(&c.map.shared->consumer_need_wakeup);
	if (!pcidipc_consumer_ring_ready(&c))
		sleep_on(side);
	pcidipc_clear_need_wakeup(&c.map.shared->consumer_need_wakeup);
	empty_channel(side);
}

static uint32_t send_some(struct side *side, const struct run *run, uint32_t sent, uint32_t got)
{
	uint32_t most = run->depth ? run->depth : run->sq + run->cq;
	struct io_uring_sqe *sqe;

	do {
		while (sent < run->total && sent - got < most && (sqe = pcidipc_ring_get_sqe(&c))) {
			sqe->user_data = sent;
			sqe->addr = ~(uint64_t)sent;
			sqe->len = sent++ * 3;
		}
		wake(side, pcidipc_ring_publish_sq(&c));
		if (!run->depth && sent < run->total && sent - got < most)
			sched_yield(); /* until all is full */
	} while (!run->depth && !c.error && sent < run->total && sent - got < most);
	return sent;
}

static bool cqe_right(const struct pcidipc_cqe *cqe, uint32_t n)
{
	bool big = c.map.cqe_shift == 5;

	return cqe->user_data == n && cqe->res == (int32_t)(n & 0x7fffffff) && cqe->flags == n &&
	       cqe->big[0] == (big ? ~(uint64_t)n : 0) && cqe->big[1] == (big ? n * 5ull : 0);
}

static unsigned consume(int channel, const struct run *run)
{
	struct side side = {.channel = channel};
	uint32_t sent = 0, got = 0, wrong = 0;
	struct pcidipc_cqe cqe;

	while (got < run->total && !c.error) {
		uint32_t before = got;

		sent = send_some(&side, run, sent, got);
		for (; pcidipc_ring_peek_cqe(&c, &cqe) == 1; got++) {
			wrong += !cqe_right(&cqe, got);
			pcidipc_ring_cqe_seen(&c);
		}
		wake(&side, pcidipc_ring_publish_sq(&c));
		if (got == before)
			consumer_idle(&side, run->consumer_sleeps);
	}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(got, run->total);
	CU_ASSERT_EQUAL(c.error, 0);
	return side.sleeps;
}

static unsigned two_processes(const struct run *run)
{
	int ends[2], status = -1;
	unsigned sleeps;
	pid_t pid;

	make(run->sq, run->cq, run->features, run->start);
	CU_ASSERT_EQUAL_FATAL(pcidipc_channel_pair(ends), 0);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(TEST_SECONDS);
		close(ends[1]);
		_exit(produce(ends[0], run));
	}
	close(ends[0]);
	sleeps = consume(ends[1], run);
	close(ends[1]);
	waitpid(pid, &status, 0);
	CU_ASSERT_EQUAL(status, 0);
	unmake();
	return sleeps;
}

static void sleeping(bool consumer_sleeps, bool producer_sleeps)
{
	struct run run = {.consumer_sleeps = consumer_sleeps, .producer_sleeps = producer_sleeps};
	/* Who spins while others want the CPU gets a round done per time slice. */
	uint32_t rounds = consumer_sleeps && producer_sleeps ? 5000 : 500;

	run.sq = 4096, run.cq = 8192, run.start = NEAR_WRAP, run.total = 1000000, run.depth = 8192;
	two_processes(&run); /* the pipe kept full */
	run.sq = 2, run.cq = 2, run.total = 4 * rounds, run.depth = 0;
	two_processes(&run); /* the SQ full, and the CQ */
	run.sq = 4, run.cq = 16, run.total = 8 * rounds, run.features = RINGABI_RING_CQE32;
	two_processes(&run);
	run.sq = run.cq = 8, run.total = rounds, run.depth = 1;
	two_processes(&run); /* to and fro */
}

static void test_nobody_sleeps(void)
{
	struct run run = {
		.sq = 16384, .cq = 32768, .total = 3000000, .depth = 32768, .start = NEAR_WRAP};

	CU_ASSERT_EQUAL(two_processes(&run), 0);
	run.features = RINGABI_RING_CQE32;
	CU_ASSERT_EQUAL(two_processes(&run), 0);
	sleeping(false, false);
}

static void test_consumer_sleeps(void)
{
	sleeping(true, false);
}

static void test_producer_sleeps(void)
{
	sleeping(false, true);
}

static void test_both_sleep(void)
{
	struct run run = {.sq = 2,
			  .cq = 2,
			  .total = 2000,
			  .depth = 1,
			  .consumer_sleeps = true,
			  .producer_sleeps = true};

	sleeping(true, true);
	CU_ASSERT_TRUE(two_processes(&run) > 0);
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
	{"headers that are refused", test_headers},
	{"memory that is refused", test_memfds},
	{"sizes that are refused", test_sizes},
	{"one wake per sleep", test_wakes},
	{"space in the SQ wakes who waits for it", test_sq_space},
	{"space in the CQ wakes who waits for it", test_cq_space},
	{"two processes, nobody sleeps", test_nobody_sleeps},
	{"two processes, the consumer sleeps", test_consumer_sleeps},
	{"two processes, the producer sleeps", test_producer_sleeps},
	{"two processes, both sleep", test_both_sleep},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	pcidipc_log_init("test_ring", 0);
	return run_tests("ring", tests);
}
