// SPDX-License-Identifier: MIT
/*
 * A client with replay whose producer dies, and the successors that it gets then: producers of the
 * test's own, in a process of their own, that are too small, silent, dead again, or break the
 * rules. A successor is believed no more than any producer, and nothing hangs.
 */
#include <CUnit/CUnit.h>
#include <liburing.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <pcidipc/consumer.h>
#include <pcidipc/log.h>
#include <pcidipc/scheme.h>
#include <pcidipc/task.h>

#include "fakeproducer.h"
#include "leaks.h"
#include "suites.h"

#define PATIENT_MS 60000u /* longer than a test that works */
#define CHAIN 8u

/* What both processes see. */
struct shared {
	_Atomic uint32_t answered;   /* by serve() */
	_Atomic bool device_is_done; /* with the buffers of a producer that broke the rules */
};

static struct shared *shared;
static char path[64]; /* of the service */

/* ---- what the producers do ---- */

/* The client ends the connection; then so do we, and nobody follows. */
static void be_the_last(struct fake *f)
{
	unlink(path);
	fake_await_client_end(f);
	shared->device_is_done = true;
	fake_die(f);
}

/* Answer everything, for ever. */
static void serve(struct fake *f, int res)
{
	struct io_uring_sqe sqe;

	for (;;) {
		fake_take(f, &sqe, 1);
		if (sqe.flags & IOSQE_CQE_SKIP_SUCCESS)
			pcidipc_ring_skip_cqe(&f->ring);
		else
			fake_complete(f, sqe.user_data, res);
		shared->answered++;
	}
}

/* ---- the client ---- */

struct victim {
	int listener;
	pid_t producer;
	struct pcidipc_consumer *c;
	struct pcidipc_loop *loop;
	struct leaks before;
	int lost;
};

static const struct pcidipc_consumer_params usual = {.interface = RINGABI_INTERFACE_BLOCK,
						     .sq_entries = 8,
						     .cq_entries = 16,
						     .patience_ms = PATIENT_MS};

static const struct pcidipc_consumer_params impatient = {
	.interface = RINGABI_INTERFACE_BLOCK, .sq_entries = 8, .cq_entries = 16, .patience_ms = 20};

static void fork_producer(struct victim *v, void (*produce)(struct fake *f))
{
	struct fake f = {.listener = v->listener};

	fflush(stdout);
	v->producer = fork();
	if (v->producer)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	produce(&f);
	for (;;)
		pause();
}

/* Without replay yet. */
static void victim_connect(struct victim *v, void (*produce)(struct fake *f),
			   const struct pcidipc_consumer_params *params)
{
	memset(v, 0, sizeof(*v));
	memset(shared, 0, sizeof(*shared));
	leaks_count(getpid(), &v->before);
	snprintf(path, sizeof(path), "/tmp/replay.%d", (int)getpid());
	v->listener = pcidipc_listen_socket(path, 0600);
	CU_ASSERT_FATAL(v->listener >= 0);
	fork_producer(v, produce);
	CU_ASSERT_EQUAL_FATAL(pcidipc_consumer_open(path, params, &v->c), 0);
}

static void victim_open(struct victim *v, void (*produce)(struct fake *f),
			const struct pcidipc_consumer_params *params)
{
	victim_connect(v, produce, params);
	CU_ASSERT_EQUAL_FATAL(pcidipc_consumer_replay(v->c, NULL, NULL), 0);
}

static void note_lost(struct pcidipc_consumer *c, int error, void *arg)
{
	struct victim *v = arg;

	(void)c;
	v->lost = error;
}

static void victim_on_loop(struct victim *v)
{
	CU_ASSERT_EQUAL_FATAL(pcidipc_loop_create(0, &v->loop), 0);
	CU_ASSERT_EQUAL_FATAL(pcidipc_consumer_attach_loop(v->c, v->loop, note_lost, v), 0);
}

static void victim_close(struct victim *v)
{
	struct leaks after;

	pcidipc_consumer_close(v->c);
	if (v->loop)
		pcidipc_loop_destroy(v->loop);
	kill(v->producer, SIGKILL);
	waitpid(v->producer, NULL, 0);
	close(v->listener);
	unlink(path);
	leaks_count(getpid(), &after);
	CU_ASSERT_EQUAL(after.fds, v->before.fds);
	CU_ASSERT_EQUAL(after.shared_maps, v->before.shared_maps);
}

static struct io_uring_sqe *get_sqe(struct victim *v)
{
	struct io_uring_sqe *sqe;

	while (!(sqe = pcidipc_get_sqe(v->c))) {
		CU_ASSERT_EQUAL_FATAL(pcidipc_submit(v->c), 0);
		sched_yield();
	}
	io_uring_prep_nop(sqe);
	return sqe;
}

/* `flags` for all but the last. */
static void queue_nops(struct victim *v, unsigned n, unsigned flags)
{
	for (unsigned i = 0; i < n; i++) {
		struct io_uring_sqe *sqe = get_sqe(v);

		sqe->flags = (uint8_t)(i + 1 < n ? flags : 0);
		sqe->user_data = i;
	}
}

static struct {
	struct pcidipc_op ops[32];
	unsigned done, too_early;
	int res; /* of the last one that was not 0 */
} ops;

static void op_done(struct pcidipc_op *op, const struct pcidipc_cqe *cqe)
{
	(void)op;
	ops.done++;
	ops.too_early += !shared->device_is_done;
	if (cqe->res)
		ops.res = cqe->res;
}

static void queue_ops(struct victim *v, unsigned n)
{
	memset(&ops, 0, sizeof(ops));
	for (unsigned i = 0; i < n; i++) {
		struct io_uring_sqe *sqe = get_sqe(v);

		ops.ops[i].done = op_done;
		CU_ASSERT_EQUAL_FATAL(pcidipc_sqe_set_op(v->c, sqe, &ops.ops[i]), 0);
	}
	CU_ASSERT_EQUAL(pcidipc_submit(v->c), 0);
}

static void poll_until_done(struct victim *v, unsigned n)
{
	struct pcidipc_cqe cqe;

	while (ops.done < n && !pcidipc_next_cqe(v->c, &cqe))
		sched_yield();
}

/* Not a single completion, and then that. */
static void expect_end(struct victim *v, int error)
{
	struct pcidipc_cqe cqe;
	int ret;

	do {
		ret = pcidipc_submit_and_wait(v->c, 1);
		if (!ret)
			ret = pcidipc_next_cqe(v->c, &cqe);
	} while (!ret);
	CU_ASSERT_EQUAL(ret, error);
	CU_ASSERT_EQUAL(pcidipc_consumer_error(v->c), error);
}

/* Submit requests that end by that as the connection does. */
static void expect_refused(void (*produce)(struct fake *f),
			   const struct pcidipc_consumer_params *params, unsigned n, unsigned flags)
{
	struct victim v;

	victim_open(&v, produce, params);
	queue_nops(&v, n, flags);
	expect_end(&v, -EPROTO);
	victim_close(&v);
}

/* The producer takes `n` requests, and dies. */
static void die_with(struct fake *f, struct io_uring_sqe *sqes, unsigned n)
{
	fake_connect(f, 8, 16);
	fake_take(f, sqes, n);
	fake_die(f);
}

/* And its successor is given what its SQ has room for. */
static void succeed(struct fake *f, struct io_uring_sqe *sqes, unsigned n)
{
	die_with(f, sqes, n);
	fake_connect(f, 8, 16);
	fake_await_published(f, 8);
}

/* ---- successors that cannot do it ---- */

static void produce_smaller_one(struct fake *f)
{
	struct io_uring_sqe sqes[12];

	fake_connect(f, 16, 32);
	fake_take(f, sqes, 12);
	fake_die(f);
	fake_connect(f, 8, 16);
	be_the_last(f);
}

/* A chain that the successor's SQ has no room for, ever. */
static void test_smaller(void)
{
	struct pcidipc_consumer_params larger = usual;

	larger.sq_entries = 16;
	larger.cq_entries = 32;
	expect_refused(produce_smaller_one, &larger, 12, IOSQE_IO_LINK);
}

static void produce_silent_one(struct fake *f)
{
	struct io_uring_sqe sqe;

	die_with(f, &sqe, 1);
	fake_accept(f, 8, 16);
	unlink(path);
}

/* It says hello, and nothing else. */
static void test_silent(void)
{
	expect_refused(produce_silent_one, &impatient, 1, 0);
}

static void test_silent_in_loop(void)
{
	struct victim v;

	victim_open(&v, produce_silent_one, &impatient);
	victim_on_loop(&v);
	queue_ops(&v, 1);
	while (!v.lost)
		pcidipc_loop_turn(v.loop, true);
	CU_ASSERT_EQUAL(v.lost, -EPROTO);
	CU_ASSERT_EQUAL(ops.done, 1);
	CU_ASSERT_EQUAL(ops.res, -EPROTO);
	victim_close(&v);
}

static void produce_mortal_one(struct fake *f)
{
	struct pcidipc_packet wish;
	struct io_uring_sqe sqe;

	die_with(f, &sqe, 1);
	fake_accept(f, 8, 16);
	fake_await_message(f, &wish);
	fake_die(f);
	fake_await_client_asleep(); /* without a ring */
	fake_connect(f, 8, 16);
	serve(f, 5);
}

/* It dies before there is a ring: the next one goes on. */
static void test_mortal(void)
{
	struct victim v;

	victim_open(&v, produce_mortal_one, &usual);
	victim_on_loop(&v);
	queue_ops(&v, 1);
	while (!ops.done && !v.lost)
		pcidipc_loop_turn(v.loop, true);
	CU_ASSERT_EQUAL(ops.res, 5);
	CU_ASSERT_EQUAL(v.lost, 0);
	victim_close(&v);
}

/* ---- successors that break the rules ---- */

static void produce_early_one(struct fake *f)
{
	struct io_uring_sqe sqes[14];

	succeed(f, sqes, 14);
	for (unsigned i = 8; i < 14; i++)
		fake_forge(f, sqes[i].user_data, 0);
	be_the_last(f);
}

/* It completes a chain that it was not given, as its SQ is full of others. */
static void test_early(void)
{
	struct victim v;

	victim_open(&v, produce_early_one, &usual);
	queue_nops(&v, 8, 0);
	while (pcidipc_sq_space(v.c) < 6) {
		CU_ASSERT_EQUAL_FATAL(pcidipc_submit(v.c), 0);
		sched_yield();
	}
	queue_nops(&v, 6, IOSQE_IO_LINK);
	expect_end(&v, -EPROTO);
	victim_close(&v);
}

static void produce_foreign_one(struct fake *f)
{
	struct io_uring_sqe sqes[14];

	succeed(f, sqes, 14);
	fake_forge(f, 3, 77); /* the program's own user_data, which no producer was told */
	be_the_last(f);
}

static void test_foreign(void)
{
	expect_refused(produce_foreign_one, &usual, 14, 0);
}

static void produce_wild_one(struct fake *f)
{
	struct io_uring_sqe sqes[14];

	succeed(f, sqes, 14);
	pcidipc_store_release(&f->ring.map.shared->cq_tail, 1000);
	be_the_last(f);
}

/* Its device may still write to what it was given: nothing completes before it has let go. */
static void test_wild(void)
{
	struct victim v;

	victim_open(&v, produce_wild_one, &usual);
	queue_ops(&v, 14);
	poll_until_done(&v, 14);
	CU_ASSERT_EQUAL(ops.done, 14);
	CU_ASSERT_EQUAL(ops.res, -EPROTO);
	CU_ASSERT_EQUAL(ops.too_early, 0);
	victim_close(&v);
}

static void produce_disorderly_one(struct fake *f)
{
	struct io_uring_sqe sqes[3];

	fake_connect(f, 8, 16);
	fake_take(f, sqes, 3);
	fake_complete(f, sqes[2].user_data, 0);
	be_the_last(f);
}

/* Not even the first producer may complete a chain's last member before the others. */
static void test_disorderly(void)
{
	expect_refused(produce_disorderly_one, &usual, 3, IOSQE_IO_LINK);
}

/* ---- what comes between two of them ---- */

static void produce_last_word(struct fake *f)
{
	struct io_uring_sqe sqe;

	fake_connect(f, 8, 16);
	fake_take(f, &sqe, 1);
	while (!pcidipc_load_acquire(&f->ring.map.shared->consumer_need_wakeup))
		sched_yield();
	fake_await_client_asleep();
	pcidipc_ring_post_cqe(&f->ring, sqe.user_data, 42, 0, NULL);
	pcidipc_ring_publish_cq(&f->ring);
	fake_die(f); /* before it woke anybody */
	fake_connect(f, 8, 16);
	serve(f, 43);
}

/* The answer of a blocking call comes as its producer dies. */
static void test_last_word(void)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_NOP};
	struct victim v;

	victim_open(&v, produce_last_word, &usual);
	CU_ASSERT_EQUAL(pcidipc_call(v.c, &sqe, NULL), 42);
	CU_ASSERT_EQUAL(pcidipc_call(v.c, &sqe, NULL), 43);
	victim_close(&v);
}

static void produce_for_full_table(struct fake *f)
{
	struct io_uring_sqe sqes[8];

	fake_connect(f, 8, 8);
	fake_take(f, sqes, 8);
	fake_await_published(f, 16);
	fake_die(f);
	fake_connect(f, 8, 8);
	serve(f, 0);
}

static int resume_by_call(struct pcidipc_consumer *c, void *arg)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_NOP};
	int *res = arg;

	*res = pcidipc_call(c, &sqe, NULL);
	return *res;
}

/* As many operations are in flight as there may be: `resume` asks all the same. */
static void test_full_table(void)
{
	struct pcidipc_consumer_params small = usual;
	struct victim v;
	int res = 1;

	small.cq_entries = 8;
	victim_connect(&v, produce_for_full_table, &small);
	CU_ASSERT_EQUAL_FATAL(pcidipc_consumer_replay(v.c, resume_by_call, &res), 0);
	queue_ops(&v, 16);
	poll_until_done(&v, 16);
	CU_ASSERT_EQUAL(res, 0);
	CU_ASSERT_EQUAL(ops.done, 16);
	CU_ASSERT_EQUAL(ops.res, 0);
	CU_ASSERT_EQUAL(pcidipc_consumer_error(v.c), 0);
	victim_close(&v);
}

/* The service goes while the client asks, and comes again. */
static void move_service(bool away)
{
	char aside[80];

	snprintf(aside, sizeof(aside), "%s.aside", path);
	if (rename(away ? path : aside, away ? aside : path))
		abort();
}

static void produce_interrupted(struct fake *f)
{
	struct pcidipc_packet question;
	struct io_uring_sqe sqe;

	fake_connect(f, 8, 16);
	fake_await_message(f, &question);
	move_service(true);
	fake_die(f);
	fake_connect(f, 8, 16);
	fake_take(f, &sqe, 1);
	fake_complete(f, sqe.user_data, 6);
	fake_die(f);
	fake_connect(f, 8, 16);
	serve(f, 7);
}

/* What was handed out and never submitted when the connection ended is not made again later. */
static void test_never_submitted(void)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_NOP};
	struct pcidipc_cqe cqe;
	struct victim v;

	victim_open(&v, produce_interrupted, &usual);
	queue_nops(&v, 1, 0);
	CU_ASSERT_EQUAL(fake_ask(v.c), -ENOTCONN);
	CU_ASSERT_EQUAL(pcidipc_submit(v.c), -ENOTCONN);
	CU_ASSERT_EQUAL(pcidipc_next_cqe(v.c, &cqe), -ENOTCONN);
	move_service(false);
	CU_ASSERT_EQUAL(pcidipc_consumer_reconnect(v.c), 0);
	CU_ASSERT_EQUAL(pcidipc_call(v.c, &sqe, NULL), 6);
	CU_ASSERT_EQUAL(pcidipc_call(v.c, &sqe, NULL), 7);
	CU_ASSERT_EQUAL(pcidipc_next_cqe(v.c, &cqe), 0);
	victim_close(&v);
}

/* ---- room for copies ---- */

static void produce_gladly(struct fake *f)
{
	fake_connect(f, 8, 16);
	serve(f, 0);
}

/* Is there room for a chain, as there must be once all before it were answered? */
static bool await_room(struct victim *v, uint32_t sent)
{
	for (;;) {
		bool all = shared->answered == sent;

		if (pcidipc_sq_space(v->c) >= CHAIN)
			return true;
		if (all)
			return false;
		CU_ASSERT_EQUAL_FATAL(pcidipc_submit(v->c), 0);
		sched_yield();
	}
}

/* Silent members' copies make room for more, also where nobody reaps between. */
static void test_room(void)
{
	struct pcidipc_cqe cqe;
	struct victim v;

	victim_open(&v, produce_gladly, &usual);
	for (unsigned i = 0; i < 12; i++) {
		CU_ASSERT_FATAL(await_room(&v, i * CHAIN));
		queue_nops(&v, CHAIN, IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS);
	}
	for (unsigned i = 0; i < 12; i++) {
		CU_ASSERT_EQUAL_FATAL(pcidipc_submit_and_wait(v.c, 1), 0);
		CU_ASSERT_EQUAL(pcidipc_next_cqe(v.c, &cqe), 1);
		CU_ASSERT_EQUAL(cqe.user_data, CHAIN - 1);
		CU_ASSERT_EQUAL(cqe.res, 0);
	}
	victim_close(&v);
}

static CU_TestInfo tests[] = {
	{"a smaller successor", test_smaller},
	{"a silent one", test_silent},
	{"and in a loop", test_silent_in_loop},
	{"one that dies again", test_mortal},
	{"one that completes what it was not given", test_early},
	{"one that knows our user_data", test_foreign},
	{"one whose device goes on", test_wild},
	{"a chain's end first", test_disorderly},
	{"a last word", test_last_word},
	{"a full table", test_full_table},
	{"what was never submitted", test_never_submitted},
	{"room for silent chains", test_room},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	pcidipc_log_init("test", getenv("VERBOSE") ? PCIDIPC_INFO : 0);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	return shared == MAP_FAILED ? 2 : run_tests("replay with hostile successors", tests);
}
