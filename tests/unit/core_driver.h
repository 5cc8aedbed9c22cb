/* SPDX-License-Identifier: MIT */
/* The test's side of core_rig: a driver of the fake function, and what it asks for. */
#ifndef CORE_DRIVER_H
#define CORE_DRIVER_H

#include <CUnit/CUnit.h>

#include "core_rig.h"

#define CONFIG                                                                                     \
	"driver \"test\" { class = 1 command = \"/bin/false\" service = \"nvme\" dma_quota_mib = " \
	"64 "                                                                                      \
	"max_children = 2 sandbox = \"no\" }\n"

extern struct core_rig rig;
extern struct pcidipc_loop *loop; /* the driver's */
extern struct pcidipc_pci *pci;
extern struct pcidipc_cqe cqe; /* of the last request */

/* pcid's core, and a driver that said hello. */
void core_begin_with(const char *config);
void core_begin(void);
void core_finish(void);

struct io_uring_sqe core_sqe(uint32_t cmd_op, uint64_t addr, uint32_t index, uint32_t width,
			     uint64_t value);
/* Submit one and wait: its result. */
int core_request(uint32_t cmd_op, uint64_t addr, uint32_t index, uint32_t width, uint64_t value);
/* Put one into the ring, not yet submitted. */
void core_push(uint64_t user_data, const struct io_uring_sqe *from);

/* For core_rig_call: the bus takes no more, it takes all again, how many requests wait for that. */
void core_set_full(struct core_rig *r, void *arg);
void core_set_drained(struct core_rig *r, void *arg);
void core_parked_count(struct core_rig *r, void *arg);

#endif
