/* SPDX-License-Identifier: MIT */
/*
 * The USB interface: what xhcid offers to the driver of one USB interface. Requests are
 * IORING_OP_URING_CMD on a ring with RINGABI_RING_CQE32. (addr, len, buf_index) is the data
 * buffer where there is one. A transfer's res is the number of bytes moved. Errors: -EPIPE
 * (stall; the endpoint is halted until CLEAR_HALT), -EOVERFLOW (babble), -EPROTO (transaction
 * errors), -ETIMEDOUT, -ECANCELED, -ENODEV (the device is gone), -ENOENT (no such endpoint or
 * stream), -EFAULT and -ENXIO (buffer), -EINVAL, -EPERM (belongs to another interface).
 */
#ifndef RINGABI_USB_H
#define RINGABI_USB_H

#include <ringabi/ring.h>

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
 * CLEAR_HALT: CLEAR_FEATURE(ENDPOINT_HALT) and the host side's reset, together. When an endpoint
 * halts, what else was queued on it completes with -ECANCELED, and new transfers with -EPIPE until
 * this. On one that is not halted it cancels what is queued.
 */
#define RINGABI_USB_CLEAR_HALT RINGABI_USB_CMD(6u)
/* STOP: cancel everything on arg.endpoint and arg.stream (0: all); they complete -ECANCELED first.
 */
#define RINGABI_USB_STOP RINGABI_USB_CMD(7u)
/* RESET_DEVICE: port reset; the configuration and endpoints are restored. */
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

#define RINGABI_USB_MAX_SEGMENTS 128u
#define RINGABI_USB_MAX_BYTES (16u << 20) /* of one TRANSFER; more: -EINVAL */

#endif
