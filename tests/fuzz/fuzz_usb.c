// SPDX-License-Identifier: MIT
/* Descriptors as a hostile device gives them: whatever they say, nothing outside of them is read.
 */
#include <stdlib.h>
#include <string.h>

#include "../../xhcid/descriptor.h"
#include "../../xhcid/regs.h"
#include "fuzz.h"

static void config(const uint8_t *raw, size_t size)
{
	struct interface_info interfaces[MAX_INTERFACES];
	struct endpoint_info endpoints[MAX_ENDPOINTS];
	const char *fault;
	unsigned n;

	if (descriptor_check_config(raw, size, &fault))
		return;
	n = descriptor_interfaces(raw, size, interfaces);
	for (unsigned i = 0; i < n; i++)
		for (unsigned alt = 0; alt < 3; alt++)
			for (uint8_t speed = SPEED_FULL; speed <= SPEED_SUPER; speed++)
				if (descriptor_endpoints(raw, size, interfaces[i].number,
							 (uint8_t)alt, speed, endpoints,
							 &fault) > MAX_ENDPOINTS)
					abort();
}

static void text(const uint8_t *raw, size_t size)
{
	char to[32];

	if (size < 2 || raw[0] < 2 || raw[0] > size)
		return;
	descriptor_text(raw, to, sizeof(to));
	if (strlen(to) >= sizeof(to))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *fault;
	uint8_t *raw = malloc(size ? size : 1);

	memcpy(raw, data, size);
	config(raw, size);
	descriptor_check_bos(raw, size, &fault);
	if (size >= LIBUSB_DT_DEVICE_SIZE)
		descriptor_check_device(raw, &fault);
	text(raw, size);
	free(raw);
	return 0;
}
