/* SPDX-License-Identifier: MIT */
/*
 * pcid's core with a fake bus, on a thread with a loop of its own. The test's thread is the driver:
 * it uses the PCI helpers, which block, as a driver would.
 */
#ifndef CORE_RIG_H
#define CORE_RIG_H

#include <pcid/driver.h>
#include <pcid/pcid.h>
#include <pcidipc/pci.h>
#include <pthread.h>

#include "fake_bus.h"

struct core_rig {
	struct pcid pcid;
	struct fake_bus *fake;
	struct pcid_driver *driver; /* without a process; see core_rig_join */
	pthread_t thread;
	int calls; /* eventfd: somebody wants a function called */
	struct pcidipc_watch watch;
	void (*call)(struct core_rig *rig, void *arg);
	void *arg;
	bool call_in_task;
	pthread_mutex_t lock;
	pthread_cond_t called;
	bool done;
	char dir[64];
};

/* Configuration text as in a file. */
void core_rig_start(struct core_rig *rig, const char *config);
void core_rig_stop(struct core_rig *rig);
/* Call fn on the core's thread, and wait for its return. _task: in a task, where it may await. */
void core_rig_call(struct core_rig *rig, void (*fn)(struct core_rig *, void *), void *arg);
void core_rig_call_task(struct core_rig *rig, void (*fn)(struct core_rig *, void *), void *arg);

/* A driver for the fake function whose process is this one: returns its channel. */
int core_rig_join(struct core_rig *rig);
/* The driver's session ends (its channel must be closed), its function is let go. */
void core_rig_leave(struct core_rig *rig);

#endif
