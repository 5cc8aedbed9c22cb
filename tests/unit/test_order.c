/* SPDX-License-Identifier: MIT */
/* Which request runs when: chains, drains, silent requests, cancellation, as in Linux. */
#include "rigsession.h"

#define LINK IOSQE_IO_LINK
#define HARDLINK IOSQE_IO_HARDLINK
#define DRAIN IOSQE_IO_DRAIN
#define SKIP IOSQE_CQE_SKIP_SUCCESS

static void expect_nothing(void)
{
	struct pcidipc_cqe cqe;

	CU_ASSERT_EQUAL(rig_do(&rig, RIG_ECHO, 0, 0), 0);
	CU_ASSERT_EQUAL(pcidipc_next_cqe(c, &cqe), 0);
}

static void test_in_order(void)
{
	start(8, 8);
	for (char i = '1'; i <= '5'; i++)
		put(c, i, RIG_ECHO, (uint32_t)i, 0);
	for (char i = '1'; i <= '5'; i++)
		expect_cqe(c, i, i);
	rig_expect(&rig, "R1R2R3R4R5");
	stop();
}

static void test_out_of_order(void)
{
	start(8, 8);
	put(c, '1', RIG_HOLD, 0, 0);
	put(c, '2', RIG_HOLD, 0, 0);
	put(c, '3', RIG_ECHO, 7, 0);
	expect_cqe(c, '3', 7);
	rig_release(&rig, '2', 22);
	expect_cqe(c, '2', 22);
	rig_release(&rig, '1', -EIO);
	expect_cqe(c, '1', -EIO);
	stop();
}

static void test_link_waits(void)
{
	start(8, 8);
	put(c, '1', RIG_HOLD, 0, LINK);
	put(c, '2', RIG_HOLD, 0, LINK);
	put(c, '3', RIG_ECHO, 3, 0);
	put(c, '4', RIG_ECHO, 4, 0); /* not of the chain */
	expect_cqe(c, '4', 4);
	rig_expect(&rig, "H1R4");
	rig_release(&rig, '1', 1);
	rig_expect(&rig, "L1H2");
	rig_release(&rig, '2', 2);
	rig_expect(&rig, "L2R3");
	expect_cqe(c, '1', 1);
	expect_cqe(c, '2', 2);
	expect_cqe(c, '3', 3);
	stop();
}

static void test_link_fails(void)
{
	start(8, 8);
	put(c, '1', RIG_HOLD, 0, LINK);
	put(c, '2', RIG_ECHO, 2, LINK);
	put(c, '3', RIG_ECHO, 3, 0);
	put(c, '4', RIG_ECHO, 4, 0);
	expect_cqe(c, '4', 4);
	rig_release(&rig, '1', -EIO);
	expect_cqe(c, '1', -EIO);
	expect_cqe(c, '2', -ECANCELED);
	expect_cqe(c, '3', -ECANCELED);
	rig_expect(&rig, "H1R4L1"); /* the canceled ones never began */
	stop();
}

/* The head fails before its members are looked at. */
static void test_link_fails_at_once(void)
{
	start(8, 8);
	put(c, '1', RIG_ECHO, (uint32_t)-EIO, LINK);
	put(c, '2', RIG_ECHO, 2, LINK);
	put(c, '3', RIG_ECHO, 3, 0);
	put(c, '4', RIG_ECHO, 4, 0);
	expect_cqe(c, '1', -EIO);
	expect_cqe(c, '2', -ECANCELED);
	expect_cqe(c, '3', -ECANCELED);
	expect_cqe(c, '4', 4);
	rig_expect(&rig, "R1R4");
	stop();
}

static void test_hardlink(void)
{
	start(8, 8);
	put(c, '1', RIG_HOLD, 0, HARDLINK);
	put(c, '2', RIG_ECHO, (uint32_t)-EIO, HARDLINK);
	put(c, '3', RIG_ECHO, (uint32_t)-EIO, LINK);
	put(c, '4', RIG_ECHO, 4, HARDLINK);
	put(c, '5', RIG_ECHO, 5, 0);
	pcidipc_submit(c);
	rig_expect(&rig, "H1");
	rig_release(&rig, '1', -EBUSY);
	expect_cqe(c, '1', -EBUSY);
	expect_cqe(c, '2', -EIO);
	expect_cqe(c, '3', -EIO);
	expect_cqe(c, '4', -ECANCELED);
	expect_cqe(c, '5', -ECANCELED);
	rig_expect(&rig, "L1R2R3");
	stop();
}

static void test_unknown_breaks_chain(void)
{
	struct io_uring_sqe *sqe;

	start(8, 8);
	sqe = put(c, '1', 0, 0, LINK);
	sqe->opcode = IORING_OP_TEE; /* not served here */
	put(c, '2', RIG_ECHO, 2, 0);
	expect_cqe(c, '1', -EOPNOTSUPP);
	expect_cqe(c, '2', -ECANCELED);
	sqe = put(c, '3', RIG_ECHO, 3, LINK | IOSQE_BUFFER_SELECT);
	put(c, '4', RIG_ECHO, 4, 0);
	expect_cqe(c, '3', -EINVAL);
	expect_cqe(c, '4', -ECANCELED);
	sqe = put(c, '5', RIG_ECHO, 3, 0);
	sqe->personality = 1;
	expect_cqe(c, '5', -EINVAL);
	stop();
}

/* The publisher stopped after '1': its link flag leads nowhere. */
static void test_chain_ends_at_tail(void)
{
	start(8, 8);
	put(c, '1', RIG_HOLD, 0, LINK);
	pcidipc_submit(c);
	rig_expect(&rig, "H1");
	put(c, '2', RIG_ECHO, 2, 0);
	expect_cqe(c, '2', 2);
	rig_release(&rig, '1', -EIO);
	expect_cqe(c, '1', -EIO);
	stop();
}

/* Six hold a CQ slot each: the chain's members are taken two by two, as slots come free. */
static void test_chain_longer_than_cq(void)
{
	start(8, 8);
	for (char i = '1'; i <= '6'; i++)
		put(c, i, RIG_HOLD, 0, 0);
	pcidipc_submit(c);
	rig_expect(&rig, "H1H2H3H4H5H6");
	while (pcidipc_sq_space(c) < 8)
		;
	put(c, 'a', RIG_ECHO, 1, LINK);
	put(c, 'b', RIG_ECHO, 2, LINK);
	put(c, 'c', RIG_ECHO, 3, LINK);
	put(c, 'd', RIG_ECHO, (uint32_t)-EIO, LINK);
	put(c, 'e', RIG_ECHO, 5, LINK);
	put(c, 'f', RIG_ECHO, 6, 0);
	put(c, 'g', RIG_ECHO, 7, 0);
	for (char i = 'a'; i <= 'c'; i++)
		expect_cqe(c, i, i - 'a' + 1);
	expect_cqe(c, 'd', -EIO);
	expect_cqe(c, 'e', -ECANCELED);
	expect_cqe(c, 'f', -ECANCELED);
	expect_cqe(c, 'g', 7);
	rig_expect(&rig, "RaRbRcRdRg");
	for (char i = '1'; i <= '6'; i++) {
		rig_release(&rig, (__u64)i, i);
		expect_cqe(c, i, i);
	}
	stop();
}

/* More than is taken in one turn, one chain of it, and it fails at its end. */
static void test_chain_of_256(void)
{
	start(256, 256);
	put(c, 'h', RIG_HOLD, 0, LINK);
	for (int i = 1; i < 255; i++)
		put(c, 'n', RIG_ECHO, (uint32_t)i, LINK)->user_data = 1000;
	put(c, 'z', RIG_ECHO, 5, 0);
	pcidipc_submit(c);
	rig_expect(&rig, "Hh");
	rig_release(&rig, 'h', 0);
	expect_cqe(c, 'h', 0);
	for (int i = 1; i < 255; i++) {
		struct pcidipc_cqe cqe = {0};

		CU_ASSERT_EQUAL(pcidipc_submit_and_wait(c, 1), 0);
		CU_ASSERT_EQUAL(pcidipc_next_cqe(c, &cqe), 1);
		CU_ASSERT_EQUAL(cqe.res, i);
	}
	expect_cqe(c, 'z', 5);
	rig_expect(&rig, "LhRz");
	stop();
}

static void test_drain(void)
{
	start(8, 8);
	put(c, '1', RIG_HOLD, 0, 0);
	put(c, '2', RIG_HOLD, 0, 0);
	put(c, '3', RIG_HOLD, 0, DRAIN);
	put(c, '4', RIG_ECHO, 4, 0);
	pcidipc_submit(c);
	rig_expect(&rig, "H1H2");
	rig_release(&rig, '2', 2);
	expect_cqe(c, '2', 2);
	expect_nothing();
	rig_release(&rig, '1', 1);
	rig_expect(&rig, "L2L1H3"); /* 4 waits for 3 */
	expect_cqe(c, '1', 1);
	expect_nothing();
	rig_release(&rig, '3', 3);
	rig_expect(&rig, "L3R4");
	expect_cqe(c, '3', 3);
	expect_cqe(c, '4', 4);
	stop();
}

static void test_drain_alone(void)
{
	start(8, 8);
	put(c, '1', RIG_ECHO, 1, DRAIN);
	put(c, '2', RIG_ECHO, 2, DRAIN);
	put(c, '3', RIG_ECHO, 3, DRAIN);
	expect_cqe(c, '1', 1);
	expect_cqe(c, '2', 2);
	expect_cqe(c, '3', 3);
	stop();
}

static void test_drain_waits_for_chain(void)
{
	start(8, 8);
	put(c, '1', RIG_HOLD, 0, LINK);
	put(c, '2', RIG_HOLD, 0, 0);
	put(c, '3', RIG_ECHO, 3, DRAIN);
	pcidipc_submit(c);
	rig_expect(&rig, "H1");
	rig_release(&rig, '1', 1);
	rig_expect(&rig, "L1H2");
	rig_release(&rig, '2', 2);
	rig_expect(&rig, "L2R3");
	expect_cqe(c, '1', 1);
	expect_cqe(c, '2', 2);
	expect_cqe(c, '3', 3);
	stop();
}

/* A chain whose head drains: what comes after waits for the whole chain, also when the head is done
 * at once. */
static void drain_heads_chain(uint32_t head)
{
	start(8, 8);
	put(c, '1', head, 1, DRAIN | LINK);
	put(c, '2', RIG_HOLD, 0, 0);
	put(c, '3', RIG_ECHO, 3, 0);
	pcidipc_submit(c);
	if (head == RIG_HOLD) {
		rig_expect(&rig, "H1");
		rig_release(&rig, '1', 1);
		rig_expect(&rig, "L1");
	} else {
		rig_expect(&rig, "R1");
	}
	rig_expect(&rig, "H2");
	expect_cqe(c, '1', 1);
	expect_nothing();
	rig_release(&rig, '2', 2);
	rig_expect(&rig, "L2R3");
	expect_cqe(c, '2', 2);
	expect_cqe(c, '3', 3);
	stop();
}

static void test_drain_heads_chain(void)
{
	drain_heads_chain(RIG_HOLD);
	drain_heads_chain(RIG_ECHO);
}

/* A chain that is stalled as a whole and fails when it comes to it. */
static void test_stalled_chain_fails(void)
{
	start(16, 16);
	put(c, '1', RIG_HOLD, 0, 0);
	put(c, '2', RIG_ECHO, 2, DRAIN);
	put(c, '3', RIG_ECHO, (uint32_t)-EIO, LINK);
	put(c, '4', RIG_ECHO, 4, LINK);
	put(c, '5', RIG_ECHO, 5, 0);
	put(c, '6', RIG_ECHO, 6, DRAIN);
	put(c, '7', RIG_ECHO, 7, 0);
	pcidipc_submit(c);
	rig_expect(&rig, "H1");
	rig_release(&rig, '1', 1);
	rig_expect(&rig, "L1R2R3R6R7");
	expect_cqe(c, '1', 1);
	expect_cqe(c, '2', 2);
	expect_cqe(c, '3', -EIO);
	expect_cqe(c, '4', -ECANCELED);
	expect_cqe(c, '5', -ECANCELED);
	expect_cqe(c, '6', 6);
	expect_cqe(c, '7', 7);
	stop();
}

static void test_drain_inside_chain(void)
{
	start(8, 8);
	put(c, '1', RIG_ECHO, 1, LINK);
	put(c, '2', RIG_ECHO, 2, LINK | DRAIN);
	put(c, '3', RIG_ECHO, 3, 0);
	expect_cqe(c, '1', 1);
	expect_cqe(c, '2', -EINVAL);
	expect_cqe(c, '3', -ECANCELED);
	/* Below a head that drains it asks for nothing new. */
	put(c, '4', RIG_ECHO, 4, LINK | DRAIN);
	put(c, '5', RIG_ECHO, 5, DRAIN);
	expect_cqe(c, '4', 4);
	expect_cqe(c, '5', 5);
	stop();
}

static void test_skip(void)
{
	start(8, 8);
	put(c, '1', RIG_ECHO, 1, SKIP);
	put(c, '2', RIG_ECHO, (uint32_t)-EIO, SKIP);
	put(c, '3', RIG_HOLD, 0, SKIP);
	put(c, '4', RIG_ECHO, 4, 0);
	expect_cqe(c, '2', -EIO);
	expect_cqe(c, '4', 4);
	rig_expect(&rig, "R1R2H3R4");
	rig_release(&rig, '3', 3);
	put(c, '5', RIG_ECHO, 5, 0);
	expect_cqe(c, '5', 5);
	stop();
}

/* A silent request gives its CQ slot back. */
static void test_skip_many(void)
{
	start(2, 2);
	for (int i = 0; i < 1000; i++) {
		struct io_uring_sqe *sqe;

		while (!(sqe = pcidipc_get_sqe(c)))
			pcidipc_submit(c);
		io_uring_prep_nop(sqe);
		sqe->flags = SKIP;
		pcidipc_submit(c);
	}
	while (!pcidipc_sq_space(c))
		;
	put(c, '1', RIG_ECHO, 1, 0);
	expect_cqe(c, '1', 1);
	stop();
}

/* Linux: what is canceled with a chain reports it, unless the member that failed was to be silent.
 */
static void test_skip_in_chain(void)
{
	start(16, 16);
	put(c, '1', RIG_ECHO, 1, SKIP | LINK);
	put(c, '2', RIG_ECHO, 2, SKIP | LINK);
	put(c, '3', RIG_ECHO, 3, 0);
	expect_cqe(c, '3', 3);
	put(c, '4', RIG_ECHO, (uint32_t)-EIO, LINK);
	put(c, '5', RIG_ECHO, 5, SKIP | LINK);
	put(c, '6', RIG_ECHO, 6, 0);
	expect_cqe(c, '4', -EIO);
	expect_cqe(c, '5', -ECANCELED);
	expect_cqe(c, '6', -ECANCELED);
	put(c, '7', RIG_ECHO, (uint32_t)-EIO, SKIP | LINK);
	put(c, '8', RIG_ECHO, 8, LINK);
	put(c, '9', RIG_ECHO, 9, 0);
	expect_cqe(c, '7', -EIO);
	put(c, 'a', RIG_ECHO, 10, 0);
	expect_cqe(c, 'a', 10);
	/* The same with a head that takes its time. */
	put(c, 'b', RIG_HOLD, 0, SKIP | LINK);
	put(c, 'c', RIG_ECHO, 8, LINK);
	put(c, 'd', RIG_ECHO, 9, 0);
	pcidipc_submit(c);
	rig_expect(&rig, "R1R2R3R4R7RaHb");
	rig_release(&rig, 'b', -EIO);
	expect_cqe(c, 'b', -EIO);
	put(c, 'e', RIG_ECHO, 11, 0);
	expect_cqe(c, 'e', 11);
	stop();
}

static void cancel(char user_data, uint64_t target, uint32_t flags)
{
	struct io_uring_sqe *sqe = put(c, user_data, 0, 0, 0);

	sqe->opcode = IORING_OP_ASYNC_CANCEL;
	sqe->off = 0;
	sqe->addr = target;
	sqe->cancel_flags = flags;
}

static void test_cancel(void)
{
	start(16, 16);
	cancel('0', '1', 0);
	expect_cqe(c, '0', -ENOENT);
	put(c, '1', RIG_HOLD, 0, 0);
	cancel('2', '1', 0);
	expect_cqe(c, '2', -EALREADY);
	rig.knobs->cancel = RIG_CANCEL_COMPLETES;
	cancel('3', '1', 0);
	expect_cqe(c, '1', -ECANCELED);
	expect_cqe(c, '3', 0);
	rig_expect(&rig, "H1X1X1");
	cancel('4', '1', IORING_ASYNC_CANCEL_FD);
	expect_cqe(c, '4', -EINVAL);
	stop();
}

static void test_cancel_all(void)
{
	start(16, 16);
	rig.knobs->cancel = RIG_CANCEL_COMPLETES;
	put(c, '1', RIG_HOLD, 0, 0);
	put(c, '1', RIG_HOLD, 0, 0);
	put(c, '2', RIG_HOLD, 0, 0);
	cancel('3', '1', IORING_ASYNC_CANCEL_ALL);
	expect_cqe(c, '1', -ECANCELED);
	expect_cqe(c, '1', -ECANCELED);
	expect_cqe(c, '3', 2);
	put(c, '4', RIG_HOLD, 0, 0);
	cancel('5', 0, IORING_ASYNC_CANCEL_ANY);
	pcidipc_submit_and_wait(c, 3);
	rig_expect(&rig, "H1H1H2X1X1H4X.X.");
	stop();
}

/* A member that waits: it is canceled when its turn comes, and those behind it with it. */
static void test_cancel_waiting(void)
{
	start(16, 16);
	put(c, '1', RIG_HOLD, 0, LINK);
	put(c, '2', RIG_ECHO, 2, LINK);
	put(c, '3', RIG_ECHO, 3, 0);
	cancel('4', '2', 0);
	expect_cqe(c, '4', 0);
	rig_release(&rig, '1', 1);
	expect_cqe(c, '1', 1);
	expect_cqe(c, '2', -ECANCELED);
	expect_cqe(c, '3', -ECANCELED);
	rig_expect(&rig, "H1L1");
	stop();
}

/* By a hard link what is behind it runs all the same, as it does where its request has begun. */
static void test_cancel_waiting_hard(void)
{
	start(16, 16);
	put(c, '1', RIG_HOLD, 0, LINK);
	put(c, '2', RIG_ECHO, 2, HARDLINK);
	put(c, '3', RIG_ECHO, 3, 0);
	cancel('4', '2', 0);
	expect_cqe(c, '4', 0);
	rig_release(&rig, '1', 1);
	expect_cqe(c, '1', 1);
	expect_cqe(c, '2', -ECANCELED);
	expect_cqe(c, '3', 3);
	rig_expect(&rig, "H1L1R3");
	stop();
}

/* Canceled in the middle of a request that nothing orders: what is linked behind it runs. */
static void test_cancel_lets_go(void)
{
	start(16, 16);
	rig.knobs->cancel = RIG_CANCEL_COMPLETES;
	put(c, '1', RIG_HOLD, 0, HARDLINK);
	put(c, '2', RIG_ECHO, 2, 0);
	cancel('3', '1', 0);
	expect_cqe(c, '1', -ECANCELED);
	expect_cqe(c, '3', 0);
	expect_cqe(c, '2', 2);
	rig_expect(&rig, "H1X1R2");
	stop();
}

/* Another session's requests are none of ours. */
static void test_cancel_stays_home(void)
{
	start(8, 8);
	rig.knobs->cancel = RIG_CANCEL_COMPLETES;
	put(rig.ctl, '1', RIG_HOLD, 0, 0);
	pcidipc_submit(rig.ctl);
	rig_expect(&rig, "H1");
	cancel('2', '1', IORING_ASYNC_CANCEL_ANY);
	expect_cqe(c, '2', 0);
	put(c, '3', RIG_RELEASE, 5, 0)->addr = '1';
	expect_cqe(c, '3', 0);
	expect_cqe(rig.ctl, '1', 5);
	stop();
}

static CU_TestInfo tests[] = {
	{"requests run in order", test_in_order},
	{"and complete out of it", test_out_of_order},
	{"a linked request waits", test_link_waits},
	{"a chain fails", test_link_fails},
	{"a chain fails at its head, at once", test_link_fails_at_once},
	{"hard links survive failures", test_hardlink},
	{"what is not understood breaks a chain", test_unknown_breaks_chain},
	{"a chain ends at the visible tail", test_chain_ends_at_tail},
	{"a chain longer than the CQ has room", test_chain_longer_than_cq},
	{"a chain as long as the ring", test_chain_of_256},
	{"drain", test_drain},
	{"drain with nothing to wait for", test_drain_alone},
	{"drain waits for a whole chain", test_drain_waits_for_chain},
	{"drain at a chain's head", test_drain_heads_chain},
	{"a stalled chain fails", test_stalled_chain_fails},
	{"drain inside a chain", test_drain_inside_chain},
	{"skip on success", test_skip},
	{"skipped requests hold no slot", test_skip_many},
	{"skip in chains", test_skip_in_chain},
	{"cancel", test_cancel},
	{"cancel all and any", test_cancel_all},
	{"cancel one that waits", test_cancel_waiting},
	{"and one that is linked hard", test_cancel_waiting_hard},
	{"and lets go what is linked behind it", test_cancel_lets_go},
	{"cancel does not reach other sessions", test_cancel_stays_home},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return harness_main("order", tests);
}
