/* SPDX-License-Identifier: MIT */
/*
 * The PCI interface for the driver of one function (ringabi/pci.h): what a subdriver that pcid
 * started uses. Calls that need an answer block outside of a task and await inside one; posted ones
 * (MMIO writes, mask, unmask) return at once.
 */
#ifndef PCIDIPC_PCI_H
#define PCIDIPC_PCI_H

#include <pcidipc/consumer.h>
#include <ringabi/pci.h>

struct pcidipc_pci;

struct pcidipc_pci_info {
	uint16_t vendor, device, subsystem_vendor, subsystem_device;
	uint32_t class_code; /* 24 bits: class, subclass, programming interface */
	uint8_t revision;
	uint16_t segment;
	uint8_t bus, dev, fn;
	char address[16]; /* "0000:00:03.0" */
};

/*
 * Claim the function that pcid started this process for ($PCID_CLIENT_CHANNEL, which is removed
 * from the environment), on `loop`. When pcid goes away the loop is stopped with code 1: a driver
 * does not outlive it. -ENOENT: not started by pcid.
 *
 * Where pcid's configuration asks for it (it does unless told otherwise) the process has put itself
 * into its sandbox when this returns: system calls that a driver has no business with end it by
 * SIGSYS, no file can be opened, no thread or process made. What needs any of that must be done
 * before. All regions are mapped already; pcidipc_pci_map hands them out. The loop's fd stays open
 * until the process ends, and no second loop can use io_uring. See docs/driver-guide.md.
 */
int pcidipc_pci_open(struct pcidipc_loop *loop, struct pcidipc_pci **pci);
/* The same over a channel that the caller has; it is taken over. For tests. */
int pcidipc_pci_adopt(struct pcidipc_loop *loop, int channel, struct pcidipc_pci **pci);
/* Unmap the registers and end the connection. What pcid then does with the function is told in
 * pcid(8): a driver need not tidy up before it ends. */
void pcidipc_pci_close(struct pcidipc_pci *pci);
/* The connection to pcid, which stays this one's. */
struct pcidipc_consumer *pcidipc_pci_consumer(struct pcidipc_pci *pci);
struct pcidipc_loop *pcidipc_pci_loop(const struct pcidipc_pci *pci);
const struct pcidipc_pci_info *pcidipc_pci_info(const struct pcidipc_pci *pci);
/* RINGABI_EVENT_SHUTDOWN, _REMOVED. */
void pcidipc_pci_on_event(struct pcidipc_pci *pci, void (*event)(uint32_t event, void *arg),
			  void *arg);

/* Whether the function answers to memory and I/O accesses, and whether it may do DMA and send MSI.
 */
int pcidipc_pci_enable(struct pcidipc_pci *pci, bool decode, bool master);
/*
 * The last resort before buffers of requests that the device may still work on are given back: bus
 * mastering goes off, decoding stays. If not even that works the process ends here (exit status 1),
 * for then it is its end that makes pcid take the function back. Awaits inside a task.
 */
void pcidipc_pci_cut_off(struct pcidipc_pci *pci);
/*
 * Reset the function: decoding, bus mastering and vectors are off afterwards, as after power-on;
 * pools stay mapped. -EOPNOTSUPP: it has no reset; they are off all the same.
 */
int pcidipc_pci_reset(struct pcidipc_pci *pci);
/*
 * width: 1, 2, 4 bytes; offset: 0 to 4095, a multiple of it. What pcid manages is not written (the
 * command register: use enable; BARs, MSI, MSI-X): -EPERM. -ENXIO: beyond the configuration space.
 */
int pcidipc_pci_config_read(struct pcidipc_pci *pci, unsigned offset, unsigned width,
			    uint32_t *value);
int pcidipc_pci_config_write(struct pcidipc_pci *pci, unsigned offset, unsigned width,
			     uint32_t value);
/* Offset of the nth (from 0) capability with this id, or -ENOENT. *bytes (may be NULL): its size
 * where known. */
int pcidipc_pci_find_cap(struct pcidipc_pci *pci, unsigned id, bool extended, unsigned nth,
			 unsigned *bytes);

/* ---- registers ---- */

/* A BAR: mapped memory, or registers reached through pcid (base NULL). */
struct pcidipc_mmio {
	volatile unsigned char *base;
	uint64_t bytes;
	struct pcidipc_pci *pci;
	uint32_t region;
	struct pcidipc_hole {
		uint64_t offset, bytes;
	} hole[2]; /* not mapped: the MSI-X table */
};
/* BAR number `region`, 0 to 5. -ENXIO: there is none. */
int pcidipc_pci_map(struct pcidipc_pci *pci, unsigned region, struct pcidipc_mmio *mmio);
/* Fine twice. Not while somebody still uses it. */
void pcidipc_mmio_unmap(struct pcidipc_mmio *mmio);

/* What the functions below do where the BAR is not mapped: an access of `width` bytes by way of
 * pcid. A write is posted. */
uint64_t pcidipc_mmio_read_slow(const struct pcidipc_mmio *mmio, uint64_t offset, unsigned width);
void pcidipc_mmio_write_slow(const struct pcidipc_mmio *mmio, uint64_t offset, unsigned width,
			     uint64_t value);

/*
 * Little-endian registers. A read that fails (the device is gone) gives all ones, as on the bus. A
 * write is ordered after earlier stores to DMA memory; a read before later loads from it. Offsets
 * are the caller's own, not a peer's.
 */
static inline uint32_t pcidipc_read32(const struct pcidipc_mmio *mmio, uint64_t offset)
{
	uint32_t value;

	if (__builtin_expect(!mmio->base, 0))
		return (uint32_t)pcidipc_mmio_read_slow(mmio, offset, 4);
	value = *(const volatile uint32_t *)(mmio->base + offset);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return value;
}

/* One access of 32 bits. Nobody is told when the device is gone. */
static inline void pcidipc_write32(const struct pcidipc_mmio *mmio, uint64_t offset, uint32_t value)
{
	if (__builtin_expect(!mmio->base, 0)) {
		pcidipc_mmio_write_slow(mmio, offset, 4, value);
		return;
	}
	__atomic_thread_fence(__ATOMIC_RELEASE);
	*(volatile uint32_t *)(mmio->base + offset) = value;
}

/* One 64-bit access where the bus has it. Where a device needs two halves, the driver makes two
 * accesses. */
static inline uint64_t pcidipc_read64(const struct pcidipc_mmio *mmio, uint64_t offset)
{
	uint64_t value;

	if (__builtin_expect(!mmio->base, 0))
		return pcidipc_mmio_read_slow(mmio, offset, 8);
	value = *(const volatile uint64_t *)(mmio->base + offset);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return value;
}

/* One 64-bit access where the bus has it; else as pcidipc_write32. */
static inline void pcidipc_write64(const struct pcidipc_mmio *mmio, uint64_t offset, uint64_t value)
{
	if (__builtin_expect(!mmio->base, 0)) {
		pcidipc_mmio_write_slow(mmio, offset, 8, value);
		return;
	}
	__atomic_thread_fence(__ATOMIC_RELEASE);
	*(volatile uint64_t *)(mmio->base + offset) = value;
}

/* ---- interrupts ---- */

struct pcidipc_vectors {
	uint32_t kind; /* RINGABI_IRQ_* */
	uint32_t count;
	int fds[RINGABI_MSG_MAX_FDS]; /* readable when the interrupt fired */
};
/*
 * As many vectors as the function offers, at least `least` and at most `most` (1 to
 * RINGABI_MSG_MAX_FDS), once in a driver's life. They begin unmasked; the fds are the caller's.
 * -EINVAL; -ENOSPC: it offers less; -EALREADY.
 */
int pcidipc_pci_alloc_vectors(struct pcidipc_pci *pci, unsigned least, unsigned most,
			      struct pcidipc_vectors *vectors);
/*
 * Acknowledge: make the fd unreadable until the next interrupt. 1: it had fired. -ENODEV: the bus
 * is gone and no interrupt will come any more; the fd stays readable, so stop watching it.
 */
int pcidipc_vector_ack(int fd);
/* Posted, in order with MMIO writes. */
void pcidipc_pci_mask(struct pcidipc_pci *pci, unsigned vector);
void pcidipc_pci_unmask(struct pcidipc_pci *pci, unsigned vector);
void pcidipc_pci_mask_all(struct pcidipc_pci *pci);
void pcidipc_pci_unmask_all(struct pcidipc_pci *pci);
/* Mask or unmask and wait until it has taken effect: no interrupt comes after a mask that returned.
 */
int pcidipc_pci_mask_sync(struct pcidipc_pci *pci, unsigned vector, bool masked);

/*
 * One vector, handled in the manner of NAPI. When the interrupt comes the vector is masked,
 * `handle` runs (no task: it must not await), and the vector is unmasked; an interrupt that comes
 * meanwhile is kept, and comes then. One may come for nothing. For work that is done when handle
 * returns: who polls rings until they are idle has a poller (loop.h), and masks by himself.
 */
struct pcidipc_irq {
	void (*handle)(struct pcidipc_irq *irq);
	/* the library's */
	struct pcidipc_pci *pci;
	struct pcidipc_vectors vectors;
	struct pcidipc_watch watch;
};
/* Allocate the function's vector, the only one, and handle it. Errors: of alloc_vectors. */
int pcidipc_irq_start(struct pcidipc_irq *irq, struct pcidipc_pci *pci,
		      void (*handle)(struct pcidipc_irq *irq));

/* ---- DMA ---- */

/*
 * The device drives only `bits` (24 to 64) bits of address: memory for it is to lie below 2^bits of
 * its address space. Before the first pool; else -EBUSY. Where there is no room pools are refused
 * with -ENOSPC.
 */
int pcidipc_pci_dma_bits(struct pcidipc_pci *pci, unsigned bits);

/* A driver's own DMA memory: a pool, all of it mapped for the device at once. */
struct pcidipc_dma {
	struct pcidipc_pool *pool;
	uint64_t iova; /* of offset 0 */
	uint16_t index;
};
/* bytes: as for pcidipc_pool_create; all of it counts against the driver's quota. -EDQUOT: it is
 * exceeded. On failure nothing is left. */
int pcidipc_dma_create(struct pcidipc_pci *pci, uint64_t bytes, struct pcidipc_dma *dma);
/* When this returns the device does not reach the memory any more. */
void pcidipc_dma_destroy(struct pcidipc_pci *pci, struct pcidipc_dma *dma);
/* Where a buffer of its pool lies for the device. */
static inline uint64_t pcidipc_dma_iova(const struct pcidipc_dma *dma,
					const struct pcidipc_buf *buf)
{
	return dma->iova + buf->offset;
}

/* A client's pool, forwarded: attach it, map chunks of it as they are named, detach it. As scheme.h
 * wants them. */
struct pcidipc_pool_view;
int pcidipc_pci_pool_attach(struct pcidipc_pci *pci, struct pcidipc_pool_view *pool);
int pcidipc_pci_pool_map(struct pcidipc_pci *pci, struct pcidipc_pool_view *pool, uint64_t offset,
			 uint64_t bytes);
void pcidipc_pci_pool_detach(struct pcidipc_pci *pci, struct pcidipc_pool_view *pool);

/* ---- services and children ---- */

struct pcidipc_service {
	int listen_fd, admin_fd;
	uint32_t id;
	char name[RINGABI_NAME_BYTES];
};
/*
 * pcid makes the service `kind`/STEM`suffix` (disk/nvme0n1), where the stem is the configured
 * service's name and a number; a driver that starts again gets the same name and the same sockets.
 * kind: 1 to 15 letters a to z; suffix: up to 15 of a to z and 0 to 9. The fds, for
 * pcidipc_listen, are the caller's until unpublish. -EINVAL; -EEXIST: published already; -EDQUOT:
 * too many services; -EPERM: the driver is to be in a sandbox and is not.
 */
int pcidipc_pci_publish(struct pcidipc_pci *pci, const char *kind, const char *suffix,
			struct pcidipc_service *service);
/* Close both sockets and take the name away. */
int pcidipc_pci_unpublish(struct pcidipc_pci *pci, struct pcidipc_service *service);

/* What lies below a driver's function and wants a driver of its own: a USB interface. */
struct pcidipc_child {
	uint32_t number;    /* chosen by the announcer, different from its other children's */
	uint32_t interface; /* RINGABI_INTERFACE_* that the announcer serves it with */
	uint16_t vendor, product;
	uint8_t class_code, subclass, protocol;
	const char *path; /* where it sits, at most 31 characters: "1-4.2:1.0" */
	const char *name; /* for people, at most 63 characters */
};
/*
 * pcid starts the child's driver, where one is configured, and hands over the producer's end of
 * its channel (pcidipc_consumer_on_adopt on pcidipc_pci_consumer), anew each time that it starts
 * again. -ENOENT: none is configured; the child is listed all the same, until it is gone. -EINVAL,
 * -EEXIST, -EDQUOT (too many children).
 */
int pcidipc_pci_announce(struct pcidipc_pci *pci, const struct pcidipc_child *child);
/* -ENOENT: none with this number was announced. */
int pcidipc_pci_child_gone(struct pcidipc_pci *pci, uint32_t number);
/*
 * For a child's driver, which has a pcidipc_pci too, to publish its services: the channel to who
 * announced the child ($PCID_PARENT_CHANNEL, which is removed from the environment), for
 * pcidipc_consumer_adopt. -ENOENT: there is none.
 */
int pcidipc_pci_parent_channel(void);

#endif
