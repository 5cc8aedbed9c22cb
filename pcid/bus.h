/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bus interface: what pcid's core asks of a bus. `qemu` and `vfio` implement it; nothing else
 * knows which one is in use. Everything runs on pcid's loop. Calls marked (task) are made from
 * inside a task and may await; the others are part of the hot path and neither sleep nor await.
 */
#ifndef PCID_BUS_H
#define PCID_BUS_H

#include <pcidipc/loop.h>
#include <pcidipc/task.h>
#include <stdbool.h>
#include <stdint.h>

#define PCID_BARS 6
#define PCID_MAX_CAPS 64

struct pcid_bus;
struct pcid_function;

struct pcid_bar {
	uint64_t address; /* on the bus */
	uint64_t bytes;	  /* 0: no such BAR (or the upper half of a 64-bit one) */
	bool io, is64, prefetch;
};

struct pcid_cap {
	uint16_t id;
	uint16_t offset;
	uint16_t bytes; /* where the capability says so (vendor-specific), else 0 */
	bool extended;
};

struct pcid_msix {
	uint16_t cap;	 /* offset of the capability, 0: none */
	uint16_t count;	 /* vectors */
	uint8_t bar;	 /* of the table */
	uint32_t offset; /* of the table in it; 16 bytes per vector */
	uint8_t pba_bar;
	uint32_t pba_offset;
};

struct pcid_msi {
	uint16_t cap; /* 0: none */
	uint16_t count;
	bool is64;
	bool maskable; /* has mask and pending bits */
};

/* A PCI function. The bus fills it in and owns it; it stays in place until `gone` was told. */
struct pcid_function {
	struct pcidipc_list link; /* in pcid_bus.functions, in address order */
	struct pcid_bus *bus;
	uint16_t segment;
	uint8_t bus_number, dev, fn;
	char address[16]; /* "0000:00:03.0" */
	uint16_t vendor, device, subsystem_vendor, subsystem_device;
	uint32_t class_code; /* 24 bits */
	uint8_t revision;
	uint8_t header_type;		/* without the multi-function bit: 0 device, 1 bridge */
	uint8_t secondary, subordinate; /* bridges: bus numbers below */
	uint16_t config_bytes;		/* 256 or 4096 */
	uint8_t dma_bits; /* of the addresses it can reach: 64, or less when its driver says so */
	uint32_t group;	  /* IOMMU group: functions with the same number share a domain */
	struct pcid_function *parent; /* the bridge above, or NULL */
	struct pcid_bar bars[PCID_BARS];
	struct pcid_cap caps[PCID_MAX_CAPS]; /* standard ones, then extended, each in list order */
	unsigned ncaps;
	struct pcid_msix msix;
	struct pcid_msi msi;
	bool gone; /* no longer there: calls answer -ENODEV */
	void *bus_priv;
	void *owner; /* the core's: the driver instance */
};

/* Memory that a function's device is to reach: a sealed memfd. */
struct pcid_pool {
	struct pcid_function *function;
	int fd;		/* the core's, in place until pool_detach has returned */
	uint64_t bytes; /* a multiple of RINGABI_POOL_ALIGN */
	uint64_t iova;	/* set by pool_attach */
	void *bus_priv;
};

/* How an asynchronous register read ends. */
struct pcid_read {
	void (*done)(struct pcid_read *read, int error, uint64_t value);
};

struct pcid_irqs {
	uint32_t kind; /* RINGABI_IRQ_* */
	uint32_t count;
	bool maskable; /* irq_mask works; otherwise the core relays and keeps the mask itself */
	int fds[64];   /* eventfds that the bus signals; the core's to close */
};

enum pcid_bus_event {
	PCID_FUNCTION_ARRIVED,
	PCID_FUNCTION_LEAVING, /* it works still, but shall be let go: call release, then the bus
				  tells GONE */
	PCID_FUNCTION_GONE,    /* it answers no more; freed when the core calls forget */
	PCID_FUNCTION_FAULT,   /* its DMA was refused by the IOMMU */
	PCID_BUS_DEAD,	       /* nothing works any more (function is NULL) */
};

struct pcid_fault {
	uint64_t iova;
	bool write;
	const char *reason;
};

struct pcid_bus_ops {
	const char *name;

	/* Enumerate: fill bus->functions. (task) */
	int (*start)(struct pcid_bus *bus);
	/* Give everything back; nothing but destroy is called afterwards. (task) */
	void (*stop)(struct pcid_bus *bus);
	/* Free it, started or not. Outside of the loop. */
	void (*destroy)(struct pcid_bus *bus);
	/* May a driver be started for it? NULL: for every function. */
	bool (*offered)(struct pcid_function *f);

	/* width 1, 2, 4, naturally aligned, within config_bytes: the core has checked. (task) */
	int (*config_read)(struct pcid_function *f, unsigned offset, unsigned width,
			   uint32_t *value);
	int (*config_write)(struct pcid_function *f, unsigned offset, unsigned width,
			    uint32_t value);

	/* Take the function for a driver: into a domain of its own, DMA and interrupts off. (task)
	 */
	int (*claim)(struct pcid_function *f);
	/* Its driver is gone: DMA and interrupts off, reset, out of the domain. Pools are detached
	 * before. (task) */
	void (*release)(struct pcid_function *f);
	/* (task) */
	int (*enable)(struct pcid_function *f, bool decode, bool master);
	/*
	 * Stop DMA, free the vectors, reset; pools stay mapped. -EOPNOTSUPP: there is no reset, the
	 * rest was done. (task)
	 */
	int (*reset)(struct pcid_function *f);

	/* An fd to mmap BAR `bar` at *offset, or -EOPNOTSUPP: registers go through mmio_read and
	 * _write. (task) */
	int (*region_fd)(struct pcid_function *f, unsigned bar, uint64_t *offset);
	/*
	 * Registers; bar, offset and width are checked. Writes are posted, in order with reads and
	 * irq_mask. -EAGAIN: too much is queued, try again when bus->writable is called. mmio_read
	 * calls read->done later, or -errno.
	 */
	int (*mmio_write)(struct pcid_function *f, unsigned bar, uint64_t offset, unsigned width,
			  uint64_t value);
	int (*mmio_read)(struct pcid_function *f, unsigned bar, uint64_t offset, unsigned width,
			 struct pcid_read *read);

	/* Up to `most` vectors, the best kind the function has; unmasked. (task) */
	int (*irq_alloc)(struct pcid_function *f, unsigned most, struct pcid_irqs *irqs);
	void (*irq_free)(struct pcid_function *f); /* (task); closes no fd */
	/* Posted. A vector that was masked when its interrupt came fires when it is unmasked. */
	int (*irq_mask)(struct pcid_function *f, unsigned vector, bool masked);

	/* Reserve room in the function's address space, set pool->iova; nothing is reachable yet.
	 * (task) */
	int (*pool_attach)(struct pcid_pool *pool);
	/* Make a page-aligned range reachable. Mapping a range twice is no error. (task) */
	int (*pool_map)(struct pcid_pool *pool, uint64_t offset, uint64_t bytes);
	/* Unmap all of it, flush the IOTLB; its addresses are free again after that. (task) */
	void (*pool_detach)(struct pcid_pool *pool);

	/* The core has let go of a function that is GONE: free it. */
	void (*forget)(struct pcid_function *f);
	/* A table for people, one line each, of what only this bus knows (may be NULL). */
	const char *(*describe)(struct pcid_function *f);
};

struct pcid_bus {
	const struct pcid_bus_ops *ops;
	struct pcidipc_loop *loop;
	struct pcidipc_list functions;
	/* Set by the core before start. fault is set for PCID_FUNCTION_FAULT only. */
	void (*event)(struct pcid_bus *bus, enum pcid_bus_event event, struct pcid_function *f,
		      const struct pcid_fault *fault);
	void (*writable)(struct pcid_bus *bus);
	void *core;
};

/*
 * The QEMU bus (pcid/qemu/): device models of a stock QEMU whose CPU is halted. args: QEMU's device
 * arguments
 * ("-drive", ..., "-device", ...), NULL-terminated, copied. run_dir: a private directory for its
 * sockets.
 */
struct pcid_qemu_options {
	const char *binary; /* "qemu-system-x86_64" */
	const char *const *args;
	const char *run_dir;
	unsigned ram_mib; /* 0: 64 */
};
int pcid_qemu_bus_create(struct pcidipc_loop *loop, const struct pcid_qemu_options *options,
			 struct pcid_bus **bus);
/* The QMP socket's path, for people and tests (hot-plug); NULL where there is none. */
const char *pcid_qemu_bus_qmp(struct pcid_bus *bus);

/*
 * The VFIO bus (pcid/vfio/): functions of this machine. Drivers get those that are bound to
 * vfio-pci, and those that `take` names ("0000:00:02.0", or "VENDOR:DEVICE" in hexadecimal;
 * NULL-terminated, copied), which are taken over from the kernel's driver when they are claimed and
 * given back at the end. run_dir: a private directory for what must be remembered if pcid dies.
 */
struct pcid_vfio_options {
	char *const *take; /* may be NULL */
	const char *run_dir;
	bool shared_groups; /* drive functions that share an IOMMU group, which then reach each
			       other's memory */
};
int pcid_vfio_bus_create(struct pcidipc_loop *loop, const struct pcid_vfio_options *options,
			 struct pcid_bus **bus);
/* Take over the options anew, of a bus of either kind: what is driven already stays so. -ENOMEM. */
int pcid_vfio_bus_configure(struct pcid_bus *bus, const struct pcid_vfio_options *options);
/* Is there a function for it? Then vfio is the default. */
bool pcid_vfio_bus_wanted(const struct pcid_vfio_options *options);

/* Either one, started or not. */
void pcid_bus_destroy(struct pcid_bus *bus);

#endif
