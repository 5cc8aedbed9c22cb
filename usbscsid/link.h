/* SPDX-License-Identifier: MIT */
/*
 * The way to one USB interface, as usbscsid needs it: a table of functions with two
 * implementations, xhcid's ring (link_ring.c) and libusb (link_libusb.c). Tests have a third one.
 * One thread.
 *
 * Errors: -EPIPE (the endpoint is halted), -EOVERFLOW (babble), -EPROTO (transaction errors),
 * -ETIMEDOUT, -ECANCELED, -ENODEV (the device is gone), -ENOENT (no such descriptor or endpoint).
 */
#ifndef USBSCSID_LINK_H
#define USBSCSID_LINK_H

#include <pcidipc/blockserve.h>
#include <pcidipc/consumer.h>
#include <ringabi/usb.h>

struct usb_link;

/* Where the data of a transfer lies: `bytes` of the segments, from `skip` bytes behind the first
 * one's start. The segments are offsets in the link's pool number `pool`. */
struct usb_data {
	const struct pcidipc_segment *segments;
	uint64_t skip;
	uint32_t bytes;
	uint16_t pool;
};

/* Cut into pieces of one segment each; returns their number, or -EINVAL: more than `most`. The
 * segments hold skip + bytes, which the caller has seen to: their number is not known here. */
int usb_data_pieces(const struct usb_data *data, struct ringabi_usb_segment *piece, unsigned most);

/* A bulk transfer: the caller's, in place until done. */
struct usb_transfer {
	void (*done)(struct usb_transfer *transfer, int res); /* bytes moved, or -errno */
	struct usb_data data;
	uint8_t endpoint;
	uint16_t stream;
	uint32_t timeout_ms; /* 0: none */
	bool then; /* link->chains only: the transfer that is submitted next, and flushed with this
		      one, begins when this one has succeeded, and is canceled when it has not */
	bool expect; /* link->chains only, in the link's own pool: for `then` it has succeeded if
			what came equals the bytes at its buffer + RINGABI_USB_MAX_EXPECTED; `done`
			gets how many came either way */
	struct pcidipc_buf *list; /* of the link's own pool, for the pieces of a transfer with more
				     than one segment: LINK_LIST_BYTES */
	/* the link's */
	struct pcidipc_op op;
	struct pcidipc_list link;
	void *native;
};
#define LINK_LIST_BYTES (RINGABI_USB_MAX_SEGMENTS * sizeof(struct ringabi_usb_segment))

/* A setup packet, in the host's byte order. */
struct usb_setup {
	uint8_t type, request;
	uint16_t value, index, length;
};

struct usb_link_ops {
	/* Tasks. Bytes, or -errno. */
	int (*descriptor)(struct usb_link *link, unsigned type, unsigned index, void *to,
			  size_t room);
	/* Claim the interface with this alternate setting; returns the streams granted. */
	int (*configure)(struct usb_link *link, unsigned alternate, unsigned streams);
	int (*control)(struct usb_link *link, const struct usb_setup *setup, void *data,
		       uint32_t timeout_ms);
	int (*clear_halt)(struct usb_link *link, uint8_t endpoint);
	/* Cancel what is queued; `done` may still be called for it after this has returned. */
	int (*stop)(struct usb_link *link, uint8_t endpoint, uint16_t stream);
	/* Port reset; configuration and endpoints are as after configure. */
	int (*reset)(struct usb_link *link);

	/* Hot. Never calls `done` from inside. -errno: not queued. */
	int (*submit)(struct usb_link *link, struct usb_transfer *transfer);
	/* What was submitted goes out now. */
	void (*flush)(struct usb_link *link);

	/* Clients' pools, as scheme.h wants them. view->forwarded names the pool afterwards. */
	int (*pool_attach)(struct usb_link *link, struct pcidipc_pool_view *view);
	int (*pool_map)(struct usb_link *link, struct pcidipc_pool_view *view, uint64_t offset,
			uint64_t bytes);
	void (*pool_detach)(struct usb_link *link, struct pcidipc_pool_view *view);
	void (*close)(struct usb_link *link);
};

struct usb_link {
	const struct usb_link_ops *ops;
	struct pcidipc_loop *loop;
	struct pcidipc_pool *pool; /* memory of our own that the device reaches ... */
	uint16_t pool_index;	   /* ... and its number */
	uint16_t vendor, product;
	uint8_t interface;     /* bInterfaceNumber */
	uint8_t configuration; /* bConfigurationValue */
	uint8_t speed;	       /* RINGABI_USB_SPEED_* */
	uint32_t most_bytes;   /* of one transfer */
	bool chains;	       /* it knows usb_transfer.then */
	/* The device is gone, or the way to it; called once, everything in flight completes too. */
	void (*lost)(struct usb_link *link, int error);
	void *user;
};

/* Through xhcid, which pcid joined us to. */
int link_ring_open(struct pcidipc_loop *loop, struct usb_link **link);
/* Through the kernel's USB stack: `device` is "BUS:DEV", in decimal; interface -1: the first one
 * that is mass storage. The kernel copies the data. */
int link_libusb_open(struct pcidipc_loop *loop, const char *device, int interface,
		     struct usb_link **link);

#endif
