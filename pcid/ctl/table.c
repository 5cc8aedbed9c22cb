// SPDX-License-Identifier: GPL-2.0-or-later
/* Tables and descriptions for people. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "ctl.h"

#define MAX_COLUMNS 12

struct table {
	unsigned columns;
	bool right[MAX_COLUMNS];
	size_t width[MAX_COLUMNS];
	char **cells;
	size_t ncells;
	size_t room;
};

static void *must(void *memory)
{
	if (!memory) {
		fputs("pcidctl: out of memory\n", stderr);
		exit(CTL_FAILED);
	}
	return memory;
}

/* Columns that UTF-8 text takes on the screen, near enough. */
static size_t text_width(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

char *printable(char *text)
{
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	return text;
}

static void add_cell(struct table *table, char *text)
{
	unsigned column = (unsigned)(table->ncells % table->columns);
	size_t width = text_width(printable(text));

	if (table->ncells == table->room) {
		table->room = table->room ? table->room * 2 : 64;
		table->cells = must(realloc(table->cells, table->room * sizeof(*table->cells)));
	}
	table->cells[table->ncells++] = text;
	if (width > table->width[column])
		table->width[column] = width;
}

struct table *table_create(const char *const *titles)
{
	struct table *table = must(calloc(1, sizeof(*table)));

	while (titles[table->columns] && table->columns < MAX_COLUMNS)
		table->columns++;
	for (unsigned i = 0; i < table->columns; i++) {
		table->right[i] = titles[i][0] == '>';
		add_cell(table, must(strdup(titles[i] + table->right[i])));
	}
	return table;
}

static char *formatted(const char *format, va_list args)
{
	char *text;

	return must(vasprintf(&text, format, args) < 0 ? NULL : text);
}

void table_cell(struct table *table, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	add_cell(table, formatted(format, args));
	va_end(args);
}

static void print_cell(const struct table *table, size_t index)
{
	unsigned column = (unsigned)(index % table->columns);
	const char *text = table->cells[index];
	int padding = (int)(table->width[column] - text_width(text));

	if (column)
		fputs("  ", stdout);
	if (table->right[column])
		printf("%*s%s", padding, "", text);
	else if (column + 1 < table->columns)
		printf("%s%*s", text, padding, "");
	else
		fputs(text, stdout);
	if (column + 1 == table->columns)
		putchar('\n');
}

void table_print(struct table *table)
{
	for (size_t i = 0; i < table->ncells; i++) {
		print_cell(table, i);
		free(table->cells[i]);
	}
	free(table->cells);
	free(table);
}

void print_field(const char *name, const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	text = formatted(format, args);
	va_end(args);
	printf("  %-16s %s\n", name, printable(text));
	free(text);
}
