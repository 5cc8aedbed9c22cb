// SPDX-License-Identifier: GPL-2.0-or-later
/* The command line. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pcid.h"

static const char help[] =
	"Usage: pcid [OPTION]... [-- QEMU DEVICE ARGUMENT...]\n"
	"Own the PCI bus: enumerate functions, start a driver for each, serve what they need.\n"
	"\n"
	"      --bus vfio         functions of this machine; the default where one is bound to\n"
	"                         vfio-pci, or named in the configuration's section vfio\n"
	"      --bus qemu         device models of a stock QEMU; the default elsewhere\n"
	"      --config PATH      configuration: a file, or a directory of *.conf (" PCID_CONFIG_DIR
	")\n"
	"      --runtime-dir DIR  sockets (" PCID_RUNTIME_DIR ", or $PCID_RUNTIME_DIR)\n"
	"      --driver-dir DIR   where drivers' commands are (pcid's own directory or\n"
	"                         ../libexec/pcid from there, if nvmed is in it; else\n"
	"                         " PCID_DRIVER_DIR ")\n"
	"      --check-config     read the configuration, say what is wrong with it, and end\n"
	"      --daemonize        go on in the background; return when ready (each driver serves, "
	"or\n"
	"                         5 s have passed), or after 30 s\n"
	"      --pidfile PATH     write pcid's process id there, and remove it at the end\n"
	"      --ready-fd N       write a newline to file descriptor N when ready, and close it\n"
	"  -v, --verbose          more messages; twice: still more\n"
	"  -q, --quiet            errors only\n"
	"      --version          print the version\n"
	"      --help             print this\n"
	"\n"
	"What follows -- goes to QEMU, for example:\n"
	"  pcid -- -drive file=disk.img,if=none,id=d,format=raw -device nvme,drive=d,serial=1\n";

enum {
	OPTION_BUS = 256,
	OPTION_CONFIG,
	OPTION_RUNTIME_DIR,
	OPTION_DRIVER_DIR,
	OPTION_CHECK_CONFIG,
	OPTION_DAEMONIZE,
	OPTION_PIDFILE,
	OPTION_READY_FD,
	OPTION_VERSION,
	OPTION_HELP,
};

static const struct option long_options[] = {
	{"bus", required_argument, NULL, OPTION_BUS},
	{"config", required_argument, NULL, OPTION_CONFIG},
	{"runtime-dir", required_argument, NULL, OPTION_RUNTIME_DIR},
	{"driver-dir", required_argument, NULL, OPTION_DRIVER_DIR},
	{"check-config", no_argument, NULL, OPTION_CHECK_CONFIG},
	{"daemonize", no_argument, NULL, OPTION_DAEMONIZE},
	{"pidfile", required_argument, NULL, OPTION_PIDFILE},
	{"ready-fd", required_argument, NULL, OPTION_READY_FD},
	{"verbose", no_argument, NULL, 'v'},
	{"quiet", no_argument, NULL, 'q'},
	{"version", no_argument, NULL, OPTION_VERSION},
	{"help", no_argument, NULL, OPTION_HELP},
	{NULL, 0, NULL, 0},
};

static int wrong(const char *text, const char *value)
{
	fprintf(stderr, "pcid: %s%s\nTry pcid --help.\n", text, value);
	return -EINVAL;
}

static int take_bus(struct pcid_options *o, const char *name)
{
	if (strcmp(name, "vfio") && strcmp(name, "qemu"))
		return wrong("--bus must be vfio or qemu, not ", name);
	o->bus = name;
	return 0;
}

/* Checked now: when pcid is ready it would be too late to tell. */
static int take_ready_fd(struct pcid_options *o, const char *text)
{
	char *end;
	long fd = strtol(text, &end, 10);

	if (end == text || *end || fd < 0 || fd > 65535 || fcntl((int)fd, F_GETFD) < 0)
		return wrong("--ready-fd must be the number of an open file descriptor, not ",
			     text);
	fcntl((int)fd, F_SETFD, FD_CLOEXEC);
	o->ready_fd = (int)fd;
	return 0;
}

static int take(struct pcid_options *o, int option)
{
	switch (option) {
	case OPTION_BUS:
		return take_bus(o, optarg);
	case OPTION_CONFIG:
		o->config = optarg;
		return 0;
	case OPTION_RUNTIME_DIR:
		o->runtime_dir = optarg;
		return 0;
	case OPTION_DRIVER_DIR:
		o->driver_dir = optarg;
		return 0;
	case OPTION_CHECK_CONFIG:
		o->check_config = true;
		return 0;
	case OPTION_READY_FD:
		return take_ready_fd(o, optarg);
	case OPTION_DAEMONIZE:
		o->daemonize = true;
		return 0;
	case OPTION_PIDFILE:
		o->pidfile = optarg;
		return 0;
	case 'v':
		o->log_level = o->log_level < PCIDIPC_INFO ? PCIDIPC_INFO : PCIDIPC_DEBUG;
		return 0;
	case 'q':
		o->log_level = PCIDIPC_ERROR;
		return 0;
	case OPTION_VERSION:
		puts("pcid " PCID_VERSION);
		return 1;
	case OPTION_HELP:
		fputs(help, stdout);
		return 1;
	}
	return wrong("", "see above");
}

int pcid_options_parse(int argc, char **argv, struct pcid_options *o)
{
	const char *dir = getenv("PCID_RUNTIME_DIR");
	int option, ret = 0;

	*o = (struct pcid_options){.runtime_dir = dir && *dir ? dir : PCID_RUNTIME_DIR,
				   .ready_fd = -1,
				   .started_fd = -1,
				   .log_level = PCIDIPC_NOTICE};
	optind = 1;
	while (!ret && (option = getopt_long(argc, argv, "+vq", long_options, NULL)) >= 0)
		ret = take(o, option);
	if (ret)
		return ret;
	if (optind < argc && strcmp(argv[optind - 1], "--"))
		return wrong("QEMU's arguments stand after --; unexpected: ", argv[optind]);
	if (optind < argc && o->bus && !strcmp(o->bus, "vfio"))
		return wrong("the vfio bus takes no arguments; unexpected: ", argv[optind]);
	if (optind < argc)
		o->bus = "qemu";
	o->bus_args = argv + optind;
	return 0;
}
