// SPDX-License-Identifier: GPL-2.0-or-later
/* pcidctl drivers, irq, stats, rescan. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "ctl.h"

/* {"key": array}, printed. Takes the reference. */
static int print_json_array(const struct ctl *ctl, const char *key, struct json_object *array)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, key, array);
	return ctl_print_json(ctl, object);
}

static void number_cell(struct table *table, struct json_object *object, const char *key)
{
	if (field_known(object, key))
		table_cell(table, "%" PRIu64, field_u64(object, key));
	else
		table_cell(table, "-");
}

/* ---- drivers ---- */

static void services_cell(struct table *table, struct json_object *services)
{
	char text[512] = "";
	size_t at = 0;

	for (size_t i = 0; i < array_length(services) && at < sizeof(text) - 80; i++)
		at += (size_t)snprintf(
			text + at, sizeof(text) - at, "%s%.64s", i ? " " : "",
			json_object_get_string(json_object_array_get_idx(services, i)));
	table_cell(table, "%s", *text ? text : "-");
}

static bool has_lock(struct json_object *locks, const char *name)
{
	for (size_t i = 0; i < array_length(locks); i++) {
		const char *lock = json_object_get_string(json_object_array_get_idx(locks, i));

		if (lock && !strcmp(lock, name))
			return true;
	}
	return false;
}

/* As configured, and which of its locks are missing: of the kernel, or because of a sanitizer. */
static void sandbox_cell(struct table *table, struct json_object *driver)
{
	static const char *const locks[] = {"registers", "io_uring", "seccomp", "landlock"};
	const char *mode = field_string(driver, "sandbox", "-");
	char missing[128] = "";
	size_t at = 0;

	for (size_t i = 0; i < sizeof(locks) / sizeof(*locks); i++)
		if (!has_lock(field_array(driver, "locks"), locks[i]))
			at += (size_t)snprintf(missing + at, sizeof(missing) - at, "%s%s",
					       at ? ", no " : "no ", locks[i]);
	if (at && field_known(driver, "pid") && strcmp(mode, "no"))
		table_cell(table, "%s (%s)", mode, missing);
	else
		table_cell(table, "%s", mode);
}

static void print_drivers(struct json_object *list)
{
	static const char *const titles[] = {"DRIVER",	 "FUNCTION",  ">PID",	 "STATE",
					     "SANDBOX",	 ">RESTARTS", ">UPTIME", "LAST EXIT",
					     "SERVICES", NULL};
	struct table *table = table_create(titles);
	char uptime[32];

	for (size_t i = 0; i < array_length(list); i++) {
		struct json_object *d = json_object_array_get_idx(list, i);

		table_cell(table, "%s", field_string(d, "name", "?"));
		table_cell(table, "%s", field_string(d, "function", "-"));
		number_cell(table, d, "pid");
		table_cell(table, "%s", field_string(d, "state", "?"));
		sandbox_cell(table, d);
		number_cell(table, d, "restarts");
		table_cell(table, "%s",
			   format_duration(field_u64(d, "uptime_ms"), uptime, sizeof(uptime)));
		table_cell(table, "%s", field_string(d, "last_exit", "-"));
		services_cell(table, field_array(d, "services"));
	}
	table_print(table);
}

int cmd_drivers(struct ctl *ctl)
{
	struct json_object *list;
	int code = control_ask_array(ctl, "drivers", &list);

	if (code)
		return code;
	if (ctl->json)
		return print_json_array(ctl, "drivers", list);
	print_drivers(list);
	json_object_put(list);
	return CTL_OK;
}

/* ---- irq ---- */

static void pending_cell(struct table *table, struct json_object *vector)
{
	if (!field_known(vector, "pending"))
		table_cell(table, "-");
	else
		table_cell(table, "%s", field_bool(vector, "pending") ? "yes" : "no");
}

static void print_irqs(struct json_object *list)
{
	static const char *const titles[] = {"FUNCTION", "DRIVER",	">VECTOR", "KIND",
					     "MASKED",	 "PENDING",	">MASKS",  ">UNMASKS",
					     ">RELAYED", ">INTERRUPTS", NULL};
	struct table *table = table_create(titles);

	for (size_t i = 0; i < array_length(list); i++) {
		struct json_object *v = json_object_array_get_idx(list, i);
		bool function = field_bool(v, "function_masked");

		table_cell(table, "%s", field_string(v, "function", "?"));
		table_cell(table, "%s", field_string(v, "driver", "-"));
		number_cell(table, v, "vector");
		table_cell(table, "%s", field_string(v, "kind", "?"));
		table_cell(table, "%s",
			   function		     ? "function"
			   : field_bool(v, "masked") ? "yes"
						     : "no");
		pending_cell(table, v);
		number_cell(table, v, "masks");
		number_cell(table, v, "unmasks");
		number_cell(table, v, "relayed");
		number_cell(table, v, "interrupts");
	}
	table_print(table);
}

int cmd_irq(struct ctl *ctl)
{
	struct json_object *list;
	int code = control_ask_array(ctl, "irq", &list);

	if (code)
		return code;
	if (ctl->json)
		return print_json_array(ctl, "vectors", list);
	print_irqs(list);
	json_object_put(list);
	return CTL_OK;
}

/* ---- stats ---- */

static void print_driver_stats(struct json_object *list)
{
	static const char *const titles[] = {"DRIVER",	 "FUNCTION", ">REQUESTS", ">COMPLETIONS",
					     ">WAKES",	 ">READS",   ">WRITES",	  ">MASKS",
					     ">UNMASKS", ">POOLS",   ">MAPPED",	  NULL};
	static const char *const keys[] = {"sqes",	  "cqes",  "wakes",   "mmio_reads",
					   "mmio_writes", "masks", "unmasks", "pools"};
	struct table *table = table_create(titles);
	char mapped[32];

	for (size_t i = 0; i < array_length(list); i++) {
		struct json_object *d = json_object_array_get_idx(list, i);

		table_cell(table, "%s", field_string(d, "name", "?"));
		table_cell(table, "%s", field_string(d, "function", "-"));
		for (size_t k = 0; k < sizeof(keys) / sizeof(*keys); k++)
			number_cell(table, d, keys[k]);
		table_cell(table, "%s",
			   format_size(field_u64(d, "mapped_bytes"), mapped, sizeof(mapped)));
	}
	table_print(table);
}

int cmd_stats(struct ctl *ctl)
{
	struct json_object *stats;
	char text[32];
	int code = control_ask_object(ctl, "stats", NULL, &stats);

	if (code)
		return code;
	if (ctl->json)
		return ctl_print_json(ctl, stats);
	printf("pcid: up %s, bus %s, loop on %s, ",
	       format_duration(field_u64(stats, "uptime_ms"), text, sizeof(text)),
	       field_string(stats, "bus", "?"), field_string(stats, "loop", "?"));
	printf("%s resident\n", format_size(field_u64(stats, "rss_kib") << 10, text, sizeof(text)));
	if (array_length(field_array(stats, "drivers")))
		print_driver_stats(field_array(stats, "drivers"));
	json_object_put(stats);
	return CTL_OK;
}

static void print_rescan(struct json_object *result)
{
	uint64_t files = field_u64(result, "files"), bad = field_u64(result, "bad_files");

	printf("configuration files read: %" PRIu64 "; drivers started: %" PRIu64 "\n", files,
	       field_u64(result, "started"));
	if (bad)
		printf("refused for errors: %" PRIu64 "; pcid's log says which and why\n", bad);
}

int cmd_rescan(struct ctl *ctl)
{
	struct json_object *result, *object;
	int code = control_ask(ctl, "rescan", NULL, &result);

	if (code)
		return code;
	if (!ctl->json) {
		print_rescan(result);
		json_object_put(result);
		return CTL_OK;
	}
	object = json_object_new_object();
	json_object_object_add(object, "rescan", result);
	return ctl_print_json(ctl, object);
}
