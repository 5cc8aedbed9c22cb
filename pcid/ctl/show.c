// SPDX-License-Identifier: GPL-2.0-or-later
/* pcidctl show: everything about one function. */
#include <errno.h>
#include <string.h>
#include "ctl.h"

static void show_identity(struct json_object *f)
{
	uint32_t class_code = (uint32_t)field_u64(f, "class");
	const char *interface = name_interface(class_code);

	printf("%s ", field_string(f, "address", "?"));
	printf("%s: ", name_class(class_code));
	puts(name_device(f));
	interface = name_interface(class_code);
	print_field("Class", "%06x%s%s", class_code, *interface ? " " : "", interface);
	print_field("Ids", "%04x:%04x revision %02x", (unsigned)field_u64(f, "vendor"),
		    (unsigned)field_u64(f, "device"), (unsigned)field_u64(f, "revision"));
	print_field("Subsystem", "%04x:%04x %s", (unsigned)field_u64(f, "subsystem_vendor"),
		    (unsigned)field_u64(f, "subsystem_device"), name_subsystem(f));
}

static void show_place(struct json_object *f)
{
	print_field("Parent", "%s", field_string(f, "parent", "none (root bus)"));
	if (field_u64(f, "header_type") == 1)
		print_field("Bridge to", "buses %02x to %02x", (unsigned)field_u64(f, "secondary"),
			    (unsigned)field_u64(f, "subordinate"));
	print_field("IOMMU group", "%u", (unsigned)field_u64(f, "group"));
	if (field_known(f, "dma_bits"))
		print_field("DMA", "%u bits", (unsigned)field_u64(f, "dma_bits"));
}

static void show_services(struct json_object *f)
{
	struct json_object *services = field_array(f, "services");

	for (size_t i = 0; i < array_length(services); i++)
		print_field("Service", "%s",
			    json_object_get_string(json_object_array_get_idx(services, i)));
}

static void show_driver(struct json_object *f)
{
	if (!field_known(f, "driver"))
		print_field("Driver", "none");
	else if (field_u64(f, "pid"))
		print_field("Driver", "%s, %s, pid %u", field_string(f, "driver", "?"),
			    field_string(f, "state", "?"), (unsigned)field_u64(f, "pid"));
	else
		print_field("Driver", "%s, %s", field_string(f, "driver", "?"),
			    field_string(f, "state", "?"));
	show_services(f);
}

static void show_bars(struct json_object *f)
{
	struct json_object *bars = field_array(f, "bars");
	char size[32];

	for (size_t i = 0; i < array_length(bars); i++) {
		struct json_object *bar = json_object_array_get_idx(bars, i);
		char name[16];

		snprintf(name, sizeof(name), "BAR %u", (unsigned)field_u64(bar, "index"));
		print_field(name, "%s at %#llx, %s%s", field_string(bar, "type", "?"),
			    (unsigned long long)field_u64(bar, "address"),
			    format_size(field_u64(bar, "bytes"), size, sizeof(size)),
			    field_bool(bar, "prefetch") ? ", prefetchable" : "");
	}
}

static void show_interrupts(struct json_object *f)
{
	struct json_object *msi = field_object(f, "msi"), *msix = field_object(f, "msix");

	if (msi)
		print_field("MSI", "%u vectors, %s bit%s", (unsigned)field_u64(msi, "vectors"),
			    field_bool(msi, "64bit") ? "64" : "32",
			    field_bool(msi, "maskable") ? ", maskable" : "");
	if (msix)
		print_field("MSI-X", "%u vectors", (unsigned)field_u64(msix, "vectors"));
}

static void show_capabilities(struct json_object *f)
{
	struct json_object *caps = field_array(f, "capabilities");

	for (size_t i = 0; i < array_length(caps); i++) {
		struct json_object *cap = json_object_array_get_idx(caps, i);
		bool extended = field_bool(cap, "extended");
		unsigned bytes = (unsigned)field_u64(cap, "bytes");
		char extra[32] = "";

		if (bytes)
			snprintf(extra, sizeof(extra), " (%u bytes)", bytes);
		print_field(extended ? "Extended" : "Capability", "%03x %s%s",
			    (unsigned)field_u64(cap, "offset"),
			    name_capability((unsigned)field_u64(cap, "id"), extended), extra);
	}
}

static void show_vectors(struct json_object *f)
{
	struct json_object *vectors = field_array(f, "vectors");

	for (size_t i = 0; i < array_length(vectors); i++) {
		struct json_object *v = json_object_array_get_idx(vectors, i);
		char name[24];

		snprintf(name, sizeof(name), "Vector %u", (unsigned)field_u64(v, "vector"));
		print_field(name, "%s, %s%s, masked %llu times", field_string(v, "kind", "?"),
			    field_bool(v, "masked") ? "masked" : "unmasked",
			    field_bool(v, "function_masked") ? " (function masked)" : "",
			    (unsigned long long)field_u64(v, "masks"));
	}
}

static void show_pools(struct json_object *f)
{
	struct json_object *pools = field_array(f, "pools");
	char bytes[32], mapped[32];

	for (size_t i = 0; i < array_length(pools); i++) {
		struct json_object *pool = json_object_array_get_idx(pools, i);

		print_field("Pool", "IOVA %#llx, %s, %s of it mapped",
			    (unsigned long long)field_u64(pool, "iova"),
			    format_size(field_u64(pool, "bytes"), bytes, sizeof(bytes)),
			    format_size(field_u64(pool, "mapped"), mapped, sizeof(mapped)));
	}
}

/* Rows of 16 bytes with their offset. */
static void show_config(const char *hex)
{
	size_t length = strlen(hex) & ~(size_t)1;

	for (size_t i = 0; i < length; i += 2) {
		if (i % 32 == 0)
			printf("%s  %03zx:", i ? "\n" : "", i / 2);
		printf(" %c%c", hex[i], hex[i + 1]);
	}
	if (length)
		putchar('\n');
}

static void show_function(const struct ctl *ctl, struct json_object *f)
{
	show_identity(f);
	show_place(f);
	show_driver(f);
	show_bars(f);
	show_interrupts(f);
	show_capabilities(f);
	show_vectors(f);
	show_pools(f);
	if (ctl->given & CTL_HEX)
		show_config(field_string(f, "config", ""));
}

static int parse_function(struct ctl *ctl, char address[16])
{
	if (!parse_address(ctl->args[0], address))
		return CTL_OK;
	return ctl_fail(ctl, CTL_USAGE, -EINVAL,
			"\"%s\" is no function's address: it is SEGMENT:BUS:DEVICE.FUNCTION in "
			"hexadecimal, at most ffff:ff:1f.7, as in 0000:00:03.0",
			ctl->args[0]);
}

int cmd_show(struct ctl *ctl)
{
	struct json_object *function;
	char address[16];
	int code = parse_function(ctl, address);

	if (!code)
		code = control_ask_object(ctl, "show", address, &function);
	if (code)
		return code;
	if (ctl->json) {
		add_names(function);
		return ctl_print_json(ctl, function);
	}
	show_function(ctl, function);
	json_object_put(function);
	return CTL_OK;
}

int cmd_restart(struct ctl *ctl)
{
	struct json_object *result, *object;
	char address[16];
	int code = parse_function(ctl, address);

	if (!code)
		code = control_ask(ctl, "restart", address, &result);
	if (code)
		return code;
	json_object_put(result);
	if (!ctl->json) {
		printf("%s: its driver is being restarted\n", address);
		return CTL_OK;
	}
	object = json_object_new_object();
	json_object_object_add(object, "restarted", json_object_new_string(address));
	return ctl_print_json(ctl, object);
}
