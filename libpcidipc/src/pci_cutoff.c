/* SPDX-License-Identifier: MIT */
/* The last resort of a driver whose device does not do what it must. */
#include <pcidipc/log.h>
#include <pcidipc/pci.h>
#include <unistd.h>

void pcidipc_pci_cut_off(struct pcidipc_pci *pci)
{
	int ret = pcidipc_pci_enable(pci, true, false);

	if (!ret || ret == -ENODEV)
		return;
	pcidipc_err("%s: bus mastering cannot be turned off: %s", pcidipc_pci_info(pci)->address,
		    strerror(-ret));
	_exit(1);
}
