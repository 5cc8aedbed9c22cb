/* SPDX-License-Identifier: MIT */
/*
 * A producer in a process of its own, for tests of the library's core. Its requests do what the SQE
 * says, and all that happens to it is written to a log, a pipe that the test reads: tests wait for
 * entries, never for time.
 */
#ifndef HARNESS_H
#define HARNESS_H

#include <CUnit/CUnit.h>
#include <liburing.h>
#include <pcidipc/consumer.h>
#include <pcidipc/scheme.h>
#include <sys/types.h>

#include "suites.h"

#define RIG_INTERFACE RINGABI_INTERFACE_PRIVATE

/* cmd_op of an IORING_OP_URING_CMD. Each with a user_data below 128 logs its letter and that
 * (RELEASE: its addr). */
#define RIG_ECHO RINGABI_CMD_OP(RIG_INTERFACE, 1) /* 'R': res = len */
#define RIG_HOLD RINGABI_CMD_OP(RIG_INTERFACE, 2) /* 'H': pending until released or canceled */
#define RIG_RELEASE                   \
	RINGABI_CMD_OP(RIG_INTERFACE, \
		       3) /* 'L' and addr: complete the one held whose user_data is addr */
#define RIG_REACH \
	RINGABI_CMD_OP(RIG_INTERFACE, 4) /* 'B': reach (buf_index, addr, len); then res 0 */
#define RIG_GATE \
	RINGABI_CMD_OP(RIG_INTERFACE, 5) /* 'G': let a gated pool_map, or pool_attach, go on */
#define RIG_MAPPED                    \
	RINGABI_CMD_OP(RIG_INTERFACE, \
		       6) /* 'Y': res = byte at (buf_index, addr), through the mapping */
#define RIG_END                                                                                    \
	RINGABI_CMD_OP(RIG_INTERFACE, 7)	   /* 'E': end the session from inside the handler \
						    */
#define RIG_EVENT RINGABI_CMD_OP(RIG_INTERFACE, 8) /* 'V': send event number len */
#define RIG_QUIT RINGABI_CMD_OP(RIG_INTERFACE, 9)  /* end all sessions, then the process */
#define RIG_TASK RINGABI_CMD_OP(RIG_INTERFACE, 10) /* 'T': as REACH, by a task; then 't', res = 7 \
						    */
/* What else is logged: 'O' open, 'C' close, 'A' attach, 'M' map (and its chunk), 'D' detach, 'X'
 * cancel. */

enum rig_cancel { RIG_CANCEL_REFUSES, RIG_CANCEL_COMPLETES };

/* What the test may set while the producer runs. Shared memory. */
struct rig_knobs {
	enum rig_cancel cancel;
	int gated;	/* pool_map waits for RIG_GATE; 2: pool_attach too */
	int map_result; /* of pool_map */
	int open_result;
};

struct rig_params {
	uint32_t features;
	uint32_t sq_entries, cq_entries; /* the limits; 0: 256 and 512 */
	uint32_t max_sessions;		 /* 0: 16 */
	uint32_t hello_ms;		 /* 0: the library's */
	uint64_t max_pool_bytes;	 /* 0: the library's */
	struct pcidipc_users users;	 /* one user's limits; 0: none */
	bool own_limits;		 /* the library's, if a scheme says nothing */
};

struct rig {
	pid_t pid;
	int log;
	int listen; /* as pcid does, the test keeps it across producers */
	struct rig_params params;
	char path[64];
	struct rig_knobs *knobs;
	struct pcidipc_consumer *ctl; /* a session of its own, for RELEASE and the like */
};

/* ThreadSanitizer has its own malloc, system calls and shadow of all memory: what depends on these
 * is left out there, which is said. */
#ifdef __SANITIZE_THREAD__
#define NOT_UNDER_TSAN()                                    \
	do {                                                \
		printf("(skipped under ThreadSanitizer) "); \
		return;                                     \
	} while (0)
#else
#define NOT_UNDER_TSAN() ((void)0)
#endif

extern unsigned rig_loop_flags; /* PCIDIPC_LOOP_EPOLL, or 0 */

void rig_start(struct rig *rig, const struct rig_params *params);
/* Wait until the producer has left in good order: its exit status is checked. */
void rig_stop(struct rig *rig);
void rig_kill(struct rig *rig);
/* Kill the producer and start the next one on the same socket. ctl is of no use any more. */
void rig_restart(struct rig *rig);
struct pcidipc_consumer *rig_open(struct rig *rig, uint32_t sq, uint32_t cq);
int rig_channel(struct rig *rig); /* connected, nothing said yet */
/* The next entries of the log, two characters each, are these ("O.H1"; '.' stands for any number).
 */
void rig_expect(struct rig *rig, const char *entries);
/* A request on the control session. */
int rig_do(struct rig *rig, uint32_t op, uint64_t addr, uint32_t len);
void rig_release(struct rig *rig, uint64_t user_data, int res);

/* Fill an SQE in; the user_data is a digit, so that logs are readable. */
struct io_uring_sqe *put(struct pcidipc_consumer *c, char user_data, uint32_t op, uint32_t len,
			 unsigned flags);
/* Submit, wait for one CQE, and check it. */
void expect_cqe(struct pcidipc_consumer *c, char user_data, int res);

/* Run one under both loops. */
int harness_main(const char *name, CU_TestInfo *tests);

#endif
