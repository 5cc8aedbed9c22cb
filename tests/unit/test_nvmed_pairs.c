// SPDX-License-Identifier: MIT
/* What nvmed has of a controller: queue pairs that sessions share, and lists of namespaces. */
#include "nvmerig.h"
#include "suites.h"

/* ---- pairs ---- */

static struct pair *got;

static void get_task(void *arg)
{
	*(int *)arg = pair_get(c, &got);
	flag = true;
}

static struct pair *get(void)
{
	int ret;

	flag = false;
	pcidipc_spawn(c->loop, get_task, &ret);
	until(&flag);
	CU_ASSERT_EQUAL(ret, 0);
	return got;
}

static void put_task(void *arg)
{
	pair_put(arg);
	flag = true;
}

static void put(struct pair *p)
{
	flag = false;
	pcidipc_spawn(c->loop, put_task, p);
	until(&flag);
}

/* Two pairs for five sessions: each has as many users as it can, and goes with its last. */
static void test_sharing(void)
{
	struct pair *p[5];

	begin();
	start();
	c->mapped = true;
	p[0] = model_pair;
	for (unsigned i = 1; i < 5; i++)
		p[i] = get();
	CU_ASSERT_PTR_NOT_EQUAL(p[0], p[1]);
	CU_ASSERT_EQUAL(p[0]->users + p[1]->users, 5);
	CU_ASSERT(p[0]->users == 2 || p[0]->users == 3);
	CU_ASSERT_EQUAL(m.creates, 4);
	for (unsigned i = 0; i < 5; i++) {
		model_pair = p[i];
		CU_ASSERT_EQUAL(perform(PCIDIPC_BLOCK_READ, 1, false, false, NULL), 0);
	}
	for (unsigned i = 2; i < 5; i++)
		put(p[i]);
	CU_ASSERT_EQUAL(m.deletes, 0);
	CU_ASSERT_EQUAL(p[0]->users + p[1]->users, 2);
	put(p[1]);
	CU_ASSERT_EQUAL(m.deletes, 2);
	model_pair = p[0];
	CU_ASSERT_EQUAL(perform(PCIDIPC_BLOCK_READ, 1, false, false, NULL), 0);
	p[1] = get(); /* its own again */
	CU_ASSERT_PTR_NOT_EQUAL(p[1], p[0]);
	CU_ASSERT_EQUAL(m.creates, 6);
	finish();
}

/* A completion was taken and not told of. While the queues are deleted it is not told of either. */
static void test_deleted_untold(void)
{
	struct pair *p;

	begin();
	start();
	c->mapped = true;
	p = model_pair = get();
	CU_ASSERT_EQUAL(perform(PCIDIPC_BLOCK_READ, 1, false, false, NULL), 0);
	m.cq_doorbells = 0;
	CU_ASSERT_NOT_EQUAL(p->queue.cq_head, p->queue.cq_doorbell.written);
	m.hold_opcode = MODEL_HOLD | nvme_admin_delete_cq;
	flag = false;
	pcidipc_spawn(c->loop, put_task, p);
	UNTIL(m.nheld);
	c->poller.arm(&c->poller);
	CU_ASSERT_EQUAL(m.cq_doorbells, 0);
	m.hold_opcode = 0;
	model_answer_held(0, 0);
	until(&flag);
	finish();
}

/* Where each register write is a request, one queue for all. */
static void test_one_pair(void)
{
	begin();
	start();
	for (unsigned i = 0; i < 5; i++)
		CU_ASSERT_PTR_EQUAL(get(), model_pair);
	CU_ASSERT_EQUAL(model_pair->users, 6);
	CU_ASSERT_EQUAL(m.creates, 2);
	for (unsigned i = 0; i < 5; i++)
		put(model_pair);
	CU_ASSERT_EQUAL(m.deletes, 0);
	CU_ASSERT_EQUAL(perform(PCIDIPC_BLOCK_READ, 1, false, false, NULL), 0);
	finish();
}

/* ---- namespaces ---- */

/* The controller lists 1024 at a time. */
static void test_long_list(void)
{
	begin();
	for (unsigned i = 0; i < 2500; i++)
		m.nsids[i] = i + 1;
	m.odd_below = 2400; /* so that those that can be driven come late */
	start();
	CU_ASSERT_EQUAL(start_result, 0);
	CU_ASSERT_EQUAL(disks_served, 101);
	CU_ASSERT_EQUAL(c->nnamespaces, 101);
	CU_ASSERT_EQUAL(c->namespaces[0]->nsid, 2400);
	CU_ASSERT_EQUAL(c->namespaces[100]->nsid, 2500);
	finish();
}

/* A list that is full to its last entry, and ends there; and more than can be served. */
static void test_full_list(void)
{
	begin();
	for (unsigned i = 0; i < 1024; i++)
		m.nsids[i] = i + 1;
	m.odd_below = 1000;
	start();
	CU_ASSERT_EQUAL(start_result, 0);
	CU_ASSERT_EQUAL(disks_served, 25);
	finish();
	begin();
	for (unsigned i = 0; i < 1024; i++)
		m.nsids[i] = 2 * i + 1;
	start();
	CU_ASSERT_EQUAL(start_result, 0);
	CU_ASSERT_EQUAL(disks_served, MAX_NAMESPACES);
	finish();
}

int main(void)
{
	CU_TestInfo tests[] = {
		{"pairs are shared", test_sharing},
		{"no doorbell of a queue that is deleted", test_deleted_untold},
		{"one pair for all", test_one_pair},
		{"a list of 2500 namespaces", test_long_list},
		{"full lists", test_full_list},
		CU_TEST_INFO_NULL,
	};

	pcidipc_log_init("test_nvmed_pairs", 0);
	return run_tests("nvmed's pairs and namespaces", tests);
}
