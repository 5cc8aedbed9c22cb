// SPDX-License-Identifier: GPL-2.0-or-later
/* Resetting a function: the kernel knows how (FLR, power state, its bus), and takes 100 ms and
 * more. */
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <pcidipc/log.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "vfio.h"

#define TRIES 20
#define PAUSE_NS 50000000

/* EAGAIN: somebody else, the kernel's power management for one, holds the device for a moment. */
static int reset_device(void *function)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	struct vfio_function *p = vfio_of(function);
	int ret = -EAGAIN;

	for (unsigned i = 0; i < TRIES && ret == -EAGAIN; i++) {
		if (i)
			nanosleep(&pause, NULL);
		ret = ioctl(p->device, VFIO_DEVICE_RESET) ? -errno : 0;
	}
	return ret;
}

/*
 * The kernel restores configuration space after a reset: what is to be off is turned off before.
 * While the kernel waits for us to let go it holds the device, and does not reset it for us: then
 * no DMA must do.
 */
int vfio_reset(struct pcid_function *f)
{
	struct vfio_function *p = vfio_of(f);
	int ret;

	if (f->gone || p->device < 0)
		return -ENODEV;
	p->decode = false;
	vfio_config_write(f, PCI_COMMAND, 2, 0);
	vfio_irq_free(f);
	if (!p->can_reset || p->leaving)
		return -EOPNOTSUPP;
	ret = vfio_run_busy(f, reset_device);
	if (ret)
		pcidipc_err("%s: reset: %s", f->address, strerror(-ret));
	return ret;
}
