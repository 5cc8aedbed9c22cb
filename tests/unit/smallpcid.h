/* SPDX-License-Identifier: MIT */
/*
 * A small pcid for tests of the PCI helpers: it answers from a few tables, and notes what it is
 * asked. It runs in a process of its own; the notes are shared with the test's.
 */
#ifndef SMALLPCID_H
#define SMALLPCID_H

#include <stdatomic.h>
#include <stdint.h>

#define NOTES 65536
#define BAD_OFFSET 0x800u /* writes there fail */
#define PAGE 4096u

struct note {
	uint32_t cmd_op, index, width;
	uint64_t addr, value;
};

struct smallpcid {
	_Atomic uint32_t notes;
	struct note note[NOTES]; /* the last ones, by their number modulo NOTES */
	_Atomic uint32_t maps, detaches;
};

extern struct smallpcid *smallpcid;

/* The shared memory. 0, or -ENOMEM. */
int smallpcid_create(void);
void smallpcid_destroy(void);
/* Be it, for the driver at the other end, until that closes: the process's exit status. */
int smallpcid_serve(int channel);
/* The last note; 1: the one before it. */
const struct note *last_note(unsigned back);

#endif
