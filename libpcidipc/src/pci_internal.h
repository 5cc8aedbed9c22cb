/* SPDX-License-Identifier: MIT */
/* What pci.c, pci_mmio.c and pci_dma.c share. */
#ifndef PCI_INTERNAL_H
#define PCI_INTERNAL_H

#include <pcidipc/pci.h>

struct pcidipc_pci {
	struct pcidipc_consumer *consumer;
	struct pcidipc_loop *loop;
	struct pcidipc_pci_info info;
	void (*event)(uint32_t event, void *arg);
	void *event_arg;
};

int pci_call(struct pcidipc_pci *pci, uint32_t cmd_op, struct ringabi_pci_arg arg, uint64_t addr,
	     uint64_t big[2]);
void pci_post(struct pcidipc_pci *pci, uint32_t cmd_op, struct ringabi_pci_arg arg, uint64_t addr);

#endif
