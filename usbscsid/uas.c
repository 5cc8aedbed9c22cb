/* SPDX-License-Identifier: MIT */
/*
 * USB Attached SCSI (T10/2095-D): commands in flight by tag. With streams (USB 3) a tag is a
 * stream, and the transfers of a command are all queued at once. Without them the device says whose
 * data is next, by READ READY and WRITE READY IUs on the one status pipe.
 *
 * What the device does wrong ends in the recovery task: a command that takes too long is aborted,
 * then its logical unit is reset, then the device. Any other fault is a reset of the device.
 */
#include <errno.h>
#include <pcidipc/log.h>
#include <stdlib.h>
#include <string.h>

#include "uas_state.h"

static int fault(struct uas *u, const char *what, unsigned number)
{
	pcidipc_log_ratelimited(PCIDIPC_WARNING, "UAS: %s (%u)", what, number);
	u->fault = true;
	transport_trouble(&u->t);
	return -EPROTO;
}

/* ---- sending ---- */

static int post_status(struct uas *u, struct uas_status *s)
{
	int ret;

	if (s->posted)
		return 0;
	ret = transport_transfer(&u->t, &s->in);
	if (ret)
		return ret;
	s->posted = true;
	u->posted++;
	return 0;
}

/* With streams the tag's own; otherwise any, so that there is one for each IU that is to come. */
int uas_expect_status(struct uas *u, const struct uas_task *task)
{
	int ret = 0;

	u->awaited++;
	if (u->streams)
		return post_status(u, &u->status[uas_tag(task) - 1]);
	for (unsigned i = 0; i < UAS_MOST_TAGS && u->posted < u->awaited && !ret; i++)
		ret = post_status(u, &u->status[i]);
	return ret;
}

static int send_data(struct uas_task *task)
{
	struct uas *u = task->uas;
	const struct scsi_command *c = task->command;
	int ret;

	task->data_sent = true;
	task->data.data = c->data;
	task->data.endpoint = c->to_device ? u->pipes.out.endpoint : u->pipes.in.endpoint;
	ret = transport_transfer(&u->t, &task->data);
	task->data_res = ret ? ret : UNDER_WAY;
	return ret;
}

int uas_send_iu(struct uas_task *task, uint32_t bytes)
{
	int ret;

	task->out_at.bytes = task->out.data.bytes = bytes;
	ret = transport_transfer(&task->uas->t, &task->out);
	task->out_res = ret ? ret : UNDER_WAY;
	return ret;
}

static void clear_task(struct uas_task *task, struct scsi_command *c)
{
	task->command = c;
	task->out_res = task->data_res = NOT_YET;
	task->data_sent = task->answered = task->failed = false;
}

static struct uas_task *free_task(struct uas *u)
{
	for (unsigned i = 0; i < u->tags; i++)
		if (!u->task[i].command && u->task[i].out_res != UNDER_WAY)
			return &u->task[i];
	return NULL;
}

static int uas_send(struct transport *t, struct scsi_command *c)
{
	struct uas *u = uas_of(t);
	struct uas_task *task = free_task(u);
	int ret;

	if (!task) { /* a tag whose transfers do not come back */
		u->fault = true;
		return 1;
	}
	clear_task(task, c);
	c->slot = (uint16_t)(uas_tag(task) - 1);
	command_iu_fill(u->wire[c->slot].command, uas_tag(task), c->lun, &c->cdb);
	ret = uas_expect_status(u, task);
	if (!ret && u->streams && c->data.bytes)
		ret = send_data(task);
	if (!ret)
		ret = uas_send_iu(task, IU_COMMAND_BYTES);
	if (ret)
		u->fault = true;
	return ret;
}

/* ---- what comes back ---- */

void uas_release(struct uas_task *task, int error)
{
	struct scsi_command *c = task->command;

	task->command = NULL;
	transport_complete(&task->uas->t, c, error);
}

/* Its IU and its transfers are back: the device is done with it. */
static void finish_if_done(struct uas_task *task)
{
	struct scsi_command *c = task->command;

	if (!c || !task->answered || uas_under_way(task))
		return;
	if (task->data_res > 0)
		c->moved = (uint32_t)task->data_res < c->data.bytes ? (uint32_t)task->data_res
								    : c->data.bytes;
	uas_release(task, task->failed ? -EPROTO : 0);
}

static struct uas_task *find_task(struct uas *u, uint16_t tag)
{
	struct uas_task *task = tag && tag <= u->tags ? &u->task[tag - 1] : NULL;

	return task && task->command && !task->answered ? task : NULL;
}

static int ready(struct uas_task *task, bool write)
{
	struct uas *u = task->uas;
	const struct scsi_command *c = task->command;

	if (u->streams || task->data_sent || !c->data.bytes || c->to_device != write)
		return fault(u, "data ready that nobody waits for: tag", uas_tag(task));
	if (send_data(task))
		return fault(u, "data cannot be queued: tag", uas_tag(task));
	return 0;
}

/* Data that will not come any more has to be stopped. */
static void answered(struct uas_task *task, const struct status_iu *iu)
{
	struct scsi_command *c = task->command;

	task->uas->awaited--;
	task->answered = true;
	task->failed = iu->id == IU_RESPONSE;
	c->status = iu->status;
	c->sense_bytes = iu->sense_bytes;
	memcpy(c->sense, iu->sense, iu->sense_bytes);
	if (task->data_res == UNDER_WAY && (task->failed || c->status != SCSI_GOOD)) {
		task->uas->stuck_data = true;
		transport_trouble(&task->uas->t);
	}
	finish_if_done(task);
}

static int tmf_answered(struct uas *u, const struct status_iu *iu)
{
	struct pcidipc_completion *response = u->response;

	if (iu->id != IU_RESPONSE || !response)
		return fault(u, "a RESPONSE IU that nobody waits for: tag", iu->tag);
	u->awaited--;
	u->response = NULL;
	pcidipc_post(response, iu->response);
	return 0;
}

static int take_iu(struct uas *u, const struct status_iu *iu)
{
	struct uas_task *task = find_task(u, iu->tag);

	if (iu->tag == u->tags + 1)
		return tmf_answered(u, iu);
	if (!task)
		return fault(u, "an IU for a command that is not in flight: tag", iu->tag);
	if (iu->id == IU_READ_READY || iu->id == IU_WRITE_READY)
		return ready(task, iu->id == IU_WRITE_READY);
	answered(task, iu);
	return 0;
}

static void status_done(struct usb_transfer *x, int res)
{
	struct uas_status *s = pcidipc_container_of(x, struct uas_status, in);
	struct uas *u = s->uas;
	struct status_iu iu;
	uint8_t copy[IU_STATUS_BYTES];

	s->posted = false;
	u->posted--;
	transport_transfer_done(&u->t);
	if (res < 0) {
		if (!u->t.recovering)
			fault(u, "the status pipe failed", (unsigned)-res);
		return;
	}
	if (res > IU_STATUS_BYTES)
		res = IU_STATUS_BYTES;
	memcpy(copy, u->wire[s - u->status].status, (size_t)res);
	if (status_iu_parse(copy, (size_t)res, &iu))
		fault(u, "no IU of the status pipe: bytes", (unsigned)res);
	else if (u->streams && iu.tag != (uint16_t)(s - u->status + 1))
		fault(u, "an IU on another tag's stream: tag", iu.tag);
	else if (!take_iu(u, &iu) && u->posted < u->awaited && !u->streams)
		post_status(u, s);
	u->t.link->ops->flush(u->t.link);
}

static void out_done(struct usb_transfer *x, int res)
{
	struct uas_task *task = pcidipc_container_of(x, struct uas_task, out);
	struct uas *u = task->uas;

	task->out_res = res;
	transport_transfer_done(&u->t);
	if (res < 0 && !u->t.recovering)
		fault(u, "the command pipe failed", (unsigned)-res);
	finish_if_done(task);
}

static void data_done(struct usb_transfer *x, int res)
{
	struct uas_task *task = pcidipc_container_of(x, struct uas_task, data);
	struct uas *u = task->uas;

	task->data_res = res;
	transport_transfer_done(&u->t);
	if (res < 0 && !u->t.recovering && !task->answered)
		fault(u, "a data pipe failed", (unsigned)-res);
	finish_if_done(task);
}

/* ---- beginning and end ---- */

static void uas_destroy(struct transport *t)
{
	struct uas *u = uas_of(t);

	if (u->memory)
		pcidipc_buf_free(u->memory);
	for (unsigned i = 0; i < UAS_MOST_TAGS; i++)
		if (u->task[i].data.list)
			pcidipc_buf_free(u->task[i].data.list);
	free(u);
}

static const struct transport_ops ops = {
	.name = "usb-uas", .send = uas_send, .recover = uas_recover, .destroy = uas_destroy};

static void prepare(struct uas *u, unsigned i)
{
	struct usb_link *link = u->t.link;
	uint64_t at = u->memory->offset + i * sizeof(struct uas_wire);
	struct uas_task *task = &u->task[i];
	struct uas_status *s = &u->status[i];

	*task = (struct uas_task){.uas = u, .data.list = task->data.list};
	clear_task(task, NULL);
	task->out_at = (struct pcidipc_segment){at + offsetof(struct uas_wire, command), 64};
	task->out.data = (struct usb_data){&task->out_at, 0, 0, link->pool_index};
	task->out.endpoint = u->pipes.command.endpoint;
	task->out.done = out_done;
	task->data.done = data_done;
	*s = (struct uas_status){.uas = u};
	s->at = (struct pcidipc_segment){at + offsetof(struct uas_wire, status), IU_STATUS_BYTES};
	s->in.data = (struct usb_data){&s->at, 0, IU_STATUS_BYTES, link->pool_index};
	s->in.endpoint = u->pipes.status.endpoint;
	s->in.done = status_done;
	if (u->streams)
		task->data.stream = s->in.stream = (uint16_t)(i + 1);
}

static int allocate(struct uas *u)
{
	struct usb_link *link = u->t.link;

	u->memory = pcidipc_pool_alloc(link->pool, UAS_MOST_TAGS * sizeof(struct uas_wire), 64);
	if (!u->memory)
		return -ENOMEM;
	u->wire = pcidipc_buf_ptr(u->memory);
	for (unsigned i = 0; i <= u->tags; i++) {
		u->task[i].data.list = pcidipc_pool_alloc(link->pool, LINK_LIST_BYTES, 64);
		if (!u->task[i].data.list)
			return -ENOMEM;
		prepare(u, i);
	}
	for (unsigned i = u->tags + 1; i < UAS_MOST_TAGS; i++)
		prepare(u, i);
	return 0;
}

static unsigned most_streams(const struct uas_pipes *p)
{
	uint8_t least = p->status.streams;

	least = p->in.streams < least ? p->in.streams : least;
	least = p->out.streams < least ? p->out.streams : least;
	return !least ? 0 : least > 5 ? 32 : 1u << least;
}

/* Streams on USB 3, never on USB 2 (6.1); one of them is for task management. */
static int claim(struct uas *u)
{
	struct usb_link *link = u->t.link;
	bool super = link->speed >= RINGABI_USB_SPEED_SUPER;
	unsigned want = super ? most_streams(&u->pipes) : 0;
	int granted = link->ops->configure(link, u->pipes.alternate, want);

	if (granted < 0)
		return granted;
	if (super && granted < 2)
		return -EOPNOTSUPP;
	u->streams = (unsigned)granted;
	u->tags =
		granted && granted <= UAS_MOST_COMMANDS ? (unsigned)granted - 1 : UAS_MOST_COMMANDS;
	return 0;
}

int uas_create(struct usb_link *link, const struct uas_pipes *pipes, struct transport **t)
{
	struct uas *u = calloc(1, sizeof(*u));
	int ret;

	if (!u)
		return -ENOMEM;
	u->pipes = *pipes;
	transport_init(&u->t, &ops, link);
	ret = claim(u);
	if (!ret)
		ret = allocate(u);
	if (ret) {
		uas_destroy(&u->t);
		return ret;
	}
	u->t.depth = u->tags;
	*t = &u->t;
	return 0;
}
