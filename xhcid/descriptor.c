/* SPDX-License-Identifier: MIT */
#include "descriptor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "regs.h"

void descriptors_free(struct descriptors *d)
{
	free(d->config);
	free(d->bos);
	free(d->strings);
	memset(d, 0, sizeof(*d));
}

static int fail(const char **fault, const char *what)
{
	if (fault)
		*fault = what;
	return -EPROTO;
}

/* ---- walking ---- */

struct walk {
	const uint8_t *at, *end;
};

/* The next descriptor, or NULL: the end, or one whose length cannot be. */
static const uint8_t *next(struct walk *w)
{
	const uint8_t *d = w->at;
	size_t left = (size_t)(w->end - d);

	if (left < 2 || d[0] < 2 || d[0] > left)
		return NULL;
	w->at += d[0];
	return d;
}

static bool is(const uint8_t *d, uint8_t type, uint8_t least)
{
	return d[1] == type && d[0] >= least;
}

static int check_chain(const uint8_t *raw, size_t bytes, const char **fault)
{
	struct walk w = {raw, raw + bytes};

	while (next(&w))
		;
	return w.at == w.end ? 0 : fail(fault, "a descriptor's bLength is wrong");
}

/* ---- checks ---- */

int descriptor_check_device(const uint8_t *raw, const char **fault)
{
	if (!is(raw, LIBUSB_DT_DEVICE, LIBUSB_DT_DEVICE_SIZE))
		return fail(fault, "the device descriptor is none");
	if (!raw[17])
		return fail(fault, "it has no configuration");
	return 0;
}

int descriptor_check_config(const uint8_t *raw, size_t bytes, const char **fault)
{
	size_t total;

	if (bytes < LIBUSB_DT_CONFIG_SIZE || !is(raw, LIBUSB_DT_CONFIG, LIBUSB_DT_CONFIG_SIZE))
		return fail(fault, "the configuration descriptor is none");
	total = descriptor_u16(raw + 2);
	if (total < LIBUSB_DT_CONFIG_SIZE || total > bytes)
		return fail(fault, "the configuration's wTotalLength is wrong");
	return check_chain(raw, total, fault);
}

int descriptor_check_bos(const uint8_t *raw, size_t bytes, const char **fault)
{
	size_t total;

	if (bytes < LIBUSB_DT_BOS_SIZE || !is(raw, LIBUSB_DT_BOS, LIBUSB_DT_BOS_SIZE))
		return fail(fault, "the BOS descriptor is none");
	total = descriptor_u16(raw + 2);
	if (total < LIBUSB_DT_BOS_SIZE || total > bytes)
		return fail(fault, "the BOS's wTotalLength is wrong");
	return check_chain(raw, total, fault);
}

static size_t total_bytes(const uint8_t *raw, size_t bytes)
{
	size_t total = descriptor_u16(raw + 2);

	return total < bytes ? total : bytes;
}

/* ---- interfaces ---- */

static struct interface_info *find(struct interface_info *list, unsigned n, uint8_t number)
{
	for (unsigned i = 0; i < n; i++)
		if (list[i].number == number)
			return &list[i];
	return NULL;
}

unsigned descriptor_interfaces(const uint8_t *raw, size_t bytes,
			       struct interface_info list[MAX_INTERFACES])
{
	struct walk w = {raw, raw + total_bytes(raw, bytes)};
	unsigned n = 0;

	for (const uint8_t *d; (d = next(&w));) {
		struct interface_info *known;

		if (!is(d, LIBUSB_DT_INTERFACE, LIBUSB_DT_INTERFACE_SIZE))
			continue;
		known = find(list, n, d[2]);
		if (known)
			known->alternates += known->alternates < UINT8_MAX;
		else if (n < MAX_INTERFACES)
			list[n++] = (struct interface_info){.number = d[2],
							    .alternates = 1,
							    .class_code = d[5],
							    .subclass = d[6],
							    .protocol = d[7],
							    .string = d[8]};
	}
	return n;
}

/* ---- endpoints ---- */

/* wMaxPacketSize's limits (USB 2.0, 5.5 to 5.8; USB 3.2, 9.6.6). */
static unsigned most_packet(uint8_t speed, uint8_t type)
{
	if (speed >= SPEED_SUPER)
		return 1024;
	if (speed == SPEED_HIGH)
		return type == LIBUSB_TRANSFER_TYPE_BULK ? 512 : 1024;
	if (speed == SPEED_LOW)
		return 8;
	return type == LIBUSB_TRANSFER_TYPE_ISOCHRONOUS ? 1023 : 64;
}

static int read_endpoint(const uint8_t *d, uint8_t speed, struct endpoint_info *info,
			 const char **fault)
{
	uint16_t packet = descriptor_u16(d + 4);

	*info = (struct endpoint_info){.address = d[2],
				       .type = d[3] & 3,
				       .interval = d[6],
				       .packet = packet & 0x7ff,
				       .mult = speed == SPEED_HIGH ? packet >> 11 & 3 : 0};
	if (d[2] & 0x70 || !(d[2] & 15))
		return fail(fault, "an endpoint's number is wrong");
	if (info->type == LIBUSB_TRANSFER_TYPE_CONTROL)
		return fail(fault, "a further control endpoint");
	if (!info->packet || info->packet > most_packet(speed, info->type) || info->mult > 2)
		return fail(fault, "an endpoint's wMaxPacketSize is wrong");
	if (info->type == LIBUSB_TRANSFER_TYPE_BULK)
		info->mult = 0;
	return 0;
}

/* The SuperSpeed Endpoint Companion (USB 3.2, 9.6.7), of the endpoint before it. */
static void read_companion(const uint8_t *d, struct endpoint_info *info)
{
	info->burst = d[2] < 16 ? d[2] : 15;
	info->interval_bytes = descriptor_u16(d + 4);
	if (info->type == LIBUSB_TRANSFER_TYPE_BULK)
		info->streams = (d[3] & 31) <= 16 ? d[3] & 31 : 0;
	else if (info->type == LIBUSB_TRANSFER_TYPE_ISOCHRONOUS)
		info->mult = (d[3] & 3) < 3 ? d[3] & 3 : 0;
}

static bool has_address(const struct endpoint_info *list, int n, uint8_t address)
{
	for (int i = 0; i < n; i++)
		if (list[i].address == address)
			return true;
	return false;
}

static int read_setting(struct walk w, uint8_t speed, struct endpoint_info *list,
			const char **fault)
{
	int n = 0;

	for (const uint8_t *d; (d = next(&w)) && d[1] != LIBUSB_DT_INTERFACE;) {
		if (is(d, LIBUSB_DT_SS_ENDPOINT_COMPANION, LIBUSB_DT_SS_ENDPOINT_COMPANION_SIZE) &&
		    n && speed >= SPEED_SUPER)
			read_companion(d, &list[n - 1]);
		if (!is(d, LIBUSB_DT_ENDPOINT, LIBUSB_DT_ENDPOINT_SIZE))
			continue;
		if (n == MAX_ENDPOINTS || has_address(list, n, d[2]))
			return fail(fault, "an endpoint comes twice");
		if (read_endpoint(d, speed, &list[n], fault))
			return -EPROTO;
		n++;
	}
	return n;
}

int descriptor_endpoints(const uint8_t *raw, size_t bytes, uint8_t interface, uint8_t alternate,
			 uint8_t speed, struct endpoint_info list[MAX_ENDPOINTS],
			 const char **fault)
{
	struct walk w = {raw, raw + total_bytes(raw, bytes)};

	for (const uint8_t *d; (d = next(&w));)
		if (is(d, LIBUSB_DT_INTERFACE, LIBUSB_DT_INTERFACE_SIZE) && d[2] == interface &&
		    d[3] == alternate)
			return read_setting(w, speed, list, fault);
	return -ENOENT;
}

/* ---- speeds ---- */

#define SUPER_PLUS_CAPABILITY 10 /* USB 3.2, 9.6.2.5 */

static bool attribute_is_super_plus(const uint8_t *d, unsigned id)
{
	unsigned n = (d[4] & 31u) + 1;

	for (unsigned i = 0; i < n && 12 + 4 * i + 4 <= d[0]; i++) {
		const uint8_t *a = d + 12 + 4 * i;

		if ((a[0] & 15u) == id && a[1] >> 6 == 1) /* LP: the link's protocol */
			return true;
	}
	return false;
}

bool descriptor_is_super_plus(const uint8_t *bos, size_t bytes, unsigned id)
{
	struct walk w = {bos, bos ? bos + total_bytes(bos, bytes) : NULL};

	for (const uint8_t *d; bos && (d = next(&w));)
		if (is(d, LIBUSB_DT_DEVICE_CAPABILITY, 12) && d[2] == SUPER_PLUS_CAPABILITY)
			return attribute_is_super_plus(d, id);
	return false;
}

/* ---- strings ---- */

static size_t put_utf8(uint16_t c, char *to)
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

void descriptor_text(const uint8_t *raw, char *to, size_t room)
{
	size_t n = 0;

	for (unsigned i = 2; i + 1 < raw[0] && n + 4 <= room; i += 2) {
		uint16_t c = descriptor_u16(raw + i);
		bool plain = c >= ' ' && c != 0x7f && (c < 0x80 || c >= 0xa0);

		n += put_utf8(plain && (c & 0xf800) != 0xd800 ? c : '?', to + n);
	}
	to[n] = 0;
}

const struct string_descriptor *descriptors_string(const struct descriptors *d, unsigned index)
{
	for (unsigned i = 0; i < d->nstrings; i++)
		if (d->strings[i].index == index)
			return &d->strings[i];
	return NULL;
}
