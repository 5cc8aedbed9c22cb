/* SPDX-License-Identifier: MIT */
/* One vector in the manner of NAPI. */
#include <pcidipc/pci.h>
#include <sys/epoll.h>

static void fired(struct pcidipc_watch *watch, unsigned events)
{
	struct pcidipc_irq *irq = pcidipc_container_of(watch, struct pcidipc_irq, watch);

	(void)events;
	pcidipc_pci_mask(irq->pci, 0);
	if (pcidipc_vector_ack(watch->fd) < 0) {
		pcidipc_watch_remove(watch); /* pcid will tell us to end */
		return;
	}
	irq->handle(irq);
	pcidipc_pci_unmask(irq->pci, 0);
}

int pcidipc_irq_start(struct pcidipc_irq *irq, struct pcidipc_pci *pci,
		      void (*handle)(struct pcidipc_irq *))
{
	int ret = pcidipc_pci_alloc_vectors(pci, 1, 1, &irq->vectors);

	if (ret)
		return ret;
	irq->handle = handle;
	irq->pci = pci;
	return pcidipc_watch_add(pcidipc_pci_loop(pci), &irq->watch, irq->vectors.fds[0], EPOLLIN,
				 fired);
}
