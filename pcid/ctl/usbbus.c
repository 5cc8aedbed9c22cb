// SPDX-License-Identifier: GPL-2.0-or-later
/* USB controllers, as their drivers' services tell of them. */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include "usb.h"

#define DATA_BYTES (USB_MAX_PORTS * sizeof(struct ringabi_usb_port))

/* ---- finding ---- */

int usb_find(const struct ctl *ctl, struct json_object **services, struct usb_bus **list,
	     size_t *count)
{
	int code = control_ask_array(ctl, "services", services);

	*count = 0;
	*list = NULL;
	if (code)
		return code;
	*list = calloc(array_length(*services) + 1, sizeof(**list));
	if (!*list) {
		json_object_put(*services);
		return ctl_fail(ctl, CTL_FAILED, -ENOMEM, "out of memory");
	}
	for (size_t i = 0; i < array_length(*services); i++) {
		struct json_object *service = json_object_array_get_idx(*services, i);

		if (!strncmp(field_string(service, "name", ""), "usb/", 4))
			(*list)[(*count)++].service = service;
	}
	return CTL_OK;
}

static void close_bus(struct usb_bus *bus)
{
	pcidipc_consumer_close(bus->ring);
	if (bus->buf)
		pcidipc_buf_free(bus->buf);
	if (bus->pool)
		pcidipc_pool_destroy(bus->pool);
}

void usb_free(struct json_object *services, struct usb_bus *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (list[i].ring)
			close_bus(&list[i]);
		json_object_put(list[i].function);
		free(list[i].ports);
	}
	free(list);
	json_object_put(services);
}

const char *usb_bus_name(const struct usb_bus *bus)
{
	return field_string(bus->service, "name", "usb/?") + 4;
}

/* ---- asking ---- */

const unsigned char *usb_data(const struct usb_bus *bus)
{
	return pcidipc_buf_ptr(bus->buf);
}

int usb_ask(struct usb_bus *bus, uint32_t cmd_op, const struct ringabi_usb_arg *arg)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD};
	int res;

	sqe.cmd_op = cmd_op;
	sqe.addr = bus->buf->offset;
	sqe.len = DATA_BYTES;
	sqe.buf_index = bus->index;
	memcpy((char *)&sqe + offsetof(struct io_uring_sqe, cmd), arg, sizeof(*arg));
	res = pcidipc_call(bus->ring, &sqe, NULL);
	return res > (int)DATA_BYTES ? -EPROTO : res;
}

int usb_peek(struct usb_bus *bus, uint8_t slot, unsigned type, unsigned index)
{
	const struct ringabi_usb_arg arg = {.streams = slot, .value = type | index << 8};

	return usb_ask(bus, RINGABI_USB_PEEK, &arg);
}

/* A tree is made of their paths: one that comes twice would be printed with all below it again. */
static bool known_path(const struct usb_bus *bus, const char *path)
{
	for (unsigned i = 0; i < bus->nports; i++)
		if (!strcmp((const char *)bus->ports[i].path, path))
			return true;
	return false;
}

static void take_port(struct usb_bus *bus, unsigned from)
{
	struct ringabi_usb_port port = bus->ports[from];
	char *path = (char *)port.path;

	path[sizeof(port.path) - 1] = '\0';
	printable(path);
	if (!known_path(bus, path))
		bus->ports[bus->nports++] = port;
}

static int read_ports(struct usb_bus *bus)
{
	const struct ringabi_usb_arg none = {0};
	int res = usb_ask(bus, RINGABI_USB_PORTS, &none);
	unsigned n;

	if (res < 0)
		return res;
	n = (unsigned)res / sizeof(*bus->ports);
	bus->ports = malloc((size_t)res + 1);
	if (!bus->ports)
		return -ENOMEM;
	memcpy(bus->ports, usb_data(bus), n * sizeof(*bus->ports));
	for (unsigned i = 0; i < n; i++)
		take_port(bus, i);
	return 0;
}

static int make_memory(struct usb_bus *bus)
{
	int ret = pcidipc_pool_create(64u << 20, 0, &bus->pool);

	if (!ret)
		ret = pcidipc_consumer_attach_pool(bus->ring, bus->pool, &bus->index);
	if (ret)
		return ret;
	bus->buf = pcidipc_pool_alloc(bus->pool, DATA_BYTES, 4096);
	return bus->buf ? 0 : -ENOMEM;
}

int usb_open(struct usb_bus *bus, bool admin)
{
	const struct pcidipc_consumer_params params = {.interface = RINGABI_INTERFACE_USB,
						       .sq_entries = 32};
	const char *path = field_string(bus->service, admin ? "admin_path" : "path", "");
	int ret = pcidipc_consumer_open(path, &params, &bus->ring);

	if (!ret)
		ret = make_memory(bus);
	if (!ret)
		ret = read_ports(bus);
	bus->error = ret;
	return ret;
}

/* ---- names ---- */

static size_t utf8(unsigned c, char *to)
{
	if (c < 0x80) {
		to[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		to[0] = (char)(0xc0 | c >> 6);
		to[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	to[0] = (char)(0xe0 | c >> 12);
	to[1] = (char)(0x80 | (c >> 6 & 0x3f));
	to[2] = (char)(0x80 | (c & 0x3f));
	return 3;
}

char *usb_string(struct usb_bus *bus, uint8_t slot, unsigned index, char *text, size_t room)
{
	int res = index ? usb_peek(bus, slot, 3, index) : -ENOENT;
	const unsigned char *raw = usb_data(bus);
	size_t n = 0;

	for (int i = 2; i + 1 < res && n + 4 <= room; i += 2) {
		unsigned c = raw[i] | (unsigned)raw[i + 1] << 8;

		n += utf8((c & 0xf800) == 0xd800 ? '?' : c, text + n);
	}
	text[n] = '\0';
	return printable(text);
}

const char *usb_speed_name(unsigned speed)
{
	static const char *const names[] = {"?",	  "1.5 Mbit/s", "12 Mbit/s",
					    "480 Mbit/s", "5 Gbit/s",	"10 Gbit/s"};

	return names[speed < sizeof(names) / sizeof(*names) ? speed : 0];
}

const char *usb_class_name(unsigned class_code, unsigned subclass, unsigned protocol)
{
	static const struct {
		int class_code, subclass, protocol;
		const char *name;
	} names[] = {{0x08, 0x06, 0x50, "mass storage, SCSI, Bulk-Only"},
		     {0x08, 0x06, 0x62, "mass storage, SCSI, UAS"},
		     {0x08, -1, -1, "mass storage"},
		     {0x03, 1, 1, "keyboard"},
		     {0x03, 1, 2, "mouse"},
		     {0x03, -1, -1, "human interface device"},
		     {0x09, -1, -1, "hub"},
		     {0x01, -1, -1, "audio"},
		     {0x02, -1, -1, "communications"},
		     {0x06, -1, -1, "image"},
		     {0x07, -1, -1, "printer"},
		     {0x0a, -1, -1, "communications data"},
		     {0x0b, -1, -1, "smart card"},
		     {0x0e, -1, -1, "video"},
		     {0xe0, -1, -1, "wireless controller"},
		     {0xef, -1, -1, "miscellaneous"},
		     {0xfe, -1, -1, "application specific"},
		     {0xff, -1, -1, "vendor specific"}};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (names[i].class_code == (int)class_code &&
		    (names[i].subclass < 0 || names[i].subclass == (int)subclass) &&
		    (names[i].protocol < 0 || names[i].protocol == (int)protocol))
			return names[i].name;
	return "unknown class";
}

/* ---- locating ---- */

static const struct ringabi_usb_port *find_port(const struct usb_bus *bus, const char *path)
{
	for (unsigned i = 0; i < bus->nports; i++)
		if (!strcmp((const char *)bus->ports[i].path, path))
			return &bus->ports[i];
	return NULL;
}

static int none(const struct ctl *ctl, const char *name)
{
	return ctl_fail(ctl, CTL_NOT_FOUND, -ENOENT,
			"there is no USB port %s; \"pcidctl usb\" lists what there is", name);
}

int usb_locate(const struct ctl *ctl, const char *name, struct usb_bus *list, size_t count,
	       struct usb_bus **bus, const struct ringabi_usb_port **port)
{
	const char *slash = strchr(name, '/');
	unsigned found = 0;

	for (size_t i = 0; i < count; i++) {
		const char *mine = usb_bus_name(&list[i]);
		size_t n = slash ? (size_t)(slash - name) : strlen(name);
		bool named = strlen(mine) == n && !strncmp(mine, name, n);
		const struct ringabi_usb_port *at =
			slash && !named ? NULL : find_port(&list[i], slash ? slash + 1 : name);

		if (!at && (slash || !named))
			continue;
		*bus = &list[i];
		*port = at;
		found++;
	}
	if (!found)
		return none(ctl, name);
	if (found > 1)
		return ctl_fail(ctl, CTL_USAGE, -EINVAL,
				"%u controllers have a port %s: say which, as in %s/%s", found,
				name, usb_bus_name(*bus), name);
	return CTL_OK;
}
