/* SPDX-License-Identifier: MIT */
/*
 * A driver that tries what no driver may, one attempt at a time, as a test says over a socket; and
 * the test's side of that. The driver stays and tells how it went, or is no more.
 */
#ifndef TESTS_QEMU_ATTEMPTS_H
#define TESTS_QEMU_ATTEMPTS_H

#include <stdint.h>

#include "rig.h"

enum attempt {
	ATTEMPT_NOTHING, /* the control: it is there, and its device's registers are */
	ATTEMPT_OPEN,
	ATTEMPT_STAT, /* a file that has a name */
	ATTEMPT_SOCKET,
	ATTEMPT_EXEC,
	ATTEMPT_FORK,
	ATTEMPT_THREAD,
	ATTEMPT_PTRACE,
	ATTEMPT_MAP_CODE,
	ATTEMPT_PROTECT_CODE,
	ATTEMPT_KILL,
	ATTEMPT_IOCTL,
	ATTEMPT_PREAD,	      /* what would read any register through a VFIO device's fd */
	ATTEMPT_SETUID,	      /* to root */
	ATTEMPT_CAPABILITIES, /* all of them */
	ATTEMPT_LIMIT,	      /* more open files than it may have */
	ATTEMPT_FILES,	      /* as many open files as it gets */
	ATTEMPT_LOCK_MEMORY,  /* as much as it gets */
	ATTEMPT_RING,	      /* an io_uring of its own, which opens a file */
	ATTEMPT_PRIMARY_OPEN, /* the loop's io_uring opens a file */
	ATTEMPT_PRIMARY_REGISTER,
	ATTEMPT_CLOSE_RING, /* for another one to get its number */
	ATTEMPT_REGION,	    /* the fd behind its registers, once more */
	ATTEMPT_STEAL,	    /* a file that pcid has open: VFIO's are among them */
	ATTEMPT_UNCONFINE,  /* tell pcid of other locks */
	ATTEMPT_LANDLOCK,   /* lock itself by Landlock alone, and open a file */
	ATTEMPT_NO_PROCESS, /* as many processes as it gets, by its limits alone */
	ATTEMPTS,
};
extern const char *const attempt_names[ATTEMPTS];

/* The driver, whole; returns its exit code. */
int attempts_driver(void);
/* The argument of a program that ATTEMPT_EXEC has executed, and what it is to exit with. */
#define ATTEMPTS_EXECUTED "executed"
#define ATTEMPTS_EXECUTED_CODE 42

/* What the driver whose service is attempts/STEM0 says: 0 for what worked (ATTEMPT_FILES: the
 * number of the last one) or -errno; ATTEMPT_DIED when there is no driver any more. */
#define ATTEMPT_DIED (-100000)
int attempt(struct rig *rig, const char *stem, enum attempt what);
/* What this kernel does not have, or forbids here. */
void attempts_probe(bool *no_landlock, bool *no_ring);
/* Does it end by itself after this one? */
bool attempt_spoils(enum attempt what);

#endif
