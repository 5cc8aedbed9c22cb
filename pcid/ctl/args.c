// SPDX-License-Identifier: GPL-2.0-or-later
/* Sizes and addresses, from text and to text. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "ctl.h"

/* log2 of the unit, or -1. "K", "KiB", "k": all 1024, as for the block sizes of disks. */
static int unit_shift(const char *unit)
{
	static const char units[] = "KMGTP";
	const char *at;

	if (!*unit || !strcmp(unit, "B"))
		return 0;
	at = strchr(units, toupper((unsigned char)*unit));
	if (!at || (unit[1] && strcmp(unit + 1, "iB")))
		return -1;
	return (int)(at - units + 1) * 10;
}

int parse_size(const char *text, uint64_t *bytes)
{
	unsigned long long value;
	char *end;
	int shift;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno)
		return -ERANGE;
	shift = unit_shift(end);
	if (shift < 0)
		return -EINVAL;
	if (value > UINT64_MAX >> shift)
		return -ERANGE;
	*bytes = value << shift;
	return 0;
}

/* One hexadecimal field of at most `digits` digits, followed by `stop`. */
static int hex_field(const char **text, unsigned digits, char stop, unsigned most, unsigned *value)
{
	const char *p = *text;

	*value = 0;
	while (isxdigit((unsigned char)*p) && (unsigned)(p - *text) < digits) {
		unsigned char c = (unsigned char)tolower((unsigned char)*p++);

		*value = *value << 4 | (unsigned)(isdigit(c) ? c - '0' : c - 'a' + 10);
	}
	if (p == *text || *p != stop || *value > most)
		return -EINVAL;
	*text = stop ? p + 1 : p;
	return 0;
}

int parse_address(const char *text, char address[16])
{
	unsigned segment = 0, bus = 0, device, function, colons = 0;

	for (const char *p = text; *p; p++)
		colons += *p == ':';
	if (colons > 2)
		return -EINVAL;
	if (colons == 2 && hex_field(&text, 4, ':', 0xffff, &segment))
		return -EINVAL;
	if (colons >= 1 && hex_field(&text, 2, ':', 0xff, &bus))
		return -EINVAL;
	if (hex_field(&text, 2, '.', 0x1f, &device) || hex_field(&text, 1, '\0', 7, &function))
		return -EINVAL;
	snprintf(address, 16, "%04x:%02x:%02x.%u", segment & 0xffff, bus & 0xff, device & 0x1f,
		 function & 7);
	return 0;
}

char *format_size(uint64_t bytes, char *buf, size_t size)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes;
	unsigned unit = 0;

	while (value >= 1024 && unit + 1 < sizeof(units) / sizeof(*units)) {
		value /= 1024;
		unit++;
	}
	if (value == (double)(uint64_t)value)
		snprintf(buf, size, "%.0f %s", value, units[unit]);
	else
		snprintf(buf, size, "%.1f %s", value, units[unit]);
	return buf;
}

char *format_duration(uint64_t ms, char *buf, size_t size)
{
	uint64_t s = ms / 1000;

	if (s < 60)
		snprintf(buf, size, "%u.%u s", (unsigned)s, (unsigned)(ms % 1000 / 100));
	else if (s < 86400)
		snprintf(buf, size, "%u:%02u:%02u", (unsigned)(s / 3600), (unsigned)(s / 60 % 60),
			 (unsigned)(s % 60));
	else
		snprintf(buf, size, "%llud %02u:%02u:%02u", (unsigned long long)(s / 86400),
			 (unsigned)(s / 3600 % 24), (unsigned)(s / 60 % 60), (unsigned)(s % 60));
	return buf;
}
