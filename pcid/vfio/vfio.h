/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VFIO bus: functions of this machine, through Linux's vfio-pci driver.
 *
 * What may sleep (opening a device, a reset, pinning memory, vectors, sysfs) runs on the function's
 * worker thread, so that pcid's loop goes on; functions marked (worker) are made for that. The
 * others run on the loop.
 */
#ifndef PCID_VFIO_H
#define PCID_VFIO_H

#include <pthread.h>
#include <stddef.h>

#include "../bus.h"
#include "../iova.h"
#include <pcidipc/list.h>

#define VFIO_ADDRESS_BYTES 16 /* of "0000:00:03.0", as in struct pcid_function */
#define VFIO_DRIVER_BYTES 64
#define VFIO_DRIVER "vfio-pci"
#define VFIO_VECTORS 64 /* as many as struct pcid_irqs holds */
#define VFIO_NO_GROUP UINT32_MAX

/* ---- worker.c: threads for what may sleep ---- */

struct vfio_job {
	struct vfio_job *next;
	int (*run)(void *arg);
	void *arg;
	int ret;
	struct pcidipc_completion done;
};

struct vfio_worker {
	struct vfio_done *report_to; /* NULL: not started */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct vfio_job *first, *last;
	bool stopping;
};

/* Finished jobs on their way back to the loop; one per bus. */
struct vfio_done {
	pthread_mutex_t lock;
	struct vfio_job *jobs;
	int fd; /* an eventfd */
	struct pcidipc_watch watch;
};

int vfio_done_init(struct vfio_done *done, struct pcidipc_loop *loop);
void vfio_done_fini(struct vfio_done *done);
/* Run it on the worker, which is started if need be, and await its result. Task. -errno of
 * starting, or what run said. */
int vfio_call(struct vfio_done *done, struct vfio_worker *worker, int (*run)(void *arg), void *arg);
/* Nothing may be under way. Fine if it was never started. */
void vfio_worker_stop(struct vfio_worker *worker);

/* ---- container.c: VFIO's container and group, and nothing else knows of them ---- */

/* An IOMMU domain: one per group. */
struct vfio_container {
	struct pcidipc_list link; /* vfio_bus.containers */
	uint32_t group;
	unsigned users;
	int fd, group_fd; /* -1: not open */
	struct pcid_iova iova;
	struct pcidipc_task_mutex lock; /* while it is opened or closed */
};

/* Open the group's container; `who` is for messages. (worker) */
int vfio_container_open(struct vfio_container *c, const char *who);
/* The device fd of a function in it, or -errno. (worker) */
int vfio_container_device(struct vfio_container *c, const char *address);
/* Map [offset, offset + bytes) of a memfd at iova. Mapping the same range again is no error.
 * (worker) */
int vfio_container_map(struct vfio_container *c, int memfd, uint64_t offset, uint64_t bytes,
		       uint64_t iova);
/* Unmap what is mapped there; ranges are not split. (worker) */
int vfio_container_unmap(struct vfio_container *c, uint64_t iova, uint64_t bytes);
/* (worker) */
void vfio_container_close(struct vfio_container *c);

/* ---- the bus ---- */

struct vfio_region {
	uint64_t offset; /* in the device fd */
	uint64_t bytes;
	bool mappable;
};

struct vfio_bus {
	struct pcid_bus bus;
	pthread_mutex_t
		list_lock; /* changes of the list of functions and of take: workers read them */
	struct pci_access *pci;
	char **take;	    /* copy of the options' */
	bool shared_groups; /* the options' */
	char state_path[128];
	struct vfio_done done;
	struct pcidipc_list containers;
	struct vfio_hotplug *hotplug;
	struct vfio_faults *faults;
	/* register reads that are answered at the end of the turn */
	struct vfio_read *reads;
	unsigned nreads, reads_room;
	struct pcidipc_deferred answer;
};

/* What this bus knows about a function. */
struct vfio_function {
	struct pcid_function *f;
	struct vfio_worker worker;
	struct pci_dev *pci; /* libpci's */
	bool own_pci;	     /* to be freed here */
	uint64_t node;	     /* vfio_sysfs_node of when it was found */

	/* taking over: takeover.c */
	bool taken;		     /* from the driver below, by us: to be given back */
	char was[VFIO_DRIVER_BYTES]; /* "": it had none */

	/* claimed */
	struct vfio_container *container; /* NULL: not claimed */
	int device;			  /* VFIO's device fd, -1 */
	bool can_reset;
	struct vfio_region region[PCID_BARS];
	uint64_t config_offset;
	struct pcidipc_watch request; /* "give it back", an eventfd */
	bool leaving;
	bool decode;

	/* interrupts: irq.c */
	uint32_t irq_kind, irq_count;
	volatile uint32_t *table; /* MSI-X table, mapped, or NULL */
	void *table_page;
	size_t table_bytes;
	bool table_lost; /* the device did not answer there */
	uint64_t masked; /* a bit per vector */
	/*
	 * A reset is under way, or the device is being opened or closed, on the worker: whoever
	 * touches its registers or configuration space would wait in the kernel until that is over.
	 * Masks are kept here only.
	 */
	bool busy;
};

static inline struct vfio_bus *vfio_bus_of(struct pcid_function *f)
{
	return pcidipc_container_of(f->bus, struct vfio_bus, bus);
}

static inline struct vfio_function *vfio_of(struct pcid_function *f)
{
	return f->bus_priv;
}

/* Run on the function's worker, with the function as the argument. Task. */
int vfio_run(struct pcid_function *f, int (*run)(void *f));
/* The same with `busy` set meanwhile. Task. */
int vfio_run_busy(struct pcid_function *f, int (*run)(void *f));
/* Until it is not busy. Task. */
void vfio_settle(struct pcid_function *f);

/* ---- sysfs.c: /sys/bus/pci/devices/ADDRESS/... ---- */

/* `path` is below /sys/bus/pci. 0, or -errno of the write: the kernel does in it what is asked for,
 * and may sleep. (worker) */
int vfio_sysfs_write(const char *path, const char *text);
/* The driver that it is bound to; "" where there is none. */
void vfio_sysfs_driver(const char *address, char name[VFIO_DRIVER_BYTES]);
/* Its IOMMU group, or VFIO_NO_GROUP. */
uint32_t vfio_sysfs_group(const char *address);
/* A number as sysfs prints it, 0x or decimal; `otherwise` where it cannot be read. */
uint64_t vfio_sysfs_number(const char *address, const char *attribute, uint64_t otherwise);
/* Tells a device from one that had its address before; 0: there is none. */
uint64_t vfio_sysfs_node(const char *address);
/* Every function that the kernel knows, in no order. */
void vfio_sysfs_each(struct vfio_bus *bus, void (*look)(struct vfio_bus *, const char *address));

/* ---- enumerate.c ---- */

int vfio_enumerate(struct vfio_bus *bus);
void vfio_enumerate_end(struct vfio_bus *bus);
/* One function that has arrived. NULL: not there after all. */
struct pcid_function *vfio_enumerate_one(struct vfio_bus *bus, const char *address);
struct pcid_function *vfio_find(struct vfio_bus *bus, const char *address);
void vfio_forget(struct pcid_function *f);
/* Configuration space of a function that is not claimed, through libpci. */
int vfio_config_peek(struct pcid_function *f, unsigned offset, unsigned width, uint32_t *value);

/* ---- inuse.c ---- */

#define VFIO_MAX_DISKS 64

/* Disks of a function, held so that nobody can mount them meanwhile. */
struct vfio_hold {
	int fds[VFIO_MAX_DISKS];
	unsigned n;
};
/* 0; -EBUSY, with a message, if the kernel uses the function: a mounted disk, swap, a network
 * interface. (worker) */
int vfio_hold_unused(const char *address, struct vfio_hold *hold);
void vfio_hold_end(struct vfio_hold *hold);

/* ---- takeover.c ---- */

/* Does the configuration name it, or has somebody bound it to vfio-pci? */
bool vfio_offered(struct pcid_function *f);
/* A message for each name in the configuration that nothing on the bus has. */
void vfio_tell_missing(struct vfio_bus *bus);
/* Make it vfio-pci's, unless something speaks against it, which is told. (worker) */
int vfio_take_over(struct pcid_function *f);
/* To the driver that it had, or, if none, to one that wants it. (worker) */
int vfio_give_back(void *function);
/* What a dead predecessor did not give back. */
void vfio_takeover_recall(struct vfio_bus *bus);

/* ---- region.c ---- */

struct vfio_read {
	struct pcid_read *read;
	int error;
	uint64_t value;
};
/* Ask the device fd for its regions. (worker) */
int vfio_regions_find(struct pcid_function *f);
int vfio_region_fd(struct pcid_function *f, unsigned bar, uint64_t *offset);
int vfio_mmio_write(struct pcid_function *f, unsigned bar, uint64_t offset, unsigned width,
		    uint64_t value);
int vfio_mmio_read(struct pcid_function *f, unsigned bar, uint64_t offset, unsigned width,
		   struct pcid_read *read);
int vfio_config_read(struct pcid_function *f, unsigned offset, unsigned width, uint32_t *value);
int vfio_config_write(struct pcid_function *f, unsigned offset, unsigned width, uint32_t value);

/* ---- irq.c ---- */

int vfio_irq_alloc(struct pcid_function *f, unsigned most, struct pcid_irqs *irqs);
void vfio_irq_free(struct pcid_function *f);
int vfio_irq_mask(struct pcid_function *f, unsigned vector, bool masked);
/* Decoding is on (again): the table answers, and gets the masks that were set meanwhile. */
void vfio_irq_decoding(struct pcid_function *f);
/* VFIO_DEVICE_SET_IRQS with `n` eventfds; 0 turns them off. (worker) */
int vfio_set_irqs(int device, unsigned index, const int *fds, unsigned n);

/* ---- reset.c ---- */

int vfio_reset(struct pcid_function *f);

/* ---- hotplug.c ---- */

int vfio_hotplug_start(struct vfio_bus *bus);
void vfio_hotplug_stop(struct vfio_bus *bus);
/* Watch for VFIO's request to give the function back. (worker arms it, the loop watches) */
int vfio_request_arm(struct pcid_function *f);
int vfio_request_watch(struct pcid_function *f);
void vfio_request_end(struct pcid_function *f);

/* ---- fault.c: what the IOMMU refused, from the kernel's log ---- */

struct vfio_fault {
	unsigned segment, bus, dev, fn;
	unsigned long long iova;
	bool write;
	const char *reason; /* in the record, or NULL */
};
/* Does a record of /dev/kmsg tell of one? It is cut at its first line's end. */
bool vfio_fault_parse(char *record, struct vfio_fault *fault);
int vfio_faults_start(struct vfio_bus *bus);
void vfio_faults_stop(struct vfio_bus *bus);

#endif
