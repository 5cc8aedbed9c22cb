// SPDX-License-Identifier: GPL-2.0-or-later
/* pcidctl list and tree: the functions on the bus. */
#include <langinfo.h>
#include <string.h>
#include "ctl.h"

static const char *state_of(struct json_object *function)
{
	if (field_known(function, "present") && !field_bool(function, "present"))
		return "gone";
	return field_string(function, "state", "none");
}

/* Wrap a list for --json, each function with its names. Takes the reference. */
static struct json_object *named_functions(struct json_object *list)
{
	struct json_object *object = json_object_new_object();

	for (size_t i = 0; i < array_length(list); i++)
		add_names(json_object_array_get_idx(list, i));
	json_object_object_add(object, "functions", list);
	return object;
}

static void print_list(struct json_object *list)
{
	static const char *const titles[] = {"ADDRESS", "DRIVER", "STATE", "CLASS", "DEVICE", NULL};
	struct table *table = table_create(titles);

	for (size_t i = 0; i < array_length(list); i++) {
		struct json_object *f = json_object_array_get_idx(list, i);

		table_cell(table, "%s", field_string(f, "address", "?"));
		table_cell(table, "%s", field_string(f, "driver", "-"));
		table_cell(table, "%s", state_of(f));
		table_cell(table, "%s", name_class((uint32_t)field_u64(f, "class")));
		table_cell(table, "%s", name_device(f));
	}
	table_print(table);
}

/* Addresses have fixed widths, so their order is that of their text. */
static int by_address(const void *a, const void *b)
{
	return strcmp(field_string(*(struct json_object *const *)a, "address", ""),
		      field_string(*(struct json_object *const *)b, "address", ""));
}

int cmd_list(struct ctl *ctl)
{
	struct json_object *list;
	int code = control_ask_array(ctl, "list", &list);

	if (code)
		return code;
	json_object_array_sort(list, by_address);
	if (ctl->json)
		return ctl_print_json(ctl, named_functions(list));
	print_list(list);
	json_object_put(list);
	return CTL_OK;
}

/* ---- tree ---- */

#define MAX_DEPTH \
	32 /* a bridge below a bridge ...: more than a bus can have, less than a hostile answer */

static bool is_child(struct json_object *function, const char *parent)
{
	const char *of = field_string(function, "parent", NULL);

	return parent ? of && !strcmp(of, parent) : !of;
}

static const char *line_art(bool last, bool below)
{
	static const char *const utf8[] = {"├─ ", "└─ ", "│  ", "   "};
	static const char *const ascii[] = {"|- ", "`- ", "|  ", "   "};
	const char *const *art = strcmp(nl_langinfo(CODESET), "UTF-8") ? ascii : utf8;

	return art[last + 2 * below];
}

static void print_node(struct json_object *f)
{
	printf("%s %s: %s", field_string(f, "address", "?"),
	       name_class((uint32_t)field_u64(f, "class")), "");
	fputs(name_device(f), stdout);
	if (field_u64(f, "header_type") == 1)
		printf(" -> bus %02x", (unsigned)field_u64(f, "secondary"));
	if (field_known(f, "driver"))
		printf(" [%s, %s]", field_string(f, "driver", "?"), state_of(f));
	putchar('\n');
}

static struct json_object *next_child(struct json_object *list, const char *parent, size_t *i)
{
	while (*i < array_length(list)) {
		struct json_object *f = json_object_array_get_idx(list, (*i)++);

		if (is_child(f, parent))
			return f;
	}
	return NULL;
}

static void print_children(struct json_object *list, const char *parent, const char *prefix,
			   unsigned depth)
{
	char deeper[4 * MAX_DEPTH * 3];
	size_t i = 0;
	struct json_object *f = next_child(list, parent, &i), *next;

	for (; f && depth < MAX_DEPTH; f = next) {
		next = next_child(list, parent, &i);
		printf("%s%s", prefix, line_art(!next, false));
		print_node(f);
		snprintf(deeper, sizeof(deeper), "%s%s", prefix, line_art(!next, true));
		print_children(list, field_string(f, "address", ""), deeper, depth + 1);
	}
}

/* The same as nested objects: every function with its children. */
static struct json_object *nest(struct json_object *list, const char *parent, unsigned depth)
{
	struct json_object *children = json_object_new_array();
	struct json_object *f;

	for (size_t i = 0; depth < MAX_DEPTH && (f = next_child(list, parent, &i));) {
		add_names(f);
		json_object_object_add(f, "children",
				       nest(list, field_string(f, "address", ""), depth + 1));
		json_object_array_add(children, json_object_get(f));
	}
	return children;
}

int cmd_tree(struct ctl *ctl)
{
	struct json_object *list;
	int code = control_ask_array(ctl, "list", &list);

	if (code)
		return code;
	if (ctl->json) {
		struct json_object *object = json_object_new_object();

		json_object_object_add(object, "functions", nest(list, NULL, 0));
		code = ctl_print_json(ctl, object);
	} else {
		puts("PCI");
		print_children(list, NULL, "", 0);
	}
	json_object_put(list);
	return code;
}
