// SPDX-License-Identifier: MIT
/*
 * Events from udev, and events that the kernel had no room for: what pcid makes of them. The
 * machine is a table here: what sysfs says, what libpci would find and what udev tells is played.
 */
#include <CUnit/CUnit.h>
#include <errno.h>
#include <libudev.h>
#include <pcidipc/task.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "pcid/vfio/vfio.h"
#include "suites.h"

#define MACHINE 8
#define QUEUE 32
#define SAID 512

/* ---- the machine ---- */

static struct {
	const char *address; /* NULL: nothing there */
	uint64_t node;
	const char *driver;
} machine[MACHINE];
static uint64_t nodes;

static unsigned slot_of(const char *address)
{
	return (unsigned)(strrchr(address, ':')[2] - '0');
}

static void plug(const char *address, const char *driver)
{
	unsigned i = slot_of(address);

	machine[i].address = address;
	machine[i].node = ++nodes;
	machine[i].driver = driver;
}

static void unplug(const char *address)
{
	machine[slot_of(address)].address = NULL;
}

uint64_t vfio_sysfs_node(const char *address)
{
	return machine[slot_of(address)].address ? machine[slot_of(address)].node : 0;
}

void vfio_sysfs_driver(const char *address, char name[VFIO_DRIVER_BYTES])
{
	snprintf(name, VFIO_DRIVER_BYTES, "%s", machine[slot_of(address)].driver);
}

void vfio_sysfs_each(struct vfio_bus *bus, void (*look)(struct vfio_bus *, const char *address))
{
	for (unsigned i = 0; i < MACHINE; i++)
		if (machine[i].address)
			look(bus, machine[i].address);
}

/* ---- what pcid has found ---- */

static struct vfio_bus bus;
static char said[SAID]; /* to pcid's core, in order */

static void event(struct pcid_bus *b, enum pcid_bus_event what, struct pcid_function *f,
		  const struct pcid_fault *fault)
{
	size_t n = strlen(said);

	(void)b;
	CU_ASSERT_PTR_NULL(fault);
	snprintf(said + n, sizeof(said) - n, "%s%s ", what == PCID_FUNCTION_GONE ? "-" : "+",
		 strrchr(f->address, ':') + 1);
}

struct pcid_function *vfio_find(struct vfio_bus *b, const char *address)
{
	pcidipc_list_for_each(f, &b->bus.functions, struct pcid_function, link)
		if (!strcmp(f->address, address) && !f->gone)
			return f;
	return NULL;
}

struct pcid_function *vfio_enumerate_one(struct vfio_bus *b, const char *address)
{
	struct pcid_function *f;
	struct vfio_function *p;

	if (!machine[slot_of(address)].address)
		return NULL;
	f = calloc(1, sizeof(*f));
	p = calloc(1, sizeof(*p));
	CU_ASSERT_TRUE_FATAL(f && p);
	snprintf(f->address, sizeof(f->address), "%s", address);
	f->bus = &b->bus;
	f->bus_priv = p;
	p->node = machine[slot_of(address)].node;
	pcidipc_list_append(&b->bus.functions, &f->link);
	return f;
}

bool vfio_offered(struct pcid_function *f)
{
	(void)f;
	return true;
}

int vfio_set_irqs(int device, unsigned index, const int *fds, unsigned n)
{
	(void)device, (void)index, (void)fds, (void)n;
	return -ENOTTY; /* no function is claimed here */
}

/* ---- udev ---- */

static struct told {
	const char *action, *address; /* NULL: ENOBUFS */
} queue[QUEUE];
static unsigned queued, taken;
static int readable = -1; /* an eventfd: an event each */

static void tell(const char *action, const char *address)
{
	CU_ASSERT_TRUE_FATAL(queued < QUEUE);
	queue[queued++] = (struct told){action, address};
	CU_ASSERT_EQUAL(eventfd_write(readable, 1), 0);
}

struct udev_device *udev_monitor_receive_device(struct udev_monitor *monitor)
{
	eventfd_t one;

	(void)monitor;
	errno = EAGAIN;
	if (taken == queued || eventfd_read(readable, &one))
		return NULL;
	errno = ENOBUFS;
	return queue[taken++].action ? (struct udev_device *)&queue[taken - 1] : NULL;
}

const char *udev_device_get_action(struct udev_device *device)
{
	return ((struct told *)device)->action;
}

const char *udev_device_get_sysname(struct udev_device *device)
{
	return ((struct told *)device)->address;
}

struct udev_device *udev_device_unref(struct udev_device *device)
{
	(void)device;
	return NULL;
}

struct udev *udev_new(void)
{
	return (struct udev *)&bus;
}

struct udev *udev_unref(struct udev *udev)
{
	(void)udev;
	return NULL;
}

struct udev_monitor *udev_monitor_new_from_netlink(struct udev *udev, const char *name)
{
	(void)name;
	return (struct udev_monitor *)udev;
}

int udev_monitor_filter_add_match_subsystem_devtype(struct udev_monitor *monitor,
						    const char *subsystem, const char *devtype)
{
	(void)monitor, (void)devtype;
	CU_ASSERT_STRING_EQUAL(subsystem, "pci");
	return 0;
}

int udev_monitor_enable_receiving(struct udev_monitor *monitor)
{
	(void)monitor;
	return 0;
}

int udev_monitor_get_fd(struct udev_monitor *monitor)
{
	(void)monitor;
	return readable;
}

struct udev_monitor *udev_monitor_unref(struct udev_monitor *monitor)
{
	(void)monitor;
	return NULL;
}

/* ---- tests ---- */

#define A "0000:00:00.0"
#define B "0000:00:01.0"
#define C "0000:00:02.0"
#define D "0000:00:03.0"

static void set_up(void)
{
	memset(&bus, 0, sizeof(bus));
	memset(machine, 0, sizeof(machine));
	queued = taken = 0;
	*said = '\0';
	readable = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC | EFD_SEMAPHORE);
	CU_ASSERT_EQUAL_FATAL(pcidipc_loop_create(0, &bus.bus.loop), 0);
	pcidipc_list_init(&bus.bus.functions);
	bus.bus.event = event;
	CU_ASSERT_EQUAL_FATAL(vfio_hotplug_start(&bus), 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(bus.hotplug);
}

/* As pcid's enumeration at its start. */
static void enumerate(void)
{
	for (unsigned i = 0; i < MACHINE; i++)
		if (machine[i].address)
			vfio_enumerate_one(&bus, machine[i].address);
}

static void expect(const char *what)
{
	while (taken < queued)
		pcidipc_loop_turn(bus.bus.loop, true);
	if (strcmp(said, what))
		fprintf(stderr, "said: %s\nnot:  %s\n", said, what);
	CU_ASSERT_STRING_EQUAL(said, what);
	*said = '\0';
}

static void tear_down(void)
{
	vfio_hotplug_stop(&bus);
	while (!pcidipc_list_empty(&bus.bus.functions)) {
		struct pcid_function *f =
			pcidipc_container_of(bus.bus.functions.next, struct pcid_function, link);

		pcidipc_list_remove(&f->link);
		free(f->bus_priv);
		free(f);
	}
	pcidipc_loop_destroy(bus.bus.loop);
	close(readable);
}

static void test_events(void)
{
	set_up();
	plug(A, "nvme");
	enumerate();
	plug(B, "");
	tell("add", B);
	tell("bind", B); /* to none of ours */
	tell("change", A);
	expect("+01.0 ");
	plug(A, VFIO_DRIVER);
	tell("bind", A);
	expect("+00.0 ");
	unplug(B);
	tell("remove", B);
	tell("remove", C); /* never seen */
	tell("add", D);	   /* gone again */
	expect("-01.0 ");
	tear_down();
}

/* One has gone, one has come, one has been exchanged, one is given to vfio-pci. */
static void test_lost(void)
{
	set_up();
	plug(A, "nvme");
	plug(B, "");
	plug(C, "");
	enumerate();
	unplug(A);
	plug(B, "");
	machine[slot_of(C)].driver = VFIO_DRIVER;
	plug(D, "nvme");
	tell(NULL, NULL);
	expect("-00.0 -01.0 +01.0 +02.0 +03.0 ");
	/* nothing has changed since */
	machine[slot_of(C)].driver = "nvme";
	tell(NULL, NULL);
	expect("");
	/* and events are listened to as before */
	unplug(D);
	tell("remove", D);
	expect("-03.0 ");
	tear_down();
}

/* What was told before the loss comes after the news of it, and is older than what is seen. */
static void test_stale(void)
{
	set_up();
	plug(A, "");
	plug(B, "");
	enumerate();
	plug(A, ""); /* removed and back; that it is back was lost */
	tell(NULL, NULL);
	tell("remove", A);
	tell("add", A);
	tell("remove", A);
	tell(NULL, NULL);
	tell("remove", B); /* and so does it */
	expect("-00.0 +00.0 ");
	tear_down();
}

int main(void)
{
	CU_TestInfo tests[] = {
		{"events", test_events},
		{"lost", test_lost},
		{"stale", test_stale},
		CU_TEST_INFO_NULL,
	};

	return run_tests("vfio: functions come and go", tests);
}
