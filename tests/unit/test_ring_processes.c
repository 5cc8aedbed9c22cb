/* SPDX-License-Identifier: MIT */
/* The ring without its library, under two processes that sleep and wake. */
#include <pcidipc/channel.h>
#include <pcidipc/log.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "ringpair.h"

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

static CU_TestInfo tests[] = {
	{"nobody sleeps", test_nobody_sleeps},
	{"the consumer sleeps", test_consumer_sleeps},
	{"the producer sleeps", test_producer_sleeps},
	{"both sleep", test_both_sleep},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	pcidipc_log_init("test_ring_processes", 0);
	return run_tests("ring, two processes", tests);
}
