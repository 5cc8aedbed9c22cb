// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The life of a driver, one task for each: claim the function, start the process, wait for its end,
 * stop the function, take everything back, and begin again after a while, unless it was to end.
 *
 * The order at the end is the point. First the process must be dead, then the function reset, so
 * that no DMA is under way; then pools are unmapped; then the function is released. Clients who
 * lost the driver are answered only after that, by the next driver or by pcid.
 */
#include <errno.h>
#include <pcidipc/log.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "driver.h"

#define HELLO_NS 30000000000ull	 /* a process that says nothing for so long is stuck */
#define STABLE_NS 30000000000ull /* one that ran for so long had not failed to start */
#define FIRST_BACKOFF_NS 100000000ull
#define MAX_BACKOFF_NS 10000000000ull
#define PLACE_POLL_NS 5000000u
#define LAST_WORDS_NS 1000000000u /* from a hang-up to the exit, so that its status is known */
#define SETTLE_NS 50000000u	  /* after a service: more may follow at once */

/* A task that waits for the process's exit; on its own stack. */
struct waiter {
	struct pcidipc_list link;
	struct pcidipc_completion gone;
};

const char *pcid_state_name(enum pcid_driver_state state)
{
	static const char *const names[] = {
		[PCID_STARTING] = "starting", [PCID_RUNNING] = "running",
		[PCID_STOPPING] = "stopping", [PCID_BACKOFF] = "backoff",
		[PCID_FAILED] = "failed",     [PCID_GONE] = "gone",
	};

	return names[state];
}

static uint64_t now(struct pcid_driver *d)
{
	return pcidipc_loop_now(d->pcid->loop);
}

/* ---- waking the supervisor ---- */

void pcid_driver_wake(struct pcid_driver *d)
{
	pcidipc_post(&d->wake, 0);
}

static void time_over(struct pcidipc_timer *timer)
{
	pcid_driver_wake(pcidipc_container_of(timer, struct pcid_driver, timer));
}

/* Until something changes, or for `ns` (0: no limit). */
static void nap(struct pcid_driver *d, uint64_t ns)
{
	if (ns)
		pcidipc_timer_set(d->pcid->loop, &d->timer, ns, time_over);
	pcidipc_await(&d->wake);
	d->wake = (struct pcidipc_completion){0};
	pcidipc_timer_cancel(&d->timer);
}

/* ---- settling: whoever waits for pcid to be ready waits for this ---- */

static void settle(struct pcid_driver *d)
{
	pcidipc_timer_cancel(&d->settling);
	if (d->settled)
		return;
	d->settled = true;
	pcid_changed(d->pcid);
}

static void settled(struct pcidipc_timer *timer)
{
	settle(pcidipc_container_of(timer, struct pcid_driver, settling));
}

void pcid_driver_published(struct pcid_driver *d)
{
	if (!d->settled)
		pcidipc_timer_set(d->pcid->loop, &d->settling, SETTLE_NS, settled);
}

/* ---- the process's end ---- */

static void describe_exit(struct pcid_driver *d, int status)
{
	if (WIFSIGNALED(status))
		snprintf(d->last_exit, sizeof(d->last_exit), "killed by signal %d (%s)",
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(d->last_exit, sizeof(d->last_exit), "exit status %d", WEXITSTATUS(status));
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		pcidipc_err("%s: ended by SIGSYS: a system call that its sandbox forbids; with "
			    "sandbox = \"debug\" it says which: see pcid.conf(5)",
			    d->name);
}

/* Its session is killed while the zombie still holds its number. */
static bool reap(struct pcid_driver *d)
{
	siginfo_t info = {.si_pid = 0};
	int status = 0;

	if (!waitid(P_PID, (id_t)d->pid, &info, WEXITED | WNOHANG | WNOWAIT) && !info.si_pid)
		return false;
	kill(-d->pid, SIGKILL);
	waitpid(d->pid, &status, 0);
	describe_exit(d, status);
	return true;
}

/* Who waits for its end need wait no longer. */
static void process_gone(struct pcid_driver *d)
{
	d->pidfd = -1;
	d->pid = 0;
	pcidipc_list_for_each_safe(w, after, &d->waiters, struct waiter, link) {
		pcidipc_list_remove(&w->link); /* the driver's record may go before it is resumed */
		pcidipc_post(&w->gone, 0);
	}
}

static void exited(struct pcidipc_watch *watch, unsigned events)
{
	struct pcid_driver *d = pcidipc_container_of(watch, struct pcid_driver, exit_watch);

	(void)events;
	if (!reap(d))
		return;
	pcidipc_watch_remove(&d->exit_watch);
	close(d->pidfd);
	process_gone(d);
	d->exited = true;
	pcid_driver_wake(d);
}

static void kill_process(struct pcid_driver *d)
{
	if (d->pid)
		kill(d->pid, SIGKILL);
}

int pcid_driver_await_exit(struct pcid_driver *d, uint64_t ns)
{
	struct waiter w = {0};
	int ret;

	if (!d->pid)
		return 0;
	pcidipc_list_append(&d->waiters, &w.link);
	ret = pcidipc_await_for(&w.gone, ns);
	pcidipc_list_remove(&w.link);
	return ret;
}

/* A function without reset: no DMA at least. */
static void stop_function(struct pcid_driver *d)
{
	const struct pcid_bus_ops *ops = d->function->bus->ops;
	int ret;

	pcidipc_task_lock(&d->bus_lock);
	ret = pcid_function_reset(d);
	if (ret && ret != -ENODEV)
		ret = ops->enable(d->function, false, false);
	pcidipc_task_unlock(&d->bus_lock);
	if (ret && ret != -ENODEV)
		pcidipc_err("%s: the function could not be stopped: %s", d->name, strerror(-ret));
}

void pcid_driver_quiesce(struct pcid_driver *d)
{
	while (pcid_driver_await_exit(d, LAST_WORDS_NS))
		kill_process(d);
	pcidipc_task_lock(&d->quieting);
	if (!d->quiet) {
		d->quiet = true; /* before: nothing of what it left may follow the reset */
		if (d->function && d->claimed)
			stop_function(d);
	}
	pcidipc_task_unlock(&d->quieting);
}

/* ---- starting ---- */

static int executable(struct pcid_driver *d, char *path, size_t room)
{
	const char *command = d->stanza->command;
	int n = *command == '/' ? snprintf(path, room, "%s", command)
				: snprintf(path, room, "%s/%s", d->pcid->driver_dir, command);

	return (size_t)n < room ? 0 : -ENAMETOOLONG;
}

static int report_spawn(struct pcid_driver *d, const char *path, const char *step, int error)
{
	const char *hint = "";

	if (error == -EACCES && !geteuid() && d->uid && d->uid != PCID_KEEP_ID)
		hint = ": the file must be executable by that user";
	pcidipc_err("%s: starting %s as user %s: %s: %s%s", d->name, path,
		    d->uid == PCID_KEEP_ID ? "of pcid" : d->stanza->user, step, strerror(-error),
		    hint);
	return error;
}

static int spawn_process(struct pcid_driver *d, int channel, int parent_channel)
{
	char path[1024];
	struct pcid_spawn spawn = {
		.path = path,
		.args = d->stanza->args,
		.channel = channel,
		.parent_channel = parent_channel,
		.dma_quota = pcid_dma_quota(d),
		.dma_bits = pcid_dma_bits(d),
		.uid = d->uid,
		.gid = d->gid,
		.sandbox = d->stanza->sandbox,
	};
	const char *step = "its path";
	int ret = executable(d, path, sizeof(path));

	if (ret)
		return report_spawn(d, d->stanza->command, step, ret);
	spawn.output = pcid_output_open(d, &d->output);
	if (spawn.output < 0)
		return spawn.output;
	ret = pcid_spawn(&spawn, &d->pid, &d->pidfd, &step);
	close(spawn.output);
	if (ret) {
		process_gone(d); /* it was there for a while */
		return report_spawn(d, path, step, ret);
	}
	d->exited = false;
	ret = pcidipc_watch_add(d->pcid->loop, &d->exit_watch, d->pidfd, EPOLLIN, exited);
	if (!ret)
		return 0;
	kill(d->pid, SIGKILL); /* it cannot be watched, so it must not be */
	waitpid(d->pid, NULL, 0);
	close(d->pidfd);
	process_gone(d);
	return ret;
}

/* A child's driver is joined to its announcer by a channel of their own. */
static int start_joined(struct pcid_driver *d, int channel)
{
	int ends[2];
	int ret;

	if (!d->parent)
		return spawn_process(d, channel, -1);
	if (!d->child)
		return -ENODEV;
	ret = pcidipc_channel_pair(ends);
	if (ret)
		return ret;
	ret = spawn_process(d, channel, ends[1]);
	close(ends[1]);
	if (!ret)
		ret = d->child ? pcid_child_adopt(d->child, ends[0]) : -ENODEV;
	close(ends[0]);
	return ret;
}

static int start_process(struct pcid_driver *d)
{
	int ends[2];
	int ret = pcidipc_channel_pair(ends);

	if (ret)
		return ret;
	d->session_lost = d->confined = false;
	d->locks = 0;
	ret = pcidipc_session_create(d->pcid->loop, &d->scheme, ends[0], 0, NULL);
	if (!ret)
		ret = start_joined(d, ends[1]);
	close(ends[1]);
	return ret;
}

static int claim(struct pcid_driver *d)
{
	int ret;

	if (!d->function)
		return 0;
	if (d->function->gone)
		return -ENODEV;
	ret = d->function->bus->ops->claim(d->function);
	d->claimed = !ret;
	d->refused = ret == -EPERM || ret == -EBUSY; /* the bus has said why */
	if (ret && !d->refused)
		pcidipc_err("%s: the function could not be claimed: %s", d->name, strerror(-ret));
	return ret;
}

static int start(struct pcid_driver *d)
{
	int ret;

	d->state = PCID_STARTING;
	d->quiet = false;
	d->exited = true; /* until there is a process */
	d->started_at = now(d);
	ret = claim(d);
	if (!ret)
		ret = start_process(d);
	if (ret)
		snprintf(d->last_exit, sizeof(d->last_exit), "not started: %s", strerror(-ret));
	return ret;
}

/* ---- running ---- */

static void tell(struct pcid_driver *d)
{
	if (d->stop == PCID_STOP_REMOVED)
		pcidipc_scheme_event(&d->scheme, RINGABI_EVENT_REMOVED);
	else
		pcidipc_scheme_event(&d->scheme, RINGABI_EVENT_SHUTDOWN);
}

/* A process that was told to stop is killed when its time is over, and one that has not said hello
 * at once. */
static void stop_process(struct pcid_driver *d)
{
	uint64_t deadline;

	d->state = PCID_STOPPING;
	/* Whoever only restarts still has their devices: they end in order. */
	pcid_children_remove(d,
			     d->stop == PCID_STOP_REMOVED ? PCID_STOP_REMOVED : PCID_STOP_SHUTDOWN);
	deadline = now(d) + PCID_STOP_NS;
	while (d->nchildren_alive && !d->exited && now(d) < deadline)
		nap(d, deadline - now(d));
	tell(d);
	if (!d->session)
		kill_process(d);
	deadline = now(d) + PCID_STOP_NS;
	while (!d->exited && !d->session_lost && now(d) < deadline)
		nap(d, deadline - now(d));
	if (d->exited || d->session_lost)
		return;
	pcidipc_warn("%s: it did not stop in %llu s and is killed", d->name,
		     PCID_STOP_NS / 1000000000u);
	kill_process(d);
}

static void run(struct pcid_driver *d)
{
	uint64_t hello_by = now(d) + HELLO_NS;

	while (!d->exited && !d->stop && !d->session_lost) {
		if (d->session && d->state == PCID_STARTING) {
			d->state = PCID_RUNNING;
			pcid_services_sweep_later(d);
			pcidipc_info("%s: runs as pid %d", d->name, (int)d->pid);
		}
		if (d->state == PCID_STARTING && now(d) >= hello_by) {
			pcidipc_err("%s: it has said nothing for %llu s and is killed", d->name,
				    HELLO_NS / 1000000000u);
			kill_process(d);
			return;
		}
		nap(d, d->state == PCID_STARTING ? hello_by - now(d) : 0);
	}
	if (!d->exited && d->stop)
		stop_process(d);
}

/* ---- cleaning up ---- */

static void release(struct pcid_driver *d)
{
	pcidipc_task_lock(&d->bus_lock);
	pcid_irq_free(d, false);
	d->let_go = d->stop == PCID_STOP_REMOVED;
	d->function->bus->ops->release(d->function);
	d->claimed = false;
	pcidipc_task_unlock(&d->bus_lock);
}

static void clean_up(struct pcid_driver *d)
{
	pcid_driver_quiesce(d);
	if (d->stop < PCID_STOP_REMOVED && !d->pcid->stopping)
		pcid_services_wait(d); /* from now on it publishes nothing more */
	pcid_children_remove(d, PCID_STOP_REMOVED);
	pcidipc_scheme_end_sessions(&d->scheme);
	pcid_output_close(d->output);
	d->output = NULL;
	if (d->claimed)
		release(d);
}

/* ---- again? ---- */

static uint64_t backoff_ns(unsigned failures)
{
	uint64_t ns = FIRST_BACKOFF_NS;

	for (unsigned i = 1; i < failures && ns < MAX_BACKOFF_NS; i++)
		ns *= 2;
	return ns < MAX_BACKOFF_NS ? ns : MAX_BACKOFF_NS;
}

static void wait_for_restart(struct pcid_driver *d, enum pcid_driver_state state, uint64_t ns)
{
	uint64_t deadline = ns ? now(d) + ns : UINT64_MAX;

	d->state = state;
	while (!d->stop && now(d) < deadline)
		nap(d, ns ? deadline - now(d) : 0);
}

static void give_up(struct pcid_driver *d)
{
	if (d->refused)
		pcidipc_err("%s: not started (to try again: pcidctl restart %s)", d->name,
			    d->where);
	else
		pcidipc_err("%s: it ended %u times in a row, the last time with %s: given up "
			    "(restart it with: pcidctl restart %s)",
			    d->name, d->failures, d->last_exit, d->where);
	pcid_services_refuse(d);
	settle(d);
	wait_for_restart(d, PCID_FAILED, 0);
	pcid_services_accept(d);
}

static void back_off(struct pcid_driver *d)
{
	int limit = d->stanza->restart_limit;

	if (now(d) - d->started_at >= STABLE_NS)
		d->failures = 0;
	d->failures++;
	if (d->refused || (limit >= 0 && d->failures > (unsigned)limit)) {
		give_up(d);
		return;
	}
	pcidipc_warn("%s: %s; it is started again in %llu ms", d->name, d->last_exit,
		     (unsigned long long)backoff_ns(d->failures) / 1000000u);
	wait_for_restart(d, PCID_BACKOFF, backoff_ns(d->failures));
}

static bool once_more(struct pcid_driver *d)
{
	if (!d->stop)
		back_off(d);
	if (d->stop >= PCID_STOP_REMOVED || d->pcid->stopping)
		return false;
	if (d->stop == PCID_STOP_RESTART)
		d->failures = 0;
	d->stop = PCID_STOP_NONE;
	d->restarts++;
	return true;
}

/* ---- the whole ---- */

static void end(struct pcid_driver *d)
{
	struct pcid *pcid = d->pcid;

	d->state = PCID_GONE;
	pcidipc_info("%s: ended (%s)", d->name, *d->last_exit ? d->last_exit : "it never ran");
	pcid_services_remove(d);
	settle(d);
	if (d->parent) {
		d->parent->nchildren_alive--;
		pcid_driver_wake(d->parent);
		pcid_child_release(d);
		pcid_number_drop(pcid, d->stanza->service, d->where);
	}
	while (d->nchildren_alive)
		nap(d, 0);
	while (d->working)
		pcidipc_task_yield();
	pcidipc_timer_cancel(&d->timer);
	pcidipc_list_remove(&d->link);
	if (d->function)
		pcid_function_released(pcid, d->function,
				       d->stop == PCID_STOP_REMOVED && !d->let_go);
	pcid_stanza_put(d->stanza);
	free(d);
	pcid_changed(pcid);
}

/* The record of an earlier device in the same place, which is still ending, has the names. */
static bool place_taken(struct pcid_driver *d)
{
	pcidipc_list_for_each(other, &d->pcid->drivers, struct pcid_driver, link) {
		if (other == d)
			return false;
		if (!strcmp(other->where, d->where))
			return true;
	}
	return false;
}

static void take_place(struct pcid_driver *d)
{
	int number;

	while (place_taken(d))
		pcidipc_task_sleep(PLACE_POLL_NS);
	number = pcid_number_of(d->pcid, d->stanza->service, d->where);
	d->number = number < 0 ? 0 : (unsigned)number;
	if (number < 0)
		pcid_driver_stop(d, PCID_STOP_REMOVED);
}

static void supervise(void *arg)
{
	struct pcid_driver *d = arg;

	take_place(d);
	do {
		if (!d->stop && !start(d))
			run(d);
		clean_up(d);
	} while (once_more(d));
	end(d);
}

void pcid_driver_stop(struct pcid_driver *d, enum pcid_stop why)
{
	if (why > d->stop)
		d->stop = why;
	pcid_driver_wake(d);
}

void pcid_driver_kill(struct pcid_driver *d)
{
	kill_process(d);
}

/* ---- making ---- */

static void identify(struct pcid_driver *d)
{
	const struct pcid_function *f = d->function;

	if (d->child) {
		d->id = d->child->id;
		snprintf(d->where, sizeof(d->where), "%.90s/%s", d->parent->where, d->child->path);
	} else {
		d->id = pcid_identity_of(f);
		snprintf(d->where, sizeof(d->where), "%s", f->address);
	}
	snprintf(d->name, sizeof(d->name), "%.30s %s", d->stanza->name, d->where);
}

int pcid_driver_start(struct pcid *pcid, struct pcid_stanza *stanza, struct pcid_function *function,
		      struct pcid_driver *parent, struct pcid_child *child)
{
	struct pcid_driver *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->pcid = pcid;
	d->stanza = stanza;
	d->function = function;
	d->parent = parent;
	d->child = child;
	d->pidfd = -1;
	pcidipc_list_init(&d->waiters);
	pcidipc_list_init(&d->pools);
	pcidipc_list_init(&d->services);
	pcidipc_list_init(&d->children);
	identify(d);
	pcid_driver_take_user(d);
	pcid_scheme_init(d);
	if (pcidipc_spawn(pcid->loop, supervise, d)) {
		free(d);
		return -ENOMEM;
	}
	pcid_stanza_get(stanza);
	pcidipc_list_append(&pcid->drivers, &d->link);
	if (function)
		function->owner = d;
	if (child) {
		child->driver = d;
		parent->nchildren_alive++;
	}
	return 0;
}
