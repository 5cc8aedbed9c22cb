/* SPDX-License-Identifier: MIT */
/* The processes of a rig as the kernel sees them: who they are, and what they hold. */
#ifndef TESTS_QEMU_PROCFS_H
#define TESTS_QEMU_PROCFS_H

#include "rig.h"

/* pcid, its QEMU and its first driver; 0 for what does not run. */
struct daemons {
	pid_t pcid, qemu, driver;
};
#define DAEMONS 3
struct daemons rig_daemons(struct rig *rig);

/* A process by pidfd: its number may be somebody else's when it is over. -1 with errno. */
int process_open(pid_t pid);
/* Wait for its end, at most 30 s, and close the pidfd. */
bool process_ends(int pidfd);

/* A memfd by what /proc says of it. */
struct memory {
	uint64_t inode;
};
/* The largest memfd that the process has open: of a client that is its pool. False: none. */
bool process_pool(pid_t pid, struct memory *memory);
/* How many file descriptors and mappings of the process lead to it. */
unsigned process_holds(pid_t pid, struct memory memory);
/* The same over pcid, QEMU and the driver together. */
unsigned daemons_hold(struct rig *rig, struct memory memory);
/* How many of its file descriptors lead to something with `part` in its name. */
unsigned process_has_open(pid_t pid, const char *part);

/* What each daemon has open, and how much shared memory it has mapped. */
struct usage {
	unsigned fds[DAEMONS], memfds_mapped[DAEMONS];
};
void rig_usage(struct rig *rig, struct usage *usage);
/* Is it the same now as it was? Says what is not if `say`. */
bool rig_usage_is(struct rig *rig, const struct usage *was, bool say);

#endif
