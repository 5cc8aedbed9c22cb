/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A driver: what pcid knows about one subdriver and the function (or child) that it drives, from
 * the moment the two were matched until the device is gone or pcid ends. Its process may die and
 * come back meanwhile; the record stays, and with it the driver's services and their names.
 */
#ifndef PCID_DRIVER_H
#define PCID_DRIVER_H

#include <pcidipc/scheme.h>
#include <pcidipc/task.h>
#include <ringabi/pci.h>
#include <sys/types.h>

#include "bus.h"
#include "config.h"
#include <pcidipc/list.h>
#include "pcid.h"

struct pcid;
struct pcid_driver;

#define PCID_MAX_SERVICES 256	   /* of one driver */
#define PCID_STOP_NS 5000000000ull /* a driver that was told to stop gets this long */

enum pcid_driver_state {
	PCID_STARTING, /* the process has not said hello yet */
	PCID_RUNNING,
	PCID_STOPPING,
	PCID_BACKOFF, /* it died; the next one starts later */
	PCID_FAILED,  /* it died too often */
	PCID_GONE,    /* its device is gone */
};

/* Why a driver shall end. */
enum pcid_stop {
	PCID_STOP_NONE,
	PCID_STOP_RESTART,
	PCID_STOP_REMOVED,  /* its device is gone, or leaves */
	PCID_STOP_SHUTDOWN, /* pcid ends */
};

/* ---- irq.c: vectors; see there for relays ---- */

struct pcid_vector {
	struct pcid_driver *driver;
	struct pcidipc_watch watch; /* relay: on bus_fd */
	int bus_fd,
		relay_fd; /* relay: the bus's eventfd, our end of the driver's socket; else -1 */
	bool masked;
	bool bus_masked; /* what the bus was told last */
	bool pending;	 /* relay: it came while it was masked */
	uint64_t masks, unmasks, interrupts, relayed;
};

struct pcid_irq {
	uint32_t kind, count; /* count 0: none allocated */
	bool maskable, function_masked;
	bool unsettled; /* the bus's masks may differ from the driver's: pcid_irq_settle */
	struct pcid_vector vector[RINGABI_MSG_MAX_FDS];
};

/* ---- what waits ---- */

/* What pcid keeps in each request's private memory. */
struct pcid_pending {
	struct pcid_read read;
	struct pcidipc_queue *queue; /* the queue that it waits in, or NULL */
};

struct pcid_driver {
	struct pcidipc_list link; /* pcid.drivers */
	struct pcid *pcid;
	struct pcid_stanza *stanza;
	struct pcid_function *function; /* NULL: the driver of a child */
	struct pcid_child *child;	/* NULL: the driver of a function, or the child is gone */
	struct pcid_driver *parent;	/* children: who announced it */
	struct pcid_identity id;
	char where[136]; /* "0000:00:03.0", or "0000:00:03.0/1-4.2:1.0" */
	char name[176];	 /* "nvmed 0000:00:03.0", for messages */
	unsigned number; /* of its services' names; kept for as long as pcid runs */
	uid_t uid;	 /* of its processes; PCID_KEEP_ID: pcid's own */
	gid_t gid;

	/* life: supervisor.c */
	enum pcid_driver_state state;
	enum pcid_stop stop;
	struct pcidipc_completion wake; /* the supervisor's */
	struct pcidipc_timer timer;
	bool claimed, quiet, exited, session_lost, settled;
	bool refused;		     /* the bus does not give the function out */
	bool let_go;		     /* released after its device was to leave */
	struct pcidipc_list waiters; /* tasks, for its exit */
	struct pcidipc_task_mutex quieting;
	pid_t pid; /* 0: no process */
	int pidfd;
	struct pcidipc_watch exit_watch;
	struct pcid_output *output;
	unsigned restarts; /* since pcid started */
	unsigned failures; /* in a row */
	uint64_t started_at;
	char last_exit[64];
	bool confined;	/* its process has said which locks it has put on itself: */
	uint32_t locks; /* RINGABI_PCI_LOCK_* */
	struct pcidipc_timer settling;

	/* the PCI scheme: pciserve.c */
	struct pcidipc_scheme scheme;
	struct pcidipc_session *session; /* once it said hello */
	struct pcidipc_queue slow;	 /* for the worker task */
	struct pcidipc_queue parked;	 /* until the bus takes more */
	bool working;
	struct pcidipc_task_mutex bus_lock; /* around what changes the function's state */
	bool resetting;			    /* registers and masks wait */
	struct pcid_irq irq;
	struct pcidipc_list pools;
	uint64_t mapped_bytes;

	struct pcidipc_list services;
	unsigned nservices;
	uint32_t next_service;
	struct pcidipc_timer
		republish; /* services that a restarted driver does not want any more go */

	struct pcidipc_list children;
	unsigned nchildren;
	unsigned nchildren_alive; /* drivers of children, those that end included */

	struct {
		uint64_t mmio_reads, mmio_writes, masks, unmasks;
	} count;
};

/* ---- supervisor.c ---- */

/* Begin to drive a function, or a child of `parent`, by `stanza`. -ENOMEM. */
int pcid_driver_start(struct pcid *pcid, struct pcid_stanza *stanza, struct pcid_function *function,
		      struct pcid_driver *parent, struct pcid_child *child);
/* Ask it to end; a stronger reason replaces a weaker one. */
void pcid_driver_stop(struct pcid_driver *d, enum pcid_stop why);
/* End it without asking (SIGKILL); it comes back if it may. */
void pcid_driver_kill(struct pcid_driver *d);
/* Something that the supervisor waits for has changed. */
void pcid_driver_wake(struct pcid_driver *d);
/* Until its process has ended, which its pidfd tells: 0, also when it has none. -ETIMEDOUT: `ns`
 * are over, and it has not. The record may be gone after 0. Task. */
int pcid_driver_await_exit(struct pcid_driver *d, uint64_t ns);
/* Until the process is gone and the function stopped: no DMA from then on. Task. */
void pcid_driver_quiesce(struct pcid_driver *d);
/* It has published a service. */
void pcid_driver_published(struct pcid_driver *d);
const char *pcid_state_name(enum pcid_driver_state state);

/* ---- uids.c ---- */

/* Set its uid and gid, by its stanza. */
void pcid_driver_take_user(struct pcid_driver *d);

/* ---- spawn.c ---- */

/* What a child process gets. */
struct pcid_spawn {
	const char *path;   /* of the executable */
	char *const *args;  /* argv */
	int channel;	    /* becomes fd 3: $PCID_CLIENT_CHANNEL */
	int parent_channel; /* becomes fd 4: $PCID_PARENT_CHANNEL, or -1 */
	int output;	    /* standard output and error */
	uint64_t dma_quota; /* bytes that its device may reach, for $PCID_DMA_QUOTA_MIB */
	unsigned dma_bits;  /* of address that its controller drives, for $PCID_DMA_BITS; 0: none */
	uid_t uid;	    /* PCID_KEEP_ID: stay */
	gid_t gid;
	enum pcid_sandbox sandbox; /* what its library is told */
};
/* Start it. -errno, with *step (what failed) for the message. On success *pid and *pidfd. */
int pcid_spawn(const struct pcid_spawn *spawn, pid_t *pid, int *pidfd, const char **step);

/* ---- output.c: what a driver prints, line by line into the log ---- */

struct pcid_output;
/* Returns the fd that the driver writes to, the caller's to close; *output is NULL on failure. */
int pcid_output_open(struct pcid_driver *d, struct pcid_output **output);
void pcid_output_close(struct pcid_output *output);

/* ---- pciserve.c, pciserve_slow.c, pciserve_config.c, pciserve_message.c ---- */

void pcid_scheme_init(struct pcid_driver *d);
void pcid_queue_push(struct pcidipc_queue *queue, struct pcidipc_request *request);
struct pcidipc_request *pcid_queue_pop(struct pcidipc_queue *queue);
/* The bus takes writes again: go on with what was parked. */
void pcid_parked_run(struct pcid_driver *d);
struct ringabi_pci_arg pcid_request_arg(const struct pcidipc_request *request);
/* Hand a request to the driver's worker task. PCIDIPC_PENDING or -ENOMEM. */
int pcid_slow(struct pcid_driver *d, struct pcidipc_request *request);
/*
 * Reset the function. Its vectors do not survive the attempt; until it is done registers and masks
 * wait, for the bus has no vector to mask. Task, with bus_lock held.
 */
int pcid_function_reset(struct pcid_driver *d);
/* May these bytes be written? 0, -EPERM (see ringabi/pci.h), -ENXIO. `value` matters for the reset
 * bits. */
int pcid_config_writable(const struct pcid_function *f, unsigned offset, unsigned width,
			 uint32_t value);
/* Is the range in the BAR and outside the MSI-X table? 0, -ENXIO, -EFAULT. */
int pcid_mmio_allowed(const struct pcid_function *f, unsigned bar, uint64_t offset, unsigned width);
/* 0, or -EPERM: it was to put itself into its sandbox before it does `what`; says so. */
int pcid_check_confined(const struct pcid_driver *d, const char *what);
/* A channel message of the PCI interface. Task. */
void pcid_message(struct pcidipc_session *session, struct pcidipc_packet *packet);

/* ---- irq.c ---- */

/* Allocate; fds gets the driver's ends, the caller's to close. Returns the number, -EALREADY,
 * -ENOSPC, ... Task. */
int pcid_irq_alloc(struct pcid_driver *d, unsigned least, unsigned most, int *fds);
/* -ERANGE, -EAGAIN (the bus's queue is full: call again with the same arguments), or 0. */
int pcid_irq_mask(struct pcid_driver *d, unsigned vector, bool masked);
int pcid_irq_mask_all(struct pcid_driver *d, bool masked);
/*
 * A mask of the whole function was given up when the bus may have taken a part of it. Until the
 * vectors are back to what the driver knows (settle: 0, or -EAGAIN as above) no other mask goes.
 */
void pcid_irq_unsettle(struct pcid_driver *d);
int pcid_irq_settle(struct pcid_driver *d);
/* Forget the vectors. `freed`: the bus has freed its side already. Task. */
void pcid_irq_free(struct pcid_driver *d, bool freed);

/* ---- pools.c: the scheme's pool functions ---- */

struct pcid_mapping {
	struct pcidipc_list link; /* pcid_driver.pools */
	struct pcid_pool pool;
	struct pcid_driver *driver;
	struct pcidipc_task_mutex lock;
	uint64_t mapped_bytes;
	uint8_t *chunks; /* bitmap of RINGABI_POOL_CHUNKs that the device reaches */
};
int pcid_pool_attach(struct pcidipc_session *session, struct pcidipc_pool_view *view);
int pcid_pool_map(struct pcidipc_session *session, struct pcidipc_pool_view *view, uint64_t offset,
		  uint64_t bytes);
void pcid_pool_detach(struct pcidipc_session *session, struct pcidipc_pool_view *view);
/* Bytes that may be mapped for it at most, however little other drivers have. */
uint64_t pcid_dma_quota(const struct pcid_driver *d);
/* For the driver of a child: address bits that its controller drives, as the controller's driver
 * has told. 0: for that of a function, which tells us itself, or no function is there any more. */
unsigned pcid_dma_bits(const struct pcid_driver *d);

/* ---- service.c ---- */

struct pcid_service {
	struct pcidipc_list link; /* pcid_driver.services */
	uint32_t id;
	char kind[16], suffix[16];
	char name[RINGABI_NAME_BYTES];
	char path[108], admin_path[108]; /* of the sockets */
	int fd, admin_fd;
	bool taken; /* by the driver's present process */
	struct pcid_refuser *refuser, *admin_refuser;
};
/* The caller has checked kind and suffix. -EEXIST, -EDQUOT, -ENAMETOOLONG, ... */
int pcid_service_publish(struct pcid_driver *d, const char *kind, const char *suffix,
			 struct pcid_service **service);
int pcid_service_unpublish(struct pcid_driver *d, uint32_t id);
/* The process is gone, or its successor runs: its services wait, or those that it left out go. */
void pcid_services_wait(struct pcid_driver *d);
void pcid_services_sweep_later(struct pcid_driver *d);
/* Nobody will serve them: pcid answers itself, with -ENODEV; and: the driver is to be tried again.
 */
void pcid_services_refuse(struct pcid_driver *d);
void pcid_services_accept(struct pcid_driver *d);
void pcid_services_remove(struct pcid_driver *d);
/* "serving", "waiting" (for its driver) or "refused". */
const char *pcid_service_state(const struct pcid_service *service);

/* refuse.c: say -ENODEV to whoever comes to a listening socket. */
struct pcid_refuser;
int pcid_refuser_create(struct pcidipc_loop *loop, int fd, struct pcid_refuser **refuser);
void pcid_refuser_free(struct pcid_refuser *refuser);
/* Answer those who wait in the backlog now. */
void pcid_refuse_backlog(int fd);

/* ---- child.c ---- */

struct pcid_child {
	struct pcidipc_list link; /* pcid_driver.children of the announcer */
	struct pcid_driver *parent;
	struct pcid_driver *driver; /* NULL: none is configured for it */
	struct pcid_identity id;
	uint32_t number;    /* the announcer's */
	uint32_t interface; /* RINGABI_INTERFACE_* that it is served with */
	char path[32];
	char name[RINGABI_NAME_BYTES];
};
int pcid_child_announce(struct pcid_driver *d, const struct ringabi_announce *m);
int pcid_child_gone(struct pcid_driver *d, uint32_t number);
/* Stop their drivers; forget those without one. */
void pcid_children_remove(struct pcid_driver *d, enum pcid_stop why);
/* Look for drivers for children that have none. Returns how many were started. */
unsigned pcid_children_match(struct pcid_driver *d);
/* Hand the producer's end of a child driver's channel to the announcer. */
int pcid_child_adopt(struct pcid_child *child, int channel);
/* Its driver's record goes. */
void pcid_child_release(struct pcid_driver *d);

#endif
