/* SPDX-License-Identifier: MIT */
/*
 * The locks that a driver's process puts on itself as it attaches, before the driver's own code
 * has touched the device. pcid has taken the privileges away before (user, capabilities,
 * no_new_privs, limits); these take away what every process has. None can be taken off again.
 */
#ifndef SANDBOX_H
#define SANDBOX_H

#include <stdbool.h>

/* What $PCID_SANDBOX asks for; without it nothing is locked. */
enum sandbox_mode {
	SANDBOX_NO,
	SANDBOX_YES,
	SANDBOX_DEBUG, /* a debugger may look, and what is forbidden is named before the end */
};

/* Takes the variable out of the environment. */
enum sandbox_mode sandbox_wanted(void);
/*
 * Close the door. `ring_fd`: the primary ring, the one io_uring that may be entered from now on, or
 * -1. Returns RINGABI_PCI_LOCK_* that hold, or a negative errno; what the kernel or a sanitizer
 * does not allow is said and left out. For one thread: others that run already keep what they have
 * of the file system.
 */
int sandbox_close(enum sandbox_mode mode, int ring_fd);

/* ---- the single locks ---- */

/* No file can be named, no port bound or connected to, no signal sent out of this process. False:
 * the kernel has no Landlock. Needs no_new_privs. */
bool sandbox_landlock(void);
/* Neither a process nor a thread can be made. 0 or -errno. */
int sandbox_no_processes(void);
/* 0, -ENOSYS: the kernel has no seccomp, or a negative errno. */
int sandbox_seccomp(enum sandbox_mode mode, int ring_fd);

#endif
