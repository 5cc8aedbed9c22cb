// SPDX-License-Identifier: MIT
/* What a driver makes of pcid beside its function, over a fake bus: services, children; and that it
 * makes nothing before its sandbox or after its end. */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <fcntl.h>
#include <pcidipc/log.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core_driver.h"
#include "suites.h"

#define WITH_CHILDREN                                                                        \
	CONFIG "driver \"stick\" { below = \"usb\" class = 8 command = \"/no/such/driver\" " \
	       "restart_limit = 0 }\n"

/* ---- services ---- */

static bool is_socket(const char *name, unsigned mode)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", rig.dir, name);
	return !lstat(path, &st) && S_ISSOCK(st.st_mode) && (st.st_mode & 07777) == mode;
}

static void test_publish(void)
{
	struct pcidipc_service one, two, three;

	core_begin();
	CU_ASSERT_EQUAL(pcidipc_pci_publish(pci, "disk", "n1", &one), 0);
	CU_ASSERT_STRING_EQUAL(one.name, "disk/nvme0n1");
	CU_ASSERT_TRUE(is_socket("disk/nvme0n1", 0660));
	CU_ASSERT_TRUE(is_socket("disk/nvme0n1.admin", 0600));
	CU_ASSERT_EQUAL(pcidipc_pci_publish(pci, "disk", "n1", &two), -EEXIST);
	CU_ASSERT_EQUAL(pcidipc_pci_publish(pci, "disk", "n2", &two), 0);
	CU_ASSERT_EQUAL(pcidipc_pci_publish(pci, "char", "", &three), 0);
	CU_ASSERT_STRING_EQUAL(three.name, "char/nvme0");
	CU_ASSERT_EQUAL(pcidipc_pci_publish(pci, "../x", "", &three), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pci_publish(pci, "", "n1", &three), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pci_publish(pci, "disk", "N1", &three), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pci_publish(pci, "disk", "/", &three), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_pci_unpublish(pci, &one), 0);
	CU_ASSERT_FALSE(is_socket("disk/nvme0n1", 0660));
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_UNPUBLISH, 0, one.id, 0, 0), -ENOENT);
	CU_ASSERT_EQUAL(pcidipc_pci_publish(pci, "disk", "n1", &one), 0);
	close(one.listen_fd);
	close(one.admin_fd);
	close(two.listen_fd);
	close(two.admin_fd);
	close(three.listen_fd);
	close(three.admin_fd);
	core_finish();
}

static void publish_many(struct core_rig *r, void *arg)
{
	char suffix[16];
	struct pcid_service *service;
	int ret = 0;

	for (unsigned i = 0; i <= PCID_MAX_SERVICES && !ret; i++) {
		snprintf(suffix, sizeof(suffix), "n%u", i);
		ret = pcid_service_publish(r->driver, "disk", suffix, &service);
	}
	*(int *)arg = ret;
}

static void test_publish_limit(void)
{
	int ret = 0;

	core_begin();
	core_rig_call(&rig, publish_many, &ret);
	CU_ASSERT_EQUAL(ret, -EDQUOT);
	CU_ASSERT_EQUAL(rig.driver->nservices, PCID_MAX_SERVICES);
	core_finish();
}

static void sweep(struct core_rig *r, void *arg)
{
	(void)arg;
	pcid_rundir_sweep(&r->pcid);
}

static void stale_socket(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
}

/* Sockets that nobody serves go; those in use stay, and so does what is no socket of pcid's. */
static void test_sweep(void)
{
	struct pcidipc_service service;
	char stale[100], file[128];

	core_begin();
	CU_ASSERT_EQUAL(pcidipc_pci_publish(pci, "disk", "n1", &service), 0);
	snprintf(stale, sizeof(stale), "%s/disk/nvme9n1", rig.dir);
	snprintf(file, sizeof(file), "%s/disk/notes", rig.dir);
	stale_socket(stale);
	close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	core_rig_call(&rig, sweep, NULL);
	CU_ASSERT_NOT_EQUAL(access(stale, F_OK), 0);
	CU_ASSERT_EQUAL(access(file, F_OK), 0);
	CU_ASSERT_TRUE(is_socket("disk/nvme0n1", 0660));
	CU_ASSERT_TRUE(is_socket("disk/nvme0n1.admin", 0600));
	unlink(file);
	close(service.listen_fd);
	close(service.admin_fd);
	core_finish();
}

/* ---- children ---- */

static int announce(uint32_t number, const char *path, uint8_t class_code, uint32_t interface)
{
	struct ringabi_announce m = {
		.msg = {.type = RINGABI_MSG_ANNOUNCE, .size = sizeof(m)},
		.child = number,
		.interface = interface,
		.vendor = 0x46f4,
		.product = 1,
		.class_code = class_code,
		.name = "stick",
	};
	struct pcidipc_packet reply;

	snprintf(m.path, sizeof(m.path), "%s", path);
	return pcidipc_consumer_ask(pcidipc_pci_consumer(pci), &m.msg, NULL, 0, &reply);
}

static void test_children(void)
{
	core_begin_with(WITH_CHILDREN);
	CU_ASSERT_EQUAL(announce(1, "1-1:1.0", 3, RINGABI_INTERFACE_USB), -ENOENT);
	CU_ASSERT_EQUAL(announce(1, "1-2:1.0", 3, RINGABI_INTERFACE_USB), -EEXIST);
	CU_ASSERT_EQUAL(announce(2, "1-1:1.0", 3, RINGABI_INTERFACE_USB), -EEXIST);
	CU_ASSERT_EQUAL(announce(2, "1/2", 3, RINGABI_INTERFACE_USB), -EINVAL);
	CU_ASSERT_EQUAL(announce(2, "", 3, RINGABI_INTERFACE_USB), -EINVAL);
	CU_ASSERT_EQUAL(announce(2, "1-2:1.0", 3, RINGABI_INTERFACE_BLOCK), -EINVAL);
	CU_ASSERT_EQUAL(announce(2, "1-2:1.0", 8, RINGABI_INTERFACE_USB), 0);
	CU_ASSERT_EQUAL(announce(3, "1-3:1.0", 8, RINGABI_INTERFACE_USB), -EDQUOT);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_CHILD_GONE, 0, 1, 0, 0), 0);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_CHILD_GONE, 0, 2, 0, 0), 0);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_CHILD_GONE, 0, 2, 0, 0), -ENOENT);
	core_finish();
}

/* What it is called goes to programs as JSON, which is UTF-8. */
static int announce_named(uint32_t number, const char *name)
{
	struct ringabi_announce m = {
		.msg = {.type = RINGABI_MSG_ANNOUNCE, .size = sizeof(m)},
		.child = number,
		.interface = RINGABI_INTERFACE_USB,
		.class_code = 3,
	};
	struct pcidipc_packet reply;

	snprintf(m.path, sizeof(m.path), "1-%u", number);
	snprintf(m.name, sizeof(m.name), "%s", name);
	return pcidipc_consumer_ask(pcidipc_pci_consumer(pci), &m.msg, NULL, 0, &reply);
}

static void test_child_names(void)
{
	static const char *const good[] = {"",
					   "stick",
					   "\xc3\xa4",
					   "\xe2\x82\xac",
					   "\xf0\x9f\x94\x8c",
					   "\xf4\x8f\xbf\xbf",
					   "\xed\x9f\xbf",
					   "\xee\x80\x80",
					   "\xc2\xa0"};
	static const char *const bad[] = {"\x1b[2J",
					  "\x7f",
					  "\x80",
					  "a\xbf",
					  "\xc3",
					  "\xc3(",
					  "\xc0\xaf",
					  "\xc1\xbf",
					  "\xe2\x82",
					  "\xe2\x82z",
					  "\xe0\x9f\xbf",
					  "\xed\xa0\x80",
					  "\xed\xbf\xbf",
					  "\xf0\x8f\xbf\xbf",
					  "\xf0\x9f\x94",
					  "\xf4\x90\x80\x80",
					  "\xf5\x80\x80\x80",
					  "\xff",
					  "\xfe",
					  "\xc2\x9b"};

	core_begin_with("driver \"test\" { class = 1 command = \"/bin/false\" service = \"nvme\" "
			"max_children = 100 sandbox = \"no\" }\n");
	for (unsigned i = 0; i < sizeof(good) / sizeof(*good); i++)
		CU_ASSERT_EQUAL(announce_named(i, good[i]), -ENOENT);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		CU_ASSERT_EQUAL(announce_named(50 + i, bad[i]), -EINVAL);
		CU_ASSERT_EQUAL(rig.driver->nchildren, sizeof(good) / sizeof(*good));
	}
	core_finish();
}

/* ---- a process that has put itself into its sandbox ---- */

static int map_region(void)
{
	struct ringabi_map_region m = {.msg = {.type = RINGABI_MSG_MAP_REGION, .size = sizeof(m)}};
	struct pcidipc_packet reply;
	int ret = pcidipc_consumer_ask(pcidipc_pci_consumer(pci), &m.msg, NULL, 0, &reply);

	if (!ret)
		pcidipc_packet_close(&reply);
	return ret;
}

static void test_confine(void)
{
	core_begin();
	CU_ASSERT_NOT_EQUAL(map_region(), -EPERM);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_CONFINE, 0, 0, 0, RINGABI_PCI_LOCKS + 1), -EINVAL);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_CONFINE, 0, 1, 0, 0), -EINVAL);
	CU_ASSERT_NOT_EQUAL(map_region(), -EPERM);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_CONFINE, 0, 0, 0, RINGABI_PCI_LOCK_SECCOMP), 0);
	CU_ASSERT_EQUAL(map_region(), -EPERM);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_CONFINE, 0, 0, 0, 0), -EALREADY);
	CU_ASSERT_EQUAL(map_region(), -EPERM);
	core_finish();
}

#define DECODE RINGABI_PCI_ENABLE_DECODE
#define MASTER RINGABI_PCI_ENABLE_MASTER

/* A driver that leaves its sandbox out gets nothing that could do harm. */
static void test_unconfined(const char *mode)
{
	struct pcidipc_service service;
	char config[256];

	snprintf(config, sizeof(config),
		 "driver \"test\" { class = 1 command = \"/bin/false\" service = \"nvme\" "
		 "sandbox = \"%s\" }\n",
		 mode);
	core_begin_with(config);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_ENABLE, 0, 0, 0, DECODE), 0);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_ENABLE, 0, 0, 0, DECODE | MASTER), -EPERM);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_ENABLE, 0, 0, 0, MASTER), -EPERM);
	CU_ASSERT_EQUAL(pcidipc_pci_publish(pci, "disk", "n1", &service), -EPERM);
	CU_ASSERT_EQUAL(announce(1, "1-1:1.0", 3, RINGABI_INTERFACE_USB), -EPERM);
	CU_ASSERT_EQUAL(rig.driver->nservices + rig.driver->nchildren, 0);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_CONFINE, 0, 0, 0, 0), 0);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_ENABLE, 0, 0, 0, DECODE | MASTER), 0);
	CU_ASSERT_EQUAL(announce(1, "1-1:1.0", 3, RINGABI_INTERFACE_USB), -ENOENT);
	CU_ASSERT_EQUAL_FATAL(pcidipc_pci_publish(pci, "disk", "n1", &service), 0);
	close(service.listen_fd);
	close(service.admin_fd);
	core_finish();
}

static void test_unconfined_drivers(void)
{
	test_unconfined("yes");
	test_unconfined("debug");
}

/* ---- the end ---- */

static void quiesce(struct core_rig *r, void *arg)
{
	(void)arg;
	pcid_driver_quiesce(r->driver);
}

/* What a dead driver left in its ring and its channel does not start a stopped function again. */
static void test_nothing_after_the_end(void)
{
	struct io_uring_sqe write = core_sqe(RINGABI_PCI_MMIO_WRITE, 0x100, 0, 4, 1);
	struct pcidipc_vectors vectors;
	struct pcidipc_service service;
	unsigned parked = 0;

	core_begin();
	core_rig_call(&rig, core_set_full, NULL);
	core_push(1, &write);
	CU_ASSERT_EQUAL(pcidipc_submit(pcidipc_pci_consumer(pci)), 0);
	while (!parked)
		core_rig_call(&rig, core_parked_count, &parked);
	core_rig_call_task(&rig, quiesce, NULL);
	core_rig_call(&rig, core_set_drained, NULL);
	CU_ASSERT_EQUAL(pcidipc_submit_and_wait(pcidipc_pci_consumer(pci), 1), 0);
	CU_ASSERT_EQUAL(pcidipc_next_cqe(pcidipc_pci_consumer(pci), &cqe), 1);
	CU_ASSERT_EQUAL(cqe.res, -ENODEV);
	CU_ASSERT_EQUAL(pcidipc_pci_enable(pci, true, true), -ENODEV);
	CU_ASSERT_EQUAL(core_request(RINGABI_PCI_MMIO_WRITE, 0x100, 0, 4, 1), -ENODEV);
	CU_ASSERT_EQUAL(pcidipc_pci_publish(pci, "disk", "n1", &service), -ENODEV);
	CU_ASSERT_EQUAL(pcidipc_pci_alloc_vectors(pci, 1, 1, &vectors), -ENODEV);
	CU_ASSERT_EQUAL(announce(1, "1-1:1.0", 3, RINGABI_INTERFACE_USB), -ENODEV);
	CU_ASSERT_EQUAL(rig.driver->nservices, 0);
	CU_ASSERT_EQUAL(rig.driver->irq.count, 0);
	CU_ASSERT_EQUAL(rig.driver->nchildren, 0);
	CU_ASSERT_EQUAL(rig.fake->regs[0x100], 0);
	CU_ASSERT_STRING_EQUAL(rig.fake->log, "R");
	core_finish();
}

static CU_TestInfo tests[] = {
	{"services", test_publish},
	{"too many services", test_publish_limit},
	{"sweeping", test_sweep},
	{"children", test_children},
	{"names of children", test_child_names},
	{"no regions for the confined", test_confine},
	{"no DMA and no service for the unconfined", test_unconfined_drivers},
	{"nothing after the end", test_nothing_after_the_end},
	CU_TEST_INFO_NULL,
};

int main(void)
{
	pcidipc_log_init("test", getenv("VERBOSE") ? PCIDIPC_DEBUG : 0);
	signal(SIGPIPE, SIG_IGN);
	return run_tests("pcid's services and children", tests);
}
