/* SPDX-License-Identifier: MIT */
/* A driver's main program: each case is a driver in a process of its own, and this process is its
 * pcid. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <pcidipc/driver.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suites.h"

/* ---- pcid ---- */

static struct pcidipc_loop *loop;
static pid_t child;
static uint32_t tell;	 /* RINGABI_EVENT_*, when the driver enables its device */
static bool tell_signal; /* SIGTERM then */
static unsigned bits, enables;
static uint64_t enabled;

static int request(struct pcidipc_request *rq)
{
	struct ringabi_pci_arg arg;

	memcpy(&arg, (char *)&rq->sqe + offsetof(struct io_uring_sqe, cmd), sizeof(arg));
	switch (rq->sqe.cmd_op) {
	case RINGABI_PCI_INFO:
		rq->big[1] = (3u << 3) * (1ull << 32);
		return 0;
	case RINGABI_PCI_DMA_BITS:
		bits = (unsigned)arg.value;
		return arg.value == 23 ? -EINVAL : 0;
	case RINGABI_PCI_ENABLE:
		enables++;
		enabled = arg.value;
		if (tell)
			pcidipc_session_event(rq->session, tell);
		if (tell_signal)
			kill(child, SIGTERM);
		return 0;
	}
	return -EOPNOTSUPP;
}

static void closed(struct pcidipc_session *s)
{
	pcidipc_loop_stop(pcidipc_session_loop(s), 0);
}

static struct pcidipc_scheme pcid = {.name = "pcid",
				     .interface = RINGABI_INTERFACE_PCI,
				     .ring_features = RINGABI_RING_CQE32,
				     .max_sq_entries = 256,
				     .max_cq_entries = 512,
				     .request = request,
				     .close = closed};

/* ---- running one ---- */

/* A task that waits when a driver ends is known to its own stack only, which LeakSanitizer does not
 * look into. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:new_task";
}

static char said[4096]; /* what the last one printed */

static _Noreturn void be(struct pcidipc_driver *driver, int channel, int output, char **argv)
{
	char number[16];
	int argc = 0;

	snprintf(number, sizeof(number), "%d", channel);
	if (channel >= 0)
		setenv("PCID_CLIENT_CHANNEL", number, 1);
	else
		unsetenv("PCID_CLIENT_CHANNEL");
	dup2(output, STDOUT_FILENO);
	dup2(output, STDERR_FILENO);
	while (argv[argc])
		argc++;
	exit(pcidipc_driver_main(driver, argc, argv));
}

static void serve(int channel)
{
	CU_ASSERT_EQUAL_FATAL(pcidipc_loop_create(0, &loop), 0);
	CU_ASSERT_EQUAL_FATAL(pcidipc_session_create(loop, &pcid, channel, 0, NULL), 0);
	pcidipc_loop_run(loop);
	pcidipc_loop_destroy(loop);
}

/* Its exit status, or -1 when a signal ended it. */
static int run_in(bool by_pcid, struct pcidipc_driver *driver, char **argv)
{
	int output = memfd_create("output", 0), ends[2] = {-1, -1}, status = 0;
	ssize_t n;

	bits = enables = 0;
	if (by_pcid)
		CU_ASSERT_EQUAL_FATAL(pcidipc_channel_pair(ends), 0);
	fflush(NULL);
	child = fork();
	if (!child) {
		close(ends[1]);
		be(driver, ends[0], output, argv);
	}
	if (by_pcid) {
		close(ends[0]);
		serve(ends[1]);
	}
	waitpid(child, &status, 0);
	n = pread(output, said, sizeof(said) - 1, 0);
	said[n > 0 ? n : 0] = '\0';
	close(output);
	tell = 0;
	tell_signal = false;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define ARGS(...) ((char *[]){"testd", ##__VA_ARGS__, NULL})
#define RUN(driver, ...) run_in(true, driver, ARGS(__VA_ARGS__))
#define RUN_ALONE(driver, ...) run_in(false, driver, ARGS(__VA_ARGS__))
#define SAID(text) CU_ASSERT_PTR_NOT_NULL(strstr(said, text))

/* ---- what drivers do ---- */

static int end_with_7(struct pcidipc_driver *d)
{
	pcidipc_loop_stop(d->loop, 7);
	return 0;
}

static void stop_with_8(struct pcidipc_driver *d)
{
	printf("stopped, %d\n", d->stopping);
	pcidipc_loop_stop(d->loop, 8);
}

static void removed_with_9(struct pcidipc_driver *d)
{
	pcidipc_loop_stop(d->loop, 9);
}

static int enable(struct pcidipc_driver *d)
{
	printf("%s\n", d->address);
	return pcidipc_pci_enable(d->pci, true, true);
}

static int fail(struct pcidipc_driver *d)
{
	(void)d;
	return -ENXIO;
}

static int find_nothing(struct pcidipc_driver *d)
{
	(void)d;
	return -ENOENT;
}

/* The device is told to stop while it is being started. */
static int enable_and_fail(struct pcidipc_driver *d)
{
	int ret = enable(d);

	while (!ret && !d->stopping)
		pcidipc_task_yield();
	return -ENXIO;
}

static int give_up_alone(struct pcidipc_driver *d)
{
	return pcidipc_driver_give_up(d, "it is tired");
}

static int give_up(struct pcidipc_driver *d)
{
	enable(d);
	return pcidipc_driver_give_up(d, "it is tired");
}

/* ---- the command line ---- */

static uint64_t number = 5;
static const char *text = "none";
static const struct pcidipc_option options[] = {
	PCIDIPC_OPTION_NUMBER("number", 'n', "N", "a number", &number, 1, 10),
	PCIDIPC_OPTION_TEXT("text", 0, "TEXT", "a text", &text),
	{0}};

static int show(struct pcidipc_driver *d)
{
	(void)d;
	printf("%llu %s\n", (unsigned long long)number, text);
	pcidipc_debug("verbose");
	return 3;
}

static struct pcidipc_driver shower = {.name = "testd",
				       .version = "1.2",
				       .about = "Shows.",
				       .options = options,
				       .prepare = show,
				       .start = fail};

static void test_options(void)
{
	CU_ASSERT_EQUAL(RUN_ALONE(&shower), 3); /* what prepare wants */
	CU_ASSERT_STRING_EQUAL(said, "5 none\n");
	CU_ASSERT_EQUAL(RUN_ALONE(&shower, "-n", "10", "--text", "some"), 3);
	CU_ASSERT_STRING_EQUAL(said, "10 some\n");
	CU_ASSERT_EQUAL(RUN_ALONE(&shower, "--number=1", "-vv"), 3);
	SAID("1 none\n");
	SAID("testd: verbose\n");
	CU_ASSERT_EQUAL(RUN_ALONE(&shower, "--version"), 0);
	CU_ASSERT_STRING_EQUAL(said, "testd 1.2\n");
	CU_ASSERT_EQUAL(RUN_ALONE(&shower, "--help"), 0);
	SAID("Usage: testd [OPTION]...\nShows.\n\n");
	SAID("  -n, --number N  ");
	SAID("      --text TEXT  ");
	SAID("  -v, --verbose  ");
}

static void test_wrong_options(void)
{
	static char *const wrong[] = {"0", "11", "", "x", "3x", "-1", " 3", "99999999999999999999"};
	char message[64];

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		CU_ASSERT_EQUAL(RUN_ALONE(&shower, "--number", wrong[i]), 2);
		snprintf(message, sizeof(message), "testd: --number %s: it must be 1 to 10\n",
			 wrong[i]);
		CU_ASSERT_STRING_EQUAL(said, message);
	}
	CU_ASSERT_EQUAL(RUN_ALONE(&shower, "--nothing"), 2);
	SAID("Usage: testd");
	CU_ASSERT_EQUAL(RUN_ALONE(&shower, "--text"), 2);
	CU_ASSERT_EQUAL(RUN_ALONE(&shower, "-n", "7", "stray", "42"), 2);
	CU_ASSERT_STRING_EQUAL(said, "testd: unexpected argument: stray\n");
	CU_ASSERT_EQUAL(RUN_ALONE(&shower, "--", "-v"), 2);
	CU_ASSERT_STRING_EQUAL(said, "testd: unexpected argument: -v\n");
}

/* An option may say nothing of its value. */
static void test_unnamed_value(void)
{
	static const struct pcidipc_option unnamed[] = {{.name = "text", .text = &text}, {0}};
	struct pcidipc_driver driver = {.name = "testd", .options = unnamed, .start = fail};

	CU_ASSERT_EQUAL(RUN_ALONE(&driver, "--help"), 0);
	SAID("      --text  ");
	CU_ASSERT_PTR_NULL(strstr(said, "null"));
}

/* ---- the beginning ---- */

static void test_alone(void)
{
	struct pcidipc_driver driver = {.name = "testd", .start = end_with_7};

	CU_ASSERT_EQUAL(RUN_ALONE(&driver), 1);
	SAID("testd: not started by pcid");
	driver.prepare = find_nothing;
	CU_ASSERT_EQUAL(RUN_ALONE(&driver), 1);
	CU_ASSERT_STRING_EQUAL(said, "testd: No such file or directory\n");
	driver.prepare = NULL;
	driver.standalone = true;
	CU_ASSERT_EQUAL(RUN_ALONE(&driver), 7);
	driver.start = fail;
	CU_ASSERT_EQUAL(RUN_ALONE(&driver), 1);
	SAID("testd: cannot be started: No such device or address\n");
}

static void test_start(void)
{
	struct pcidipc_driver driver = {.name = "testd", .start = end_with_7};

	CU_ASSERT_EQUAL(RUN(&driver), 7);
	CU_ASSERT_EQUAL(bits, 0); /* nothing was said */
	driver.dma_bits = 28;
	CU_ASSERT_EQUAL(RUN(&driver), 7);
	CU_ASSERT_EQUAL(bits, 28);
	driver.dma_bits = 23; /* pcid will not have it */
	CU_ASSERT_EQUAL(RUN(&driver), 1);
	SAID("testd: Invalid argument\n");
	driver = (struct pcidipc_driver){.name = "testd", .start = fail};
	CU_ASSERT_EQUAL(RUN(&driver), 1);
	SAID("testd: 0000:00:03.0: cannot be started: No such device or address\n");
}

/* ---- the end ---- */

static void test_shutdown(void)
{
	struct pcidipc_driver driver = {.name = "testd", .start = enable};

	tell = RINGABI_EVENT_SHUTDOWN;
	CU_ASSERT_EQUAL(RUN(&driver), 0);
	CU_ASSERT_STRING_EQUAL(said, "0000:00:03.0\n");
	driver.stop = stop_with_8;
	tell = RINGABI_EVENT_SHUTDOWN;
	CU_ASSERT_EQUAL(RUN(&driver), 8);
	SAID("stopped, 1\n");
	tell_signal = true;
	CU_ASSERT_EQUAL(RUN(&driver), 8);
	SAID("stopped, 1\n");
	driver.start = enable_and_fail; /* then it is `stop` that ends it, and nothing is said */
	tell = RINGABI_EVENT_SHUTDOWN;
	CU_ASSERT_EQUAL(RUN(&driver), 8);
	CU_ASSERT_PTR_NULL(strstr(said, "cannot"));
}

static void test_removed(void)
{
	struct pcidipc_driver driver = {.name = "testd", .start = enable, .stop = stop_with_8};

	tell = RINGABI_EVENT_REMOVED;
	CU_ASSERT_EQUAL(RUN(&driver), 0);
	CU_ASSERT_PTR_NULL(strstr(said, "stopped"));
	driver.removed = removed_with_9;
	tell = RINGABI_EVENT_REMOVED;
	CU_ASSERT_EQUAL(RUN(&driver), 9);
}

static void test_give_up(void)
{
	struct pcidipc_driver driver = {.name = "testd", .start = give_up};

	CU_ASSERT_EQUAL(RUN(&driver), 1);
	SAID("testd: 0000:00:03.0: the device is given up: it is tired\n");
	CU_ASSERT_EQUAL(enables, 2);
	CU_ASSERT_EQUAL(enabled, RINGABI_PCI_ENABLE_DECODE); /* no DMA any more */
	driver = (struct pcidipc_driver){
		.name = "testd", .start = give_up_alone, .standalone = true};
	CU_ASSERT_EQUAL(RUN_ALONE(&driver), 1);
	SAID("testd: testd: the device is given up: it is tired\n");
}

int main(void)
{
	CU_TestInfo tests[] = {
		{"options", test_options},
		{"wrong options", test_wrong_options},
		{"not started by pcid", test_alone},
		{"its start", test_start},
		{"told to stop", test_shutdown},
		{"its device is gone", test_removed},
		{"giving up", test_give_up},
		{"a value without a name", test_unnamed_value},
		CU_TEST_INFO_NULL,
	};

	return run_tests("a driver's main program", tests);
}
