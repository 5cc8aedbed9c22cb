/* SPDX-License-Identifier: MIT */
/* Sticks on QEMU's xHCI controller, and the disks that xhcid and usbscsid make of them. */
#ifndef TESTS_QEMU_USBRIG_H
#define TESTS_QEMU_USBRIG_H

#include "client.h"
#include "rig.h"

/* xhcid and usbscsid, which is started again however often it dies. */
extern const char usb_config[];

/* The controller "x": ports 1 to 12 take sticks of USB 2 and 3. */
void usb_controller(struct rig *rig);
/* A drive "d-NAME" that is the image "NAME.img"; `more`: further properties, or "". */
void usb_drive(struct rig *rig, const char *name, const char *more);
/* A Bulk-Only stick at a port ("1", "3.1"), with that drive and NAME as its serial number. */
void usb_stick(struct rig *rig, const char *name, const char *port, const char *more);
/* A device with several units ("usb-uas", "usb-bot"), and a unit of it. */
void usb_adapter(struct rig *rig, const char *model, const char *id, const char *port);
void usb_unit(struct rig *rig, const char *adapter, const char *kind, unsigned lun,
	      const char *name, const char *more);

/* Wait for the disk whose serial number this is, and open it: 0, or -errno of the last attempt. */
int usb_open(struct client *c, const char *serial, uint64_t pool_bytes);
/* Its name ("disk/usb0l1"). */
bool usb_find(const char *serial, char name[32]);
/* Read and compare with the shadow. Says what is wrong. */
bool usb_reads(struct client *c, const unsigned char *shadow, uint64_t addr, uint32_t bytes,
	       uint64_t off);

#endif
