/* SPDX-License-Identifier: MIT */
/* The command ring (xHCI 1.2, 4.6) and what a completion code means. */
#include <endian.h>
#include <errno.h>
#include <pcidipc/log.h>
#include <string.h>

#include "xhcid.h"

#define RETRY_NS 1000000u

int commands_create(struct controller *c)
{
	c->command_memory = pcidipc_pool_alloc(c->dma.pool, COMMAND_ENTRIES * TRB_BYTES, 4096);
	if (!c->command_memory)
		return -ENOMEM;
	ring_init(&c->commands, pcidipc_buf_ptr(c->command_memory),
		  pcidipc_dma_iova(&c->dma, c->command_memory), COMMAND_ENTRIES);
	return 0;
}

static int wait_for_room(struct controller *c)
{
	while (!c->dead && (c->aborting || !ring_reserve(&c->commands, 1)))
		pcidipc_task_sleep(RETRY_NS);
	return c->dead ? -ENODEV : 0;
}

int command_run(struct controller *c, uint64_t parameter, uint32_t status, uint32_t control,
		uint8_t *slot)
{
	struct command command = {0};
	int ret = wait_for_room(c);

	if (ret)
		return ret;
	command.started = c->clock;
	ring_write(&c->commands, 0, parameter, status, control);
	c->waiting[ring_commit(&c->commands, 1)] = &command;
	c->ncommands++;
	pcidipc_write32(&c->bar, c->doorbells, 0);
	watchdog_start(c);
	ret = pcidipc_await(&command.done);
	if (slot)
		*slot = command.slot;
	return ret == CC_ABORTED ? -ETIMEDOUT : ret;
}

int command_error(int ret)
{
	int error = ret < 0 ? ret : completion_error((unsigned)ret);

	if (ret == CC_SUCCESS)
		return 0;
	return error ? error : -EIO; /* a command has no short packet */
}

int command_check(struct controller *c, const char *what, uint64_t parameter, uint32_t control)
{
	return command_report(c, what, control, command_run(c, parameter, 0, control, NULL));
}

int command_report(struct controller *c, const char *what, uint32_t control, int ret)
{
	if (ret == CC_SUCCESS)
		return 0;
	pcidipc_log_ratelimited(PCIDIPC_WARNING, "%s: slot %u: %s: %s", c->address,
				TRB_SLOT_OF(control), what,
				ret < 0 ? strerror(-ret) : completion_name((unsigned)ret));
	return command_error(ret);
}

/* The controller works in order: what it left out it does not do any more. */
static void lose_before(struct controller *c, unsigned index)
{
	for (unsigned i = c->commands.dequeue % COMMAND_ENTRIES; i != index;
	     i = (i + 1) % COMMAND_ENTRIES) {
		if (!c->waiting[i])
			continue;
		pcidipc_warn("%s: the end of a command was not told", c->address);
		pcidipc_post(&c->waiting[i]->done, -EIO);
		c->waiting[i] = NULL;
		c->ncommands--;
	}
}

void command_event(struct controller *c, const struct trb *event)
{
	unsigned code = event->status >> 24;
	int index = ring_index(&c->commands, event->parameter);
	struct command *command = index < 0 ? NULL : c->waiting[index];

	if (code == CC_RING_STOPPED) /* after an abort; names what comes next */
		return;
	if (!command) {
		pcidipc_log_ratelimited(PCIDIPC_WARNING,
					"%s: the completion of a command at %#llx, where there is "
					"none: ignored",
					c->address, (unsigned long long)event->parameter);
		return;
	}
	lose_before(c, (unsigned)index);
	c->waiting[index] = NULL;
	c->ncommands--;
	c->commands.dequeue = (uint16_t)(index + 1);
	command->slot = (uint8_t)TRB_SLOT_OF(event->control);
	pcidipc_post(&command->done, (int32_t)code);
}

void commands_fail(struct controller *c)
{
	for (unsigned i = 0; i < COMMAND_ENTRIES; i++) {
		if (!c->waiting[i])
			continue;
		pcidipc_post(&c->waiting[i]->done, -ENODEV);
		c->waiting[i] = NULL;
	}
	c->ncommands = 0;
}

/* ---- completion codes ---- */

int completion_error(unsigned code)
{
	switch (code) {
	case CC_SUCCESS:
	case CC_SHORT_PACKET:
		return 0;
	case CC_STALL:
		return -EPIPE;
	case CC_BABBLE:
		return -EOVERFLOW;
	case CC_TRANSACTION:
	case CC_SPLIT:
		return -EPROTO;
	case CC_NO_SLOTS:
	case CC_BANDWIDTH:
	case CC_RESOURCE:
		return -ENOSPC;
	case CC_STOPPED:
	case CC_STOPPED_LENGTH:
	case CC_STOPPED_SHORT:
		return -ECANCELED;
	default:
		return -EIO;
	}
}

const char *completion_name(unsigned code)
{
	static const char *const names[] = {
		[CC_SUCCESS] = "success",
		[CC_DATA_BUFFER] = "data buffer error",
		[CC_BABBLE] = "babble",
		[CC_TRANSACTION] = "transaction error",
		[CC_TRB] = "TRB error",
		[CC_STALL] = "stall",
		[CC_RESOURCE] = "no resources",
		[CC_BANDWIDTH] = "not enough bandwidth",
		[CC_NO_SLOTS] = "no slots left",
		[CC_PARAMETER] = "a wrong parameter",
		[CC_CONTEXT_STATE] = "not in this state",
		[CC_ABORTED] = "aborted",
		[CC_SPLIT] = "split transaction error",
	};

	if (code < sizeof(names) / sizeof(*names) && names[code])
		return names[code];
	return "an unusual completion code";
}
