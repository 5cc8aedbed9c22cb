/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What <linux/pci_regs.h> has no short word for. */
#ifndef PCID_QEMU_PCIREGS_H
#define PCID_QEMU_PCIREGS_H

#include <linux/pci_regs.h>

#define RID(bus, dev, fn) ((uint16_t)((bus) << 8 | (dev) << 3 | (fn)))
#define RID_BUS(rid) ((rid) >> 8)
#define RID_DEV(rid) ((rid) >> 3 & 31)
#define RID_FN(rid) ((rid)&7)

#define HEADER_TYPE_MASK 0x7fu
#define HEADER_MULTIFUNCTION 0x80u

#endif
