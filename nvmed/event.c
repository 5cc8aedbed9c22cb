/* SPDX-License-Identifier: MIT */
/*
 * Asynchronous events (NVMe base specification 1.4, 5.2): requests that the controller answers when
 * it has something to tell. An event of one kind comes once, until its log page was read.
 */
#include <endian.h>
#include <errno.h>
#include <libnvme.h>
#include <pcidipc/log.h>
#include <stdlib.h>

#include "nvmed.h"

#define TYPE_ERROR 0u
#define TYPE_SMART 1u
#define TYPE_NOTICE 2u
#define NOTICE_NAMESPACES 0u
#define CONFIG_SMART 0x1fu
#define TELL_AGAIN_NS 60000000000ull

static void send_request(struct controller *c);

/* A controller may report the same as often as it likes: each warning is told once in a minute. */
static bool is_news(struct controller *c, uint8_t warnings)
{
	uint64_t now = pcidipc_loop_now(c->loop);

	if (!c->told_at || now - c->told_at >= TELL_AGAIN_NS) {
		c->told_at = now;
		c->told_warnings = warnings;
		return true;
	}
	if (!(warnings & ~c->told_warnings))
		return false;
	c->told_warnings |= warnings;
	return true;
}

static void log_smart(struct controller *c)
{
	struct nvme_smart_log log;

	if (log_page(c, NVME_LOG_LID_SMART, &log, sizeof(log)) || !is_news(c, log.critical_warning))
		return;
	pcidipc_warn("%s: health: critical warning %#x, %u K, spare %u%%, used %u%%", c->address,
		     log.critical_warning, log.temperature[0] | log.temperature[1] << 8,
		     log.avail_spare, log.percent_used);
}

static void log_error(struct controller *c)
{
	struct nvme_error_log_page log;

	if (log_page(c, NVME_LOG_LID_ERROR, &log, sizeof(log)))
		return;
	pcidipc_log_ratelimited(
		PCIDIPC_WARNING, "%s: error %llu: queue %u, command %#x, status %#x, lba %llu",
		c->address, (unsigned long long)le64toh(log.error_count), le16toh(log.sqid),
		le16toh(log.cmdid), le16toh(log.status_field) >> 1,
		(unsigned long long)le64toh(log.lba));
}

/* Which ones changed does not matter, we look at all; but reading the log arms the event again. */
static void namespaces_changed(struct controller *c)
{
	static uint32_t list[1024];

	log_page(c, NVME_LOG_LID_CHANGED_NS, list, sizeof(list));
	namespaces_rescan(c);
}

struct event {
	struct controller *controller;
	uint32_t result;
};

static void event_task(void *arg)
{
	struct event event = *(struct event *)arg;
	struct controller *c = event.controller;
	uint32_t type = event.result & 7, info = event.result >> 8 & 0xff;

	free(arg);
	pcidipc_log_ratelimited(PCIDIPC_INFO,
				"%s: asynchronous event: type %u, information %#x, log page %#x",
				c->address, type, info, event.result >> 16 & 0xff);
	if (type == TYPE_ERROR)
		log_error(c);
	else if (type == TYPE_SMART)
		log_smart(c);
	else if (type == TYPE_NOTICE && info == NOTICE_NAMESPACES)
		namespaces_changed(c);
	if (!c->dead && !c->stopping)
		send_request(c);
}

static void event_done(struct nvme_command *command, uint16_t status, uint32_t result)
{
	struct controller *c = command->arg;
	struct event *event;

	/* A reset ends them, and makes new ones. A controller that refuses one is not asked again.
	 */
	if (status || c->dead || c->stopping)
		return;
	event = malloc(sizeof(*event));
	if (event)
		*event = (struct event){c, result};
	if (!event || pcidipc_spawn(c->loop, event_task, event))
		free(event);
}

static void send_request(struct controller *c)
{
	struct nvme_command *slot;
	struct nvme_sqe *sqe = nvme_queue_get(&c->admin, &slot);

	if (!sqe)
		return;
	sqe->opcode = nvme_admin_async_event;
	slot->done = event_done;
	slot->arg = c;
	slot->limit = 0;
	nvme_queue_ring(&c->admin);
}

void events_start(struct controller *c)
{
	struct nvme_sqe sqe = {.opcode = nvme_admin_set_features,
			       .cdw10 = htole32(NVME_FEAT_FID_ASYNC_EVENT),
			       .cdw11 = htole32(CONFIG_SMART | c->event_notices)};

	admin_command(c, &sqe, NULL);
	for (unsigned i = 0; i < MAX_EVENTS && i <= c->aerl; i++)
		send_request(c);
}
