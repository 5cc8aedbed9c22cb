/* SPDX-License-Identifier: MIT */
/* usbscsid: drives one USB mass storage interface and serves its logical units as disks. Started by
 * pcid below xhcid, or by hand for a device of the kernel's USB stack. */
#include <errno.h>
#include <getopt.h>
#include <pcidipc/log.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "target.h"

#define MOST_NAME 40

struct options {
	const char *device; /* BUS:DEV, or NULL: pcid's */
	const char *name;   /* of the disk, with --libusb */
	int interface;
	uint32_t limit; /* s */
};

static struct options options = {.interface = -1, .limit = TRANSPORT_LIMIT};
static struct pcidipc_pci *pci;
static struct target target;

/* ---- services: pcid's, or sockets of our own ---- */

static int publish_by_pcid(struct target *t, const char *suffix, struct pcidipc_service *service)
{
	(void)t;
	return pcidipc_pci_publish(pci, "disk", suffix, service);
}

static void unpublish_by_pcid(struct target *t, struct pcidipc_service *service)
{
	(void)t;
	pcidipc_pci_unpublish(pci, service);
}

static const char *runtime_dir(void)
{
	const char *dir = getenv("PCID_RUNTIME_DIR");

	return dir ? dir : "/run/pcid";
}

static int own_path(char *path, size_t room, const struct pcidipc_service *service, const char *end)
{
	return (size_t)snprintf(path, room, "%s/%s%s", runtime_dir(), service->name, end) < room
		       ? 0
		       : -ENAMETOOLONG;
}

static int own_socket(const struct pcidipc_service *service, const char *end, unsigned mode)
{
	char path[108];
	int ret = own_path(path, sizeof(path), service, end);

	return ret ? ret : pcidipc_listen_socket(path, mode);
}

static void make_directories(void)
{
	char path[96];

	mkdir(runtime_dir(), 0755);
	snprintf(path, sizeof(path), "%s/disk", runtime_dir());
	mkdir(path, 0755);
}

static int publish_own(struct target *t, const char *suffix, struct pcidipc_service *service)
{
	(void)t;
	memset(service, 0, sizeof(*service));
	snprintf(service->name, sizeof(service->name), "disk/%s%s", options.name, suffix);
	make_directories();
	service->listen_fd = own_socket(service, "", 0660);
	if (service->listen_fd < 0)
		return service->listen_fd;
	service->admin_fd = own_socket(service, ".admin", 0600);
	if (service->admin_fd < 0) {
		close(service->listen_fd);
		return service->admin_fd;
	}
	return 0;
}

static void unpublish_own(struct target *t, struct pcidipc_service *service)
{
	char path[108];

	(void)t;
	close(service->listen_fd);
	close(service->admin_fd);
	if (!own_path(path, sizeof(path), service, ""))
		unlink(path);
	if (!own_path(path, sizeof(path), service, ".admin"))
		unlink(path);
}

/* ---- beginning and end ---- */

static void start_task(void *arg)
{
	struct target *t = arg;
	int ret = target_start(t);

	if (!ret || t->stopping)
		return;
	pcidipc_err("%s: cannot be driven: %s", t->label, strerror(-ret));
	pcidipc_loop_stop(t->loop, ret == -ENODEV ? 0 : 1);
}

static void stop_task(void *arg)
{
	struct target *t = arg;

	target_stop(t);
	pcidipc_loop_stop(t->loop, 0);
}

static void stop(void)
{
	if (target.stopping || target.device_gone)
		return;
	target.stopping = true;
	pcidipc_spawn(target.loop, stop_task, &target);
}

static void link_lost(struct usb_link *link, int error)
{
	(void)link, (void)error;
	if (target.transport)
		transport_die(target.transport);
	else
		pcidipc_loop_stop(target.loop, 1);
}

/* An unplugged device is no failure of ours. */
static void target_ended(struct target *t, int code)
{
	(void)code;
	pcidipc_loop_stop(t->loop, 0);
}

static void on_event(uint32_t event, void *arg)
{
	(void)arg;
	if (event == RINGABI_EVENT_SHUTDOWN)
		stop();
	else if (event == RINGABI_EVENT_REMOVED)
		link_lost(target.link, -ENODEV);
}

static void on_signal(struct pcidipc_watch *watch, unsigned events)
{
	struct signalfd_siginfo info;

	(void)events;
	if (read(watch->fd, &info, sizeof(info)) == sizeof(info))
		stop();
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

/* ---- options ---- */

static void usage(FILE *to)
{
	fputs("Usage: usbscsid [-v] [--timeout SECONDS] [--help] [--version]\n"
	      "       usbscsid --libusb BUS:DEV [--interface N] [--name NAME] [...]\n"
	      "Drives one USB mass storage interface. pcid starts it, see pcid(8); with --libusb "
	      "it\n"
	      "drives a device of the kernel's USB stack, as disk/NAME.\n",
	      to);
}

static int number(const char *what, const char *text, unsigned long least, unsigned long most,
		  unsigned long *value)
{
	char *end;

	*value = strtoul(text, &end, 10);
	if (*end || end == text || *value < least || *value > most) {
		fprintf(stderr, "usbscsid: %s %s: it must be %lu to %lu\n", what, text, least,
			most);
		return -EINVAL;
	}
	return 0;
}

static int take_option(int option, enum pcidipc_log_level *level)
{
	unsigned long value;

	switch (option) {
	case 'v':
		*level = *level < PCIDIPC_DEBUG ? *level + 1 : *level;
		return -1;
	case 't':
		if (number("--timeout", optarg, 1, 3600, &value))
			return 2;
		options.limit = (uint32_t)value;
		return -1;
	case 'i':
		if (number("--interface", optarg, 0, 255, &value))
			return 2;
		options.interface = (int)value;
		return -1;
	case 'l':
		options.device = optarg;
		return -1;
	case 'n':
		options.name = optarg;
		return -1;
	case 'h':
		return usage(stdout), 0;
	case 'V':
		return puts("usbscsid " PCID_VERSION), 0;
	default:
		return usage(stderr), 2;
	}
}

static int check_name(void)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
	static char name[MOST_NAME];

	if (!options.device)
		return -1;
	if (!options.name) {
		snprintf(name, sizeof(name), "usb-%s", options.device);
		for (char *at = name; *at; at++)
			*at = *at == ':' ? '-' : *at;
		options.name = name;
	}
	if (*options.name && strlen(options.name) < MOST_NAME &&
	    strspn(options.name, letters) == strlen(options.name))
		return -1;
	fprintf(stderr, "usbscsid: --name %s: it must be 1 to %d of a to z, 0 to 9 and -\n",
		options.name, MOST_NAME - 1);
	return 2;
}

/* -1: go on. */
static int parse(int argc, char **argv)
{
	static const struct option list[] = {{"verbose", no_argument, NULL, 'v'},
					     {"timeout", required_argument, NULL, 't'},
					     {"libusb", required_argument, NULL, 'l'},
					     {"interface", required_argument, NULL, 'i'},
					     {"name", required_argument, NULL, 'n'},
					     {"help", no_argument, NULL, 'h'},
					     {"version", no_argument, NULL, 'V'},
					     {0}};
	enum pcidipc_log_level level = PCIDIPC_NOTICE;
	int option, ret;

	while ((option = getopt_long(argc, argv, "vt:hV", list, NULL)) != -1) {
		ret = take_option(option, &level);
		if (ret >= 0)
			return ret;
	}
	pcidipc_log_init("usbscsid", level);
	return check_name();
}

static int open_link(struct pcidipc_loop *loop)
{
	int ret;

	if (options.device) {
		target.publish = publish_own;
		target.unpublish = unpublish_own;
		return link_libusb_open(loop, options.device, options.interface, &target.link);
	}
	ret = pcidipc_pci_open(loop, &pci);
	if (ret)
		return ret;
	pcidipc_pci_on_event(pci, on_event, NULL);
	target.publish = publish_by_pcid;
	target.unpublish = unpublish_by_pcid;
	return link_ring_open(loop, &target.link);
}

int main(int argc, char **argv)
{
	int ret = parse(argc, argv);

	if (ret >= 0)
		return ret;
	ret = pcidipc_loop_create(0, &target.loop);
	if (!ret)
		ret = watch_signals(target.loop); /* before libusb's thread is there to take them */
	if (!ret)
		ret = open_link(target.loop);
	if (ret) {
		pcidipc_err("%s", ret == -ENOENT && !options.device
					  ? "not started by pcid: there is no interface to "
					    "drive. Start pcid instead, or use --libusb."
					  : strerror(-ret));
		return 1;
	}
	target.link->lost = link_lost;
	target.ended = target_ended;
	target.limit = options.limit * TRANSPORT_TICKS;
	target.tick_ns = TRANSPORT_TICK_NS;
	target.pause_ns = TARGET_PAUSE_NS;
	target.poll_ns = TARGET_POLL_NS;
	ret = pcidipc_spawn(target.loop, start_task, &target);
	return ret ? 1 : pcidipc_loop_run(target.loop);
}
