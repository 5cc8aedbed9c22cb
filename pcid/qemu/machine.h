/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The QEMU process and everything that is one per machine. */
#ifndef MACHINE_H
#define MACHINE_H

#include "qmp.h"
#include "vtd.h"

#define ECAM_BASE 0xb0000000ull
#define ECAM_BUSES 64 /* buses that are walked; ECAM itself covers 256 */
#define MMIO_BASE 0xc0000000ull
#define MMIO_END 0xfe000000ull
#define IO_BASE 0x1000u
#define IO_END 0xf000u
#define DIMM_BASE (1ull << 40) /* QEMU keeps clear of what lies just below 1 TiB */
#define DIMM_END (8ull << 40)
#define DIMM_SLOTS 256
#define IOVA_BASE (2ull << 20)
#define MSI_PEER 0 /* of every MSI function: MSI data has 16 bits */
#define IVSHMEM_SELF 1
#define FIRST_PEER 2

struct machine {
	struct pcid_bus bus; /* first: the public part */
	struct pcid_qemu_options options;
	char **args; /* copy */
	char run_dir[64];
	char qmp_path[96];
	pid_t pid;
	int pidfd;
	struct pcidipc_watch death;
	struct pcidipc_watch complaints; /* its standard error */
	char complaint[512];

	struct qtest qtest;
	struct qmp qmp;
	struct vtd vtd;
	int ram_fd;
	void *ram;
	uint64_t ram_bytes;

	int ivshmem;	   /* the connection of QEMU's ivshmem device */
	uint64_t doorbell; /* address that an MSI writes to */
	uint16_t next_peer;
	uint16_t msi_used; /* vectors of MSI_PEER */

	/* enumeration */
	uint8_t next_bus;
	uint64_t next_mmio;
	uint32_t next_io;
	uint32_t dimm_used[DIMM_SLOTS]; /* 1: slot in use */
	uint64_t next_dimm_name;
	struct pcidipc_list pools; /* struct dimm, in address order */
};

/* What this bus knows about a function. */
struct qemu_function {
	struct vtd_domain domain;
	bool claimed;
	uint64_t next_iova;
	uint16_t peer;
	uint16_t first_vector; /* of MSI_PEER */
	uint32_t irq_kind, irq_count;
	uint32_t msi_mask; /* shadow of the mask register */
};

static inline struct machine *machine_of(struct pcid_function *f)
{
	return pcidipc_container_of(f->bus, struct machine, bus);
}

/* process.c (task) */
int machine_launch(struct machine *m);
void machine_kill(struct machine *m);
/* ivshmem.c (task) */
int ivshmem_greet(struct machine *m);
int ivshmem_add_vector(struct machine *m, uint16_t peer, int eventfd);
/* enumerate.c (task) */
int config_read(struct pcid_function *f, unsigned offset, unsigned width, uint32_t *value);
int config_write(struct pcid_function *f, unsigned offset, unsigned width, uint32_t value);
int config_post(struct pcid_function *f, unsigned offset, unsigned width, uint32_t value);
int enumerate(struct machine *m);
/* capability.c (task) */
int read_capabilities(struct pcid_function *f);
/* irq.c */
int irq_alloc(struct pcid_function *f, unsigned most, struct pcid_irqs *irqs);
void irq_free(struct pcid_function *f);
int irq_mask(struct pcid_function *f, unsigned vector, bool masked);
/* memory.c (task) */
int pool_attach(struct pcid_pool *pool);
int pool_map(struct pcid_pool *pool, uint64_t offset, uint64_t bytes);
void pool_detach(struct pcid_pool *pool);
/* reset.c (task) */
int function_reset(struct pcid_function *f);

#endif
