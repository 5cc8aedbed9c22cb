/* SPDX-License-Identifier: MIT */
/* Registers, TRBs and contexts (xHCI 1.2, chapters 5 and 6). All little-endian. */
#ifndef REGS_H
#define REGS_H

#include <stdint.h>

/* Host Controller Capability Registers (5.3), from the start of BAR 0. */
#define CAP_LENGTH 0x00u /* CAPLENGTH, HCIVERSION << 16 */
#define CAP_HCSPARAMS1 0x04u
#define CAP_HCSPARAMS2 0x08u
#define CAP_HCCPARAMS1 0x10u
#define CAP_DBOFF 0x14u
#define CAP_RTSOFF 0x18u

#define HCC_AC64 (1u << 0) /* 64-bit addresses */
#define HCC_CSZ (1u << 2)  /* 64-byte contexts */
#define HCC_PPC (1u << 3)  /* ports have power switches */

/* Host Controller Operational Registers (5.4). */
#define OP_USBCMD 0x00u
#define USBCMD_RUN (1u << 0)
#define USBCMD_RESET (1u << 1)
#define USBCMD_INTE (1u << 2)
#define USBCMD_HSEE (1u << 3)
#define OP_USBSTS 0x04u
#define USBSTS_HALTED (1u << 0)
#define USBSTS_SYSTEM_ERROR (1u << 2)
#define USBSTS_NOT_READY (1u << 11)
#define USBSTS_CONTROLLER_ERROR (1u << 12)
#define OP_PAGESIZE 0x08u
#define OP_CRCR 0x18u
#define CRCR_CYCLE (1u << 0)
#define CRCR_ABORT (1u << 2)
#define CRCR_RUNNING (1u << 3)
#define OP_DCBAAP 0x30u
#define OP_CONFIG 0x38u
#define OP_PORTSC 0x400u /* of port 1; 16 bytes each */
#define PORT_BYTES 0x10u

#define PORTSC_CONNECTED (1u << 0)
#define PORTSC_ENABLED (1u << 1) /* writing 1 disables */
#define PORTSC_OVERCURRENT (1u << 3)
#define PORTSC_RESET (1u << 4)
#define PORTSC_LINK(v) ((v) >> 5 & 15u)
#define LINK_U0 0u
#define LINK_DISABLED 4u
#define LINK_RX_DETECT 5u
#define LINK_INACTIVE 6u
#define LINK_POLLING 7u
#define LINK_COMPLIANCE 10u
#define PORTSC_POWER (1u << 9)
#define PORTSC_SPEED(v) ((v) >> 10 & 15u)
#define PORTSC_CONNECT_CHANGE (1u << 17)
#define PORTSC_ENABLE_CHANGE (1u << 18)
#define PORTSC_WARM_RESET_CHANGE (1u << 19)
#define PORTSC_OVERCURRENT_CHANGE (1u << 20)
#define PORTSC_RESET_CHANGE (1u << 21)
#define PORTSC_LINK_CHANGE (1u << 22)
#define PORTSC_CONFIG_ERROR (1u << 23)
#define PORTSC_CHANGES (0x7fu << 17) /* written as 1 to clear */
#define PORTSC_WARM_RESET (1u << 31)
#define PORTSC_KEEP (PORTSC_POWER | 3u << 14 | 7u << 25) /* written back as they are */

/* Interrupter 0's registers (5.5.2), from the start of the runtime registers. */
#define RT_IMAN 0x20u
#define IMAN_PENDING (1u << 0)
#define IMAN_ENABLE (1u << 1)
#define RT_IMOD 0x24u
#define RT_ERSTSZ 0x28u
#define RT_ERSTBA 0x30u
#define RT_ERDP 0x38u
#define ERDP_BUSY (1u << 3)

/* Extended capabilities (chapter 7). */
#define XECP_LEGACY 1u
#define LEGACY_BIOS_OWNED (1u << 16)
#define LEGACY_OS_OWNED (1u << 24)
#define LEGACY_CTLSTS 4u	    /* bytes behind */
#define LEGACY_SMI_KEEP 0x1fee1feeu /* reserved bits of it, written back */
#define LEGACY_SMI_CLEAR (7u << 29) /* events, written as 1 to clear */
#define XECP_PROTOCOL 2u
#define PROTOCOL_NAME 0x20425355u /* "USB " */

/* Transfer Request Blocks (6.4). */
struct trb {
	uint64_t parameter;
	uint32_t status;
	uint32_t control;
};

#define TRB_CYCLE (1u << 0)
#define TRB_TOGGLE (1u << 1) /* Link: Toggle Cycle */
#define TRB_ISP (1u << 2)    /* an event on a short packet */
#define TRB_CHAIN (1u << 4)
#define TRB_IOC (1u << 5) /* an event on completion */
#define TRB_IDT (1u << 6) /* the parameter is the data */
#define TRB_TYPE(type) ((uint32_t)(type) << 10)
#define TRB_TYPE_OF(control) ((control) >> 10 & 63u)
#define TRB_DIR_IN (1u << 16)  /* Data and Status Stage */
#define TRB_TRT_OUT (2u << 16) /* Setup Stage: a data stage follows, OUT or IN */
#define TRB_TRT_IN (3u << 16)
#define TRB_SLOT(slot) ((uint32_t)(slot) << 24)
#define TRB_SLOT_OF(control) ((control) >> 24)
#define TRB_DCI(dci) ((uint32_t)(dci) << 16)
#define TRB_DCI_OF(control) ((control) >> 16 & 31u)
#define TRB_LENGTH_MASK 0x1ffffu
#define TRB_EVENT_DATA (1u << 2)  /* in a Transfer Event */
#define TRB_DECONFIGURE (1u << 9) /* Configure Endpoint */
#define TRB_BYTES 16u
#define TRB_MOST_BYTES 65536u /* of data, which must not cross a multiple of that */

enum trb_type {
	TRB_NORMAL = 1,
	TRB_SETUP = 2,
	TRB_DATA = 3,
	TRB_STATUS = 4,
	TRB_LINK = 6,
	TRB_ENABLE_SLOT = 9,
	TRB_DISABLE_SLOT = 10,
	TRB_ADDRESS_DEVICE = 11,
	TRB_CONFIGURE_ENDPOINT = 12,
	TRB_EVALUATE_CONTEXT = 13,
	TRB_RESET_ENDPOINT = 14,
	TRB_STOP_ENDPOINT = 15,
	TRB_SET_DEQUEUE = 16,
	TRB_RESET_DEVICE = 17,
	TRB_TRANSFER_EVENT = 32,
	TRB_COMMAND_EVENT = 33,
	TRB_PORT_EVENT = 34,
	TRB_CONTROLLER_EVENT = 37,
	TRB_MFINDEX_EVENT = 39,
};

/* Completion codes (6.4.5). */
enum completion_code {
	CC_SUCCESS = 1,
	CC_DATA_BUFFER = 2,
	CC_BABBLE = 3,
	CC_TRANSACTION = 4,
	CC_TRB = 5,
	CC_STALL = 6,
	CC_RESOURCE = 7,
	CC_BANDWIDTH = 8,
	CC_NO_SLOTS = 9,
	CC_SLOT_NOT_ENABLED = 11,
	CC_SHORT_PACKET = 13,
	CC_RING_UNDERRUN = 14,
	CC_RING_OVERRUN = 15,
	CC_PARAMETER = 17,
	CC_CONTEXT_STATE = 19,
	CC_EVENT_RING_FULL = 21,
	CC_RING_STOPPED = 24,
	CC_ABORTED = 25,
	CC_STOPPED = 26,
	CC_STOPPED_LENGTH = 27,
	CC_STOPPED_SHORT = 28,
	CC_SPLIT = 36,
};

/* Contexts (6.2), as 32-bit words. */
#define SLOT_ENTRIES(n) ((uint32_t)(n) << 27)
#define SLOT_HUB (1u << 26)
#define SLOT_MTT (1u << 25)
#define SLOT_SPEED(s) ((uint32_t)(s) << 20)
#define SLOT_PORT(p) ((uint32_t)(p) << 16)
#define SLOT_PORTS(n) ((uint32_t)(n) << 24)
#define SLOT_THINK_TIME(t) ((uint32_t)(t) << 16)
#define SLOT_ADDRESS_MASK 0xffu /* word 3 of an output context */

#define EP_STATE(word) ((word)&7u)
#define EP_DISABLED 0u
#define EP_RUNNING 1u
#define EP_HALTED 2u
#define EP_STOPPED 3u
#define EP_ERROR 4u
#define EP_LINEAR_STREAMS (1u << 15)
#define EP_ERRORS (3u << 1) /* CErr: three tries */

/* USB's speeds as xHCI numbers them (7.2.2.1.1), the default protocol speed ids. */
#define SPEED_FULL 1u
#define SPEED_LOW 2u
#define SPEED_HIGH 3u
#define SPEED_SUPER 4u
#define SPEED_SUPER_PLUS 5u

#endif
