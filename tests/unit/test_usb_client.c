// SPDX-License-Identifier: MIT
/*
 * A class driver between pcid and the controller's driver, each a process of its own here. What is
 * in flight when the controller's driver dies may still be written by the controller: it ends when
 * pcid has said that the function was stopped, and not before.
 */
#include <CUnit/CUnit.h>
#include <pcidipc/log.h>
#include <pcidipc/pci.h>
#include <pcidipc/scheme.h>
#include <pcidipc/task.h>
#include <pcidipc/usb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../libpcidipc/src/consumer_internal.h"
#include "suites.h"

/* ---- pcid, and the controller's driver ---- */

/* A reset is what the test has pcid say that the device is gone by. */
static int request(struct pcidipc_request *rq)
{
	switch (rq->sqe.cmd_op) {
	case RINGABI_PCI_RESET:
		pcidipc_session_event(rq->session, RINGABI_EVENT_REMOVED);
		return 0;
	case RINGABI_USB_TRANSFER: /* the device does not answer */
		return PCIDIPC_PENDING;
	default:
		return 0;
	}
}

static int cancel(struct pcidipc_request *rq)
{
	pcidipc_complete(rq, -ECANCELED);
	return 0;
}

static void close_session(struct pcidipc_session *session)
{
	pcidipc_loop_stop(pcidipc_session_loop(session), 0);
}

static int serve(int channel, uint32_t interface)
{
	struct pcidipc_scheme scheme = {.name = "peer",
					.interface = interface,
					.ring_features = RINGABI_RING_CQE32,
					.max_sq_entries = 64,
					.max_cq_entries = 128,
					.max_pools = 4,
					.max_pool_bytes = UINT64_MAX,
					.max_sessions = 1,
					.request = request,
					.cancel = cancel,
					.close = close_session};
	struct pcidipc_loop *loop;
	int ret;

	pcidipc_list_init(&scheme.sessions);
	if (pcidipc_loop_create(0, &loop) ||
	    pcidipc_session_create(loop, &scheme, channel, 0, NULL))
		return 2;
	ret = pcidipc_loop_run(loop);
	pcidipc_loop_destroy(loop);
	return ret;
}

static pid_t start(uint32_t interface, const char *variable)
{
	char number[16];
	int ends[2];
	pid_t pid;

	CU_ASSERT_EQUAL_FATAL(pcidipc_channel_pair(ends), 0);
	fflush(NULL);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ends[0]);
		_exit(serve(ends[1], interface));
	}
	close(ends[1]);
	snprintf(number, sizeof(number), "%d", ends[0]);
	setenv(variable, number, 1);
	return pid;
}

/* ---- the class driver, here ---- */

static struct pcidipc_loop *loop;
static struct pcidipc_pci *pci;
static struct pcidipc_usb *usb;
static pid_t pcid, xhcid;

static void begin(void)
{
	CU_ASSERT_EQUAL_FATAL(pcidipc_loop_create(0, &loop), 0);
	xhcid = start(RINGABI_INTERFACE_USB, "PCID_PARENT_CHANNEL");
	pcid = start(RINGABI_INTERFACE_PCI, "PCID_CLIENT_CHANNEL");
	CU_ASSERT_EQUAL_FATAL(pcidipc_pci_open(loop, &pci), 0);
	CU_ASSERT_EQUAL_FATAL(pcidipc_usb_open(loop, &usb), 0);
}

static void end(void)
{
	pcidipc_usb_close(usb);
	pcidipc_pci_close(pci);
	pcidipc_loop_destroy(loop);
	waitpid(xhcid, NULL, 0);
	CU_ASSERT_EQUAL(waitpid(pcid, NULL, 0), pcid);
}

struct waiting {
	struct pcidipc_op op;
	bool done;
	int res;
};

static void note(struct pcidipc_op *op, const struct pcidipc_cqe *cqe)
{
	struct waiting *w = pcidipc_container_of(op, struct waiting, op);

	w->done = true;
	w->res = cqe->res;
}

static void queue(struct waiting *w)
{
	const struct pcidipc_usb_transfer t = {.endpoint = 0x81, .bytes = 512};

	*w = (struct waiting){.op.done = note};
	CU_ASSERT_EQUAL_FATAL(pcidipc_usb_transfer(usb, &t, &w->op), 0);
	CU_ASSERT_EQUAL(pcidipc_submit(pcidipc_usb_consumer(usb)), 0);
}

static void kill_xhcid(void)
{
	kill(xhcid, SIGKILL);
	while (pcidipc_sq_space(pcidipc_usb_consumer(usb))) /* until that is known here */
		pcidipc_loop_turn(loop, true);
}

static void test_killed(void)
{
	struct waiting w[3];

	begin();
	for (unsigned i = 0; i < 3; i++)
		queue(&w[i]);
	kill_xhcid();
	for (unsigned i = 0; i < 100; i++) /* pcid is stopping the function meanwhile */
		pcidipc_loop_turn(loop, false);
	for (unsigned i = 0; i < 3; i++)
		CU_ASSERT_FALSE(w[i].done);
	CU_ASSERT_EQUAL(pcidipc_pci_reset(pci), 0);
	while (!w[2].done)
		pcidipc_loop_turn(loop, true);
	for (unsigned i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(w[i].res, -ENODEV);
	end();
}

/* pcid was quicker to say so than the end of the connection to be seen. */
static void test_told_before(void)
{
	struct waiting w;

	begin();
	queue(&w);
	CU_ASSERT_EQUAL(pcidipc_pci_reset(pci), 0);
	CU_ASSERT_FALSE(w.done);
	kill_xhcid();
	while (!w.done)
		pcidipc_loop_turn(loop, true);
	CU_ASSERT_EQUAL(w.res, -ENODEV);
	end();
}

static int result;
static bool called;

static void call_task(void *arg)
{
	(void)arg;
	result = pcidipc_usb_reset(usb);
	called = true;
}

/* A call while nobody is there, from a task and from outside of one. */
static void test_calls(void)
{
	begin();
	kill_xhcid();
	called = false;
	CU_ASSERT_EQUAL_FATAL(pcidipc_spawn(loop, call_task, NULL), 0);
	for (unsigned i = 0; i < 100; i++)
		pcidipc_loop_turn(loop, false);
	CU_ASSERT_FALSE(called);
	CU_ASSERT_EQUAL(pcidipc_pci_reset(pci), 0);
	while (!called)
		pcidipc_loop_turn(loop, true);
	CU_ASSERT_EQUAL(result, -ENODEV);
	CU_ASSERT_EQUAL(pcidipc_usb_reset(usb), -ENODEV);
	end();
}

/* Half a chain is not published where the SQ has no room for the other half. */
static void test_whole_chain(void)
{
	const struct pcidipc_usb_transfer transfer = {.endpoint = 0x81, .bytes = 1, .linked = true};
	static struct waiting w[1024];
	struct ringabi_ring *shared;
	uint32_t published;
	unsigned n = 0;
	int ret = 0;

	begin();
	shared = pcidipc_usb_consumer(usb)->ring.map.shared;
	published = shared->sq_tail;
	while (!ret && n < 1024) {
		w[n].op.done = note;
		ret = pcidipc_usb_transfer(usb, &transfer, &w[n].op);
		n++;
	}
	CU_ASSERT_EQUAL(ret, -EAGAIN);
	CU_ASSERT_EQUAL(shared->sq_tail, published);
	end();
}

static CU_TestInfo tests[] = {
	{"the controller's driver is killed", test_killed},
	{"killed when pcid has told already", test_told_before},
	{"calls meanwhile", test_calls},
	{"a chain that the SQ cannot hold", test_whole_chain},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	pcidipc_log_init("test_usb_client", PCIDIPC_ERROR);
	return run_tests("a class driver", tests);
}
