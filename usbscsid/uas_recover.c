/* SPDX-License-Identifier: MIT */
/* UAS: commands that take too long are aborted; what is worse ends in a reset of the device. */
#include <errno.h>
#include <pcidipc/log.h>

#include "uas_state.h"

#define TMF_MS 5000
#define WAIT_NS 1000000

/* Everything in flight ends: it was too late, or has to be tried again. */
static void fail_tasks(struct uas *u, int error)
{
	for (unsigned i = 0; i < u->tags; i++) {
		struct uas_task *task = &u->task[i];

		if (!task->command)
			continue;
		uas_release(task, error					    ? error
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
	struct uas_task *task = uas_tmf_task(u);
	struct tmf tmf = {.uas = u};
	int ret;

	if (task->out_res == UNDER_WAY)
		return -EBUSY;
	tmf_iu_fill(u->wire[u->tags].command, uas_tag(task), function, about, lun);
	ret = uas_expect_status(u, task);
	if (!ret)
		ret = uas_send_iu(task, IU_TASK_MANAGEMENT_BYTES);
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
static bool shares_pipe(const struct uas_task *task)
{
	const struct uas *u = task->uas;

	for (unsigned i = 0; i < u->tags && !u->streams; i++)
		if (&u->task[i] != task && u->task[i].data_res == UNDER_WAY &&
		    u->task[i].data.endpoint == task->data.endpoint)
			return true;
	return false;
}

/* xhcid's transfers have ended when the stop returns, libusb's end some time later. */
static bool comes_back(const struct uas_task *task)
{
	pcidipc_task_yield();
	for (uint64_t ns = 0; uas_under_way(task) && ns < tmf_ns(task->uas); ns += WAIT_NS)
		pcidipc_task_sleep(WAIT_NS);
	return !uas_under_way(task);
}

/* The device has forgotten a command: what is queued for it will never complete by itself. */
static int take_back(struct uas_task *task)
{
	struct uas *u = task->uas;
	struct usb_link *link = u->t.link;
	uint16_t stream = u->streams ? uas_tag(task) : 0;
	int ret = 0;

	if (task->data_res == UNDER_WAY && shares_pipe(task)) /* a stop would end that one, too */
		return -EIO;
	if (task->data_res == UNDER_WAY)
		ret = link->ops->stop(link, task->data.endpoint, stream);
	if (!ret && u->streams && u->status[uas_tag(task) - 1].posted)
		ret = link->ops->stop(link, u->pipes.status.endpoint, stream);
	return ret ? ret : comes_back(task) ? 0 : -EIO;
}

/* The device has forgotten it. */
static int end_task(struct uas_task *task)
{
	int ret = task->command ? take_back(task) : 0;

	if (ret || !task->command) /* or it came to its end meanwhile */
		return ret;
	if (!task->answered)
		task->uas->awaited--;
	uas_release(task, transport_overdue(&task->uas->t, task->command) ? -ETIMEDOUT : -EPROTO);
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

static int abort_task(struct uas_task *task)
{
	struct uas *u = task->uas;
	struct scsi_command *c = task->command;
	uint8_t lun = c->lun;
	int ret;

	pcidipc_warn("UAS: command %#x takes too long: aborting it", c->cdb.byte[0]);
	ret = tmf(u, TMF_ABORT_TASK, uas_tag(task), lun);
	if (ret == -ETIMEDOUT) /* its answer would be taken for the next function's */
		return ret;
	return ret ? reset_lun(u, lun) : end_task(task);
}

static struct uas_task *overdue(struct uas *u)
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
		struct uas_task *task = &u->task[i];

		if (task->command && task->answered && uas_under_way(task))
			ret = take_back(task);
	}
	return ret;
}

int uas_recover(struct transport *t)
{
	struct uas *u = uas_of(t);
	struct uas_task *task;
	int ret = 0;

	while (!ret && !u->fault && u->stuck_data)
		ret = stop_stuck_data(u);
	while (!ret && !u->fault && (task = overdue(u)))
		ret = abort_task(task);
	if (ret || u->fault)
		ret = reset_device(u);
	return ret;
}
