/* SPDX-License-Identifier: MIT */
/*
 * USB Attached SCSI (T10/2095-D): commands in flight by tag. With streams (USB 3) a tag is a
 * stream, and the transfers of a command are all queued at once. Without them the device says whose
 * data is next, by READ READY and WRITE READY IUs on the one status pipe.
 *
 * What the device does wrong ends in the recovery task: a command that takes too long is aborted,
 * then its logical unit is reset, then the device. Any other fault is a reset of the device.
 */
#include "iu.h"

#include <errno.h>
#include <pcidipc/log.h>
#include <stdlib.h>
#include <string.h>

#include "transport.h"

#define MOST_COMMANDS 32
#define MOST_TAGS (MOST_COMMANDS + 1) /* the last one is for task management */
#define TMF_MS 5000
#define WAIT_NS 1000000

/* What the device reads and writes of our own, for one tag. */
struct wire {
	uint8_t command[64];
	uint8_t status[128];
};

/* A command in flight. Its tag is its index + 1. */
struct task {
	struct uas *uas;
	struct scsi_command *command;
	struct usb_transfer out, data;
	struct pcidipc_segment out_at;
	int out_res, data_res;
	bool data_sent;
	bool answered; /* its SENSE or RESPONSE IU is there */
	bool failed;   /* by a RESPONSE IU */
};

/* A transfer on the status pipe: of one tag with streams, else of whoever comes. */
struct status {
	struct uas *uas;
	struct usb_transfer in;
	struct pcidipc_segment at;
	bool posted;
};

struct uas {
	struct transport t;
	struct uas_pipes pipes;
	struct pcidipc_buf *memory;
	struct wire *wire;
	unsigned streams;
	unsigned tags; /* of commands */
	struct task task[MOST_TAGS];
	struct status status[MOST_TAGS];
	unsigned posted;		     /* on the status pipe */
	unsigned awaited;		     /* IUs that are to come, task management's included */
	struct pcidipc_completion *response; /* of the task management function */
	bool fault;			     /* reset the device */
	bool stuck_data;		     /* there is data of a failed command to be stopped */
};

static struct uas *uas_of(struct transport *t)
{
	return pcidipc_container_of(t, struct uas, t);
}

static uint16_t tag_of(const struct task *task)
{
	return (uint16_t)(task - task->uas->task + 1);
}

static struct task *tmf_task(struct uas *u)
{
	return &u->task[u->tags];
}

static int fault(struct uas *u, const char *what, unsigned number)
{
	pcidipc_log_ratelimited(PCIDIPC_WARNING, "UAS: %s (%u)", what, number);
	u->fault = true;
	transport_trouble(&u->t);
	return -EPROTO;
}

/* ---- sending ---- */

static int post_status(struct uas *u, struct status *s)
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
static int expect_status(struct uas *u, const struct task *task)
{
	int ret = 0;

	u->awaited++;
	if (u->streams)
		return post_status(u, &u->status[tag_of(task) - 1]);
	for (unsigned i = 0; i < MOST_TAGS && u->posted < u->awaited && !ret; i++)
		ret = post_status(u, &u->status[i]);
	return ret;
}

static int send_data(struct task *task)
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

static int send_iu(struct task *task, uint32_t bytes)
{
	int ret;

	task->out_at.bytes = task->out.data.bytes = bytes;
	ret = transport_transfer(&task->uas->t, &task->out);
	task->out_res = ret ? ret : UNDER_WAY;
	return ret;
}

static void clear_task(struct task *task, struct scsi_command *c)
{
	task->command = c;
	task->out_res = task->data_res = NOT_YET;
	task->data_sent = task->answered = task->failed = false;
}

static struct task *free_task(struct uas *u)
{
	for (unsigned i = 0; i < u->tags; i++)
		if (!u->task[i].command && u->task[i].out_res != UNDER_WAY)
			return &u->task[i];
	return NULL;
}

static int uas_send(struct transport *t, struct scsi_command *c)
{
	struct uas *u = uas_of(t);
	struct task *task = free_task(u);
	int ret;

	if (!task) { /* a tag whose transfers do not come back */
		u->fault = true;
		return 1;
	}
	clear_task(task, c);
	c->slot = (uint16_t)(tag_of(task) - 1);
	command_iu_fill(u->wire[c->slot].command, tag_of(task), c->lun, &c->cdb);
	ret = expect_status(u, task);
	if (!ret && u->streams && c->data.bytes)
		ret = send_data(task);
	if (!ret)
		ret = send_iu(task, IU_COMMAND_BYTES);
	if (ret)
		u->fault = true;
	return ret;
}

/* ---- what comes back ---- */

static void release(struct task *task, int error)
{
	struct scsi_command *c = task->command;

	task->command = NULL;
	transport_complete(&task->uas->t, c, error);
}

static bool under_way(const struct task *task)
{
	return task->out_res == UNDER_WAY || task->data_res == UNDER_WAY;
}

/* Its IU and its transfers are back: the device is done with it. */
static void finish_if_done(struct task *task)
{
	struct scsi_command *c = task->command;

	if (!c || !task->answered || under_way(task))
		return;
	if (task->data_res > 0)
		c->moved = (uint32_t)task->data_res < c->data.bytes ? (uint32_t)task->data_res
								    : c->data.bytes;
	release(task, task->failed ? -EPROTO : 0);
}

static struct task *find_task(struct uas *u, uint16_t tag)
{
	struct task *task = tag && tag <= u->tags ? &u->task[tag - 1] : NULL;

	return task && task->command && !task->answered ? task : NULL;
}

static int ready(struct task *task, bool write)
{
	struct uas *u = task->uas;
	const struct scsi_command *c = task->command;

	if (u->streams || task->data_sent || !c->data.bytes || c->to_device != write)
		return fault(u, "data ready that nobody waits for: tag", tag_of(task));
	if (send_data(task))
		return fault(u, "data cannot be queued: tag", tag_of(task));
	return 0;
}

/* Data that will not come any more has to be stopped. */
static void answered(struct task *task, const struct status_iu *iu)
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
	struct task *task = find_task(u, iu->tag);

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
	struct status *s = pcidipc_container_of(x, struct status, in);
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
	struct task *task = pcidipc_container_of(x, struct task, out);
	struct uas *u = task->uas;

	task->out_res = res;
	transport_transfer_done(&u->t);
	if (res < 0 && !u->t.recovering)
		fault(u, "the command pipe failed", (unsigned)-res);
	finish_if_done(task);
}

static void data_done(struct usb_transfer *x, int res)
{
	struct task *task = pcidipc_container_of(x, struct task, data);
	struct uas *u = task->uas;

	task->data_res = res;
	transport_transfer_done(&u->t);
	if (res < 0 && !u->t.recovering && !task->answered)
		fault(u, "a data pipe failed", (unsigned)-res);
	finish_if_done(task);
}

/* ---- recovery (task) ---- */

/* Everything in flight ends: it was too late, or has to be tried again. */
static void fail_tasks(struct uas *u, int error)
{
	for (unsigned i = 0; i < u->tags; i++) {
		struct task *task = &u->task[i];

		if (!task->command)
			continue;
		release(task, error					? error
			      : transport_overdue(&u->t, task->command) ? -ETIMEDOUT
									: -EPROTO);
	}
	u->awaited = 0;
}

static int stop_all(struct uas *u)
{
	const uint8_t endpoint[] = {u->pipes.command.endpoint, u->pipes.status.endpoint,
				    u->pipes.in.endpoint, u->pipes.out.endpoint};
	struct usb_link *link = u->t.link;
	int ret = 0;

	for (unsigned i = 0; i < 4 && !ret; i++)
		ret = link->ops->stop(link, endpoint[i], 0);
	return ret;
}

static int reset_device(struct uas *u)
{
	int ret;

	pcidipc_warn("UAS: resetting the device");
	u->t.recoveries++;
	ret = stop_all(u);
	if (ret != -ENODEV)
		ret = transport_reset(&u->t);
	transport_drain(&u->t);
	u->fault = u->stuck_data = false;
	fail_tasks(u, ret == -ENODEV ? ret : 0);
	return ret;
}

/* A task management function that waits for its response. */
struct tmf {
	struct uas *uas;
	struct pcidipc_timer timer;
	struct pcidipc_completion response;
};

static void tmf_late(struct pcidipc_timer *timer)
{
	struct tmf *tmf = pcidipc_container_of(timer, struct tmf, timer);

	tmf->uas->response = NULL;
	pcidipc_post(&tmf->response, -ETIMEDOUT);
}

/* As long as a command may take, but not longer than TMF_MS. */
static uint64_t tmf_ns(const struct uas *u)
{
	uint64_t most = TMF_MS * 1000000ull, ns = u->t.limit * u->t.tick_ns;

	return ns < most ? ns : most;
}

static int tmf(struct uas *u, uint8_t function, uint16_t about, uint8_t lun)
{
	struct task *task = tmf_task(u);
	struct tmf tmf = {.uas = u};
	int ret;

	if (task->out_res == UNDER_WAY)
		return -EBUSY;
	tmf_iu_fill(u->wire[u->tags].command, tag_of(task), function, about, lun);
	ret = expect_status(u, task);
	if (!ret)
		ret = send_iu(task, IU_TASK_MANAGEMENT_BYTES);
	if (ret)
		return ret;
	u->t.link->ops->flush(u->t.link);
	u->response = &tmf.response;
	pcidipc_timer_set(u->t.link->loop, &tmf.timer, tmf_ns(u), tmf_late);
	ret = pcidipc_await(&tmf.response);
	pcidipc_timer_cancel(&tmf.timer);
	return ret == RESPONSE_COMPLETE || ret == RESPONSE_SUCCEEDED ? 0 : ret < 0 ? ret : -EIO;
}

/* Without streams: is there data of another command on its pipe? */
static bool shares_pipe(const struct task *task)
{
	const struct uas *u = task->uas;

	for (unsigned i = 0; i < u->tags && !u->streams; i++)
		if (&u->task[i] != task && u->task[i].data_res == UNDER_WAY &&
		    u->task[i].data.endpoint == task->data.endpoint)
			return true;
	return false;
}

/* xhcid's transfers have ended when the stop returns, libusb's end some time later. */
static bool comes_back(const struct task *task)
{
	pcidipc_task_yield();
	for (uint64_t ns = 0; under_way(task) && ns < tmf_ns(task->uas); ns += WAIT_NS)
		pcidipc_task_sleep(WAIT_NS);
	return !under_way(task);
}

/* The device has forgotten a command: what is queued for it will never complete by itself. */
static int take_back(struct task *task)
{
	struct uas *u = task->uas;
	struct usb_link *link = u->t.link;
	uint16_t stream = u->streams ? tag_of(task) : 0;
	int ret = 0;

	if (task->data_res == UNDER_WAY && shares_pipe(task)) /* a stop would end that one, too */
		return -EIO;
	if (task->data_res == UNDER_WAY)
		ret = link->ops->stop(link, task->data.endpoint, stream);
	if (!ret && u->streams && u->status[tag_of(task) - 1].posted)
		ret = link->ops->stop(link, u->pipes.status.endpoint, stream);
	return ret ? ret : comes_back(task) ? 0 : -EIO;
}

/* The device has forgotten it. */
static int end_task(struct task *task)
{
	int ret = task->command ? take_back(task) : 0;

	if (ret || !task->command) /* or it came to its end meanwhile */
		return ret;
	if (!task->answered)
		task->uas->awaited--;
	release(task, transport_overdue(&task->uas->t, task->command) ? -ETIMEDOUT : -EPROTO);
	return 0;
}

static int reset_lun(struct uas *u, uint8_t lun)
{
	int ret;

	pcidipc_warn("UAS: the abort failed: resetting LUN %u", lun);
	ret = tmf(u, TMF_LOGICAL_UNIT_RESET, 0, lun);
	for (unsigned i = 0; i < u->tags && !ret; i++)
		if (u->task[i].command && u->task[i].command->lun == lun)
			ret = end_task(&u->task[i]);
	return ret;
}

static int abort_task(struct task *task)
{
	struct uas *u = task->uas;
	struct scsi_command *c = task->command;
	uint8_t lun = c->lun;
	int ret;

	pcidipc_warn("UAS: command %#x takes too long: aborting it", c->cdb.byte[0]);
	ret = tmf(u, TMF_ABORT_TASK, tag_of(task), lun);
	if (ret == -ETIMEDOUT) /* its answer would be taken for the next function's */
		return ret;
	return ret ? reset_lun(u, lun) : end_task(task);
}

static struct task *overdue(struct uas *u)
{
	for (unsigned i = 0; i < u->tags; i++)
		if (u->task[i].command && transport_overdue(&u->t, u->task[i].command))
			return &u->task[i];
	return NULL;
}

/* A command has failed, and its data did not come. Give it a turn: it may be on its way. */
static int stop_stuck_data(struct uas *u)
{
	int ret = 0;

	u->stuck_data = false;
	pcidipc_task_yield();
	for (unsigned i = 0; i < u->tags && !ret; i++) {
		struct task *task = &u->task[i];

		if (task->command && task->answered && under_way(task))
			ret = take_back(task);
	}
	return ret;
}

static int uas_recover(struct transport *t)
{
	struct uas *u = uas_of(t);
	struct task *task;
	int ret = 0;

	while (!ret && !u->fault && u->stuck_data)
		ret = stop_stuck_data(u);
	while (!ret && !u->fault && (task = overdue(u)))
		ret = abort_task(task);
	if (ret || u->fault)
		ret = reset_device(u);
	return ret;
}

/* ---- beginning and end ---- */

static void uas_destroy(struct transport *t)
{
	struct uas *u = uas_of(t);

	if (u->memory)
		pcidipc_buf_free(u->memory);
	for (unsigned i = 0; i < MOST_TAGS; i++)
		if (u->task[i].data.list)
			pcidipc_buf_free(u->task[i].data.list);
	free(u);
}

static const struct transport_ops ops = {
	.name = "usb-uas", .send = uas_send, .recover = uas_recover, .destroy = uas_destroy};

static void prepare(struct uas *u, unsigned i)
{
	struct usb_link *link = u->t.link;
	uint64_t at = u->memory->offset + i * sizeof(struct wire);
	struct task *task = &u->task[i];
	struct status *s = &u->status[i];

	*task = (struct task){.uas = u, .data.list = task->data.list};
	clear_task(task, NULL);
	task->out_at = (struct pcidipc_segment){at + offsetof(struct wire, command), 64};
	task->out.data = (struct usb_data){&task->out_at, 0, 0, link->pool_index};
	task->out.endpoint = u->pipes.command.endpoint;
	task->out.done = out_done;
	task->data.done = data_done;
	*s = (struct status){.uas = u};
	s->at = (struct pcidipc_segment){at + offsetof(struct wire, status), IU_STATUS_BYTES};
	s->in.data = (struct usb_data){&s->at, 0, IU_STATUS_BYTES, link->pool_index};
	s->in.endpoint = u->pipes.status.endpoint;
	s->in.done = status_done;
	if (u->streams)
		task->data.stream = s->in.stream = (uint16_t)(i + 1);
}

static int allocate(struct uas *u)
{
	struct usb_link *link = u->t.link;

	u->memory = pcidipc_pool_alloc(link->pool, MOST_TAGS * sizeof(struct wire), 64);
	if (!u->memory)
		return -ENOMEM;
	u->wire = pcidipc_buf_ptr(u->memory);
	for (unsigned i = 0; i <= u->tags; i++) {
		u->task[i].data.list = pcidipc_pool_alloc(link->pool, LINK_LIST_BYTES, 64);
		if (!u->task[i].data.list)
			return -ENOMEM;
		prepare(u, i);
	}
	for (unsigned i = u->tags + 1; i < MOST_TAGS; i++)
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
	u->tags = granted && granted <= MOST_COMMANDS ? (unsigned)granted - 1 : MOST_COMMANDS;
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
