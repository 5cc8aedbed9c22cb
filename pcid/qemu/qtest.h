/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QEMU's qtest protocol: accesses to guest-physical memory and I/O ports as lines of text over a
 * socket. Every command is answered in order, so one FIFO of expected answers is all the state
 * there is. Commands of one turn of the loop go out in one write.
 */
#ifndef PCID_QEMU_QTEST_H
#define PCID_QEMU_QTEST_H

#include <pcidipc/loop.h>
#include <stddef.h>

#include "../bus.h"

/* How many answers may be outstanding: for registers, for interrupt masks, and for all (the rest is
 * pcid's own). */
#define QTEST_REGISTERS 1024u
#define QTEST_MASKS 2048u
#define QTEST_ALL 4096u

#define QTEST_LINE 48u /* no command is longer */
#define QTEST_IN_BYTES 16384u

struct qtest {
	struct pcidipc_loop *loop;
	struct pcidipc_watch watch;
	struct pcidipc_deferred flush;
	char *out; /* QTEST_ALL * QTEST_LINE bytes; [out_start, out_end) is to be sent */
	size_t out_start, out_end;
	char *in;
	size_t in_bytes;
	struct pcid_read **expected; /* ring of QTEST_ALL; NULL: the answer is of no interest */
	uint32_t head, tail;
	bool dead;
	bool starved; /* somebody was refused for want of room */
	void (*room)(struct qtest *q);
	void (*broken)(struct qtest *q, const char *why);
	void *owner;
};

/* Takes the socket over, on failure too. */
int qtest_init(struct qtest *q, struct pcidipc_loop *loop, int fd);
void qtest_fini(struct qtest *q);
/* Everything outstanding ends with `error`, and so does everything to come. */
void qtest_kill(struct qtest *q, int error);

enum qtest_space {
	QTEST_MEMORY, /* width 1, 2, 4, 8 */
	QTEST_PORTS,  /* width 1, 2, 4 */
};

/* Posted. -EAGAIN: `limit` answers are outstanding (q->room tells when there is room again);
 * -ENODEV: dead. */
int qtest_write(struct qtest *q, enum qtest_space space, uint64_t address, unsigned width,
		uint64_t value, unsigned limit);
int qtest_read(struct qtest *q, enum qtest_space space, uint64_t address, unsigned width,
	       struct pcid_read *read, unsigned limit);

/* The same for tasks: they wait for room, and for the value. A write is posted all the same. */
int qtest_task_write(struct qtest *q, enum qtest_space space, uint64_t address, unsigned width,
		     uint64_t value);
int qtest_task_read(struct qtest *q, enum qtest_space space, uint64_t address, unsigned width,
		    uint64_t *value);
/* Wait until everything written so far has been done. */
int qtest_task_sync(struct qtest *q);
/* `count` dwords from `address` on, all asked for at once. */
int qtest_task_dwords(struct qtest *q, uint64_t address, unsigned stride, unsigned count,
		      uint32_t *values);

#endif
