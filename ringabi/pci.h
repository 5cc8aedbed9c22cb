/* SPDX-License-Identifier: MIT */
/*
 * The PCI interface: what pcid offers to the driver of one function, over a ring with
 * RINGABI_RING_CQE32. Every request is an IORING_OP_URING_CMD whose cmd_op is one of the below
 * and whose 16 argument bytes (sqe->cmd) are a struct ringabi_pci_arg. Values come back in
 * big_cqe. fd is 0. -EOPNOTSUPP: unknown cmd_op; -EINVAL: a field out of its range.
 */
#ifndef RINGABI_PCI_H
#define RINGABI_PCI_H

#include <ringabi/ring.h>

/* The argument of every PCI request. Fields that a request does not name are 0. */
struct ringabi_pci_arg {
	__u32 index; /* BAR, vector, capability instance, service or child */
	__u32 width; /* bytes of an access: 1, 2, 4 or 8; or a capability's id */
	__u64 value; /* what to write; flags */
};
RINGABI_SIZE(ringabi_pci_arg, 16);
RINGABI_AT(ringabi_pci_arg, index, 0);
RINGABI_AT(ringabi_pci_arg, width, 4);
RINGABI_AT(ringabi_pci_arg, value, 8);

/* A cmd_op of this interface. */
#define RINGABI_PCI_CMD(number) RINGABI_CMD_OP(RINGABI_INTERFACE_PCI, number)

/*
 * INFO: who the function is. big_cqe[0] = vendor | device << 16 | subsystem vendor << 32 |
 * subsystem device << 48. big_cqe[1] = class code (24 bits) | revision << 24 |
 * address << 32, address = segment << 16 | bus << 8 | device << 3 | function.
 */
#define RINGABI_PCI_INFO RINGABI_PCI_CMD(1u)

/*
 * REGION_INFO, index = BAR: big_cqe[0] = bytes (0: no such BAR), big_cqe[1] =
 * RINGABI_PCI_REGION_*.
 */
#define RINGABI_PCI_REGION_INFO RINGABI_PCI_CMD(2u)
#define RINGABI_PCI_REGION_IO (1u << 0)
#define RINGABI_PCI_REGION_64BIT (1u << 1)
#define RINGABI_PCI_REGION_PREFETCH (1u << 2)
#define RINGABI_PCI_REGION_MAPPABLE (1u << 3) /* RINGABI_MSG_MAP_REGION works on it */

/*
 * CONFIG_READ and CONFIG_WRITE: addr = offset (0 to 4095, naturally aligned), width 1, 2 or 4.
 * Read: big_cqe[0] = value. Write: value. What pcid manages is not written: BARs, the command
 * register (use ENABLE), MSI, MSI-X, power management, and the express capability's reset bits
 * give -EPERM. -ENXIO: beyond the function's configuration space.
 */
#define RINGABI_PCI_CONFIG_READ RINGABI_PCI_CMD(3u)
#define RINGABI_PCI_CONFIG_WRITE RINGABI_PCI_CMD(4u)

/*
 * FIND_CAP: width = capability id, index = which of those with that id (0: the first), value =
 * RINGABI_PCI_CAP_EXTENDED for an extended one. big_cqe[0] = its offset, big_cqe[1] = its bytes
 * where it says so (vendor-specific ones do), else 0. -ENOENT: no such capability.
 */
#define RINGABI_PCI_FIND_CAP RINGABI_PCI_CMD(5u)
#define RINGABI_PCI_CAP_EXTENDED (1u << 0)

/* ENABLE: value = RINGABI_PCI_ENABLE_*, the wanted state of both. */
#define RINGABI_PCI_ENABLE RINGABI_PCI_CMD(6u)
#define RINGABI_PCI_ENABLE_DECODE (1u << 0) /* answer to memory and I/O accesses */
#define RINGABI_PCI_ENABLE_MASTER (1u << 1) /* do DMA and send MSI */

/*
 * IRQ_MASK and IRQ_UNMASK, index = vector. An interrupt that comes while its vector is masked
 * is kept and delivered on unmask, once. Masking a masked vector is no error. -ERANGE: vector
 * not allocated. IRQ_MASK_ALL and IRQ_UNMASK_ALL: the whole function; a vector is delivered
 * when neither it nor the function is masked. INTx is level-triggered: the bus masks it as it
 * fires, and it fires again after an IRQ_MASK and an IRQ_UNMASK, not after an IRQ_UNMASK alone.
 */
#define RINGABI_PCI_IRQ_MASK RINGABI_PCI_CMD(7u)
#define RINGABI_PCI_IRQ_UNMASK RINGABI_PCI_CMD(8u)
#define RINGABI_PCI_IRQ_MASK_ALL RINGABI_PCI_CMD(9u)
#define RINGABI_PCI_IRQ_UNMASK_ALL RINGABI_PCI_CMD(10u)

/*
 * MMIO_READ and MMIO_WRITE, for buses whose registers cannot be mapped: index = BAR, addr =
 * offset, width = 1, 2, 4 or 8, naturally aligned. Read: big_cqe[0] = value. Writes are posted:
 * they reach the device in order, also in order with later reads, masks and unmasks, and may
 * complete before that. -ENXIO: no such BAR; -EFAULT: outside it, or in the MSI-X table.
 */
#define RINGABI_PCI_MMIO_READ RINGABI_PCI_CMD(11u)
#define RINGABI_PCI_MMIO_WRITE RINGABI_PCI_CMD(12u)

/*
 * RESET: reset the function. Decoding, bus mastering and vectors are off afterwards as after
 * power-on, pools stay mapped. -EOPNOTSUPP: the function has no reset; they are off all the same.
 */
#define RINGABI_PCI_RESET RINGABI_PCI_CMD(13u)

/* UNPUBLISH, index = service, from struct ringabi_publish_reply. -ENOENT: no such service. */
#define RINGABI_PCI_UNPUBLISH RINGABI_PCI_CMD(14u)

/* CHILD_GONE, index = child of an earlier RINGABI_MSG_ANNOUNCE. -ENOENT: no such child. */
#define RINGABI_PCI_CHILD_GONE RINGABI_PCI_CMD(15u)

/*
 * CONFINE, value = RINGABI_PCI_LOCK_*: the process has mapped its registers and put these locks on
 * itself. From then on RINGABI_MSG_MAP_REGION gives -EPERM: its fd would give more than registers.
 * Before, where the driver is to be in a sandbox ($PCID_SANDBOX is not "no"), ENABLE with MASTER,
 * RINGABI_MSG_PUBLISH and RINGABI_MSG_ANNOUNCE give -EPERM.
 * -EALREADY: it was said before on this connection; what was said first holds.
 */
#define RINGABI_PCI_CONFINE RINGABI_PCI_CMD(16u)
#define RINGABI_PCI_LOCK_SECCOMP (1u << 0)  /* system calls are filtered */
#define RINGABI_PCI_LOCK_LANDLOCK (1u << 1) /* no file can be opened */
#define RINGABI_PCI_LOCK_RING (1u << 2)	    /* its ring with the kernel takes polls only */
#define RINGABI_PCI_LOCK_HIDDEN (1u << 3)   /* others of its user cannot trace it */
#define RINGABI_PCI_LOCKS 0xfu

/*
 * DMA_BITS, value = how many address bits the device drives, RINGABI_PCI_MIN_DMA_BITS to 64: pools
 * attached from then on lie below 2^value of its address space, or ATTACH_POOL gives -ENOSPC. 64
 * until it is said. -EBUSY: a pool is attached already, and may lie higher.
 */
#define RINGABI_PCI_DMA_BITS RINGABI_PCI_CMD(17u)
#define RINGABI_PCI_MIN_DMA_BITS 24u

#endif
