/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The QEMU bus, inside: what its parts share. Everything runs on pcid's loop; (task) marks what may
 * await.
 *
 * Guest-physical addresses, as pcid lays them out (nothing else runs in this machine):
 *   0 .. ram              boot RAM, a memfd of ours: the IOMMU's tables lie in it
 *   0xb0000000            PCIEXBAR: configuration space, 256 buses
 *   0xc0000000            BARs and bridge windows below 4 GiB
 *   0xfed90000            the IOMMU's registers
 *   4 GiB ..              pools, plugged in as dimms
 *   64 TiB ..             BARs and bridge windows above 4 GiB
 */
#ifndef PCID_QEMU_H
#define PCID_QEMU_H

#include <pcidipc/loop.h>
#include <pcidipc/task.h>
#include <sys/types.h>

#include "../bus.h"
#include "../iova.h"
#include <pcidipc/list.h>
#include "qmp.h"
#include "qtest.h"

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)
#define TIB(n) ((uint64_t)(n) << 40)

#define ECAM_BASE 0xb0000000ull
#define MEM_BASE 0xc0000000ull
#define MEM_END 0xfe000000ull
#define IO_BASE 0x1000ull /* below it lie the chipset's own ports */
#define IO_END 0x10000ull
#define HIGH_BASE TIB(64)
#define HIGH_END TIB(128)
#define VTD_BASE 0xfed90000ull
#define POOL_BASE GIB(4)
/* QEMU keeps three bits for each page of a dimm, so a terabyte costs it 100 MB and a tenth of a
 * second. */
#define POOL_END (POOL_BASE + TIB(8))
#define POOL_MOST TIB(1)
#define POOL_SLOTS 256u

struct qemu_bus;
struct vtd_domain;

/* ---- process.c ---- */

struct qemu_process {
	pid_t pid; /* 0: not running */
	int pidfd, stderr_fd;
	struct pcidipc_watch exit_watch, stderr_watch;
	char line[512]; /* of its standard error, so far */
	size_t line_bytes;
	char last_line[512];
	struct pcidipc_completion exited;
	struct pcidipc_timer patience;
};

/* The ends of the sockets that QEMU gets; -1 when it has them. */
struct qemu_ends {
	int qtest, qmp, ivshmem, user_qmp, ram, firmware;
};

int qemu_process_start(struct qemu_bus *qb, const struct qemu_ends *ends);
/* Ask it to quit, kill it when it does not, reap it. (task) */
void qemu_process_stop(struct qemu_bus *qb);
/* The same at once, outside of a task. */
void qemu_process_kill(struct qemu_bus *qb);
/* The arguments that QEMU is started with; the caller frees the array by qemu_args_free. NULL: no
 * memory. */
char **qemu_args(struct qemu_bus *qb, const struct qemu_ends *ends);
void qemu_args_free(char **args);

/* ---- ivshmem.c: interrupts arrive as messages of the ivshmem-doorbell device, whose server we are
 * ---- */

#define IVSHMEM_VECTORS 256u /* a doorbell's vector number has eight bits */
#define IVSHMEM_PEERS 65536u
#define DOORBELL_OFFSET 12u

struct ivshmem {
	int fd; /* to QEMU */
	struct pcidipc_task_mutex lock;
	uint64_t doorbell_page;	      /* guest-physical, of BAR 0 */
	unsigned next_peer;	      /* numbers are used once */
	int msi_fds[IVSHMEM_VECTORS]; /* peer 0's: our ends, of the first msi_known */
	unsigned msi_known;
	bool msi_used[IVSHMEM_VECTORS];
};

int ivshmem_init(struct ivshmem *iv, int fd);
void ivshmem_fini(struct ivshmem *iv);
/* A peer with `count` vectors of its own; fds[] become readable (8 bytes) on its interrupts. (task)
 */
int ivshmem_peer_open(struct qemu_bus *qb, unsigned count, int *fds, unsigned *peer);
void ivshmem_peer_close(struct qemu_bus *qb, unsigned peer); /* (task) */
/* `count` (a power of two) vectors of peer 0, aligned: an MSI message has only 16 bits of data.
 * (task) */
int ivshmem_msi_open(struct qemu_bus *qb, unsigned count, int *fds, unsigned *first);
void ivshmem_msi_close(struct qemu_bus *qb, unsigned first, unsigned count);

/* ---- vtd.c: the IOMMU ---- */

/*
 * Where every domain has the doorbell's page. No pool begins below VTD_FIRST_IOVA, and none covers
 * the range that the IOMMU takes for interrupts.
 */
#define VTD_DOORBELL_IOVA 0x1000ull
#define VTD_FIRST_IOVA MIB(2)
#define VTD_INTERRUPTS 0xfee00000ull
#define VTD_INTERRUPTS_END 0xff000000ull
#define VTD_IOVA_BITS 48u

struct vtd {
	struct pcidipc_list domains;
	struct pcidipc_task_mutex lock; /* of the invalidation registers */
	uint64_t root;
	uint64_t iotlb; /* guest-physical address of the IOTLB register */
	bool large_pages;
	uint64_t free_page, next_page;
	uint32_t pages_used, pages_most; /* pages of boot RAM */
	uint64_t *next_iova[256]; /* by bus, then devfn: where a requester's next domain begins */
};

int vtd_init(struct qemu_bus *qb); /* (task) */
void vtd_fini(struct qemu_bus *qb);
/*
 * The domain of requester `rid`, made when it is the first to ask. Its addresses go on where those
 * of the one before ended: a device that cannot be reset may still be writing there. (task)
 */
int vtd_domain_get(struct qemu_bus *qb, uint16_t rid, struct vtd_domain **domain);
void vtd_domain_put(struct qemu_bus *qb, struct vtd_domain *domain); /* (task) */
unsigned vtd_domain_id(const struct vtd_domain *domain);
/* Addresses of the domain; what was released comes again as late as possible. -ENOSPC: none are
 * left below 1 << bits. -ENOMEM. */
int vtd_reserve(struct vtd_domain *domain, uint64_t bytes, unsigned bits, uint64_t *iova);
/* After vtd_unmap. */
void vtd_release(struct vtd_domain *domain, uint64_t iova);
int vtd_map(struct qemu_bus *qb, struct vtd_domain *domain, uint64_t iova, uint64_t address,
	    uint64_t bytes);
void vtd_unmap(struct qemu_bus *qb, struct vtd_domain *domain, uint64_t iova,
	       uint64_t bytes); /* (task) */
/* One line of QEMU's trace of faults: tell the core. */
void vtd_trace_line(struct qemu_bus *qb, const char *line);

/* ---- memory.c: pools as dimms ---- */

struct qemu_memory {
	struct pcidipc_list pools; /* by address */
	struct pcidipc_task_mutex lock;
	bool slots[POOL_SLOTS];
	unsigned counter;
};

int qemu_pool_attach(struct pcid_pool *pool);
int qemu_pool_map(struct pcid_pool *pool, uint64_t offset, uint64_t bytes);
void qemu_pool_detach(struct pcid_pool *pool);
void qemu_memory_device_deleted(struct qemu_bus *qb, const char *id);
void qemu_memory_fini(struct qemu_bus *qb);

/* ---- functions ---- */

enum qemu_window_kind {
	WINDOW_IO,
	WINDOW_MEM,
	WINDOW_HIGH, /* 64-bit prefetchable */
	WINDOW_KINDS,
};

struct qemu_window {
	uint64_t base, bytes, align; /* bytes 0: closed */
};

struct qemu_irq {
	struct pcid_function *f;
	uint32_t kind, count; /* kind 0: none */
	unsigned peer;	      /* MSI-X */
	unsigned first;	      /* MSI: of peer 0's vectors */
	uint64_t masked;      /* a bit for each vector */
};

struct qemu_function {
	struct pcid_function f;
	struct pcidipc_list node; /* in qemu_bus.nodes, with those that are not shown */
	uint16_t rid, alias;	  /* requester ids: its own, and the one that the IOMMU sees */
	uint16_t express;	  /* offset of the PCI Express capability, or 0 */
	uint8_t port_type;	  /* of it */
	bool flr;
	bool high_window; /* bridges: the prefetchable window has 64 bits */
	bool hotplug;	  /* a slot below it: hotplug.c */
	bool hidden, listed, claimed;
	bool leaving, released; /* its slot is to be emptied, and the core has let go of it */
	uint16_t home;		/* gone: the requester id of the port whose slot it was in */
	bool decode, master;
	struct vtd_domain *domain;
	struct qemu_irq irq;
	unsigned pools;
	uint64_t fault_at;
	struct qemu_window windows[WINDOW_KINDS]; /* bridges */
	struct qemu_slot *slot;
	char text[96];
};

struct qemu_bus {
	struct pcid_bus bus;
	char *binary;
	char **user_args;
	char *run_dir;
	char user_qmp_path[108];
	uint64_t ram_bytes;
	unsigned char *ram;
	int ram_fd;
	bool started, dead, stopping, told;
	char why[128]; /* it is thought to be dead, if QEMU itself says nothing */
	struct qemu_process process;
	struct qtest qtest;
	struct qmp qmp;
	struct ivshmem ivshmem;
	struct vtd vtd;
	struct qemu_memory memory;
	struct pcidipc_list nodes;	/* every function, parents before children */
	struct qemu_function *plumbing; /* the ivshmem device */
	struct pcidipc_list slots;
	struct pcidipc_task_mutex topology; /* of who adds or removes functions */
	unsigned slot_tasks;
	struct pcidipc_completion slots_idle;
};

static inline struct qemu_bus *qemu_bus_of(struct pcid_bus *bus)
{
	return pcidipc_container_of(bus, struct qemu_bus, bus);
}

static inline struct qemu_function *qemu_function_of(struct pcid_function *f)
{
	return pcidipc_container_of(f, struct qemu_function, f);
}

/* ---- bus.c ---- */

/* Nothing works any more: tell the core, once. */
void qemu_bus_broken(struct qemu_bus *qb, const char *why);
void qemu_tell(struct qemu_bus *qb, enum pcid_bus_event event, struct qemu_function *qf,
	       const struct pcid_fault *fault);

/* ---- config.c: configuration space ---- */

uint64_t config_address(uint16_t rid, unsigned offset);
/* Posted. -ENODEV, -EAGAIN. */
int config_post(struct qemu_function *qf, unsigned offset, unsigned width, uint32_t value);
int config_read(struct qemu_function *qf, unsigned offset, unsigned width,
		uint32_t *value); /* (task) */
int config_write(struct qemu_function *qf, unsigned offset, unsigned width,
		 uint32_t value); /* (task) */
/* Write the command register as decode and master say, with INTx off. (task) */
int config_command(struct qemu_function *qf);
void config_write_bars(struct qemu_function *qf);    /* (task) */
void config_write_windows(struct qemu_function *qf); /* (task) */

/* ---- enumerate.c, capability.c, resource.c ---- */

/* Find everything on the root bus, give it addresses. (task) */
int qemu_enumerate(struct qemu_bus *qb);
/* The same below a bridge whose bus was empty. (task) */
int qemu_enumerate_below(struct qemu_bus *qb, struct qemu_function *bridge);
/* Show what was found below `bridge` (NULL: everything) in bus->functions. */
void qemu_list_functions(struct qemu_bus *qb, struct qemu_function *bridge, bool tell);
/* Take a function out of all lists and free it. */
void qemu_function_free(struct qemu_function *qf);
bool qemu_is_below(struct qemu_function *qf, struct qemu_function *bridge);

/* Fill caps, msi, msix and what else the capability lists tell. config: its first 256 bytes. (task)
 */
void qemu_read_capabilities(struct qemu_bus *qb, struct qemu_function *qf, const uint32_t *config);
/* Find out how large the BARs are. (task) */
void qemu_size_bars(struct qemu_bus *qb, struct qemu_function *qf);
/* Give addresses to all that lies below `bridge` (NULL: to everything). (task) */
void qemu_assign(struct qemu_bus *qb, struct qemu_function *bridge);

/* ---- irq.c ---- */

int qemu_irq_alloc(struct pcid_function *f, unsigned most, struct pcid_irqs *irqs);
void qemu_irq_free(struct pcid_function *f);
int qemu_irq_mask(struct pcid_function *f, unsigned vector, bool masked);
/* Registers of MSI-X are lost to a function that does not decode: write the masks again. (task) */
void qemu_irq_decoding(struct qemu_function *qf);

/* ---- reset.c ---- */

int qemu_claim(struct pcid_function *f);
void qemu_release(struct pcid_function *f);
int qemu_enable(struct pcid_function *f, bool decode, bool master);
int qemu_reset(struct pcid_function *f);

/* ---- hotplug.c ---- */

/* Watch the slots of what was enumerated below `bridge` (NULL: of everything). (task) */
void qemu_slots_start(struct qemu_bus *qb, struct qemu_function *bridge);
void qemu_slot_stop(struct qemu_function *qf); /* (task) */
/* Somebody let a function go: perhaps its slot waits for that. */
void qemu_slots_look(struct qemu_bus *qb);
/* Wait until no slot is being looked after. (task) */
void qemu_slots_fini(struct qemu_bus *qb);
void qemu_slots_free(struct qemu_bus *qb);

#endif
