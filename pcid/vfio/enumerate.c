// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * This machine's functions, through libpci. It calls its error function where it cannot go on and
 * expects it not to return, so every call that may do so is made under a landing place.
 */
#include <errno.h>
#include <limits.h>
#include <pci/pci.h>
#include <pcidipc/log.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "vfio.h"

#define FILL                                                                                 \
	(PCI_FILL_IDENT | PCI_FILL_BASES | PCI_FILL_SIZES | PCI_FILL_CLASS | PCI_FILL_CAPS | \
	 PCI_FILL_EXT_CAPS | PCI_FILL_IO_FLAGS | PCI_FILL_CLASS_EXT | PCI_FILL_SUBSYS)

static jmp_buf landing;

static void complain(char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	pcidipc_warn("libpci: %s", text);
}

static _Noreturn void fail(char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	pcidipc_err("libpci: %s", text);
	longjmp(landing, 1);
}

/* ---- capabilities ---- */

static void read_msix(struct pcid_function *f, struct pci_dev *d, uint16_t cap)
{
	uint32_t table = pci_read_long(d, cap + PCI_MSIX_TABLE);
	uint32_t pba = pci_read_long(d, cap + PCI_MSIX_PBA);

	f->msix = (struct pcid_msix){
		.cap = cap,
		.count = (uint16_t)((pci_read_word(d, cap + PCI_CAP_FLAGS) & PCI_MSIX_TABSIZE) + 1),
		.bar = table & 7,
		.offset = table & ~7u,
		.pba_bar = pba & 7,
		.pba_offset = pba & ~7u,
	};
	if (f->msix.bar < PCID_BARS && f->msix.offset < f->bars[f->msix.bar].bytes &&
	    16ull * f->msix.count <= f->bars[f->msix.bar].bytes - f->msix.offset)
		return;
	pcidipc_warn(
		"%s: its MSI-X table of %u entries does not fit into BAR %u: MSI-X is left out",
		f->address, f->msix.count, f->msix.bar);
	f->msix = (struct pcid_msix){0};
}

static void read_msi(struct pcid_function *f, struct pci_dev *d, uint16_t cap)
{
	uint16_t control = pci_read_word(d, cap + PCI_MSI_FLAGS);

	f->msi = (struct pcid_msi){
		.cap = cap,
		.count = (uint16_t)(1u << (control >> 1 & 7)),
		.is64 = control & PCI_MSI_FLAGS_64BIT,
		.maskable = control & PCI_MSI_FLAGS_MASK_BIT,
	};
}

static uint16_t vendor_bytes(struct pci_dev *d, const struct pci_cap *c)
{
	if (c->type == PCI_CAP_NORMAL && c->id == PCI_CAP_ID_VNDR)
		return pci_read_byte(d, (int)c->addr + 2);
	if (c->type == PCI_CAP_EXTENDED && c->id == PCI_EXT_CAP_ID_VNDR)
		return (uint16_t)(pci_read_long(d, (int)c->addr + 4) >> 20);
	return 0;
}

static void take_cap(struct pcid_function *f, struct pci_dev *d, const struct pci_cap *c)
{
	bool extended = c->type == PCI_CAP_EXTENDED;

	if (f->ncaps == PCID_MAX_CAPS)
		return;
	f->caps[f->ncaps++] =
		(struct pcid_cap){c->id, (uint16_t)c->addr, vendor_bytes(d, c), extended};
	if (!extended && c->id == PCI_CAP_ID_MSIX)
		read_msix(f, d, (uint16_t)c->addr);
	if (!extended && c->id == PCI_CAP_ID_MSI)
		read_msi(f, d, (uint16_t)c->addr);
}

/* libpci's list is in no promised order: standard ones first. */
static void take_caps(struct pcid_function *f, struct pci_dev *d)
{
	for (int type = PCI_CAP_NORMAL; type <= PCI_CAP_EXTENDED; type++)
		for (const struct pci_cap *c = d->first_cap; c; c = c->next)
			if (c->type == type)
				take_cap(f, d, c);
}

/* ---- one function ---- */

static void take_bars(struct pcid_function *f, const struct pci_dev *d)
{
	for (unsigned i = 0; i < PCID_BARS; i++) {
		struct pcid_bar *bar = &f->bars[i];
		pciaddr_t base = d->base_addr[i];

		if (!d->size[i])
			continue;
		bar->bytes = d->size[i];
		bar->io = base & PCI_BASE_ADDRESS_SPACE_IO;
		bar->address = base & (bar->io ? PCI_BASE_ADDRESS_IO_MASK : PCI_ADDR_MEM_MASK);
		if (bar->io)
			continue;
		bar->is64 = (base & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64;
		bar->prefetch = base & PCI_BASE_ADDRESS_MEM_PREFETCH;
	}
}

static void take_identity(struct pcid_function *f, struct pci_dev *d)
{
	f->segment = (uint16_t)d->domain;
	f->bus_number = d->bus;
	f->dev = d->dev;
	f->fn = d->func;
	snprintf(f->address, sizeof(f->address), "%04x:%02x:%02x.%u", f->segment, d->bus,
		 d->dev & 31u, d->func & 7u);
	f->vendor = d->vendor_id;
	f->device = d->device_id;
	f->class_code = (uint32_t)d->device_class << 8 | d->prog_if;
	f->revision = d->rev_id;
	f->header_type = pci_read_byte(d, PCI_HEADER_TYPE) & 0x7f;
	if (f->header_type == PCI_HEADER_TYPE_BRIDGE) {
		f->secondary = pci_read_byte(d, PCI_SECONDARY_BUS);
		f->subordinate = pci_read_byte(d, PCI_SUBORDINATE_BUS);
	} else {
		f->subsystem_vendor = d->subsys_vendor_id == 0xffff ? 0 : d->subsys_vendor_id;
		f->subsystem_device = d->subsys_id == 0xffff ? 0 : d->subsys_id;
	}
}

static uint16_t config_bytes(const struct pcid_function *f)
{
	char path[PATH_MAX];
	struct stat st;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", f->address);
	return !stat(path, &st) && st.st_size >= 4096 ? 4096 : 256;
}

/* /sys/devices/pci0000:00/0000:00:07.0/0000:01:00.0: the directory above is the bridge. */
static struct pcid_function *find_parent(struct vfio_bus *bus, const char *address)
{
	char path[PATH_MAX], real[PATH_MAX], *slash;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/..", address);
	if (!realpath(path, real))
		return NULL;
	slash = strrchr(real, '/');
	return slash ? vfio_find(bus, slash + 1) : NULL;
}

static struct pcid_function *new_function(struct vfio_bus *bus)
{
	struct pcid_function *f = calloc(1, sizeof(*f));
	struct vfio_function *p = calloc(1, sizeof(*p));

	if (!f || !p) {
		free(f);
		free(p);
		return NULL;
	}
	f->bus = &bus->bus;
	f->bus_priv = p;
	p->f = f;
	p->device = -1;
	return f;
}

static bool before(const struct pcid_function *a, const struct pcid_function *b)
{
	uint64_t x = (uint64_t)a->segment << 16 | (uint64_t)a->bus_number << 8 |
		     (uint64_t)a->dev << 3 | a->fn;
	uint64_t y = (uint64_t)b->segment << 16 | (uint64_t)b->bus_number << 8 |
		     (uint64_t)b->dev << 3 | b->fn;

	return x < y;
}

/* In address order. */
static void keep(struct vfio_bus *bus, struct pcid_function *f)
{
	struct pcidipc_list *at = bus->bus.functions.next;

	while (at != &bus->bus.functions &&
	       before(pcidipc_container_of(at, struct pcid_function, link), f))
		at = at->next;
	pthread_mutex_lock(&bus->list_lock);
	pcidipc_list_append(at, &f->link);
	pthread_mutex_unlock(&bus->list_lock);
}

static struct pcid_function *take_function(struct vfio_bus *bus, struct pci_dev *d)
{
	struct pcid_function *f = new_function(bus);

	if (!f)
		return NULL;
	pci_fill_info(d, FILL);
	take_identity(f, d);
	take_bars(f, d);
	take_caps(f, d);
	f->config_bytes = config_bytes(f);
	f->dma_bits = 64;
	f->group = vfio_sysfs_group(f->address);
	vfio_of(f)->node = vfio_sysfs_node(f->address);
	f->parent = find_parent(bus, f->address);
	vfio_of(f)->pci = d;
	keep(bus, f);
	return f;
}

/* ---- all of them ---- */

static int open_libpci(struct vfio_bus *bus)
{
	bus->pci = pci_alloc();
	if (!bus->pci)
		return -ENOMEM;
	bus->pci->method = PCI_ACCESS_SYS_BUS_PCI;
	bus->pci->error = fail;
	bus->pci->warning = complain;
	pci_init(bus->pci);
	return 0;
}

/* By address first, so that a bridge is there before what is below it. */
static int by_address(const void *a, const void *b)
{
	const struct pci_dev *x = *(struct pci_dev *const *)a, *y = *(struct pci_dev *const *)b;

	if (x->domain != y->domain)
		return x->domain < y->domain ? -1 : 1;
	return (x->bus << 8 | x->dev << 3 | x->func) - (y->bus << 8 | y->dev << 3 | y->func);
}

static int take_all(struct vfio_bus *bus)
{
	struct pci_dev **sorted, *d;
	size_t n = 0, i = 0;
	int ret = 0;

	for (d = bus->pci->devices; d; d = d->next)
		n++;
	sorted = calloc(n + 1, sizeof(*sorted));
	if (!sorted)
		return -ENOMEM;
	for (d = bus->pci->devices; d; d = d->next)
		sorted[i++] = d;
	qsort(sorted, n, sizeof(*sorted), by_address);
	/* Segments beyond 16 bits are those of Intel's VMD: no address of ours. */
	for (i = 0; i < n && !ret; i++)
		if (sorted[i]->domain <= 0xffff)
			ret = take_function(bus, sorted[i]) ? 0 : -ENOMEM;
	free(sorted);
	return ret;
}

int vfio_enumerate(struct vfio_bus *bus)
{
	int ret;

	if (setjmp(landing))
		return -EIO;
	ret = open_libpci(bus);
	if (ret)
		return ret;
	pci_scan_bus(bus->pci);
	return take_all(bus);
}

struct pcid_function *vfio_enumerate_one(struct vfio_bus *bus, const char *address)
{
	unsigned segment, number, dev, fn;
	struct pcid_function *f;
	struct pci_dev *d;

	if (sscanf(address, "%x:%x:%x.%u", &segment, &number, &dev, &fn) != 4 || segment > 0xffff)
		return NULL;
	if (setjmp(landing))
		return NULL;
	d = pci_get_dev(bus->pci, (int)segment, (int)number, (int)dev, (int)fn);
	f = d ? take_function(bus, d) : NULL;
	if (f)
		vfio_of(f)->own_pci = true;
	else if (d)
		pci_free_dev(d);
	return f;
}

struct pcid_function *vfio_find(struct vfio_bus *bus, const char *address)
{
	pcidipc_list_for_each(f, &bus->bus.functions, struct pcid_function, link)
		if (!strcmp(f->address, address) && !f->gone)
			return f;
	return NULL;
}

int vfio_config_peek(struct pcid_function *f, unsigned offset, unsigned width, uint32_t *value)
{
	u8 bytes[4] = {0};

	if (setjmp(landing))
		return -EIO;
	if (!pci_read_block(vfio_of(f)->pci, (int)offset, bytes, (int)width))
		return -EIO;
	*value = bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
		 (uint32_t)bytes[3] << 24;
	return 0;
}

/* libpci keeps what its scan found until its own end; what was asked for singly is ours. */
void vfio_forget(struct pcid_function *f)
{
	pcidipc_list_for_each(other, &f->bus->functions, struct pcid_function, link)
		if (other->parent == f)
			other->parent = NULL;
	vfio_worker_stop(&vfio_of(f)->worker);
	if (vfio_of(f)->own_pci)
		pci_free_dev(vfio_of(f)->pci);
	pthread_mutex_lock(&vfio_bus_of(f)->list_lock);
	pcidipc_list_remove(&f->link);
	pthread_mutex_unlock(&vfio_bus_of(f)->list_lock);
	free(f->bus_priv);
	free(f);
}

void vfio_enumerate_end(struct vfio_bus *bus)
{
	if (bus->pci)
		pci_cleanup(bus->pci);
	bus->pci = NULL;
}
