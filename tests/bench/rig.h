/* SPDX-License-Identifier: MIT */
/* A pcid with a QEMU bus: an NVMe disk without a medium (null-co), and QEMU's edu, which this
 * program drives. */
#ifndef RIG_H
#define RIG_H

#include "bench.h"

#define RIG_PATH 160
#define RIG_DAEMONS 4

struct rig {
	pid_t pcid, nvmed, driver, qemu; /* 0: not there */
	char run_dir[RIG_PATH];		 /* pcid's runtime directory */
	char disk[RIG_PATH];		 /* sockets */
	char service[RIG_PATH];
	pid_t daemon[RIG_DAEMONS]; /* pcid's drivers, but for this program */
	unsigned ndaemons;
};

int rig_start(struct rig *rig);
void rig_stop(struct rig *rig);
/* Wait until there is a socket at `path`, but no longer than pcid lives or 20 s. */
int rig_await(const struct rig *rig, const char *path);
/* The same bus's QEMU alone, until it answers: ns, or NAN. */
double rig_qemu_start(void);

/* What pcid counts for a driver ("mmio_writes", ...), NAN if it does not say. */
double rig_counter(const struct rig *rig, const char *driver, const char *name);

/* Of all of a process's threads. */
double rig_cpu_ns(pid_t pid);
double rig_switches(pid_t pid);
/* Resident memory in KiB (Rss) but for mappings of pools. */
double rig_rss_kib(pid_t pid);
double rig_pss_kib(pid_t pid);

/* The rig that a group's measurements share. */
extern struct rig rig;
int rig_setup(void);
/* The same with sticks on an xHCI controller instead: disk/bot0 and disk/uas0. */
int rig_setup_sticks(void);
void rig_teardown(void);

#endif
