/* SPDX-License-Identifier: MIT */
/* A driver's command line: the options that all have, and its own. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 32		/* of a driver's own */
#define FIRST_OWN 0x100 /* what getopt_long returns for the first of them */

/* ---- --help ---- */

static void line(FILE *to, char letter, const char *name, const char *value, const char *help)
{
	char text[64];
	int n;

	value = value ? value : "";
	help = help ? help : "";
	n = snprintf(text, sizeof(text), "--%s%s%s", name, *value ? " " : "", value);

	if (letter)
		fprintf(to, "  -%c, %-24s%s%s\n", letter, text, n < 24 ? "" : "  ", help);
	else
		fprintf(to, "      %-24s%s%s\n", text, n < 24 ? "" : "  ", help);
}

static void usage(FILE *to, const struct pcidipc_driver *d)
{
	const struct pcidipc_option *o = d->options;

	fprintf(to, "Usage: %s [OPTION]...\n%s%s", d->name, d->about ? d->about : "",
		d->about ? "\n\n" : "\n");
	for (; o && o->name; o++)
		line(to, o->letter, o->name, o->value, o->help);
	line(to, 'v', "verbose", "", "say more; twice: still more");
	line(to, 'h', "help", "", "this");
	line(to, 'V', "version", "", "which one this is");
}

/* ---- values ---- */

static int refuse(const struct pcidipc_driver *d, const struct pcidipc_option *o, const char *text)
{
	fprintf(stderr, "%s: --%s %s: it must be %llu to %llu\n", d->name, o->name, text,
		(unsigned long long)o->least, (unsigned long long)o->most);
	return -EINVAL;
}

static int take(const struct pcidipc_driver *d, const struct pcidipc_option *o, const char *text)
{
	unsigned long long value;
	char *end;

	if (o->text) {
		*o->text = text;
		return 0;
	}
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || *end || *text < '0' || *text > '9' || value < o->least || value > o->most)
		return refuse(d, o, text);
	*o->number = value;
	return 0;
}

/* ---- getopt ---- */

struct table {
	struct option list[MOST + 4];
	char letters[2 * MOST + 8];
};

static void fill(struct table *t, const struct pcidipc_option *o)
{
	unsigned n = 0;
	char *at = t->letters;

	for (; o && o->name && n < MOST; o++, n++) {
		t->list[n] = (struct option){o->name, required_argument, NULL, FIRST_OWN + (int)n};
		if (!o->letter)
			continue;
		*at++ = o->letter;
		*at++ = ':';
	}
	strcpy(at, "vhV");
	t->list[n++] = (struct option){"verbose", no_argument, NULL, 'v'};
	t->list[n++] = (struct option){"help", no_argument, NULL, 'h'};
	t->list[n] = (struct option){"version", no_argument, NULL, 'V'};
}

static const struct pcidipc_option *find(const struct pcidipc_driver *d, int option)
{
	const struct pcidipc_option *o = d->options;

	for (unsigned i = 0; o && o->name && i < MOST; o++, i++)
		if (option == FIRST_OWN + (int)i || option == o->letter)
			return o;
	return NULL;
}

static int version(const struct pcidipc_driver *d)
{
	printf("%s%s%s\n", d->name, d->version ? " " : "", d->version ? d->version : "");
	return 0;
}

static int take_option(const struct pcidipc_driver *d, int option, enum pcidipc_log_level *level)
{
	const struct pcidipc_option *own = option == '?' ? NULL : find(d, option);

	if (own)
		return take(d, own, optarg) ? 2 : -1;
	if (option == 'v') {
		*level = *level < PCIDIPC_DEBUG ? *level + 1 : *level;
		return -1;
	}
	if (option == 'V')
		return version(d);
	usage(option == 'h' ? stdout : stderr, d);
	return option == 'h' ? 0 : 2;
}

static int stray(const struct pcidipc_driver *d, const char *argument)
{
	fprintf(stderr, "%s: unexpected argument: %s\n", d->name, argument);
	return 2;
}

int options_parse(const struct pcidipc_driver *d, int argc, char **argv,
		  enum pcidipc_log_level *level)
{
	struct table table = {0};
	int option, ret = -1;

	fill(&table, d->options);
	while (ret < 0 && (option = getopt_long(argc, argv, table.letters, table.list, NULL)) != -1)
		ret = take_option(d, option, level);
	return ret < 0 && optind < argc ? stray(d, argv[optind]) : ret;
}
