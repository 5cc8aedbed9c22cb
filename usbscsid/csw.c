/* SPDX-License-Identifier: MIT */
#include "bot.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

static uint32_t le32_at(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return le32toh(value);
}

int csw_parse(const uint8_t *from, size_t bytes, uint32_t tag, uint32_t length, struct csw *csw,
	      const char **why)
{
	uint8_t copy[CSW_BYTES] = {0};

	memcpy(copy, from, bytes < sizeof(copy) ? bytes : sizeof(copy));
	csw->residue = le32_at(copy + 8);
	csw->status = copy[12];
	if (bytes != CSW_BYTES)
		*why = "it is not 13 bytes long";
	else if (le32_at(copy) != CSW_SIGNATURE)
		*why = "its signature is wrong";
	else if (le32_at(copy + 4) != tag)
		*why = "its tag is another command's";
	else if (csw->status > CSW_PHASE_ERROR)
		*why = "its status is above 2";
	else if (csw->status != CSW_PHASE_ERROR && csw->residue > length)
		*why = "its residue is more than was asked for";
	else
		return 0;
	return -EPROTO;
}
