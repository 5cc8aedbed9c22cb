// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * DMA that the IOMMU refused. QEMU's model sends its fault interrupt to the CPU, never to memory,
 * and has one fault record; but its trace has a line for each fault, and the standard error, where
 * it goes, is being read anyhow.
 */
#include <stdio.h>
#include <string.h>

#include "qemu.h"

#define FAULT_NS 10000000ull /* one function is reported at most this often */

/* VT-d specification 3.0, table 26. */
static const char *reason_text(unsigned code)
{
	static const char *const reasons[] = {
		[1] = "no driver has the function (no root entry)",
		[2] = "no driver has the function (no context entry)",
		[3] = "bad context entry",
		[4] = "address beyond the domain's width",
		[5] = "address not mapped for writing",
		[6] = "address not mapped for reading",
		[7] = "bad page table",
		[8] = "bad root table",
		[9] = "bad context table",
		[10] = "reserved bits in a root entry",
		[11] = "reserved bits in a context entry",
		[12] = "reserved bits in a page table entry",
	};

	if (code >= sizeof(reasons) / sizeof(*reasons) || !reasons[code])
		return "unknown reason";
	return reasons[code];
}

/* Functions behind a conventional bridge share a requester id: the one with a driver is meant. */
static struct qemu_function *find_requester(struct qemu_bus *qb, unsigned rid)
{
	struct qemu_function *found = NULL;

	pcidipc_list_for_each(qf, &qb->nodes, struct qemu_function, node)
		if (qf->alias == rid && (!found || qf->claimed))
			found = qf;
	return found;
}

void vtd_trace_line(struct qemu_bus *qb, const char *line)
{
	uint64_t now = pcidipc_loop_now(qb->bus.loop);
	struct pcid_fault fault = {0};
	struct qemu_function *qf;
	unsigned rid, code, is_write;
	unsigned long long iova;

	if (sscanf(strstr(line, "vtd_dmar_fault "),
		   "vtd_dmar_fault sid %x fault %u addr %llx write %u", &rid, &code, &iova,
		   &is_write) != 4)
		return;
	qf = find_requester(qb, rid);
	if (!qf || !qf->listed || (qf->fault_at && now - qf->fault_at < FAULT_NS))
		return;
	qf->fault_at = now;
	fault.iova = iova;
	fault.write = is_write;
	fault.reason = reason_text(code);
	qemu_tell(qb, PCID_FUNCTION_FAULT, qf, &fault);
}
