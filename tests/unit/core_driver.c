// SPDX-License-Identifier: MIT
#include "core_driver.h"

#include <stddef.h>
#include <string.h>

struct core_rig rig;
struct pcidipc_loop *loop; /* the driver's */
struct pcidipc_pci *pci;

void core_begin_with(const char *config)
{
	core_rig_start(&rig, config);
	CU_ASSERT_EQUAL_FATAL(pcidipc_loop_create(0, &loop), 0);
	CU_ASSERT_EQUAL_FATAL(pcidipc_pci_adopt(loop, core_rig_join(&rig), &pci), 0);
}

void core_begin(void)
{
	core_begin_with(CONFIG);
}

void core_finish(void)
{
	pcidipc_pci_close(pci);
	core_rig_leave(&rig);
	core_rig_stop(&rig);
	pcidipc_loop_destroy(loop);
}

struct io_uring_sqe core_sqe(uint32_t cmd_op, uint64_t addr, uint32_t index, uint32_t width,
			     uint64_t value)
{
	struct ringabi_pci_arg arg = {.index = index, .width = width, .value = value};
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD};

	sqe.cmd_op = cmd_op;
	sqe.addr = addr;
	memcpy((char *)&sqe + offsetof(struct io_uring_sqe, cmd), &arg, sizeof(arg));
	return sqe;
}

struct pcidipc_cqe cqe;

int core_request(uint32_t cmd_op, uint64_t addr, uint32_t index, uint32_t width, uint64_t value)
{
	struct io_uring_sqe sqe = core_sqe(cmd_op, addr, index, width, value);

	return pcidipc_call(pcidipc_pci_consumer(pci), &sqe, &cqe);
}

void core_set_full(struct core_rig *r, void *arg)
{
	(void)arg;
	r->fake->full = true;
}

void core_set_drained(struct core_rig *r, void *arg)
{
	(void)arg;
	fake_bus_drain(r->fake);
}

void core_parked_count(struct core_rig *r, void *arg)
{
	unsigned n = 0;

	for (struct pcidipc_request *rq = r->driver->parked.first; rq; rq = rq->next)
		n++;
	*(unsigned *)arg = n;
}

void core_push(uint64_t user_data, const struct io_uring_sqe *from)
{
	struct io_uring_sqe *sqe = pcidipc_get_sqe(pcidipc_pci_consumer(pci));

	CU_ASSERT_PTR_NOT_NULL_FATAL(sqe);
	*sqe = *from;
	sqe->user_data = user_data;
}
