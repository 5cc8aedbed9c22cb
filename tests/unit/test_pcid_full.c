/* SPDX-License-Identifier: MIT */
/* pcid when it has no file descriptor left: it waits for some, and does not spin meanwhile. */
#include <CUnit/CUnit.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "core_driver.h"
#include "harness.h"

#define MS 1000000ll

static struct rlimit old;

/* No new fd below what is open already: `highest` was the last one that was made. */
static void no_more_fds(int highest)
{
	struct rlimit none = {.rlim_cur = (rlim_t)highest + 1};

	CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_NOFILE, &old), 0);
	none.rlim_max = old.rlim_max;
	for (int fd = 0; fd <= highest; fd++) { /* fill the gaps */
		int copy = dup(STDERR_FILENO);

		if (copy > highest) {
			close(copy);
			break;
		}
	}
	CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_NOFILE, &none), 0);
}

static long long core_cpu_ns(void)
{
	struct timespec t;
	clockid_t clock;

	CU_ASSERT_EQUAL_FATAL(pthread_getcpuclockid(rig.thread, &clock), 0);
	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static bool readable(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, ms) == 1;
}

static void check(const char *name, int type, const void *hello, size_t bytes)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	long long before;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", rig.dir, name);
	no_more_fds(fd);
	CU_ASSERT_EQUAL_FATAL(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	CU_ASSERT_EQUAL(send(fd, hello, bytes, MSG_NOSIGNAL), (ssize_t)bytes);
	before = core_cpu_ns();
	CU_ASSERT_FALSE(readable(fd, 600)); /* nobody could accept it */
	CU_ASSERT_TRUE(core_cpu_ns() - before < 50 * MS);
	CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &old), 0);
	CU_ASSERT_TRUE(readable(fd, 30000)); /* now somebody can */
	close(fd);
}

static void open_control(struct core_rig *r, void *arg)
{
	*(int *)arg = pcid_control_open(&r->pcid);
}

static void test_control(void)
{
	static const char request[] = "{\"command\":\"version\"}\n";
	int ret = -1;

	core_rig_start(&rig, CONFIG);
	core_rig_call(&rig, open_control, &ret);
	CU_ASSERT_EQUAL_FATAL(ret, 0);
	check("pcid.sock", SOCK_STREAM, request, strlen(request));
	core_rig_stop(&rig);
}

static void refuse(struct core_rig *r, void *arg)
{
	struct pcid_service *service;

	(void)arg;
	CU_ASSERT_EQUAL_FATAL(pcid_service_publish(r->driver, "disk", "n1", &service), 0);
	service->taken = false;
	pcid_services_refuse(r->driver);
}

static void test_refuser(void)
{
	struct ringabi_hello hello = {.msg = {.type = RINGABI_MSG_HELLO, .size = sizeof(hello)},
				      .magic = RINGABI_CHANNEL_MAGIC};

	core_begin();
	core_rig_call(&rig, refuse, NULL);
	check("disk/nvme0n1", SOCK_SEQPACKET, &hello, sizeof(hello));
	core_finish();
}

static CU_TestInfo tests[] = {
	{"the control socket", test_control},
	{"the socket of a driver that was given up", test_refuser},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	return run_tests("no file descriptor left", tests);
}
