/* SPDX-License-Identifier: MIT */
#include "link.h"

#include <errno.h>

int usb_data_pieces(const struct usb_data *data, struct ringabi_usb_segment *piece, unsigned most)
{
	const struct pcidipc_segment *s = data->segments;
	uint64_t skip = data->skip;
	uint32_t left = data->bytes;
	unsigned n = 0;

	while (left && skip >= s->bytes)
		skip -= s++->bytes;
	for (; left; s++, skip = 0) {
		uint64_t room = s->bytes - skip;
		uint32_t bytes = room < left ? (uint32_t)room : left;

		if (n == most)
			return -EINVAL;
		piece[n++] = (struct ringabi_usb_segment){
			.addr = s->iova + skip, .len = bytes, .buf_index = data->pool};
		left -= bytes;
	}
	return (int)n;
}
