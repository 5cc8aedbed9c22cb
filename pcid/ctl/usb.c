// SPDX-License-Identifier: GPL-2.0-or-later
/* pcidctl usb: ports, devices, interfaces and who drives them; pcidctl usb show: descriptors. */
#include <errno.h>
#include <inttypes.h>
#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include "usb.h"

/* What pcid knows of the controller: who drives which interface. */
static void ask_children(const struct ctl *ctl, struct usb_bus *bus)
{
	const char *function = field_string(bus->service, "function", NULL);

	if (function && !control_ask_object(ctl, "show", function, &bus->function))
		bus->children = field_array(bus->function, "children");
}

static int open_all(const struct ctl *ctl, struct usb_bus *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		usb_open(&list[i], false);
		ask_children(ctl, &list[i]);
	}
	return CTL_OK;
}

/* ---- as JSON: the tables are made of it ---- */

static void add_text(struct json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, *text ? json_object_new_string(text) : NULL);
}

static void add_number(struct json_object *o, const char *key, unsigned value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

static struct json_object *interfaces_json(const struct usb_bus *bus, const char *path)
{
	struct json_object *array = json_object_new_array();
	size_t n = strlen(path);

	for (size_t i = 0; i < array_length(bus->children); i++) {
		struct json_object *child = json_object_array_get_idx(bus->children, i);
		const char *of = field_string(child, "path", "");

		if (!strncmp(of, path, n) && of[n] == ':')
			json_object_array_add(array, json_object_get(child));
	}
	return array;
}

static void add_device(struct usb_bus *bus, const struct ringabi_usb_port *port,
		       struct json_object *o)
{
	unsigned char raw[18];
	char text[256];

	add_text(o, "speed", usb_speed_name(port->speed));
	add_number(o, "slot", port->slot);
	add_number(o, "vendor", port->vendor);
	add_number(o, "product", port->product);
	add_number(o, "hub_ports", port->hub_ports);
	if (usb_peek(bus, port->slot, 1, 0) != (int)sizeof(raw))
		return; /* it has just gone */
	memcpy(raw, usb_data(bus), sizeof(raw));
	add_text(o, "manufacturer", usb_string(bus, port->slot, raw[14], text, sizeof(text)));
	add_text(o, "name", usb_string(bus, port->slot, raw[15], text, sizeof(text)));
	add_text(o, "serial", usb_string(bus, port->slot, raw[16], text, sizeof(text)));
	add_number(o, "class", (unsigned)raw[4] << 16 | (unsigned)raw[5] << 8 | raw[6]);
	json_object_object_add(o, "interfaces", interfaces_json(bus, (const char *)port->path));
}

static struct json_object *port_json(struct usb_bus *bus, const struct ringabi_usb_port *port)
{
	struct json_object *o = json_object_new_object();
	uint8_t flags = port->flags;

	add_text(o, "path", (const char *)port->path);
	json_object_object_add(o, "device", json_object_new_boolean(port->slot));
	json_object_object_add(o, "overcurrent",
			       json_object_new_boolean(flags & RINGABI_USB_PORT_OVERCURRENT));
	json_object_object_add(o, "unusable",
			       json_object_new_boolean(flags & RINGABI_USB_PORT_UNUSABLE));
	json_object_object_add(o, "busy", json_object_new_boolean(flags & RINGABI_USB_PORT_BUSY));
	if (port->slot)
		add_device(bus, port, o);
	return o;
}

static struct json_object *bus_json(struct usb_bus *bus)
{
	struct json_object *o = json_object_new_object(), *ports = json_object_new_array();

	add_text(o, "name", usb_bus_name(bus));
	add_text(o, "function", field_string(bus->service, "function", ""));
	add_text(o, "error", bus->error ? strerror(-bus->error) : "");
	for (unsigned i = 0; i < bus->nports; i++)
		json_object_array_add(ports, port_json(bus, &bus->ports[i]));
	json_object_object_add(o, "ports", ports);
	return o;
}

/* ---- for people ---- */

static const char *line_art(bool last, bool below)
{
	static const char *const utf8[] = {"├─ ", "└─ ", "│  ", "   "};
	static const char *const ascii[] = {"|- ", "`- ", "|  ", "   "};
	const char *const *art = strcmp(nl_langinfo(CODESET), "UTF-8") ? ascii : utf8;

	return art[last + 2 * below];
}

static void print_device(struct json_object *port)
{
	printf("%04x:%04x", (unsigned)field_u64(port, "vendor"),
	       (unsigned)field_u64(port, "product"));
	if (field_known(port, "manufacturer"))
		printf(" %s", field_string(port, "manufacturer", ""));
	if (field_known(port, "name"))
		printf(" %s", field_string(port, "name", ""));
	printf(", %s", field_string(port, "speed", "?"));
	if (field_u64(port, "hub_ports"))
		printf(", hub with %u ports", (unsigned)field_u64(port, "hub_ports"));
}

static void print_port(struct json_object *port)
{
	printf("%s ", field_string(port, "path", "?"));
	if (field_bool(port, "device"))
		print_device(port);
	else if (field_bool(port, "unusable"))
		fputs("a device that could not be used", stdout);
	else
		fputs(field_bool(port, "busy") ? "being looked at" : "empty", stdout);
	puts(field_bool(port, "overcurrent") ? " (overcurrent)" : "");
}

static void print_interface(struct json_object *in)
{
	unsigned class_code = (unsigned)field_u64(in, "class");

	printf("%s %s", field_string(in, "path", "?"),
	       usb_class_name(class_code >> 16 & 0xff, class_code >> 8 & 0xff, class_code & 0xff));
	if (field_known(in, "driver"))
		printf(" [%s, %s]", field_string(in, "driver", "?"),
		       field_string(in, "state", "?"));
	putchar('\n');
}

/* Is `path` a port of the hub at `hub`, or (hub NULL) of the controller? */
static bool is_below(const char *path, const char *hub)
{
	size_t n = hub ? strlen(hub) : 0;

	if (!hub)
		return !strchr(path, '.');
	return !strncmp(path, hub, n) && path[n] == '.' && !strchr(path + n + 1, '.');
}

static struct json_object *next_below(struct json_object *ports, const char *hub, size_t *i)
{
	while (*i < array_length(ports)) {
		struct json_object *port = json_object_array_get_idx(ports, (*i)++);

		if (is_below(field_string(port, "path", ""), hub))
			return port;
	}
	return NULL;
}

static void print_ports(struct json_object *ports, const char *hub, const char *prefix);

static void print_below(struct json_object *ports, struct json_object *port, const char *prefix)
{
	struct json_object *list = field_array(port, "interfaces");

	for (size_t i = 0; i < array_length(list); i++) {
		printf("%s%s", prefix,
		       line_art(i + 1 == array_length(list) && !field_u64(port, "hub_ports"),
				false));
		print_interface(json_object_array_get_idx(list, i));
	}
	print_ports(ports, field_string(port, "path", "?"), prefix);
}

/* As deep as a path has dots: it has 23 characters. */
static void print_ports(struct json_object *ports, const char *hub, const char *prefix)
{
	size_t i = 0;
	struct json_object *port = next_below(ports, hub, &i), *next;
	char deeper[256];

	for (; port; port = next) {
		next = next_below(ports, hub, &i);
		printf("%s%s", prefix, line_art(!next, false));
		print_port(port);
		snprintf(deeper, sizeof(deeper), "%s%s", prefix, line_art(!next, true));
		print_below(ports, port, deeper);
	}
}

static void print_bus(struct json_object *bus)
{
	printf("%s (%s)\n", field_string(bus, "name", "?"), field_string(bus, "function", "?"));
	if (field_known(bus, "error"))
		printf("   it cannot be asked: %s\n", field_string(bus, "error", "?"));
	print_ports(field_array(bus, "ports"), NULL, "");
}

int cmd_usb(struct ctl *ctl)
{
	struct json_object *services, *object, *array = json_object_new_array();
	struct usb_bus *list;
	size_t count;
	int code = usb_find(ctl, &services, &list, &count);

	if (code) {
		json_object_put(array);
		return code;
	}
	open_all(ctl, list, count);
	for (size_t i = 0; i < count; i++)
		json_object_array_add(array, bus_json(&list[i]));
	usb_free(services, list, count);
	if (ctl->json) {
		object = json_object_new_object();
		json_object_object_add(object, "controllers", array);
		return ctl_print_json(ctl, object);
	}
	if (!count)
		puts("no USB controller is driven");
	for (size_t i = 0; i < count; i++)
		print_bus(json_object_array_get_idx(array, i));
	json_object_put(array);
	return CTL_OK;
}

/* ---- usb show ---- */

static void print_value(const char *key, struct json_object *value)
{
	if (json_object_is_type(value, json_type_int))
		printf("    %-24s %" PRIu64 " (0x%" PRIx64 ")\n", key,
		       json_object_get_uint64(value), json_object_get_uint64(value));
	else
		printf("    %-24s %s\n", key, json_object_get_string(value));
}

static void print_descriptors(struct json_object *array)
{
	for (size_t i = 0; i < array_length(array); i++) {
		struct json_object *d = json_object_array_get_idx(array, i);

		printf("  %s\n", field_string(d, "descriptor", "?"));
		json_object_object_foreach(d, key, value)
		{
			if (strcmp(key, "descriptor"))
				print_value(key, value);
		}
	}
}

static void add_descriptors(struct usb_bus *bus, uint8_t slot, struct json_object *array)
{
	static const uint8_t types[] = {1, 2, 15};

	for (unsigned i = 0; i < sizeof(types); i++) {
		int bytes = usb_peek(bus, slot, types[i], 0);
		struct json_object *part;

		if (bytes <= 0)
			continue;
		part = usb_decode(usb_data(bus), (size_t)bytes);
		for (size_t k = 0; k < array_length(part); k++)
			json_object_array_add(array,
					      json_object_get(json_object_array_get_idx(part, k)));
		json_object_put(part);
	}
}

static int show_port(const struct ctl *ctl, struct usb_bus *bus,
		     const struct ringabi_usb_port *port)
{
	struct json_object *o = port_json(bus, port), *array = json_object_new_array();
	int code = CTL_OK;

	if (port->slot)
		add_descriptors(bus, port->slot, array);
	json_object_object_add(o, "descriptors", array);
	if (ctl->json)
		return ctl_print_json(ctl, o);
	print_port(o);
	print_below(NULL, o, "  ");
	print_descriptors(array);
	json_object_put(o);
	return code;
}

int cmd_usb_show(struct ctl *ctl)
{
	const struct ringabi_usb_port *port;
	struct json_object *services;
	struct usb_bus *list, *bus;
	size_t count;
	int code = usb_find(ctl, &services, &list, &count);

	if (code)
		return code;
	open_all(ctl, list, count);
	code = usb_locate(ctl, ctl->args[0], list, count, &bus, &port);
	if (!code && !port)
		code = ctl_fail(ctl, CTL_USAGE, -EINVAL,
				"%s is a controller: name one of its ports, as in 3-1",
				ctl->args[0]);
	if (!code)
		code = show_port(ctl, bus, port);
	usb_free(services, list, count);
	return code;
}
