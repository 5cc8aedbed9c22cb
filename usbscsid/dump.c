/* SPDX-License-Identifier: MIT */
/* What a device said, byte for byte, for whoever wants to know why it is driven as it is. */
#include <pcidipc/log.h>
#include <stdio.h>

#include "target.h"

#define LINE_BYTES 32u

static void dump_line(const struct target *t, const char *what, unsigned number, size_t at,
		      const uint8_t *bytes, size_t n)
{
	char text[LINE_BYTES * 3 + 1] = "";

	for (size_t i = 0; i < n; i++)
		snprintf(text + i * 3, 4, " %02x", bytes[i]);
	pcidipc_debug("%s: %s %02x, byte %zu:%s", t->label, what, number, at, text);
}

void target_dump(const struct target *t, const char *what, unsigned number, const void *bytes,
		 size_t n)
{
	for (size_t at = 0; at < n; at += LINE_BYTES)
		dump_line(t, what, number, at, (const uint8_t *)bytes + at,
			  n - at < LINE_BYTES ? n - at : LINE_BYTES);
}
