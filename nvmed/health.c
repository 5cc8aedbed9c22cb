/* SPDX-License-Identifier: MIT */
/* The SMART / Health Information log, in the block interface's terms. */
#include <endian.h>
#include <errno.h>
#include <libnvme.h>
#include <string.h>

#include "nvmed.h"

static uint64_t low64(const uint8_t *le128)
{
	uint64_t low, high;

	memcpy(&low, le128, 8);
	memcpy(&high, le128 + 8, 8);
	return high ? UINT64_MAX : le64toh(low);
}

/* Data units are thousands of 512 bytes. */
static uint64_t unit_bytes(const uint8_t *le128)
{
	uint64_t units = low64(le128);

	return units > UINT64_MAX / 512000 ? UINT64_MAX : units * 512000;
}

static void convert(const struct nvme_smart_log *log, struct ringabi_block_health *h)
{
	h->warnings = log->critical_warning & 0x1f;
	h->temperature = log->temperature[0] | (uint32_t)log->temperature[1] << 8;
	h->spare = log->avail_spare;
	h->spare_limit = log->spare_thresh;
	h->used = log->percent_used;
	h->bytes_read = unit_bytes(log->data_units_read);
	h->bytes_written = unit_bytes(log->data_units_written);
	h->reads = low64(log->host_reads);
	h->writes = low64(log->host_writes);
	h->power_cycles = low64(log->power_cycles);
	h->power_on_hours = low64(log->power_on_hours);
	h->unsafe_shutdowns = low64(log->unsafe_shutdowns);
	h->media_errors = low64(log->media_errors);
	h->error_log_entries = low64(log->num_err_log_entries);
}

static void health_task(void *arg)
{
	struct pcidipc_block_io *io = arg;
	struct namespace *ns = io->disk->driver;
	struct nvme_smart_log log;
	int ret = log_page(ns->controller, NVME_LOG_LID_SMART, &log, sizeof(log));

	if (!ret)
		convert(&log, io->data);
	pcidipc_block_complete(io, ret);
}

int health_submit(struct pcidipc_block_io *io)
{
	const struct namespace *ns = io->disk->driver;

	return pcidipc_spawn(ns->controller->loop, health_task, io) ? -ENOMEM : PCIDIPC_PENDING;
}
