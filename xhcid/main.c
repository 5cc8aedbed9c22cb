/* SPDX-License-Identifier: MIT */
/* xhcid: drives one xHCI controller and serves the interfaces of the USB devices on it to
 * their drivers. Started by pcid. */
#include <errno.h>
#include <getopt.h>
#include <pcidipc/log.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "xhcid.h"

static struct controller controller = {.tick_ns = TICK_NS};

static void start_task(void *arg)
{
	struct controller *c = arg;
	int ret = controller_start(c);

	if (!ret) {
		ports_start(c);
		service_publish(c);
	}
	if (ret) {
		pcidipc_err("%s: cannot be started: %s", c->address, strerror(-ret));
		pcidipc_loop_stop(c->loop, 1);
	}
}

static void stop_task(void *arg)
{
	struct controller *c = arg;

	service_remove(c);
	ports_stop(c);
	controller_stop(c);
	pcidipc_loop_stop(c->loop, 0);
}

static void gone_task(void *arg)
{
	controller_lost(arg, 0);
}

static void stop(struct controller *c)
{
	if (c->stopping || c->dead)
		return;
	c->stopping = true;
	pcidipc_spawn(c->loop, stop_task, c);
}

static void on_event(uint32_t event, void *arg)
{
	struct controller *c = arg;

	if (event == RINGABI_EVENT_SHUTDOWN)
		stop(c);
	else if (event == RINGABI_EVENT_REMOVED)
		pcidipc_spawn(c->loop, gone_task, c);
}

static void on_adopt(struct pcidipc_consumer *consumer, uint32_t child, int channel, void *arg)
{
	(void)consumer;
	interface_adopt(arg, child, channel);
}

/* ---- signals: as pcid's wish that we end ---- */

static void on_signal(struct pcidipc_watch *watch, unsigned events)
{
	struct signalfd_siginfo info;

	(void)events;
	if (read(watch->fd, &info, sizeof(info)) == sizeof(info))
		stop(&controller);
}

static int watch_signals(struct pcidipc_loop *loop)
{
	static struct pcidipc_watch watch;
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : pcidipc_watch_add(loop, &watch, fd, EPOLLIN, on_signal);
}

static void usage(FILE *to)
{
	fputs("Usage: xhcid [-v] [--help] [--version]\n"
	      "Drives one xHCI controller. pcid starts it and hands it the function; see "
	      "pcid(8).\n",
	      to);
}

static int parse(int argc, char **argv)
{
	static const struct option options[] = {{"verbose", no_argument, NULL, 'v'},
						{"help", no_argument, NULL, 'h'},
						{"version", no_argument, NULL, 'V'},
						{0}};
	enum pcidipc_log_level level = PCIDIPC_NOTICE;
	int option;

	while ((option = getopt_long(argc, argv, "vhV", options, NULL)) != -1) {
		if (option == 'v')
			level = level < PCIDIPC_DEBUG ? level + 1 : level;
		else if (option == 'h')
			return usage(stdout), 0;
		else if (option == 'V')
			return puts("xhcid " PCID_VERSION), 0;
		else
			return usage(stderr), 2;
	}
	pcidipc_log_init("xhcid", level);
	return -1;
}

int main(int argc, char **argv)
{
	struct controller *c = &controller;
	int ret = parse(argc, argv);

	if (ret >= 0)
		return ret;
	ret = pcidipc_loop_create(0, &c->loop);
	if (!ret)
		ret = pcidipc_pci_open(c->loop, &c->pci);
	if (ret) {
		pcidipc_err("%s", ret == -ENOENT ? "not started by pcid: there is no function to "
						   "drive. Start pcid instead."
						 : strerror(-ret));
		return 1;
	}
	ret = watch_signals(c->loop);
	if (ret)
		pcidipc_err("signals cannot be watched: %s", strerror(-ret));
	c->address = pcidipc_pci_info(c->pci)->address;
	pcidipc_pci_on_event(c->pci, on_event, c);
	pcidipc_consumer_on_adopt(pcidipc_pci_consumer(c->pci), on_adopt, c);
	ret = pcidipc_spawn(c->loop, start_task, c);
	return ret ? 1 : pcidipc_loop_run(c->loop);
}
