// SPDX-License-Identifier: GPL-2.0-or-later
/* Descriptors, field by field, by the names of the USB specifications (USB 2.0, 9.6; USB 3.2, 9.6;
 * UAS, 5.2). One table of fields for each type; what is shorter than its type has fewer. */
#include <string.h>
#include "usb.h"

struct field {
	uint8_t at, bytes;
	const char *name;
};

static const struct field device[] = {{2, 2, "bcdUSB"},
				      {4, 1, "bDeviceClass"},
				      {5, 1, "bDeviceSubClass"},
				      {6, 1, "bDeviceProtocol"},
				      {7, 1, "bMaxPacketSize0"},
				      {8, 2, "idVendor"},
				      {10, 2, "idProduct"},
				      {12, 2, "bcdDevice"},
				      {14, 1, "iManufacturer"},
				      {15, 1, "iProduct"},
				      {16, 1, "iSerialNumber"},
				      {17, 1, "bNumConfigurations"},
				      {0}};
static const struct field configuration[] = {{2, 2, "wTotalLength"},
					     {4, 1, "bNumInterfaces"},
					     {5, 1, "bConfigurationValue"},
					     {6, 1, "iConfiguration"},
					     {7, 1, "bmAttributes"},
					     {8, 1, "bMaxPower"},
					     {0}};
static const struct field interface[] = {{2, 1, "bInterfaceNumber"},   {3, 1, "bAlternateSetting"},
					 {4, 1, "bNumEndpoints"},      {5, 1, "bInterfaceClass"},
					 {6, 1, "bInterfaceSubClass"}, {7, 1, "bInterfaceProtocol"},
					 {8, 1, "iInterface"},	       {0}};
static const struct field endpoint[] = {{2, 1, "bEndpointAddress"},
					{3, 1, "bmAttributes"},
					{4, 2, "wMaxPacketSize"},
					{6, 1, "bInterval"},
					{0}};
static const struct field companion[] = {
	{2, 1, "bMaxBurst"}, {3, 1, "bmAttributes"}, {4, 2, "wBytesPerInterval"}, {0}};
static const struct field pipe_usage[] = {{2, 1, "bPipeID"}, {0}};
static const struct field association[] = {{2, 1, "bFirstInterface"},
					   {3, 1, "bInterfaceCount"},
					   {4, 1, "bFunctionClass"},
					   {5, 1, "bFunctionSubClass"},
					   {6, 1, "bFunctionProtocol"},
					   {7, 1, "iFunction"},
					   {0}};
static const struct field bos[] = {{2, 2, "wTotalLength"}, {4, 1, "bNumDeviceCaps"}, {0}};
static const struct field capability[] = {{2, 1, "bDevCapabilityType"}, {0}};
static const struct field usb2_extension[] = {
	{2, 1, "bDevCapabilityType"}, {3, 4, "bmAttributes"}, {0}};
static const struct field superspeed[] = {{2, 1, "bDevCapabilityType"},
					  {3, 1, "bmAttributes"},
					  {4, 2, "wSpeedsSupported"},
					  {6, 1, "bFunctionalitySupport"},
					  {7, 1, "bU1DevExitLat"},
					  {8, 2, "wU2DevExitLat"},
					  {0}};

static const struct kind {
	int type, capability; /* -1: any */
	const char *name;
	const struct field *fields;
} kinds[] = {
	{1, -1, "device", device},
	{2, -1, "configuration", configuration},
	{4, -1, "interface", interface},
	{5, -1, "endpoint", endpoint},
	{11, -1, "interface association", association},
	{15, -1, "BOS", bos},
	{16, 2, "USB 2.0 extension", usb2_extension},
	{16, 3, "SuperSpeed USB device capability", superspeed},
	{16, -1, "device capability", capability},
	{0x24, -1, "UAS pipe usage", pipe_usage}, /* below mass storage */
	{0x30, -1, "SuperSpeed endpoint companion", companion},
};

/* 0x24 is class-specific: what it means depends on the interface that it belongs to. */
static const struct kind *kind_of(const unsigned char *d, bool storage)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (kinds[i].type == d[1] && (d[1] != 0x24 || storage) &&
		    (kinds[i].capability < 0 || (d[0] > 2 && kinds[i].capability == d[2])))
			return &kinds[i];
	return NULL;
}

static uint64_t number(const unsigned char *at, unsigned bytes)
{
	uint64_t value = 0;

	while (bytes--)
		value = value << 8 | at[bytes];
	return value;
}

static void add_meaning(struct json_object *o, const unsigned char *d)
{
	static const char *const transfers[] = {"control", "isochronous", "bulk", "interrupt"};
	static const char *const pipes[] = {"?", "command", "status", "data-in", "data-out"};
	char text[96] = "";

	if (d[1] == 4 && d[0] >= 9)
		snprintf(text, sizeof(text), "%s", usb_class_name(d[5], d[6], d[7]));
	else if (d[1] == 5 && d[0] >= 7)
		snprintf(text, sizeof(text), "%s %s %u", transfers[d[3] & 3],
			 d[2] & 0x80 ? "IN" : "OUT", d[2] & 15u);
	else if (d[1] == 0x24 && d[0] >= 3)
		snprintf(text, sizeof(text), "%s", pipes[d[2] < 5 ? d[2] : 0]);
	else if (d[1] == 0x30 && d[0] >= 6 && d[3] & 31 && (d[3] & 31) <= 16)
		snprintf(text, sizeof(text), "up to %u streams, if bulk", 1u << (d[3] & 31));
	if (*text)
		json_object_object_add(o, "meaning", json_object_new_string(text));
}

static struct json_object *decode_one(const unsigned char *d, bool storage)
{
	const struct kind *kind = kind_of(d, storage);
	struct json_object *o = json_object_new_object();
	char hex[2 * 255 + 1];

	json_object_object_add(o, "descriptor",
			       json_object_new_string(kind ? kind->name : "unknown"));
	json_object_object_add(o, "bLength", json_object_new_int(d[0]));
	json_object_object_add(o, "bDescriptorType", json_object_new_int(d[1]));
	for (const struct field *f = kind ? kind->fields : NULL; f && f->name; f++)
		if (f->at + f->bytes <= d[0])
			json_object_object_add(o, f->name,
					       json_object_new_uint64(number(d + f->at, f->bytes)));
	if (kind)
		add_meaning(o, d);
	for (unsigned i = 0; i < d[0]; i++)
		snprintf(hex + 2 * i, 3, "%02x", d[i]);
	json_object_object_add(o, "raw", json_object_new_string(hex));
	return o;
}

struct json_object *usb_decode(const unsigned char *raw, size_t bytes)
{
	struct json_object *array = json_object_new_array();
	bool storage = false;

	while (bytes >= 2 && raw[0] >= 2 && raw[0] <= bytes) {
		if (raw[1] == 4 && raw[0] >= 9)
			storage = raw[5] == 8;
		json_object_array_add(array, decode_one(raw, storage));
		bytes -= raw[0];
		raw += raw[0];
	}
	if (bytes) {
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "descriptor",
				       json_object_new_string("bytes that are no descriptor"));
		json_object_object_add(o, "bytes", json_object_new_uint64(bytes));
		json_object_array_add(array, o);
	}
	return array;
}
