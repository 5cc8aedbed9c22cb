/* SPDX-License-Identifier: MIT */
/* DMA memory: a driver's own, mapped whole, and its clients' pools, forwarded and mapped as they
 * are used. */
#include "pci_internal.h"

static int map_range(struct pcidipc_pci *pci, uint16_t index, uint64_t offset, uint64_t bytes)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD,
				   .cmd_op = RINGABI_CMD_POOL_MAP,
				   .addr = offset,
				   .len = (uint32_t)bytes,
				   .buf_index = index};

	return pcidipc_call(pci->consumer, &sqe, NULL);
}

static int map_all(struct pcidipc_pci *pci, uint16_t index, uint64_t bytes)
{
	int ret = 0;

	for (uint64_t at = 0; at < bytes && !ret; at += RINGABI_POOL_CHUNK) {
		uint64_t left = bytes - at;

		ret = map_range(pci, index, at,
				left < RINGABI_POOL_CHUNK ? left : RINGABI_POOL_CHUNK);
	}
	return ret;
}

int pcidipc_pci_dma_bits(struct pcidipc_pci *pci, unsigned bits)
{
	return pci_call(pci, RINGABI_PCI_DMA_BITS, (struct ringabi_pci_arg){.value = bits}, 0,
			NULL);
}

int pcidipc_dma_create(struct pcidipc_pci *pci, uint64_t bytes, struct pcidipc_dma *dma)
{
	int ret = pcidipc_pool_create(bytes, 0, &dma->pool);

	if (ret)
		return ret;
	bytes = pcidipc_pool_bytes(dma->pool);
	ret = pcidipc_consumer_attach_pool_fd(pci->consumer, pcidipc_pool_fd(dma->pool), bytes,
					      &dma->index, &dma->iova);
	if (!ret) {
		ret = map_all(pci, dma->index, bytes);
		if (ret)
			pcidipc_consumer_detach_pool(pci->consumer, dma->index);
	}
	if (ret)
		pcidipc_pool_destroy(dma->pool);
	return ret;
}

void pcidipc_dma_destroy(struct pcidipc_pci *pci, struct pcidipc_dma *dma)
{
	pcidipc_consumer_detach_pool(pci->consumer, dma->index);
	pcidipc_pool_destroy(dma->pool);
	dma->pool = NULL;
}

int pcidipc_pci_pool_attach(struct pcidipc_pci *pci, struct pcidipc_pool_view *pool)
{
	return pcidipc_consumer_attach_pool_fd(pci->consumer, pool->fd, pool->bytes,
					       &pool->forwarded, &pool->iova);
}

int pcidipc_pci_pool_map(struct pcidipc_pci *pci, struct pcidipc_pool_view *pool, uint64_t offset,
			 uint64_t bytes)
{
	return map_range(pci, pool->forwarded, offset, bytes);
}

void pcidipc_pci_pool_detach(struct pcidipc_pci *pci, struct pcidipc_pool_view *pool)
{
	pcidipc_consumer_detach_pool(pci->consumer, pool->forwarded);
}
