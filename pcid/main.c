// SPDX-License-Identifier: GPL-2.0-or-later
/* pcid: start, signals, end. */
#include <errno.h>
#include <pcidipc/log.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "driver.h"
#include "pcid.h"

#define READY_NS \
	5000000000ull /* a driver that serves nothing does not keep pcid from being ready */

struct app {
	struct pcid pcid;
	struct pcidipc_watch signals;
	struct pcidipc_timer ready_by;
	bool late;
};

/* ---- from start to end, in one task ---- */

static void too_late(struct pcidipc_timer *timer)
{
	struct app *app = pcidipc_container_of(timer, struct app, ready_by);

	app->late = true;
	pcid_changed(&app->pcid);
}

static void await_change(struct pcid *pcid)
{
	pcidipc_await(&pcid->wake);
	pcid->wake = (struct pcidipc_completion){0};
}

static bool all_settled(struct pcid *pcid)
{
	pcidipc_list_for_each(d, &pcid->drivers, struct pcid_driver, link)
		if (!d->settled)
			return false;
	return true;
}

/* Whoever looks for what is not there finds why. */
static void say_what_is_missing(struct pcid *pcid)
{
	if (pcidipc_list_empty(&pcid->drivers))
		pcidipc_notice("no function is driven: the bus has none that the configuration "
			       "names and has a driver for");
	pcidipc_list_for_each(d, &pcid->drivers, struct pcid_driver, link)
		if (!d->settled)
			pcidipc_warn("%s: serves nothing yet, and is not waited for any longer",
				     d->name);
}

static void become_ready(struct app *app)
{
	struct pcid *pcid = &app->pcid;

	pcidipc_timer_set(pcid->loop, &app->ready_by, READY_NS, too_late);
	while (!all_settled(pcid) && !app->late && !pcid->stopping)
		await_change(pcid);
	pcidipc_timer_cancel(&app->ready_by);
	if (pcid->stopping)
		return;
	say_what_is_missing(pcid);
	pcid_rundir_sweep(pcid);
	pcid->ready = true;
	pcid_notify_ready(pcid);
	pcidipc_info("ready");
}

static int start(struct pcid *pcid)
{
	int ret = pcid->bus->ops->start(pcid->bus);

	if (ret) {
		pcidipc_err("the %s bus did not start: %s", pcid->bus->ops->name, strerror(-ret));
		return ret;
	}
	pcid->bus_started = true;
	ret = pcid_control_open(pcid);
	if (!ret && !pcid->stopping)
		pcid_match_all(pcid);
	return ret;
}

static void live(void *arg)
{
	struct app *app = arg;
	struct pcid *pcid = &app->pcid;

	if (start(pcid))
		pcid->exit_code = 1;
	else
		become_ready(app);
	while (!pcid->stopping && !pcid->exit_code)
		await_change(pcid);
	pcid_notify("STOPPING=1\n");
	pcid_stop_drivers(pcid);
	pcid_control_close(pcid);
	pcid->bus->ops->stop(pcid->bus);
	pcid->bus_started = false;
	pcidipc_loop_stop(pcid->loop, pcid->exit_code);
}

/* ---- signals ---- */

/* The second one means: at once. */
static void request_stop(struct pcid *pcid)
{
	if (!pcid->stopping) {
		pcid->stopping = true;
		pcid_changed(pcid);
	} else if (!pcid->bus_started) {
		pcidipc_loop_stop(pcid->loop, 1);
	} else {
		pcidipc_list_for_each(d, &pcid->drivers, struct pcid_driver, link)
			pcid_driver_kill(d);
	}
}

static void signaled(struct pcidipc_watch *watch, unsigned events)
{
	struct app *app = pcidipc_container_of(watch, struct app, signals);
	struct signalfd_siginfo info;

	(void)events;
	if (read(watch->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo != SIGHUP) {
		request_stop(&app->pcid);
		return;
	}
	pcidipc_notice("reading the configuration again");
	pcid_reload(&app->pcid);
}

static int watch_signals(struct app *app)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	return pcidipc_watch_add(app->pcid.loop, &app->signals, fd, EPOLLIN, signaled);
}

/* ---- setting up ---- */

/* Where pcid lies, if the drivers can be found from there: beside it in a build tree, in
 * ../libexec/pcid in an installation that was moved. Or NULL. */
static char *neighbours_dir(void)
{
	static const char *const places[] = {"", "/../libexec/pcid"};
	char *self = realpath("/proc/self/exe", NULL);
	char *slash = self ? strrchr(self, '/') : NULL;
	char *found = NULL;
	char path[4096];

	if (slash)
		*slash = '\0';
	for (size_t i = 0; slash && !found && i < sizeof(places) / sizeof(*places); i++) {
		int n = snprintf(path, sizeof(path), "%s%s/nvmed", self, places[i]);

		if ((size_t)n >= sizeof(path) || access(path, X_OK))
			continue;
		path[n - (int)strlen("/nvmed")] = '\0';
		found = realpath(path, NULL);
	}
	free(self);
	return found;
}

static int find_driver_dir(struct pcid *pcid)
{
	const char *given = pcid->options.driver_dir;
	char *real = given ? realpath(given, NULL) : neighbours_dir();
	int ret = 0;

	if (!real && given) {
		ret = -errno;
		pcidipc_err("driver directory %s: %s", given, strerror(errno));
		return ret;
	}
	if (!real)
		real = strdup(PCID_DRIVER_DIR);
	if (!real)
		return -ENOMEM;
	if ((size_t)snprintf(pcid->driver_dir, sizeof(pcid->driver_dir), "%s", real) >=
	    sizeof(pcid->driver_dir)) {
		pcidipc_err(
			"driver directory %s: its path is too long: the limit is %zu characters",
			real, sizeof(pcid->driver_dir) - 1);
		ret = -ENAMETOOLONG;
	}
	free(real);
	return ret;
}

static int make_qemu_bus(struct pcid *pcid, struct pcid_bus **bus)
{
	char **args = *pcid->options.bus_args ? pcid->options.bus_args : pcid->config->qemu_args;
	static const char *const none[] = {NULL};
	struct pcid_qemu_options options = {
		.binary = pcid->config->qemu_binary ? pcid->config->qemu_binary
						    : "qemu-system-x86_64",
		.args = args ? (const char *const *)args : none,
		.run_dir = pcid->bus_dir,
		.ram_mib = pcid->config->qemu_ram_mib,
	};

	return pcid_qemu_bus_create(pcid->loop, &options, bus);
}

static int make_bus(struct pcid *pcid)
{
	struct pcid_vfio_options vfio = {
		.take = pcid->config->vfio_take,
		.run_dir = pcid->bus_dir,
		.shared_groups = pcid->config->vfio_shared_groups,
	};
	const char *name = pcid->options.bus;
	struct pcid_bus *bus;
	int ret;

	if (!name)
		name = pcid_vfio_bus_wanted(&vfio) ? "vfio" : "qemu";
	if (!strcmp(name, "vfio"))
		ret = pcid_vfio_bus_create(pcid->loop, &vfio, &bus);
	else
		ret = make_qemu_bus(pcid, &bus);
	if (ret)
		pcidipc_err("the %s bus: %s", name, strerror(-ret));
	else
		pcid_take_bus(pcid, bus);
	return ret;
}

/* 0, or 1: something is wrong, and the log says what. */
static int check_config(const struct pcid_options *options)
{
	struct pcid_config *config;
	bool good;

	if (pcid_config_load(options->config, &config))
		return 1;
	good = !config->bad_files;
	if (good && !config->files)
		puts("no configuration file: the built-in configuration holds");
	else if (good)
		printf("%s: good\n", options->config ? options->config : PCID_CONFIG_DIR);
	pcid_config_free(config);
	return good ? 0 : 1;
}

/* Every pool of every client of every driver is an fd here. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int set_up(struct app *app)
{
	struct pcid *pcid = &app->pcid;
	struct pcid_config *config;
	int ret = pcidipc_loop_create(0, &pcid->loop);

	if (!ret)
		ret = pcid_config_load(pcid->options.config, &config);
	if (ret)
		return ret;
	pcid_init(pcid, pcid->loop, config);
	pcid->request_stop = request_stop;
	ret = watch_signals(app);
	if (!ret)
		ret = find_driver_dir(pcid);
	if (!ret)
		ret = pcid_rundir_open(pcid);
	if (!ret)
		ret = make_bus(pcid);
	if (!ret)
		ret = pcidipc_spawn(pcid->loop, live, app);
	return ret;
}

static void tear_down(struct app *app)
{
	struct pcid *pcid = &app->pcid;

	if (pcid->bus)
		pcid_bus_destroy(pcid->bus);
	pcidipc_watch_remove(&app->signals);
	if (app->signals.fd > 0)
		close(app->signals.fd);
	pcid_rundir_close(pcid);
	pcid_fini(pcid);
	pcidipc_loop_destroy(pcid->loop);
}

static int run(struct app *app)
{
	const struct pcid_options *options = &app->pcid.options;
	int ret = options->daemonize ? pcid_daemonize(&app->pcid.options) : 0;

	if (ret) {
		pcidipc_err("going on in the background: %s", strerror(-ret));
		return ret;
	}
	ret = set_up(app);
	if (!ret && options->pidfile)
		ret = pcid_write_pidfile(options->pidfile);
	if (!ret)
		ret = pcidipc_loop_run(app->pcid.loop);
	tear_down(app);
	if (!ret && options->pidfile)
		unlink(options->pidfile);
	return ret;
}

int main(int argc, char **argv)
{
	static struct app app = {.pcid.lock_fd = -1};
	int ret = pcid_options_parse(argc, argv, &app.pcid.options);

	if (ret)
		return ret < 0 ? 2 : 0;
	pcidipc_log_init("pcid", (enum pcidipc_log_level)app.pcid.options.log_level);
	umask(077);
	if (app.pcid.options.check_config)
		return check_config(&app.pcid.options);
	if (geteuid())
		pcidipc_info("not root: drivers run as pcid's own user; the rest of their "
			     "confinement holds");
	raise_file_limit();
	return run(&app) ? 1 : 0;
}
