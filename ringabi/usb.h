/* SPDX-License-Identifier: MIT */
/*
 * The USB interface: what xhcid offers to the driver of one USB interface. Requests are
 * IORING_OP_URING_CMD on a ring with RINGABI_RING_CQE32. (addr, len, buf_index) is the data
 * buffer where there is one. A transfer's res is the number of bytes moved. Errors: -EPIPE
 * (stall; the endpoint is halted until CLEAR_HALT), -EOVERFLOW (babble), -EPROTO (transaction
 * errors), -EBADMSG (not what was expected), -ETIMEDOUT, -ECANCELED, -ENODEV (the device is gone),
 * -ENOENT (no such endpoint or stream), -EFAULT and -ENXIO (buffer), -EINVAL, -EPERM (belongs to
 * another interface), -EBUSY (an endpoint of another setting has that number), -ENOSPC (bandwidth,
 * or memory for rings), -ENOMEM, -EIO. A time limit counts from when the transfer gets onto the
 * hardware's ring.
 */
#ifndef RINGABI_USB_H
#define RINGABI_USB_H

#include <ringabi/ring.h>

/* A cmd_op of this interface. */
#define RINGABI_USB_CMD(number) RINGABI_CMD_OP(RINGABI_INTERFACE_USB, number)

/*
 * INFO: big_cqe[0] = idVendor | idProduct << 16 | bcdDevice << 32 | bcdUSB << 48. big_cqe[1] =
 * interface number | alternate settings << 8 | configuration value << 16 | speed << 24
 * (RINGABI_USB_SPEED_*) | address of the device on its bus << 32.
 */
#define RINGABI_USB_INFO RINGABI_USB_CMD(1u)
#define RINGABI_USB_SPEED_LOW 1u
#define RINGABI_USB_SPEED_FULL 2u
#define RINGABI_USB_SPEED_HIGH 3u
#define RINGABI_USB_SPEED_SUPER 4u
#define RINGABI_USB_SPEED_SUPER_PLUS 5u

/*
 * DESCRIPTOR: reads from xhcid's copy, without a transfer. arg.value = type | index << 8 |
 * language << 16; type 2 gives the whole configuration. res: bytes written to the buffer.
 */
#define RINGABI_USB_DESCRIPTOR RINGABI_USB_CMD(2u)

/*
 * CONFIGURE: claim the interface with alternate setting arg.value and bring its endpoints up;
 * arg.streams = the most bulk streams wanted per endpoint (0: none), a power of two.
 * big_cqe[0] = streams granted.
 */
#define RINGABI_USB_CONFIGURE RINGABI_USB_CMD(3u)

/*
 * CONTROL: cmd[0..7] = the setup packet, cmd[8..11] = timeout in ms (0: 5000); wLength must equal
 * len. -EPERM: a request that would reach beyond the interface, or that another command is for
 * (SET_CONFIGURATION, SET_INTERFACE, CLEAR_FEATURE(ENDPOINT_HALT)).
 */
#define RINGABI_USB_CONTROL RINGABI_USB_CMD(4u)

/* TRANSFER: bulk or interrupt, direction as arg.endpoint says. RINGABI_USB_SG: see below. */
#define RINGABI_USB_TRANSFER RINGABI_USB_CMD(5u)
#define RINGABI_USB_SHORT_NOT_OK (1u << 0) /* a short packet gives -EREMOTEIO */
#define RINGABI_USB_ZERO_PACKET (1u << 1)  /* end an OUT transfer with a zero-length packet */
#define RINGABI_USB_SG (1u << 2)	   /* addr = offset of len struct ringabi_usb_segment */
/*
 * From the device only, and not with SG: what comes is expected to be the len bytes, 1 to
 * RINGABI_USB_MAX_EXPECTED, at addr + RINGABI_USB_MAX_EXPECTED of the same pool, read when the
 * request begins. Anything else, fewer bytes too, is in the buffer all the same and gives -EBADMSG
 * with big_cqe[0] = bytes moved: so a chain goes on only if the device has answered what is known
 * beforehand.
 */
#define RINGABI_USB_EXPECT (1u << 3)
#define RINGABI_USB_MAX_EXPECTED 16u

/*
 * CLEAR_HALT: CLEAR_FEATURE(ENDPOINT_HALT) and the host side's reset, together. When an endpoint
 * halts, what else was queued on it completes with -ECANCELED, and new transfers with -EPIPE until
 * this. On one that is not halted it cancels what is queued.
 */
#define RINGABI_USB_CLEAR_HALT RINGABI_USB_CMD(6u)
/* STOP: cancel everything on arg.endpoint and arg.stream (0: all); they complete -ECANCELED first.
 */
#define RINGABI_USB_STOP RINGABI_USB_CMD(7u)
/* RESET_DEVICE: port reset; the configuration and endpoints are restored. -EPERM: another interface
 * of the device is claimed. */
#define RINGABI_USB_RESET_DEVICE RINGABI_USB_CMD(8u)

/* The argument of every USB request but CONTROL. Unused fields are 0. */
struct ringabi_usb_arg {
	__u8 endpoint;	  /* bEndpointAddress: number | 0x80 for IN */
	__u8 flags;	  /* RINGABI_USB_SHORT_NOT_OK, ... */
	__u16 stream;	  /* 0: no stream */
	__u32 timeout_ms; /* 0: none */
	__u32 value;
	__u16 streams;
	__u16 reserved;
};
RINGABI_SIZE(ringabi_usb_arg, 16);
RINGABI_AT(ringabi_usb_arg, endpoint, 0);
RINGABI_AT(ringabi_usb_arg, flags, 1);
RINGABI_AT(ringabi_usb_arg, stream, 2);
RINGABI_AT(ringabi_usb_arg, timeout_ms, 4);
RINGABI_AT(ringabi_usb_arg, value, 8);
RINGABI_AT(ringabi_usb_arg, streams, 12);

struct ringabi_usb_segment {
	__u64 addr; /* offset in pool buf_index */
	__u32 len;
	__u16 buf_index;
	__u16 reserved;
};
RINGABI_SIZE(ringabi_usb_segment, 16);
RINGABI_AT(ringabi_usb_segment, addr, 0);
RINGABI_AT(ringabi_usb_segment, len, 8);
RINGABI_AT(ringabi_usb_segment, buf_index, 12);

/*
 * ---- the service usb/xhciN, of a controller: for people ----
 *
 * The same interface by number, other commands: a session of this service gets -EOPNOTSUPP for
 * those above, and the driver of an interface for these.
 */

/* PORTS: (addr, len, buf_index) gets an array of struct ringabi_usb_port, a hub's ports behind it.
 * res: bytes; what does not fit is left out. big_cqe[0] = how many ports there are. */
#define RINGABI_USB_PORTS RINGABI_USB_CMD(16u)
/* PEEK: DESCRIPTOR of any device: arg.streams = its slot. -ENODEV: there is none. */
#define RINGABI_USB_PEEK RINGABI_USB_CMD(17u)
/*
 * CAPTURE, on the admin socket only (-EPERM): the buffer, of RINGABI_USB_CAPTURE_MIN bytes at
 * least, gets packets, each a struct ringabi_usb_packet with len_cap bytes behind it, padded to a
 * multiple of 8. It completes when the next one does not fit, or a while after the first. res:
 * bytes. big_cqe[0] = packets lost since the session began, because no buffer was there.
 * arg.streams = a slot (0: all devices), arg.value = most bytes of data of a packet; both as the
 * first CAPTURE says. -EBUSY: somebody else captures.
 */
#define RINGABI_USB_CAPTURE RINGABI_USB_CMD(18u)
/* CAPTURE_END: what waits completes with what it has, 0 if nothing, and nothing is added. */
#define RINGABI_USB_CAPTURE_END RINGABI_USB_CMD(19u)
#define RINGABI_USB_CAPTURE_MIN 131072u
#define RINGABI_USB_CAPTURE_DATA 65536u /* most data bytes of a packet */

#define RINGABI_USB_PORT_OVERCURRENT (1u << 0)
#define RINGABI_USB_PORT_UNUSABLE (1u << 1) /* what is plugged in could not be enumerated */
#define RINGABI_USB_PORT_BUSY (1u << 2)	    /* it is being looked at */

struct ringabi_usb_port {
	__u8 path[24];	 /* "2-1.4", ends with a 0 */
	__u8 flags;	 /* RINGABI_USB_PORT_* */
	__u8 slot;	 /* of the device; 0: there is none, and the fields below are 0 */
	__u8 speed;	 /* RINGABI_USB_SPEED_* */
	__u8 hub_ports;	 /* that the device has; 0: it is no hub */
	__u8 interfaces; /* that the device has */
	__u8 reserved0;
	__u16 vendor;
	__u16 product;
	__u8 reserved[30];
};
RINGABI_SIZE(ringabi_usb_port, 64);
RINGABI_AT(ringabi_usb_port, path, 0);
RINGABI_AT(ringabi_usb_port, flags, 24);
RINGABI_AT(ringabi_usb_port, slot, 25);
RINGABI_AT(ringabi_usb_port, speed, 26);
RINGABI_AT(ringabi_usb_port, hub_ports, 27);
RINGABI_AT(ringabi_usb_port, interfaces, 28);
RINGABI_AT(ringabi_usb_port, vendor, 30);
RINGABI_AT(ringabi_usb_port, product, 32);

/* As Linux's usbmon has it (Documentation/usb/usbmon.rst), and pcap's link type 220. */
struct ringabi_usb_packet {
	__u64 id;	 /* a submission's and its completion's */
	__u8 type;	 /* 'S' submission, 'C' completion */
	__u8 transfer;	 /* 1 interrupt, 2 control, 3 bulk */
	__u8 endpoint;	 /* bEndpointAddress */
	__u8 device;	 /* the slot */
	__u16 bus;	 /* 2 or 3: the protocol of the root port */
	__u8 flag_setup; /* 0: `setup` is there, else '-' */
	__u8 flag_data;	 /* 0: data is there, else '<', '>' */
	__s64 seconds;	 /* CLOCK_REALTIME */
	__s32 microseconds;
	__s32 status;
	__u32 length; /* asked for; moved */
	__u32 len_cap;
	__u8 setup[8];
	__s32 interval;
	__s32 start_frame;
	__u32 flags;
	__u32 descriptors;
};
RINGABI_SIZE(ringabi_usb_packet, 64);
RINGABI_AT(ringabi_usb_packet, id, 0);
RINGABI_AT(ringabi_usb_packet, type, 8);
RINGABI_AT(ringabi_usb_packet, transfer, 9);
RINGABI_AT(ringabi_usb_packet, endpoint, 10);
RINGABI_AT(ringabi_usb_packet, device, 11);
RINGABI_AT(ringabi_usb_packet, bus, 12);
RINGABI_AT(ringabi_usb_packet, flag_setup, 14);
RINGABI_AT(ringabi_usb_packet, flag_data, 15);
RINGABI_AT(ringabi_usb_packet, seconds, 16);
RINGABI_AT(ringabi_usb_packet, microseconds, 24);
RINGABI_AT(ringabi_usb_packet, status, 28);
RINGABI_AT(ringabi_usb_packet, length, 32);
RINGABI_AT(ringabi_usb_packet, len_cap, 36);
RINGABI_AT(ringabi_usb_packet, setup, 40);
RINGABI_AT(ringabi_usb_packet, interval, 48);
RINGABI_AT(ringabi_usb_packet, start_frame, 52);
RINGABI_AT(ringabi_usb_packet, flags, 56);
RINGABI_AT(ringabi_usb_packet, descriptors, 60);

#define RINGABI_USB_MAX_SEGMENTS 128u
#define RINGABI_USB_MAX_BYTES (16u << 20) /* of one TRANSFER; more: -EINVAL */

#endif
