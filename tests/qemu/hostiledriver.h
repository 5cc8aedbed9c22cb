/* SPDX-License-Identifier: MIT */
/*
 * A driver that keeps no rule, by a channel and a ring's memory and no library in between. pcid
 * starts it; what it is to do it finds in a file that it shares with the test. With nothing to do
 * it says hello and waits for the word to end.
 */
#ifndef TESTS_QEMU_HOSTILEDRIVER_H
#define TESTS_QEMU_HOSTILEDRIVER_H

#include <stdatomic.h>
#include <stdint.h>

enum hostile {
	HOSTILE_NOT,
	HOSTILE_REQUESTS, /* every request of the interface at random, and a few right ones */
	HOSTILE_SCRIBBLE, /* the same, and every index and flag */
	HOSTILE_MESSAGE,  /* one message of the type `seed`, contents at random, fds with it */
	HOSTILE_POOLS,	  /* that are none; as many as it gets, mapped, none given back */
	HOSTILE_EXCHANGE, /* pools, while requests that name them are under way */
	HOSTILE_RESHAPE,  /* the ring */
	HOSTILE_FDS,	  /* as many as a message carries, in every one */
	HOSTILE_DEAF,	  /* asks, fills the channel and the ring, and reads nothing */
	HOSTILE_NAMES,	  /* services and children without end */
	HOSTILE_VECTORS,  /* thousands of interrupts that it does not read */
	HOSTILE_DMA,	  /* its device is sent to where it has no pool */
	HOSTILE_DIE,	  /* by SIGKILL, at the step `seed` */
};

struct hostile_words {
	_Atomic uint32_t what, seed;
	_Atomic uint32_t idle,
		done;		/* how often it began to wait, and came to an end of what it did */
	_Atomic uint32_t wrong; /* what it could do and must not */
};

/* The driver's life; its exit status. `file`: what it shares. */
int hostile_driver(const char *file);
/* The test's side: make that file. NULL: it cannot be made. */
struct hostile_words *hostile_words(const char *file);

#endif
