/* SPDX-License-Identifier: MIT */
/*
 * Descriptors (USB 2.0, 9.6; USB 3.2, 9.6), as a device gives them: nothing in them is to be
 * trusted. Pure code. What is found to be wrong is described in `fault`, where there is one.
 */
#ifndef DESCRIPTOR_H
#define DESCRIPTOR_H

#include <libusb-1.0/libusb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_INTERFACES 32
#define MAX_STRINGS 12
#define MAX_ENDPOINTS 30 /* 15 in each direction */

/* Everything of one device that xhcid keeps. */
struct descriptors {
	uint8_t device[LIBUSB_DT_DEVICE_SIZE];
	uint8_t *config; /* the whole configuration in use */
	uint8_t *bos;
	uint16_t config_bytes, bos_bytes;
	uint16_t language; /* of the strings */
	unsigned nstrings;
	struct string_descriptor {
		uint8_t index;
		uint8_t raw[255]; /* raw[0]: bytes */
	} * strings;
};
void descriptors_free(struct descriptors *d);

/* What an interface's first alternate setting says. */
struct interface_info {
	uint8_t number, alternates;
	uint8_t class_code, subclass, protocol;
	uint8_t string;
};

struct endpoint_info {
	uint8_t address;
	uint8_t type; /* LIBUSB_TRANSFER_TYPE_* */
	uint8_t interval;
	uint8_t burst;		 /* further packets in a burst */
	uint8_t mult;		 /* further transactions in a microframe (isochronous, interrupt) */
	uint8_t streams;	 /* log2 of the streams it has; 0: none */
	uint16_t packet;	 /* bytes */
	uint16_t interval_bytes; /* wBytesPerInterval; 0: not said */
};

static inline uint16_t descriptor_u16(const uint8_t *at)
{
	return (uint16_t)(at[0] | at[1] << 8);
}

/* A device descriptor of 18 bytes: 0 or -EPROTO. */
int descriptor_check_device(const uint8_t *raw, const char **fault);
/*
 * A configuration and what follows it, `bytes` in all as they were read. 0, and what is behind
 * wTotalLength is not looked at; or -EPROTO.
 */
int descriptor_check_config(const uint8_t *raw, size_t bytes, const char **fault);
/* The BOS and what follows it. */
int descriptor_check_bos(const uint8_t *raw, size_t bytes, const char **fault);

/* For a configuration that was checked: its interfaces. Returns their number. */
unsigned descriptor_interfaces(const uint8_t *raw, size_t bytes,
			       struct interface_info list[MAX_INTERFACES]);
/* The endpoints of one alternate setting: their number; -ENOENT: there is no such setting; -EPROTO.
 */
int descriptor_endpoints(const uint8_t *raw, size_t bytes, uint8_t interface, uint8_t alternate,
			 uint8_t speed, struct endpoint_info list[MAX_ENDPOINTS],
			 const char **fault);

/* By its BOS: does a device call the sublink speed with this number SuperSpeedPlus? */
bool descriptor_is_super_plus(const uint8_t *bos, size_t bytes, unsigned id);

/* A string descriptor as UTF-8, for people: no control characters, always terminated. */
void descriptor_text(const uint8_t *raw, char *to, size_t room);
const struct string_descriptor *descriptors_string(const struct descriptors *d, unsigned index);

#endif
