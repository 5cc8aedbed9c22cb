/* SPDX-License-Identifier: MIT */
/* The admin queue, its commands, and what a status means. */
#include <endian.h>
#include <errno.h>
#include <libnvme.h>
#include <pcidipc/log.h>
#include <string.h>

#include "nvmed.h"

#define RETRY_NS 1000000u

struct waiter {
	struct pcidipc_completion done;
	uint32_t result;
};

int admin_create(struct controller *c)
{
	const struct nvme_queue_params params = {.dma = &c->dma,
						 .bar = &c->bar,
						 .clock = &c->clock,
						 .limit = c->admin_limit,
						 .page = c->page,
						 .list_bytes = c->page,
						 .stride = c->stride,
						 .entries = ADMIN_ENTRIES};

	return nvme_queue_create(&c->admin, &params);
}

static void admin_done(struct nvme_command *command, uint16_t status, uint32_t result)
{
	struct waiter *w = command->arg;

	w->result = result;
	pcidipc_post(&w->done, status);
}

static struct nvme_sqe *wait_for_slot(struct controller *c, struct nvme_command **slot)
{
	struct nvme_sqe *sqe;

	while (!c->dead && !(sqe = nvme_queue_get(&c->admin, slot)))
		pcidipc_task_sleep(RETRY_NS);
	return c->dead ? NULL : sqe;
}

uint16_t admin_status(struct controller *c, const struct nvme_sqe *command, uint32_t limit,
		      uint32_t *result)
{
	struct waiter w = {0};
	struct nvme_command *slot;
	struct nvme_sqe *sqe = wait_for_slot(c, &slot);
	uint16_t cid;

	if (!sqe)
		return STATUS_GONE;
	cid = sqe->cid;
	*sqe = *command;
	sqe->cid = cid;
	slot->done = admin_done;
	slot->arg = &w;
	if (limit)
		slot->limit = limit;
	nvme_queue_ring(&c->admin);
	watchdog_start(c);
	pcidipc_await(&w.done);
	if (result)
		*result = w.result;
	return (uint16_t)w.done.res;
}

int admin_command(struct controller *c, const struct nvme_sqe *command, uint32_t *result)
{
	static const struct {
		uint8_t opcode;
		const char *name;
	} names[] = {
		{nvme_admin_identify, "Identify"},
		{nvme_admin_get_log_page, "Get Log Page"},
		{nvme_admin_set_features, "Set Features"},
		{nvme_admin_create_cq, "Create I/O Completion Queue"},
		{nvme_admin_create_sq, "Create I/O Submission Queue"},
		{nvme_admin_delete_cq, "Delete I/O Completion Queue"},
		{nvme_admin_delete_sq, "Delete I/O Submission Queue"},
		{nvme_admin_dbbuf, "Doorbell Buffer Config"},
	};
	const char *name = "admin command";

	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (names[i].opcode == command->opcode)
			name = names[i].name;
	return status_error(c, admin_status(c, command, 0, result), name);
}

static int into_scratch(struct controller *c, struct nvme_sqe *sqe, void *to, uint32_t bytes)
{
	int ret;

	pcidipc_task_lock(&c->scratch_lock);
	memset(pcidipc_buf_ptr(c->scratch), 0, 4096);
	sqe->prp1 = htole64(pcidipc_dma_iova(&c->dma, c->scratch));
	ret = admin_command(c, sqe, NULL);
	if (!ret)
		memcpy(to, pcidipc_buf_ptr(c->scratch), bytes);
	pcidipc_task_unlock(&c->scratch_lock);
	return ret;
}

int identify(struct controller *c, uint32_t cns, uint32_t nsid, void *to)
{
	struct nvme_sqe sqe = {
		.opcode = nvme_admin_identify, .nsid = htole32(nsid), .cdw10 = htole32(cns)};

	return into_scratch(c, &sqe, to, 4096);
}

int log_page(struct controller *c, uint8_t id, void *to, uint32_t bytes)
{
	struct nvme_sqe sqe = {.opcode = nvme_admin_get_log_page,
			       .nsid = htole32(NVME_NSID_ALL),
			       .cdw10 = htole32(id | (bytes / 4 - 1) << 16)};

	return into_scratch(c, &sqe, to, bytes);
}

/* ---- status ---- */

static int host_status(uint16_t status)
{
	switch (status) {
	case STATUS_TIMEOUT:
		return -ETIMEDOUT;
	case STATUS_GONE:
		return -ENODEV;
	default:
		return -EIO;
	}
}

static int errno_of(uint16_t code)
{
	switch (code) {
	case NVME_SC_INVALID_OPCODE:
		return -EOPNOTSUPP;
	case NVME_SC_INVALID_NS:
		return -ENODEV;
	case NVME_SC_LBA_RANGE:
	case NVME_SC_CAP_EXCEEDED:
		return -ENOSPC;
	case NVME_SC_NS_WRITE_PROTECTED:
		return -EROFS;
	case NVME_SC_ABORT_REQ: /* ours: for what took too long */
		return -ETIMEDOUT;
	case NVME_SC_READ_ERROR | NVME_SCT_MEDIA << 8:
		return -ENODATA;
	case NVME_SC_GUARD_CHECK | NVME_SCT_MEDIA << 8:
	case NVME_SC_APPTAG_CHECK | NVME_SCT_MEDIA << 8:
	case NVME_SC_REFTAG_CHECK | NVME_SCT_MEDIA << 8:
		return -EBADMSG;
	default:
		return -EIO;
	}
}

int status_error(const struct controller *c, uint16_t status, const char *what)
{
	uint16_t code = status & 0x7ff; /* status code type and code */

	if (!status)
		return 0;
	if (status >= STATUS_GONE) {
		pcidipc_log_ratelimited(PCIDIPC_WARNING, "%s: %s: %s", c->address, what,
					status == STATUS_TIMEOUT ? "took too long, ended by a reset"
					: status == STATUS_RESET ? "ended by a reset"
								 : "the controller is gone");
		return host_status(status);
	}
	pcidipc_log_ratelimited(PCIDIPC_WARNING, "%s: %s: %s (status %#x)", c->address, what,
				nvme_status_to_string(code, false), status);
	return errno_of(code);
}
