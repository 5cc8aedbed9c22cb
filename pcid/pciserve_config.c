// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a driver may write in its function's configuration space. What decides over addresses,
 * interrupts, power, resets, routing and isolation is pcid's; the rest is the driver's.
 */
#include <errno.h>

#include "driver.h"

#define HEADER_BYTES 0x40u

/* Standard capabilities: PCI Local Bus 3.0 appendix H. */
#define CAP_POWER 0x01u
#define CAP_MSI 0x05u
#define CAP_EXPRESS 0x10u
#define CAP_MSIX 0x11u
#define CAP_ADVANCED 0x13u /* function-level reset for conventional PCI */
#define CAP_ALLOCATION 0x14u

/* Extended ones: PCI Express base specification 5.0, 7.6 to 7.9. */
#define EXT_ACS 0x0du
#define EXT_ARI 0x0eu
#define EXT_ATS 0x0fu /* would let the device bypass its IOMMU domain */
#define EXT_SRIOV 0x10u
#define EXT_MULTICAST 0x12u
#define EXT_PRI 0x13u
#define EXT_REBAR 0x15u
#define EXT_PASID 0x1bu
#define EXT_DPC 0x1du
#define EXT_VF_REBAR 0x24u

#define EXPRESS_DEVICE_CONTROL 8u
#define EXPRESS_FLR 0x8000u
#define EXPRESS_LINK_CONTROL 0x10u
#define EXPRESS_LINK_BITS 0x0030u /* disable, retrain */
#define EXPRESS_SLOT_CONTROL 0x18u

static bool overlap(unsigned a, unsigned a_bytes, unsigned b, unsigned b_bytes)
{
	return a < b + b_bytes && b < a + a_bytes;
}

/* Of the header only the status register, the cache line, the latency and the scratch byte of the
 * interrupt line. */
static bool header_writable(unsigned offset, unsigned width)
{
	static const struct {
		unsigned offset, bytes;
	} open[] = {{0x06, 2}, {0x0c, 2}, {0x3c, 1}};

	for (unsigned i = 0; i < sizeof(open) / sizeof(*open); i++)
		if (offset >= open[i].offset && offset + width <= open[i].offset + open[i].bytes)
			return true;
	return false;
}

static bool managed(const struct pcid_cap *cap)
{
	if (cap->extended)
		return cap->id == EXT_ACS || cap->id == EXT_ARI || cap->id == EXT_ATS ||
		       cap->id == EXT_SRIOV || cap->id == EXT_MULTICAST || cap->id == EXT_PRI ||
		       cap->id == EXT_REBAR || cap->id == EXT_PASID || cap->id == EXT_DPC ||
		       cap->id == EXT_VF_REBAR;
	return cap->id == CAP_POWER || cap->id == CAP_MSI || cap->id == CAP_MSIX ||
	       cap->id == CAP_ADVANCED || cap->id == CAP_ALLOCATION;
}

static unsigned msi_bytes(const struct pcid_msi *msi)
{
	return 10u + (msi->is64 ? 4u : 0u) + (msi->maskable ? 10u : 0u);
}

/* Where the size is not known, all up to the next capability counts. */
static unsigned managed_bytes(const struct pcid_function *f, const struct pcid_cap *cap)
{
	unsigned end = cap->extended ? 4096u : 256u;

	if (!cap->extended && cap->id == CAP_POWER)
		return 8;
	if (!cap->extended && cap->id == CAP_MSI)
		return msi_bytes(&f->msi);
	if (!cap->extended && cap->id == CAP_MSIX)
		return 12;
	if (!cap->extended && cap->id == CAP_ADVANCED)
		return 6;
	for (unsigned i = 0; i < f->ncaps; i++)
		if (f->caps[i].offset > cap->offset && f->caps[i].offset < end)
			end = f->caps[i].offset;
	return end - cap->offset;
}

/* Does a write to [offset, offset + width) set one of `bits` of the 16-bit register at `at`? */
static bool sets_bits(unsigned offset, unsigned width, uint32_t value, unsigned at, unsigned bits)
{
	for (unsigned i = 0; i < width; i++) {
		unsigned byte = value >> 8 * i & 0xff;

		if (offset + i == at && byte & bits & 0xff)
			return true;
		if (offset + i == at + 1 && byte & bits >> 8)
			return true;
	}
	return false;
}

static bool express_refused(const struct pcid_cap *cap, unsigned offset, unsigned width,
			    uint32_t value)
{
	return sets_bits(offset, width, value, cap->offset + EXPRESS_DEVICE_CONTROL, EXPRESS_FLR) ||
	       sets_bits(offset, width, value, cap->offset + EXPRESS_LINK_CONTROL,
			 EXPRESS_LINK_BITS) ||
	       overlap(offset, width, cap->offset + EXPRESS_SLOT_CONTROL, 2);
}

int pcid_config_writable(const struct pcid_function *f, unsigned offset, unsigned width,
			 uint32_t value)
{
	if (offset + width > f->config_bytes)
		return -ENXIO;
	if (offset >= HEADER_BYTES && f->ncaps == PCID_MAX_CAPS)
		return -EPERM; /* there may be more, and nobody knows what lies where */
	if (offset < HEADER_BYTES)
		return f->header_type == 0 && header_writable(offset, width) ? 0 : -EPERM;
	for (unsigned i = 0; i < f->ncaps; i++) {
		const struct pcid_cap *cap = &f->caps[i];

		if (overlap(offset, width, cap->offset, cap->extended ? 4 : 2))
			return -EPERM; /* its id and the list */
		if (managed(cap) && overlap(offset, width, cap->offset, managed_bytes(f, cap)))
			return -EPERM;
		if (!cap->extended && cap->id == CAP_EXPRESS &&
		    express_refused(cap, offset, width, value))
			return -EPERM;
	}
	return 0;
}
