/* SPDX-License-Identifier: MIT */
/* What a configuration descriptor says about a mass storage interface: its alternate settings with
 * a transport that we speak, and their pipes. The descriptor is a device's word. */
#ifndef USBSCSID_PIPES_H
#define USBSCSID_PIPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define USB_CLASS_STORAGE 0x08
#define USB_SUBCLASS_SCSI 0x06
#define USB_PROTOCOL_BOT 0x50 /* Bulk-Only Transport 1.0, 4.3 */
#define USB_PROTOCOL_UAS 0x62 /* USB Attached SCSI (T10/2095-D), 5.2.3.3 */

struct bulk_pipe {
	uint8_t endpoint; /* bEndpointAddress, 0: there is none */
	uint8_t streams;  /* exponent: up to 2^streams of them (USB 3.2, 9.6.7); 0: none */
	uint16_t packet;  /* wMaxPacketSize */
};

struct bot_pipes {
	bool found;
	uint8_t alternate;
	struct bulk_pipe in, out;
};

/* By pipe usage (UAS, 5.2.3.5). */
struct uas_pipes {
	bool found;
	uint8_t alternate;
	struct bulk_pipe command, status, in, out;
};

struct storage_pipes {
	struct bot_pipes bot;
	struct uas_pipes uas;
};

/* The first usable alternate setting of each kind. -ENOENT: none of either. */
int pipes_parse(const uint8_t *configuration, size_t bytes, uint8_t interface,
		struct storage_pipes *pipes);
/* The number of the first mass storage interface that we can drive, or -ENOENT. */
int pipes_find_interface(const uint8_t *configuration, size_t bytes);

#endif
