// SPDX-License-Identifier: GPL-2.0-or-later
/* pcidctl: see and steer pcid, and move data to and from its disks. Arguments and the table of
 * commands. */
#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <pcidipc/log.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "ctl.h"

#define MAX_DEPTH 1024

struct command {
	const char *group; /* "disk", or NULL */
	const char *name;
	const char *argument; /* NULL: none; [in brackets]: it may be left out */
	const char *summary;
	const char *help;
	uint32_t options;
	int (*run)(struct ctl *ctl);
};

static const struct command commands[] = {
	{NULL, "list", NULL, "the functions on the bus", "", 0, cmd_list},
	{NULL, "show", "ADDRESS", "everything about one function",
	 "ADDRESS is SEGMENT:BUS:DEVICE.FUNCTION, or its end: 0000:00:03.0, 00:03.0, 03.0.\n",
	 CTL_HEX, cmd_show},
	{NULL, "tree", NULL, "the functions as the tree that the bridges make", "", 0, cmd_tree},
	{NULL, "drivers", NULL, "the running drivers, their services and restarts", "", 0,
	 cmd_drivers},
	{NULL, "disks", NULL, "the disks that drivers serve",
	 "Every disk is opened for a moment; one that does not answer is listed with its error.\n",
	 0, cmd_disks},
	{NULL, "irq", NULL, "the interrupt vectors and how often they were masked", "", 0, cmd_irq},
	{NULL, "stats", NULL, "what pcid has done", "", 0, cmd_stats},
	{NULL, "restart", "ADDRESS", "end a function's driver, reset the function, start it again",
	 "A driver that has failed too often is given another chance.\n", 0, cmd_restart},
	{NULL, "rescan", NULL, "read the configuration again, start drivers for what has none", "",
	 0, cmd_rescan},
	{"disk", "info", "NAME", "geometry and identity of a disk", "", 0, cmd_disk_info},
	{"disk", "health", "NAME", "the health log of a disk", "", 0, cmd_disk_health},
	{"disk", "read", "NAME", "copy from a disk to a file",
	 "Offset and length may be any number of bytes.\n",
	 CTL_OFFSET | CTL_BYTES | CTL_OUTPUT | CTL_EXCLUSIVE | CTL_DEPTH, cmd_disk_read},
	{"disk", "write", "NAME", "copy from a file to a disk",
	 "Offset and length may be any number of bytes. Of a block that is written in part, the "
	 "rest is\n"
	 "read first and written back; somebody else who writes to the same block meanwhile "
	 "loses.\n",
	 CTL_OFFSET | CTL_BYTES | CTL_INPUT | CTL_FLUSH | CTL_EXCLUSIVE | CTL_DEPTH,
	 cmd_disk_write},
	/* "usb" alone comes behind those that begin with it. */
	{"usb", "show", "BUS-PORT", "a USB device's descriptors",
	 "BUS-PORT is a port as \"pcidctl usb\" prints it: 3-1.4, or xhci0/3-1.4.\n", 0,
	 cmd_usb_show},
	{"usb", "capture", "[BUS-PORT]", "record transfers, for wireshark and tshark",
	 "Of one device, or of a controller (xhci0), in pcapng, until --seconds are over or an "
	 "interrupt.\n",
	 CTL_OUTPUT | CTL_SECONDS, cmd_usb_capture},
	{NULL, "usb", NULL, "USB controllers: ports, devices, interfaces and their drivers", "", 0,
	 cmd_usb},
};
#define NCOMMANDS (sizeof(commands) / sizeof(commands[0]))

enum { OPT_JSON = 256, OPT_RUNTIME_DIR, OPT_VERSION };

static const struct option long_options[] = {
	{"json", no_argument, NULL, OPT_JSON},
	{"runtime-dir", required_argument, NULL, OPT_RUNTIME_DIR},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, OPT_VERSION},
	{"hex", no_argument, NULL, 'x'},
	{"offset", required_argument, NULL, 'p'},
	{"bytes", required_argument, NULL, 'n'},
	{"input", required_argument, NULL, 'I'},
	{"output", required_argument, NULL, 'o'},
	{"flush", no_argument, NULL, 'f'},
	{"exclusive", no_argument, NULL, 'e'},
	{"depth", required_argument, NULL, 'd'},
	{"seconds", required_argument, NULL, 's'},
	{NULL, 0, NULL, 0},
};

static const struct {
	uint32_t bit;
	const char *name;
	const char *help;
} option_help[] = {
	{CTL_HEX, "-x, --hex", "dump the configuration space"},
	{CTL_OFFSET, "--offset SIZE", "where on the disk to begin (default: 0)"},
	{CTL_BYTES, "--bytes SIZE", "how much (default: to the end of the disk or of the input)"},
	{CTL_INPUT, "--input FILE", "what to write (default, and -: standard input)"},
	{CTL_OUTPUT, "-o, --output FILE", "where to put it (default, and -: standard output)"},
	{CTL_FLUSH, "--flush", "end with a flush of the disk's volatile cache"},
	{CTL_EXCLUSIVE, "--exclusive",
	 "fail if anybody else has the disk open, and keep others out"},
	{CTL_DEPTH, "--depth N", "requests in flight, 1 to 1024 (default: 16)"},
	{CTL_SECONDS, "--seconds N", "for so long, 1 to 86400 (default: until an interrupt)"},
};
#define NOPTIONS (sizeof(option_help) / sizeof(option_help[0]))

/* ---- reporting ---- */

int ctl_print_json(const struct ctl *ctl, struct json_object *object)
{
	(void)ctl;
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
							    JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(object);
	return ferror(stdout) ? CTL_FAILED : CTL_OK;
}

int ctl_fail(const struct ctl *ctl, enum ctl_exit code, int error, const char *format, ...)
{
	struct json_object *object;
	va_list args;
	char text[1024];

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fflush(stdout);
	fprintf(stderr, "pcidctl: %s\n", printable(text));
	if (!ctl->json)
		return code;
	object = json_object_new_object();
	json_object_object_add(object, "error", json_object_new_string(text));
	json_object_object_add(object, "errno", json_object_new_int(error));
	ctl_print_json(ctl, object);
	return code;
}

/* ---- help ---- */

static void print_general_options(FILE *to)
{
	fputs("      --json             print a JSON object\n"
	      "      --runtime-dir DIR  where pcid keeps its sockets (default: $PCID_RUNTIME_DIR "
	      "or /run/pcid)\n"
	      "      --help             this text, or that of a command\n"
	      "      --version          the version\n",
	      to);
}

static void command_words(const struct command *command, char *buf, size_t size)
{
	snprintf(buf, size, "%s%s%s%s%s", command->group ? command->group : "",
		 command->group ? " " : "", command->name, command->argument ? " " : "",
		 command->argument ? command->argument : "");
}

static void print_usage(FILE *to)
{
	char words[64];

	fputs("Usage: pcidctl [OPTIONS] COMMAND [ARGUMENTS]\n\nCommands:\n", to);
	for (size_t i = 0; i < NCOMMANDS; i++) {
		command_words(&commands[i], words, sizeof(words));
		fprintf(to, "  %-18s %s\n", words, commands[i].summary);
	}
	fputs("\nOptions:\n", to);
	print_general_options(to);
	fputs("\n\"pcidctl COMMAND --help\" tells the options of a command; pcidctl(1) tells "
	      "all.\n",
	      to);
}

static void print_command_help(const struct command *command)
{
	char words[64];

	command_words(command, words, sizeof(words));
	printf("Usage: pcidctl %s%s\n\n%s: %s.\n%s\nOptions:\n", words,
	       command->options ? " [OPTIONS]" : "", command->name, command->summary,
	       command->help);
	for (size_t i = 0; i < NOPTIONS; i++)
		if (command->options & option_help[i].bit)
			printf("  %-22s %s\n", option_help[i].name, option_help[i].help);
	print_general_options(stdout);
	if (command->options & (CTL_OFFSET | CTL_BYTES))
		puts("\nA SIZE is a number of bytes (0x: hexadecimal), with K, M, G or T for KiB, "
		     "MiB, GiB, TiB.");
}

/* ---- arguments ---- */

static int take_size(const struct ctl *ctl, const char *name, const char *text, uint64_t *value)
{
	int error = parse_size(text, value);

	if (error == -ERANGE)
		return ctl_fail(ctl, CTL_USAGE, error,
				"--%s %s is more than 64 bits can count: at most 16 EiB - 1", name,
				text);
	if (error)
		return ctl_fail(ctl, CTL_USAGE, error,
				"--%s \"%s\" is no size: a number of bytes, or with K, M, G or T, "
				"as in 64K",
				name, text);
	return CTL_OK;
}

static int take_depth(struct ctl *ctl, const char *text)
{
	uint64_t value;

	if (parse_size(text, &value) || !value || value > MAX_DEPTH)
		return ctl_fail(ctl, CTL_USAGE, -EINVAL,
				"--depth %s: requests in flight are 1 to %u", text, MAX_DEPTH);
	ctl->depth = (unsigned)value;
	return CTL_OK;
}

static int take_seconds(struct ctl *ctl, const char *text)
{
	if (!parse_size(text, &ctl->seconds) && ctl->seconds && ctl->seconds <= 86400)
		return CTL_OK;
	return ctl_fail(ctl, CTL_USAGE, -EINVAL, "--seconds %s: it must be 1 to 86400", text);
}

static int take_option(struct ctl *ctl, int option, const char *value)
{
	static const struct {
		int option;
		uint32_t bit;
	} bits[] = {{'x', CTL_HEX},	  {'p', CTL_OFFSET}, {'n', CTL_BYTES},
		    {'I', CTL_INPUT},	  {'o', CTL_OUTPUT}, {'f', CTL_FLUSH},
		    {'e', CTL_EXCLUSIVE}, {'d', CTL_DEPTH},  {'s', CTL_SECONDS}};

	for (size_t i = 0; i < sizeof(bits) / sizeof(*bits); i++)
		if (bits[i].option == option)
			ctl->given |= bits[i].bit;
	switch (option) {
	case OPT_RUNTIME_DIR:
		ctl->runtime_dir = value;
		return CTL_OK;
	case 'p':
		return take_size(ctl, "offset", value, &ctl->offset);
	case 'n':
		return take_size(ctl, "bytes", value, &ctl->bytes);
	case 'd':
		return take_depth(ctl, value);
	case 's':
		return take_seconds(ctl, value);
	case 'I':
		ctl->input = value;
		return CTL_OK;
	case 'o':
		ctl->output = value;
		return CTL_OK;
	default:
		return CTL_OK;
	}
}

/* What getopt complained about has been printed by it. */
static int bad_option(const struct ctl *ctl)
{
	fputs("\"pcidctl --help\" lists the options\n", stderr);
	if (ctl->json) {
		struct json_object *object = json_object_new_object();

		json_object_object_add(object, "error",
				       json_object_new_string("unknown or incomplete option"));
		json_object_object_add(object, "errno", json_object_new_int(-EINVAL));
		ctl_print_json(ctl, object);
	}
	return CTL_USAGE;
}

static int parse_options(struct ctl *ctl, int argc, char **argv, bool *help)
{
	int option, code = CTL_OK;

	/* First, so that every message about the others can be JSON. */
	for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
		ctl->json |= !strcmp(argv[i], "--json");
	while (!code && (option = getopt_long(argc, argv, "hxo:", long_options, NULL)) != -1) {
		if (option == '?')
			code = bad_option(ctl);
		else if (option == 'h')
			*help = true;
		else if (option == OPT_VERSION) {
			puts("pcidctl " PCID_VERSION);
			exit(CTL_OK);
		} else
			code = take_option(ctl, option, optarg);
	}
	ctl->args = argv + optind;
	ctl->nargs = (unsigned)(argc - optind);
	return code;
}

/* Takes the command's words off the arguments. */
static const struct command *find_command(struct ctl *ctl)
{
	for (size_t i = 0; i < NCOMMANDS; i++) {
		const struct command *c = &commands[i];
		unsigned words = c->group ? 2 : 1;

		if (ctl->nargs < words || strcmp(ctl->args[words - 1], c->name))
			continue;
		if (c->group && strcmp(ctl->args[0], c->group))
			continue;
		ctl->args += words;
		ctl->nargs -= words;
		return c;
	}
	return NULL;
}

static int no_command(const struct ctl *ctl)
{
	if (!ctl->nargs) {
		print_usage(stderr);
		return CTL_USAGE;
	}
	if (!strcmp(ctl->args[0], "disk") && ctl->nargs < 2)
		return ctl_fail(ctl, CTL_USAGE, -EINVAL,
				"disk needs an argument: info, health, read or write");
	if (!strcmp(ctl->args[0], "disk"))
		return ctl_fail(ctl, CTL_USAGE, -EINVAL,
				"disk: info, health, read or write, not \"%s\"", ctl->args[1]);
	return ctl_fail(ctl, CTL_USAGE, -EINVAL,
			"\"%s\" is no command; \"pcidctl --help\" lists them", ctl->args[0]);
}

static int check_arguments(const struct ctl *ctl, const struct command *command)
{
	unsigned wanted = command->argument ? 1 : 0;

	if (ctl->nargs < wanted && command->argument[0] != '[')
		return ctl_fail(ctl, CTL_USAGE, -EINVAL, "%s needs an argument: %s", command->name,
				command->argument);
	if (ctl->nargs > wanted)
		return ctl_fail(ctl, CTL_USAGE, -EINVAL, "%s takes %s, so \"%s\" is too much",
				command->name, wanted ? "one argument" : "no argument",
				ctl->args[wanted]);
	for (size_t i = 0; i < NOPTIONS; i++)
		if (ctl->given & ~command->options & option_help[i].bit)
			return ctl_fail(ctl, CTL_USAGE, -EINVAL, "%s does not go with %s",
					option_help[i].name, command->name);
	return CTL_OK;
}

int main(int argc, char **argv)
{
	struct ctl ctl = {.runtime_dir = getenv("PCID_RUNTIME_DIR")};
	const struct command *command;
	bool help = false;
	int code;

	setlocale(LC_CTYPE, "");
	pcidipc_log_init("pcidctl", PCIDIPC_ERROR);
	if (!ctl.runtime_dir || !*ctl.runtime_dir)
		ctl.runtime_dir = "/run/pcid";
	code = parse_options(&ctl, argc, argv, &help);
	if (code)
		return code;
	command = find_command(&ctl);
	if (help) {
		command ? print_command_help(command) : print_usage(stdout);
		return CTL_OK;
	}
	if (!command)
		return no_command(&ctl);
	code = check_arguments(&ctl, command);
	if (code)
		return code;
	if (setenv("PCID_RUNTIME_DIR", ctl.runtime_dir, 1))
		return ctl_fail(&ctl, CTL_FAILED, -ENOMEM, "out of memory");
	code = command->run(&ctl);
	if (fflush(stdout) && !code)
		code = ctl_fail(&ctl, CTL_FAILED, -errno, "standard output: %s", strerror(errno));
	return code;
}
