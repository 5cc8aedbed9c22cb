/* SPDX-License-Identifier: MIT */
/*
 * The life of a driver's process over a fake bus: it dies, comes back after a while, dies too often
 * and is given up, and is tried again when somebody asks. The driver is this program, with --die:
 * it maps a pool, serves a disk and exits with status 3; with --stay it does not exit.
 */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <pcidipc/disk.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core_rig.h"
#include "harness.h"

#define MS 1000000u
#define HOUR_NS (3600 * 1000ull * MS)
#define LIFE "camERdr" /* claim; attach, map, Enable; Reset, detach, release */

static struct core_rig rig;
static char self[4096];

/* ---- the driver ---- */

static void stop(uint32_t event, void *arg)
{
	if (event == RINGABI_EVENT_SHUTDOWN)
		pcidipc_loop_stop(arg, 0);
}

static int drive(bool stays)
{
	struct pcidipc_loop *loop;
	struct pcidipc_pci *pci;
	struct pcidipc_dma dma;
	struct pcidipc_vectors vectors;
	struct pcidipc_service service;

	if (pcidipc_loop_create(0, &loop) || pcidipc_pci_open(loop, &pci) ||
	    pcidipc_dma_create(pci, 1 << 20, &dma) || pcidipc_pci_enable(pci, true, true) ||
	    pcidipc_pci_alloc_vectors(pci, 1, 1, &vectors) ||
	    pcidipc_pci_publish(pci, "disk", "n1", &service))
		_exit(9);
	pcidipc_pci_on_event(pci, stop, loop);
	_exit(stays ? pcidipc_loop_run(loop) : 3);
}

/* ---- pcid's side ---- */

struct look {
	enum pcid_driver_state state;
	pid_t pid;
	unsigned restarts, failures, nservices, npools;
	const char *service;
	char last_exit[64];
	uint64_t now;
};

static void look(struct core_rig *r, void *arg)
{
	struct look *l = arg;
	struct pcid_driver *d = r->fake->f.owner;

	*l = (struct look){.state = d->state,
			   .pid = d->pid,
			   .restarts = d->restarts,
			   .failures = d->failures,
			   .nservices = d->nservices,
			   .now = pcidipc_loop_now(r->pcid.loop)};
	snprintf(l->last_exit, sizeof(l->last_exit), "%s", d->last_exit);
	if (d->nservices)
		l->service = pcid_service_state(
			pcidipc_container_of(d->services.next, struct pcid_service, link));
	pcidipc_list_for_each(m, &d->pools, struct pcid_mapping, link)
		l->npools++;
}

static void match(struct core_rig *r, void *arg)
{
	*(unsigned *)arg = pcid_match_all(&r->pcid);
}

static void again(struct core_rig *r, void *arg)
{
	(void)arg;
	pcid_driver_stop(r->fake->f.owner, PCID_STOP_RESTART);
}

struct wait {
	bool restart; /* tell it to, first */
	uint64_t ns;
	int result;
};

/* As who asked for a restart waits. */
static void await_exit(struct core_rig *r, void *arg)
{
	struct wait *w = arg;

	if (w->restart)
		pcid_driver_stop(r->fake->f.owner, PCID_STOP_RESTART);
	w->result = pcid_driver_await_exit(r->fake->f.owner, w->ns);
}

static void begin(const char *mode)
{
	char config[5000];
	unsigned started = 0;

	snprintf(config, sizeof(config),
		 "driver \"test\" { class = 1 command = \"%s\" args = {\"%s\"} service = \"nvme\" "
		 "restart_limit = 2 }\n",
		 self, mode);
	core_rig_start(&rig, config);
	core_rig_call(&rig, match, &started);
	CU_ASSERT_EQUAL_FATAL(started, 1);
}

static void await_state(enum pcid_driver_state state, struct look *l)
{
	do {
		sched_yield();
		core_rig_call(&rig, look, l);
	} while (l->state != state);
}

static int open_disk(void)
{
	struct pcidipc_blockdev *disk;
	char path[128];
	int ret;

	snprintf(path, sizeof(path), "%s/disk/nvme0n1", rig.dir);
	ret = pcidipc_blockdev_open(path, 0, 8, &disk);
	if (!ret)
		pcidipc_blockdev_close(disk);
	return ret;
}

/* In each life: the process dead, then the function reset, then its memory unmapped, then the
 * function let go. */
static void check_lives(const char *log, unsigned lives)
{
	for (unsigned i = 0; i < lives; i++, log += strlen(LIFE))
		CU_ASSERT_NSTRING_EQUAL(log, LIFE, strlen(LIFE));
	CU_ASSERT_EQUAL(*log, '\0');
}

static void test_given_up(void)
{
	struct look first, last;

	begin("--die");
	core_rig_call(&rig, look, &first);
	await_state(PCID_FAILED, &last);
	CU_ASSERT_STRING_EQUAL(last.last_exit, "exit status 3");
	CU_ASSERT_EQUAL(last.restarts, 2);
	CU_ASSERT_EQUAL(last.failures, 3);
	CU_ASSERT_EQUAL(last.pid, 0);
	CU_ASSERT_EQUAL(last.npools, 0);
	CU_ASSERT_TRUE(last.now - first.now >= (100 + 200) * MS); /* the pauses */
	CU_ASSERT_EQUAL(last.nservices, 1);
	CU_ASSERT_STRING_EQUAL(last.service, "refused");
	CU_ASSERT_EQUAL(open_disk(), -ENODEV);
	check_lives(rig.fake->log, 3);
	core_rig_call(&rig, again, NULL); /* pcidctl restart: it has all its chances again */
	do
		await_state(PCID_FAILED, &last);
	while (last.restarts < 5);
	CU_ASSERT_EQUAL(last.failures, 3);
	check_lives(rig.fake->log, 6);
	core_rig_stop(&rig);
}

/* What was told to restart does not count as a failure; what was killed does. */
static void test_killed(void)
{
	struct look before, after;

	begin("--stay");
	do
		await_state(PCID_RUNNING, &before);
	while (!before.nservices);
	CU_ASSERT_STRING_EQUAL(before.service, "serving");
	kill(before.pid, SIGKILL);
	do
		await_state(PCID_RUNNING, &after);
	while (!after.restarts || strcmp(after.service, "serving"));
	CU_ASSERT_EQUAL(after.restarts, 1);
	CU_ASSERT_EQUAL(after.failures, 1);
	CU_ASSERT_EQUAL(after.nservices, 1);
	CU_ASSERT_STRING_EQUAL(after.last_exit, "killed by signal 9 (Killed)");
	CU_ASSERT_NOT_EQUAL(kill(before.pid, 0), 0);
	core_rig_stop(&rig);
	CU_ASSERT_NOT_EQUAL(kill(after.pid, 0), 0); /* it ended with pcid */
}

/* Whoever waits for a process's end goes on when it has ended, or when the time is over. */
static void test_awaited(void)
{
	struct wait brief = {.restart = true, .ns = MS}, patient = {.ns = HOUR_NS};
	struct look before, after;
	siginfo_t info;

	begin("--stay");
	await_state(PCID_RUNNING, &before);
	kill(before.pid, SIGSTOP);
	CU_ASSERT_EQUAL(waitid(P_PID, (id_t)before.pid, &info, WSTOPPED), 0);
	core_rig_call_task(&rig, await_exit, &brief);
	CU_ASSERT_EQUAL(brief.result, -ETIMEDOUT);
	CU_ASSERT_EQUAL(kill(before.pid, SIGCONT), 0);
	core_rig_call_task(&rig, await_exit, &patient);
	CU_ASSERT_EQUAL(patient.result, 0);
	CU_ASSERT_NOT_EQUAL(kill(before.pid, 0), 0);
	await_state(PCID_RUNNING, &after);
	CU_ASSERT_EQUAL(after.restarts, 1);
	CU_ASSERT_EQUAL(after.failures, 0);
	CU_ASSERT_STRING_EQUAL(after.last_exit, "exit status 0");
	core_rig_stop(&rig);
}

/* There is no process to wait for. */
static void test_awaited_in_vain(void)
{
	struct wait wait = {.ns = HOUR_NS, .result = 1};
	struct look last;

	begin("--die");
	await_state(PCID_FAILED, &last);
	core_rig_call_task(&rig, await_exit, &wait);
	CU_ASSERT_EQUAL(wait.result, 0);
	core_rig_stop(&rig);
}

static void test_not_there(void)
{
	struct look l;
	unsigned started = 0;

	core_rig_start(&rig, "driver \"test\" { class = 1 command = \"/nonexistent/driver\" "
			     "restart_limit = 0 }\n");
	core_rig_call(&rig, match, &started);
	await_state(PCID_FAILED, &l);
	CU_ASSERT_STRING_EQUAL(l.last_exit, "not started: No such file or directory");
	CU_ASSERT_EQUAL(l.restarts, 0);
	CU_ASSERT_STRING_EQUAL(rig.fake->log, "cRr");
	core_rig_stop(&rig);
}

static CU_TestInfo tests[] = {
	{"dies too often, is given up, is tried again", test_given_up},
	{"is killed, comes back", test_killed},
	{"its end is awaited", test_awaited},
	{"there is no end to await", test_awaited_in_vain},
	{"is not there", test_not_there},
	CU_TEST_INFO_NULL,
};

int main(int argc, char **argv)
{

	if (argc > 1)
		return drive(!strcmp(argv[1], "--stay"));
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return 2;
	return run_tests("the life of a driver", tests);
}
