// SPDX-License-Identifier: GPL-2.0-or-later
/* A device's configuration space, as the QEMU bus takes it apart: capability lists that loop, end
 * nowhere, and lie. */
#include <errno.h>
#include <string.h>

#include "../../pcid/qemu/qemu.h"
#include "fuzz.h"

static uint8_t space[4096];
static unsigned reads, fails_after;

static int space_read(struct qemu_function *qf, unsigned offset, unsigned width, uint32_t *value)
{
	fuzz_expect(!(offset % width) && offset + width <= qf->f.config_bytes,
		    "configuration space is read where it is");
	if (++reads > fails_after)
		return -ENODEV;
	*value = 0;
	memcpy(value, space + offset, width);
	return 0;
}

#pragma GCC diagnostic ignored "-Wmissing-prototypes" /* of what is renamed here */
#define config_read space_read
#define qemu_read_capabilities read_capabilities_of_space
#include "../../pcid/qemu/capability.c"

static void check(const struct pcid_function *f)
{
	const struct pcid_msix *x = &f->msix;

	fuzz_expect(f->ncaps <= PCID_MAX_CAPS, "capabilities are counted");
	for (unsigned i = 0; i < f->ncaps; i++) {
		const struct pcid_cap *cap = &f->caps[i];

		fuzz_expect(!(cap->offset % 4) && cap->offset >= (cap->extended ? 0x100 : 0x40) &&
				    cap->offset < (cap->extended ? 4096 : 256),
			    "capabilities lie in their part of configuration space");
		for (unsigned j = 0; j < i; j++)
			fuzz_expect(f->caps[j].offset != cap->offset, "each is there once");
	}
	fuzz_expect(!f->msi.cap || (f->msi.count && f->msi.count <= 32 &&
				    !(f->msi.count & (f->msi.count - 1))),
		    "MSI has 1 to 32 vectors");
	fuzz_expect(!x->cap || (x->bar < PCID_BARS && x->count && x->count <= 2048 &&
				x->offset + 16ull * x->count <= f->bars[x->bar].bytes),
		    "the MSI-X table lies in its BAR");
}

/* Input: how, BAR sizes, then offsets and words, written one after the other. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	struct qemu_function qf = {.f.address = "0000:00:01.0"};
	uint32_t config[64];

	fuzz_begin();
	memset(space, 0, sizeof(space));
	reads = 0;
	fails_after = fuzz_u8(&in) & 1 ? fuzz_u8(&in) : 1000000;
	for (unsigned i = 0; i < PCID_BARS; i++)
		qf.f.bars[i] = (struct pcid_bar){.bytes = 1ull << fuzz_u8(&in) % 40};
	space[PCI_STATUS] = PCI_STATUS_CAP_LIST;
	space[PCI_CAPABILITY_LIST] = 0x40;
	while (in.left) {
		unsigned at = fuzz_take(&in, 2) % 1024 * 4;

		fuzz_copy(&in, space + at, 4);
	}
	memcpy(config, space, sizeof(config));
	read_capabilities_of_space(NULL, &qf, config);
	check(&qf.f);
	fuzz_end();
	return 0;
}
