// SPDX-License-Identifier: GPL-2.0-or-later
/* What pcidctl makes of descriptors: whatever they say, nothing outside of them is read, and all
 * that was read is shown. */
#include <stdlib.h>

#include "fuzz.h"

#include "../../pcid/ctl/usbdecode.c"

const char *usb_class_name(unsigned class_code, unsigned subclass, unsigned protocol)
{
	return (void)class_code, (void)subclass, (void)protocol, "a class";
}

static size_t number_of(struct json_object *o, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(o, key, &value) ? json_object_get_uint64(value) : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *raw = malloc(size ? size : 1);
	struct json_object *list;
	size_t shown = 0;

	memcpy(raw, data, size);
	list = usb_decode(raw, size);
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);

		shown += number_of(o, "bLength") + number_of(o, "bytes");
	}
	fuzz_expect(shown == size, "all bytes are shown");
	fuzz_expect(json_object_to_json_string(list), "as JSON");
	json_object_put(list);
	free(raw);
	return 0;
}
