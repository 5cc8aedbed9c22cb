/* SPDX-License-Identifier: MIT */
/* What devices answer: sense data, INQUIRY and its vital product data, capacity, mode parameters,
 * LUNs. */
#include "scsi.h"

#include <errno.h>
#include <string.h>

#define CACHING_PAGE 0x08

/* ---- sense data ---- */

/* The sense data that came ends where it says, or where the bytes do. */
static struct scsi_sense fixed_sense(const uint8_t *s, size_t bytes)
{
	struct scsi_sense sense = {.valid = bytes >= 3, .deferred = (s[0] & 1) != 0};

	if (!sense.valid)
		return sense;
	sense.key = s[2] & 0x0f;
	if (bytes > 13 && s[7] >= 6) {
		sense.asc = s[12];
		sense.ascq = s[13];
	}
	return sense;
}

static struct scsi_sense descriptor_sense(const uint8_t *s, size_t bytes)
{
	struct scsi_sense sense = {.valid = bytes >= 4, .deferred = (s[0] & 1) != 0};

	if (!sense.valid)
		return sense;
	sense.key = s[1] & 0x0f;
	sense.asc = s[2];
	sense.ascq = s[3];
	return sense;
}

struct scsi_sense scsi_parse_sense(const uint8_t *s, size_t bytes)
{
	if (!bytes)
		return (struct scsi_sense){0};
	switch (s[0] & 0x7f) {
	case 0x70:
	case 0x71:
		return fixed_sense(s, bytes);
	case 0x72:
	case 0x73:
		return descriptor_sense(s, bytes);
	default:
		return (struct scsi_sense){0};
	}
}

const char *scsi_sense_text(uint8_t key)
{
	static const char *const text[16] = {
		"NO SENSE",	  "RECOVERED ERROR", "NOT READY",      "MEDIUM ERROR",
		"HARDWARE ERROR", "ILLEGAL REQUEST", "UNIT ATTENTION", "DATA PROTECT",
		"BLANK CHECK",	  "VENDOR SPECIFIC", "COPY ABORTED",   "ABORTED COMMAND",
		"reserved (0xc)", "VOLUME OVERFLOW", "MISCOMPARE",     "COMPLETED"};

	return text[key & 15];
}

/* ---- INQUIRY ---- */

/* Text of a fixed width, padded with spaces, as printable characters. */
static void take_text(char *to, size_t room, const uint8_t *from, size_t bytes)
{
	size_t n = bytes < room - 1 ? bytes : room - 1;

	for (size_t i = 0; i < n; i++)
		to[i] = from[i] > ' ' && from[i] < 0x7f ? (char)from[i] : from[i] ? ' ' : '\0';
	to[n] = '\0';
	n = strlen(to);
	while (n && to[n - 1] == ' ')
		to[--n] = '\0';
	for (n = 0; to[n] == ' ';)
		n++;
	memmove(to, to + n, strlen(to + n) + 1);
}

int scsi_parse_inquiry(const uint8_t *d, size_t bytes, struct scsi_identity *id)
{
	uint8_t padded[36] = {0};

	memset(id, 0, sizeof(*id));
	if (bytes < 5)
		return -EPROTO;
	memcpy(padded, d, bytes < sizeof(padded) ? bytes : sizeof(padded));
	id->qualifier = padded[0] >> 5;
	id->type = padded[0] & 0x1f;
	id->removable = padded[1] & 0x80;
	id->version = padded[2];
	take_text(id->vendor, sizeof(id->vendor), padded + 8, 8);
	take_text(id->product, sizeof(id->product), padded + 16, 16);
	take_text(id->revision, sizeof(id->revision), padded + 32, 4);
	return 0;
}

/* ---- vital product data ---- */

/* The bytes that page `page` really has behind its header, or 0. */
static size_t vpd_body(const uint8_t *d, size_t bytes, uint8_t page)
{
	size_t body;

	if (bytes < 4 || d[1] != page)
		return 0;
	body = be16_at(d + 2);
	return body < bytes - 4 ? body : bytes - 4;
}

bool scsi_vpd_lists(const uint8_t *d, size_t bytes, uint8_t page)
{
	size_t body = vpd_body(d, bytes, 0x00);

	return body && memchr(d + 4, page, body);
}

int scsi_vpd_serial(const uint8_t *d, size_t bytes, char *serial, size_t room)
{
	take_text(serial, room, d + 4, vpd_body(d, bytes, 0x80));
	return serial[0] ? 0 : -ENOENT;
}

/* Worth of a designator: NAA before EUI-64, of the logical unit only, binary, of a size that it may
 * have (SPC-4, 7.8.6). */
static int designator_rank(const uint8_t *d)
{
	uint8_t code_set = d[0] & 0x0f, association = d[1] >> 4 & 3, type = d[1] & 0x0f;

	if (code_set != 1 || association)
		return 0;
	if (type == 3 && (d[3] == 8 || d[3] == 16))
		return 2;
	return type == 2 && (d[3] == 8 || d[3] == 12 || d[3] == 16);
}

int scsi_vpd_id(const uint8_t *d, size_t bytes, uint8_t id[16])
{
	size_t left = vpd_body(d, bytes, 0x83);
	int best = 0;

	memset(id, 0, 16);
	for (d += 4; left >= 4 && 4u + d[3] <= left; left -= 4u + d[3], d += 4 + d[3]) {
		if (designator_rank(d) <= best)
			continue;
		best = designator_rank(d);
		memset(id, 0, 16);
		memcpy(id, d + 4, d[3]);
	}
	return best ? 0 : -ENOENT;
}

int scsi_vpd_limits(const uint8_t *d, size_t bytes, struct scsi_limits *limits)
{
	size_t body = vpd_body(d, bytes, 0xb0);

	if (body < 8)
		return -EPROTO;
	limits->most_blocks = be32_at(d + 8);
	if (body >= 24) {
		limits->unmap_blocks = be32_at(d + 20);
		limits->unmap_ranges = be32_at(d + 24);
	}
	if (body >= 40)
		limits->write_same_blocks = be64_at(d + 36);
	return 0;
}

int scsi_vpd_medium(const uint8_t *d, size_t bytes, struct scsi_limits *limits)
{
	if (vpd_body(d, bytes, 0xb1) < 2)
		return -EPROTO;
	limits->rotates = be16_at(d + 4) != 1;
	return 0;
}

int scsi_vpd_provisioning(const uint8_t *d, size_t bytes, struct scsi_limits *limits)
{
	if (vpd_body(d, bytes, 0xb2) < 2)
		return -EPROTO;
	limits->unmap = d[5] & 0x80;
	limits->write_same_unmaps = d[5] & 0x40;
	limits->reads_zero = d[5] >> 2 & 1;
	return 0;
}

/* ---- capacity ---- */

int scsi_parse_capacity_10(const uint8_t *d, size_t bytes, struct scsi_capacity *c)
{
	memset(c, 0, sizeof(*c));
	if (bytes < 8)
		return -EPROTO;
	c->blocks = (uint64_t)be32_at(d) + 1;
	c->block_bytes = be32_at(d + 4);
	return c->blocks == 1ull << 32 ? -EOVERFLOW : 0;
}

int scsi_parse_capacity_16(const uint8_t *d, size_t bytes, struct scsi_capacity *c)
{
	memset(c, 0, sizeof(*c));
	if (bytes < 12)
		return -EPROTO;
	c->blocks = be64_at(d) == UINT64_MAX ? UINT64_MAX : be64_at(d) + 1;
	c->block_bytes = be32_at(d + 8);
	if (bytes >= 16) {
		c->protected = d[12] & 1;
		c->physical_shift = d[13] & 0x0f;
		c->provisioned = d[14] & 0x80;
		c->reads_zero = d[14] & 0x40;
	}
	return 0;
}

/* ---- mode parameters ---- */

/* Pages in page_0 and sub_page format (SPC-4, 7.5.8). */
static void find_caching(const uint8_t *d, size_t bytes, struct scsi_mode *mode)
{
	while (bytes >= 2) {
		bool sub = d[0] & 0x40;
		size_t head = sub ? 4 : 2, page;

		if (bytes < head)
			return;
		page = head + (sub ? be16_at(d + 2) : d[1]);
		if (page > bytes)
			page = bytes; /* cut off by our room, or it lies */
		if (!sub && (d[0] & 0x3f) == CACHING_PAGE && page >= 3) {
			mode->has_caching = true;
			mode->write_cache = d[2] & 0x04;
			return;
		}
		d += page;
		bytes -= page;
	}
}

static int parse_mode(const uint8_t *d, size_t bytes, size_t says, size_t head, uint8_t specific,
		      size_t block_descriptors, struct scsi_mode *mode)
{
	memset(mode, 0, sizeof(*mode));
	if (bytes < head)
		return -EPROTO;
	mode->write_protected = specific & 0x80;
	mode->fua = specific & 0x10;
	if (says < bytes)
		bytes = says;
	if (bytes > head + block_descriptors)
		find_caching(d + head + block_descriptors, bytes - head - block_descriptors, mode);
	return 0;
}

int scsi_parse_mode_6(const uint8_t *d, size_t bytes, struct scsi_mode *mode)
{
	uint8_t head[4] = {0};

	memcpy(head, d, bytes < 4 ? bytes : 4);
	return parse_mode(d, bytes, head[0] + 1u, 4, head[2], head[3], mode);
}

int scsi_parse_mode_10(const uint8_t *d, size_t bytes, struct scsi_mode *mode)
{
	uint8_t head[8] = {0};

	memcpy(head, d, bytes < 8 ? bytes : 8);
	return parse_mode(d, bytes, be16_at(head) + 2u, 8, head[3], be16_at(head + 6), mode);
}

/* ---- LUNs ---- */

/* Peripheral device addressing on bus 0, or flat space addressing, one level (SAM-5, 4.7.7). */
static int lun_number(const uint8_t *a)
{
	for (unsigned i = 2; i < 8; i++)
		if (a[i])
			return -1;
	return a[0] == 0 || a[0] == 0x40 ? a[1] : -1;
}

unsigned scsi_parse_luns(const uint8_t *d, size_t bytes, uint8_t *lun, unsigned most)
{
	size_t left = bytes < 8 ? 0 : be32_at(d);
	unsigned n = 0;

	if (bytes >= 8 && left > bytes - 8)
		left = bytes - 8;
	for (const uint8_t *at = d + 8; left >= 8 && n < most; left -= 8, at += 8) {
		int number = lun_number(at);

		if (number >= 0 && !memchr(lun, number, n))
			lun[n++] = (uint8_t)number;
	}
	return n;
}
