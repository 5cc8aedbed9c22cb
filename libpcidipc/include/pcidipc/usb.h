/* SPDX-License-Identifier: MIT */
/*
 * The USB interface for the driver of one USB interface (ringabi/usb.h): what a class driver that
 * pcid started below xhcid uses. One thread. Calls that need an answer block outside of a task and
 * await inside one; transfers are operations (consumer.h), submitted and completed without waiting.
 *
 * The errors are those of ringabi/usb.h; -ENOTCONN, -EPROTO or -ENODEV where the connection ended.
 */
#ifndef PCIDIPC_USB_H
#define PCIDIPC_USB_H

#include <pcidipc/consumer.h>
#include <ringabi/usb.h>

struct pcidipc_usb;
struct pcidipc_pool_view;

struct pcidipc_usb_info {
	uint16_t vendor, product;
	uint16_t device_release; /* bcdDevice */
	uint16_t usb_release;	 /* bcdUSB */
	uint8_t interface;	 /* bInterfaceNumber */
	uint8_t alternates;	 /* how many alternate settings it has */
	uint8_t configuration;	 /* bConfigurationValue */
	uint8_t speed;		 /* RINGABI_USB_SPEED_* */
	uint32_t address;	 /* of the device on its bus */
};

/* A setup packet (USB 2.0, 9.3), in the host's byte order. */
struct pcidipc_usb_setup {
	uint8_t type;	 /* bmRequestType; 0x80: data comes from the device */
	uint8_t request; /* bRequest */
	uint16_t value;
	uint16_t index;
	uint16_t length; /* bytes of data */
};

/*
 * Connect to who announced the interface ($PCID_PARENT_CHANNEL, which is removed from the
 * environment), on `loop`. -ENOENT: there is no such channel. After pcidipc_pci_open, and to be
 * closed before it: should the announcer die, what is in flight completes, with -ENODEV, when pcid
 * has said that the controller was stopped, so that nobody writes to its memory any more.
 */
int pcidipc_usb_open(struct pcidipc_loop *loop, struct pcidipc_usb **usb);
/* The same over a channel that the caller has; it is taken over, on failure too. For tests. */
int pcidipc_usb_adopt(struct pcidipc_loop *loop, int channel, struct pcidipc_usb **usb);
void pcidipc_usb_close(struct pcidipc_usb *usb);
struct pcidipc_consumer *pcidipc_usb_consumer(struct pcidipc_usb *usb);
const struct pcidipc_usb_info *pcidipc_usb_info(const struct pcidipc_usb *usb);
/*
 * `event`: RINGABI_EVENT_REMOVED, the device is gone (requests in flight still complete). `lost`:
 * the connection ended, after all in flight has completed with its error. Either may be NULL. Not
 * the place to close `usb`.
 */
void pcidipc_usb_on_event(struct pcidipc_usb *usb, void (*event)(uint32_t event, void *arg),
			  void (*lost)(int error, void *arg), void *arg);

/* ---- calls ---- */

/*
 * A descriptor as the device gave it, up to `room` bytes of it. `type`: 1 device, 2 the whole
 * configuration, 3 string (`language`: 0 for the first that the device has), 15 BOS. Bytes written,
 * or -ENOENT: the device has none.
 */
int pcidipc_usb_descriptor(struct pcidipc_usb *usb, unsigned type, unsigned index,
			   unsigned language, void *to, size_t room);
/*
 * Claim the interface with this alternate setting and bring its endpoints up, with up to `streams`
 * bulk streams (a power of two; 0: none) on those that have any. Returns the streams granted: their
 * numbers are 1 to that.
 */
int pcidipc_usb_configure(struct pcidipc_usb *usb, unsigned alternate, unsigned streams);
/*
 * A control transfer on the default endpoint; `data` holds or takes setup->length bytes, at most
 * 65535. timeout_ms 0: 5 s. Bytes moved. -EPERM: a request that would reach beyond the interface.
 */
int pcidipc_usb_control(struct pcidipc_usb *usb, const struct pcidipc_usb_setup *setup, void *data,
			uint32_t timeout_ms);
/* CLEAR_FEATURE(ENDPOINT_HALT) and the host's side of it: the data toggle begins anew. */
int pcidipc_usb_clear_halt(struct pcidipc_usb *usb, uint8_t endpoint);
/* Cancel what is queued on an endpoint (stream 0: on all of its streams): complete when this
 * returns, but perhaps not yet reaped. */
int pcidipc_usb_stop(struct pcidipc_usb *usb, uint8_t endpoint, uint16_t stream);
/* Port reset. Everything in flight is canceled; configuration and endpoints are restored. */
int pcidipc_usb_reset(struct pcidipc_usb *usb);

/* ---- transfers ---- */

/* A bulk or interrupt transfer. The buffer is in the pool `index`, attached with
 * pcidipc_consumer_attach_pool or pcidipc_usb_pool_attach. */
struct pcidipc_usb_transfer {
	uint8_t endpoint; /* bEndpointAddress */
	uint8_t flags;	  /* RINGABI_USB_SHORT_NOT_OK, _ZERO_PACKET, _EXPECT; not _SG */
	uint16_t stream;
	uint16_t index;
	bool linked; /* IOSQE_IO_LINK: what is queued next begins when this one has succeeded, and
			is canceled when it has not; to be submitted together */
	uint32_t bytes;
	uint32_t timeout_ms; /* 0: none */
	uint64_t offset;     /* in the pool */
};
/*
 * Queue one: it is with the producer after pcidipc_submit(pcidipc_usb_consumer(usb)). Its CQE,
 * whose res is the bytes moved or the error, completes `op`. -EAGAIN: too many in flight, or more
 * linked ones than the SQ holds.
 */
int pcidipc_usb_transfer(struct pcidipc_usb *usb, const struct pcidipc_usb_transfer *transfer,
			 struct pcidipc_op *op);
/*
 * The same for pieces: transfer->offset and ->index say where an array of transfer->bytes (not
 * bytes: their number, 1 to RINGABI_USB_MAX_SEGMENTS) struct ringabi_usb_segment lies, in memory of
 * the caller's own, which is read once, not later than the CQE.
 */
int pcidipc_usb_transfer_sg(struct pcidipc_usb *usb, const struct pcidipc_usb_transfer *transfer,
			    struct pcidipc_op *op);

/*
 * A client's pool, forwarded to the USB controller: the members pool_attach, pool_map and
 * pool_detach of the class driver's own scheme (scheme.h, blockserve.h). Afterwards
 * pool->forwarded is the index for transfers, and what the scheme gives out as a device address is
 * the offset in that pool.
 */
int pcidipc_usb_pool_attach(struct pcidipc_usb *usb, struct pcidipc_pool_view *pool);
int pcidipc_usb_pool_map(struct pcidipc_usb *usb, struct pcidipc_pool_view *pool, uint64_t offset,
			 uint64_t bytes);
void pcidipc_usb_pool_detach(struct pcidipc_usb *usb, struct pcidipc_pool_view *pool);

#endif
