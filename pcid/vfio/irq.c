// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Interrupts: eventfds that the kernel signals, straight to the driver.
 *
 * VFIO masks INTx by an ioctl, and neither MSI nor MSI-X. But MSI-X masks in the vector-control
 * word of its table, which lies in a BAR that VFIO lets us map (the driver's mapping leaves it
 * out), and MSI masks, where it can, in configuration space. The device keeps what comes while it
 * is masked. MSI without mask bits is relayed by the core.
 *
 * INTx is level-triggered: VFIO masks it as it fires, and it fires again after the driver's unmask
 * if it is still there.
 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <pcidipc/log.h>
#include <ringabi/channel.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vfio.h"

#define PAGE 4096u
#define ENTRY_WORDS 4 /* of the MSI-X table */
#define VECTOR_CONTROL 3

/* ---- VFIO_DEVICE_SET_IRQS ---- */

struct set_irqs {
	struct vfio_irq_set set;
	int fds[VFIO_VECTORS];
};

/* > 0: there are only that many vectors. */
static int set_irqs(int device, unsigned index, const int *fds, unsigned n)
{
	struct set_irqs s = {
		.set = {.argsz = sizeof(s.set) + n * (unsigned)sizeof(int),
			.flags = VFIO_IRQ_SET_ACTION_TRIGGER |
				 (n ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE),
			.index = index,
			.count = n},
	};
	int ret;

	if (n)
		memcpy(s.fds, fds, n * sizeof(int));
	ret = ioctl(device, VFIO_DEVICE_SET_IRQS, &s);
	return ret < 0 ? -errno : ret;
}

int vfio_set_irqs(int device, unsigned index, const int *fds, unsigned n)
{
	int ret = set_irqs(device, index, fds, n);

	return ret > 0 ? -ENOSPC : ret;
}

/* ---- the MSI-X table, mapped ---- */

/*
 * A device that is gone, or whose decoding somebody turned off, answers an access to its mapping
 * with SIGBUS. While the table is touched, that puts an empty page in its place, and the access
 * goes nowhere. Only the loop touches tables.
 */
static volatile sig_atomic_t touching, missed;
static char *touched_page;

static void bus_error(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (touching && (char *)info->si_addr >= touched_page &&
	    (char *)info->si_addr < touched_page + PAGE) {
		missed = 1;
		mmap(touched_page, PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		return;
	}
	signal(sig, SIG_DFL); /* not ours: it comes again, and ends us */
}

static void catch_bus_errors(void)
{
	static bool caught;
	struct sigaction action = {.sa_sigaction = bus_error, .sa_flags = SA_SIGINFO};

	if (caught)
		return;
	sigaction(SIGBUS, &action, NULL);
	caught = true;
}

static volatile uint32_t *control_word(struct vfio_function *p, unsigned vector)
{
	return &p->table[vector * ENTRY_WORDS + VECTOR_CONTROL];
}

static int write_control(struct vfio_function *p, unsigned vector, bool masked)
{
	volatile uint32_t *word = control_word(p, vector);

	touched_page = (char *)((uintptr_t)word & ~(uintptr_t)(PAGE - 1));
	missed = 0;
	touching = 1;
	*word = masked ? PCI_MSIX_ENTRY_CTRL_MASKBIT : 0;
	touching = 0;
	if (!missed)
		return 0;
	p->table_lost = true;
	return -ENODEV;
}

static void unmap_table(struct vfio_function *p)
{
	if (p->table_page)
		munmap(p->table_page, p->table_bytes);
	p->table_page = NULL;
	p->table = NULL;
	p->table_lost = false;
}

static int map_table(struct pcid_function *f)
{
	struct vfio_function *p = vfio_of(f);
	uint64_t start = f->msix.offset & ~(uint64_t)(PAGE - 1);
	uint64_t inside = f->msix.offset - start;
	void *page;

	if (!p->region[f->msix.bar].mappable)
		return -EOPNOTSUPP;
	p->table_bytes = (inside + 16ull * f->msix.count + PAGE - 1) & ~(uint64_t)(PAGE - 1);
	page = mmap(NULL, p->table_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, p->device,
		    (off_t)(p->region[f->msix.bar].offset + start));
	if (page == MAP_FAILED)
		return -errno;
	catch_bus_errors();
	p->table_page = page;
	p->table = (volatile uint32_t *)((char *)page + inside);
	return 0;
}

/* ---- masks ---- */

static bool is_masked(const struct vfio_function *p, unsigned vector)
{
	return p->masked >> vector & 1;
}

static int mask_intx(struct vfio_function *p, bool masked)
{
	struct vfio_irq_set set = {
		.argsz = sizeof(set),
		.flags = VFIO_IRQ_SET_DATA_NONE |
			 (masked ? VFIO_IRQ_SET_ACTION_MASK : VFIO_IRQ_SET_ACTION_UNMASK),
		.index = VFIO_PCI_INTX_IRQ_INDEX,
		.count = 1,
	};

	return ioctl(p->device, VFIO_DEVICE_SET_IRQS, &set) ? -errno : 0;
}

/* While decoding is off the table cannot be reached: an interrupt that a stray device sends then is
 * a spurious one. */
static int apply(struct pcid_function *f, unsigned vector)
{
	struct vfio_function *p = vfio_of(f);

	if (p->irq_kind == RINGABI_IRQ_INTX)
		return mask_intx(p, is_masked(p, 0));
	if (p->irq_kind == RINGABI_IRQ_MSI)
		return vfio_config_write(
			f, f->msi.cap + (f->msi.is64 ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32), 4,
			(uint32_t)p->masked);
	return p->decode && !p->table_lost ? write_control(p, vector, is_masked(p, vector)) : 0;
}

int vfio_irq_mask(struct pcid_function *f, unsigned vector, bool masked)
{
	struct vfio_function *p = vfio_of(f);

	if (f->gone)
		return -ENODEV;
	if (vector >= p->irq_count)
		return -ERANGE;
	if (masked)
		p->masked |= 1ull << vector;
	else
		p->masked &= ~(1ull << vector);
	return p->busy ? 0 : apply(f, vector);
}

void vfio_irq_decoding(struct pcid_function *f)
{
	struct vfio_function *p = vfio_of(f);

	if (p->irq_kind != RINGABI_IRQ_MSIX)
		return;
	if (p->table_lost) {
		unmap_table(p);
		if (map_table(f)) {
			p->table_lost = true;
			return;
		}
	}
	for (unsigned i = 0; i < p->irq_count; i++)
		apply(f, i);
}

/* ---- allocating ---- */

static unsigned index_of(uint32_t kind)
{
	return kind == RINGABI_IRQ_MSIX	 ? VFIO_PCI_MSIX_IRQ_INDEX
	       : kind == RINGABI_IRQ_MSI ? VFIO_PCI_MSI_IRQ_INDEX
					 : VFIO_PCI_INTX_IRQ_INDEX;
}

static unsigned least_of(unsigned a, unsigned b, unsigned c)
{
	unsigned least = a < b ? a : b;

	return least < c ? least : c;
}

static bool has_intx(struct vfio_function *p)
{
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = VFIO_PCI_INTX_IRQ_INDEX};

	return !ioctl(p->device, VFIO_DEVICE_GET_IRQ_INFO, &info) && info.count;
}

/* The best kind that works; MSI comes in powers of two. 0: none. */
static void choose(struct pcid_function *f, unsigned most, struct pcid_irqs *irqs)
{
	struct vfio_function *p = vfio_of(f);

	irqs->count = 0;
	irqs->maskable = true;
	if (f->msix.cap && p->region[f->msix.bar].mappable) {
		irqs->kind = RINGABI_IRQ_MSIX;
		irqs->count = least_of(f->msix.count, most, VFIO_VECTORS);
	} else if (f->msi.cap) {
		unsigned n = least_of(f->msi.count, most, 32);

		irqs->kind = RINGABI_IRQ_MSI;
		irqs->count = 1u << (31 - __builtin_clz(n));
		irqs->maskable = f->msi.maskable;
	} else if (has_intx(p)) {
		irqs->kind = RINGABI_IRQ_INTX;
		irqs->count = 1;
	}
}

static int make_eventfds(struct pcid_irqs *irqs)
{
	for (unsigned i = 0; i < irqs->count; i++) {
		irqs->fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (irqs->fds[i] < 0) {
			int ret = -errno;

			while (i--)
				close(irqs->fds[i]);
			return ret;
		}
	}
	return 0;
}

static void close_from(struct pcid_irqs *irqs, unsigned first)
{
	for (unsigned i = first; i < irqs->count; i++)
		close(irqs->fds[i]);
	irqs->count = first;
}

struct turn_on {
	struct vfio_function *p;
	struct pcid_irqs *irqs;
};

/* Where the kernel has fewer vectors than the function, it says how many. */
static int turn_on(void *arg)
{
	struct turn_on *t = arg;
	int ret = set_irqs(t->p->device, index_of(t->irqs->kind), t->irqs->fds, t->irqs->count);

	if (ret <= 0)
		return ret;
	close_from(t->irqs, (unsigned)ret);
	return vfio_set_irqs(t->p->device, index_of(t->irqs->kind), t->irqs->fds, t->irqs->count);
}

static int turn_off(void *arg)
{
	struct vfio_function *p = arg;

	return vfio_set_irqs(p->device, index_of(p->irq_kind), NULL, 0);
}

/* The table is mapped before interrupts are on, and touched after. */
static int turn_on_all(struct pcid_function *f, struct pcid_irqs *irqs)
{
	struct vfio_function *p = vfio_of(f);
	struct turn_on t = {.p = p, .irqs = irqs};
	int ret = irqs->kind == RINGABI_IRQ_MSIX ? map_table(f) : 0;

	if (!ret)
		ret = vfio_call(&vfio_bus_of(f)->done, &p->worker, turn_on, &t);
	if (ret)
		unmap_table(p);
	return ret;
}

int vfio_irq_alloc(struct pcid_function *f, unsigned most, struct pcid_irqs *irqs)
{
	struct vfio_function *p = vfio_of(f);
	int ret;

	if (f->gone || p->device < 0)
		return -ENODEV;
	choose(f, most, irqs);
	if (!irqs->count)
		return -EOPNOTSUPP;
	ret = make_eventfds(irqs);
	if (ret)
		return ret;
	ret = turn_on_all(f, irqs);
	if (ret) {
		pcidipc_err("%s: %u interrupt vectors: %s", f->address, irqs->count,
			    strerror(-ret));
		close_from(irqs, 0);
		return ret;
	}
	p->irq_kind = irqs->kind;
	p->irq_count = irqs->count;
	p->masked = 0;
	return 0;
}

void vfio_irq_free(struct pcid_function *f)
{
	struct vfio_function *p = vfio_of(f);

	if (!p->irq_count)
		return;
	p->irq_count = 0; /* first: masks may be asked for meanwhile */
	unmap_table(p);
	if (p->device >= 0)
		vfio_call(&vfio_bus_of(f)->done, &p->worker, turn_off, p);
	p->irq_kind = 0;
}
