/* SPDX-License-Identifier: MIT */
#include "pipes.h"

#include <errno.h>
#include <libusb-1.0/libusb.h>
#include <string.h>

#define PIPE_USAGE 0x24 /* UAS, 5.2.3.5: bPipeID behind the endpoint that it is about */
#define PIPE_USAGE_BYTES 4
#define MOST_STREAMS_EXPONENT 16

/* An alternate setting while its descriptors go by. */
struct setting {
	bool ours;
	uint8_t alternate, protocol;
	struct bulk_pipe in, out;  /* the first of each direction */
	struct bulk_pipe last;	   /* the last bulk endpoint: what follows is about it */
	uint8_t pipe_id;	   /* of the last one */
	struct bulk_pipe usage[5]; /* by pipe ID */
};

static void close_endpoint(struct setting *s)
{
	if (s->last.endpoint && s->pipe_id)
		s->usage[s->pipe_id] = s->last;
	s->last = (struct bulk_pipe){0};
	s->pipe_id = 0;
}

static bool directions_right(const struct setting *s)
{
	static const uint8_t in[] = {[1] = 0, [2] = 0x80, [3] = 0x80, [4] = 0};

	for (unsigned i = 1; i <= 4; i++)
		if (!s->usage[i].endpoint || (s->usage[i].endpoint & 0x80) != in[i])
			return false;
	return true;
}

static void close_setting(struct setting *s, struct storage_pipes *pipes)
{
	close_endpoint(s);
	if (s->ours && s->protocol == USB_PROTOCOL_BOT && !pipes->bot.found && s->in.endpoint &&
	    s->out.endpoint)
		pipes->bot = (struct bot_pipes){true, s->alternate, s->in, s->out};
	if (s->ours && s->protocol == USB_PROTOCOL_UAS && !pipes->uas.found && directions_right(s))
		pipes->uas = (struct uas_pipes){true,	     s->alternate, s->usage[1],
						s->usage[2], s->usage[3],  s->usage[4]};
	*s = (struct setting){0};
}

static void open_setting(struct setting *s, const uint8_t *d, int interface)
{
	s->ours = d[2] == interface && d[5] == USB_CLASS_STORAGE && d[6] == USB_SUBCLASS_SCSI;
	s->alternate = d[3];
	s->protocol = d[7];
}

static void open_endpoint(struct setting *s, const uint8_t *d)
{
	struct bulk_pipe *first = d[2] & 0x80 ? &s->in : &s->out;

	close_endpoint(s);
	if ((d[3] & 3) != LIBUSB_ENDPOINT_TRANSFER_TYPE_BULK || !(d[2] & 0x0f) || d[2] & 0x70)
		return;
	s->last = (struct bulk_pipe){.endpoint = d[2],
				     .packet = (uint16_t)((d[4] | d[5] << 8) & 0x7ff)};
	if (!s->last.packet)
		s->last.endpoint = 0;
	else if (!first->endpoint)
		*first = s->last;
}

static void companion(struct setting *s, const uint8_t *d)
{
	s->last.streams = d[3] & 0x1f;
	if (s->last.streams > MOST_STREAMS_EXPONENT)
		s->last.streams = 0;
}

static void descriptor(struct setting *s, const uint8_t *d, int interface,
		       struct storage_pipes *pipes)
{
	if (d[1] == LIBUSB_DT_INTERFACE && d[0] >= LIBUSB_DT_INTERFACE_SIZE) {
		close_setting(s, pipes);
		open_setting(s, d, interface);
	} else if (d[1] == LIBUSB_DT_ENDPOINT && d[0] >= LIBUSB_DT_ENDPOINT_SIZE) {
		open_endpoint(s, d);
	} else if (d[1] == LIBUSB_DT_SS_ENDPOINT_COMPANION &&
		   d[0] >= LIBUSB_DT_SS_ENDPOINT_COMPANION_SIZE) {
		companion(s, d);
	} else if (d[1] == PIPE_USAGE && d[0] >= PIPE_USAGE_BYTES && d[2] <= 4) {
		s->pipe_id = d[2];
	}
}

int pipes_parse(const uint8_t *d, size_t bytes, uint8_t interface, struct storage_pipes *pipes)
{
	struct setting s = {0};

	memset(pipes, 0, sizeof(*pipes));
	while (bytes >= 2 && d[0] >= 2 && d[0] <= bytes) {
		descriptor(&s, d, interface, pipes);
		bytes -= d[0];
		d += d[0];
	}
	close_setting(&s, pipes);
	return pipes->bot.found || pipes->uas.found ? 0 : -ENOENT;
}

int pipes_find_interface(const uint8_t *configuration, size_t bytes)
{
	struct storage_pipes pipes;

	for (int i = 0; i < 256; i++)
		if (!pipes_parse(configuration, bytes, (uint8_t)i, &pipes))
			return i;
	return -ENOENT;
}
