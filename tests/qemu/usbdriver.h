/* SPDX-License-Identifier: MIT */
/*
 * A driver of a mass storage interface that does what a test tells it to, step by step: it speaks
 * Bulk-Only Transport or UAS by hand. It is the test program itself, started by pcid below xhcid
 * with the argument "driver".
 */
#ifndef TESTS_QEMU_USBDRIVER_H
#define TESTS_QEMU_USBDRIVER_H

#include "rig.h"

enum usb_step {
	USB_SPEED,	/* RINGABI_USB_SPEED_* */
	USB_CONFIGURE,	/* a: streams wanted; streams granted */
	USB_READ,	/* a: first block, b: blocks, c: pieces; fnv of the data, or -errno */
	USB_WRITE,	/* the same; c: seed of the data */
	USB_READ_UAS,	/* as USB_READ, with a stream */
	USB_NONSENSE,	/* a command block that is none: what the next transfer gets */
	USB_CLEAR,	/* clear both halts */
	USB_RESET,	/* the device */
	USB_MAX_LUN,	/* Get Max LUN */
	USB_DESCRIPTOR, /* a: type, b: index; length << 32 | fnv */
	USB_FORBIDDEN,	/* requests that must be refused: how many were not */
	USB_HANG,	/* UAS: wait for a status that does not come; 0 as soon as it is queued */
	USB_HUNG,	/* wait for it: its result */
	USB_STOP,	/* stop the endpoint that it waits on, its stream a (0: all) */
	USB_TIMEOUT,	/* USB_HANG with a time limit of a ms, and its result */
};

/* The driver's whole life; its exit status. */
int usb_driver(void);

/* In the test: connect to the nth driver that pcid started. -1: there is none. */
int usb_connect(struct rig *rig, unsigned n);
int64_t usb_step(int fd, enum usb_step step, uint32_t a, uint32_t b, uint32_t c);
uint32_t usb_fnv(const unsigned char *bytes, size_t n);
/* What USB_WRITE writes. */
void usb_pattern(unsigned char *bytes, size_t n, uint32_t seed);

#endif
