/* SPDX-License-Identifier: MIT */
/* A scheme's pools, forwarded to pcid for the driver's own device. */
#include "pci_internal.h"

static int forward_attach(struct pcidipc_session *s, struct pcidipc_pool_view *pool)
{
	return pcidipc_pci_pool_attach(pcidipc_session_scheme(s)->pci, pool);
}

static int forward_map(struct pcidipc_session *s, struct pcidipc_pool_view *pool, uint64_t offset,
		       uint64_t bytes)
{
	return pcidipc_pci_pool_map(pcidipc_session_scheme(s)->pci, pool, offset, bytes);
}

static void forward_detach(struct pcidipc_session *s, struct pcidipc_pool_view *pool)
{
	pcidipc_pci_pool_detach(pcidipc_session_scheme(s)->pci, pool);
}

void pci_forward_pools(struct pcidipc_scheme *scheme)
{
	if (!(scheme->flags & PCIDIPC_SCHEME_DMA) || scheme->pool_attach || scheme->pool_map)
		return;
	scheme->pool_attach = forward_attach;
	scheme->pool_map = forward_map;
	scheme->pool_detach = forward_detach;
}
