/* SPDX-License-Identifier: MIT */
/* A driver's main program; its options are in options.c. */
#include <errno.h>
#include <pcidipc/driver.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "options.h"

/* ---- the end ---- */

static void stop_task(void *arg)
{
	struct pcidipc_driver *d = arg;

	d->stop(d);
}

static void removed_task(void *arg)
{
	struct pcidipc_driver *d = arg;

	d->removed(d);
}

/* Without memory for a task it ends all the same. */
static void in_task(struct pcidipc_driver *d, void (*task)(void *arg), bool wanted)
{
	if (!wanted || pcidipc_spawn(d->loop, task, d))
		pcidipc_loop_stop(d->loop, wanted);
}

static void stop(struct pcidipc_driver *d)
{
	if (d->stopping)
		return;
	d->stopping = true;
	in_task(d, stop_task, d->stop);
}

static void on_event(uint32_t event, void *arg)
{
	struct pcidipc_driver *d = arg;

	if (event == RINGABI_EVENT_SHUTDOWN)
		stop(d);
	else if (event == RINGABI_EVENT_REMOVED)
		in_task(d, removed_task, d->removed);
}

int pcidipc_driver_give_up(struct pcidipc_driver *d, const char *why)
{
	pcidipc_err("%s: the device is given up: %s", d->address, why);
	if (d->pci)
		pcidipc_pci_cut_off(d->pci);
	pcidipc_loop_stop(d->loop, 1);
	return -EIO;
}

/* ---- signals: as pcid's wish that we end ---- */

static void on_signal(struct pcidipc_watch *watch, unsigned events)
{
	struct signalfd_siginfo info;

	(void)events;
	if (read(watch->fd, &info, sizeof(info)) == sizeof(info))
		stop(pcidipc_container_of(watch, struct pcidipc_driver, signals));
}

static int watch_signals(struct pcidipc_driver *d)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : pcidipc_watch_add(d->loop, &d->signals, fd, EPOLLIN, on_signal);
}

/* ---- the beginning ---- */

static void start_task(void *arg)
{
	struct pcidipc_driver *d = arg;
	int ret = d->start(d);

	if (!ret || d->stopping) /* then `stop` ends it */
		return;
	pcidipc_err("%s: cannot be started: %s", d->address, strerror(-ret));
	pcidipc_loop_stop(d->loop, 1);
}

/* 0, -errno, or the exit status when it has said why. */
static int claim(struct pcidipc_driver *d)
{
	int ret = pcidipc_pci_open(d->loop, &d->pci);

	if (ret == -ENOENT) {
		pcidipc_err("not started by pcid: there is nothing to drive. Start pcid instead.");
		return 1;
	}
	if (ret)
		return ret;
	d->address = pcidipc_pci_info(d->pci)->address;
	pcidipc_pci_on_event(d->pci, on_event, d);
	return d->dma_bits ? pcidipc_pci_dma_bits(d->pci, d->dma_bits) : 0;
}

/* 0, -errno, or an exit status: `prepare` may want one. Signals are blocked before it, for it may
 * make threads that would take them. */
static int begin(struct pcidipc_driver *d)
{
	int ret = pcidipc_loop_create(0, &d->loop);

	d->address = d->name;
	if (!ret)
		ret = watch_signals(d);
	if (!ret && d->prepare)
		ret = d->prepare(d);
	if (!ret && !d->standalone)
		ret = claim(d);
	return ret ? ret : pcidipc_spawn(d->loop, start_task, d);
}

int pcidipc_driver_main(struct pcidipc_driver *d, int argc, char **argv)
{
	enum pcidipc_log_level level = PCIDIPC_NOTICE;
	int ret = options_parse(d, argc, argv, &level);

	if (ret >= 0)
		return ret;
	pcidipc_log_init(d->name, level);
	ret = begin(d);
	if (!ret)
		return pcidipc_loop_run(d->loop);
	if (ret > 0)
		return ret;
	pcidipc_err("%s", strerror(-ret));
	return 1;
}
