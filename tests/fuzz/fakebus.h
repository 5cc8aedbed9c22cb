/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A bus of one function, in memory, which checks what pcid's core promises to a bus. */
#ifndef FAKEBUS_H
#define FAKEBUS_H

#include "../../pcid/bus.h"
#include "fuzz.h"

struct fakebus {
	struct pcid_bus bus;
	struct pcid_function function;
	/* How it behaves from now on. */
	bool busy;	   /* -EAGAIN to posted writes and reads */
	bool no_masks;	   /* its vectors cannot be masked */
	bool maps_regions; /* region_fd works */
	bool full;	   /* pools are refused */
	bool no_reset;
	/* What it has. */
	struct pcid_read *reads[64]; /* under way */
	unsigned nreads, vectors, pools;
};

struct fakebus *fakebus(void);
/* Answer the oldest register read. */
void fakebus_answer(int error, uint64_t value);
/* After an input: nothing may be left; it behaves well again. */
void fakebus_settle(void);

#endif
