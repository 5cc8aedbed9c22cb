/* SPDX-License-Identifier: MIT */
/* What pci.c, pci_mmio.c and pci_dma.c share. */
#ifndef PCI_INTERNAL_H
#define PCI_INTERNAL_H

#include <pcidipc/pci.h>
#include <pcidipc/scheme.h>

#define PCI_BARS 6

struct pcidipc_pci {
	struct pcidipc_consumer *consumer;
	struct pcidipc_loop *loop;
	struct pcidipc_pci_info info;
	void (*event)(uint32_t event, void *arg);
	void *event_arg;
	bool confined; /* no more regions: these are all that there are */
	struct pcidipc_mmio region[PCI_BARS];
	int region_error[PCI_BARS]; /* why there is none */
};

/* What pcidipc_pci_open has opened in this process, or NULL. */
struct pcidipc_pci *pci_opened(void);
int pci_call(struct pcidipc_pci *pci, uint32_t cmd_op, struct ringabi_pci_arg arg, uint64_t addr,
	     uint64_t big[2]);
/* Map every region now, and let nothing be mapped later. */
void pci_map_all(struct pcidipc_pci *pci);
void pci_unmap_all(struct pcidipc_pci *pci);
/* Have the scheme forward its pools to scheme->pci, unless it says what else to do with them. */
void pci_forward_pools(struct pcidipc_scheme *scheme);
void pci_post(struct pcidipc_pci *pci, uint32_t cmd_op, struct ringabi_pci_arg arg, uint64_t addr);

#endif
