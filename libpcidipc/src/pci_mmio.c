/* SPDX-License-Identifier: MIT */
/* Registers: a BAR mapped here where the bus can, else one ring operation per access. */
#include <sys/mman.h>
#include <unistd.h>

#include "pci_internal.h"
#include "probes.h"

static int region_bytes(struct pcidipc_pci *pci, unsigned region, uint64_t *bytes)
{
	uint64_t big[2];
	int ret = pci_call(pci, RINGABI_PCI_REGION_INFO, (struct ringabi_pci_arg){.index = region},
			   0, big);

	if (ret)
		return ret;
	*bytes = big[0];
	return big[0] ? 0 : -ENXIO;
}

/* Map the region but for its holes: the address range is reserved first, so that the pieces keep
 * their distance. */
static int map_around_holes(struct pcidipc_mmio *mmio, const struct ringabi_map_region_reply *r,
			    int fd)
{
	uint64_t at = 0;
	void *base = mmap(NULL, r->bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (base == MAP_FAILED)
		return -errno;
	for (unsigned i = 0; i <= r->holes; i++) {
		uint64_t end = i < r->holes ? r->hole[i].offset : r->bytes;

		if (end > at &&
		    mmap((char *)base + at, end - at, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, fd, (off_t)(r->offset + at)) == MAP_FAILED) {
			int ret = -errno;

			munmap(base, r->bytes);
			return ret;
		}
		at = i < r->holes ? end + r->hole[i].bytes : end;
	}
	mmio->base = base;
	mmio->bytes = r->bytes;
	return 0;
}

static int take_region(struct pcidipc_mmio *mmio, struct pcidipc_packet *reply)
{
	const struct ringabi_map_region_reply *r = (const void *)reply->bytes;

	if (reply->nfds != 1 || r->holes > RINGABI_MAX_HOLES)
		return -EPROTO;
	for (unsigned i = 0; i < r->holes; i++) {
		if (r->hole[i].offset > r->bytes || r->hole[i].bytes > r->bytes - r->hole[i].offset)
			return -EPROTO;
		mmio->hole[i].offset = r->hole[i].offset;
		mmio->hole[i].bytes = r->hole[i].bytes;
	}
	return map_around_holes(mmio, r, reply->fds[0]);
}

static int map_region(struct pcidipc_pci *pci, unsigned region, struct pcidipc_mmio *mmio)
{
	struct ringabi_map_region request = {
		.msg = {.type = RINGABI_MSG_MAP_REGION, .size = sizeof(request)},
		.region = region,
	};
	struct pcidipc_packet reply;
	int ret;

	memset(mmio, 0, sizeof(*mmio));
	mmio->pci = pci;
	mmio->region = region;
	ret = pcidipc_consumer_ask(pci->consumer, &request.msg, NULL, 0, &reply);
	if (ret == -EOPNOTSUPP)
		return region_bytes(pci, region, &mmio->bytes);
	if (ret)
		return ret;
	ret = take_region(mmio, &reply);
	pcidipc_packet_close(&reply);
	return ret;
}

int pcidipc_pci_map(struct pcidipc_pci *pci, unsigned region, struct pcidipc_mmio *mmio)
{
	if (!pci->confined)
		return map_region(pci, region, mmio);
	if (region >= PCI_BARS)
		return -EINVAL;
	*mmio = pci->region[region];
	return pci->region_error[region];
}

static void unmap(struct pcidipc_mmio *mmio)
{
	if (mmio->base)
		munmap((void *)mmio->base, mmio->bytes);
	mmio->base = NULL;
}

/* What was mapped for all time stays: it could not be mapped again. */
void pcidipc_mmio_unmap(struct pcidipc_mmio *mmio)
{
	if (mmio->base && mmio->pci->confined)
		mmio->base = NULL;
	else
		unmap(mmio);
}

/* Most functions have less than six, and children none: who asks for one is told. */
void pci_map_all(struct pcidipc_pci *pci)
{
	for (unsigned i = 0; i < PCI_BARS; i++)
		pci->region_error[i] = map_region(pci, i, &pci->region[i]);
	pci->confined = true;
}

void pci_unmap_all(struct pcidipc_pci *pci)
{
	for (unsigned i = 0; i < PCI_BARS; i++)
		unmap(&pci->region[i]);
}

uint64_t pcidipc_mmio_read_slow(const struct pcidipc_mmio *mmio, uint64_t offset, unsigned width)
{
	struct ringabi_pci_arg arg = {.index = mmio->region, .width = width};
	uint64_t big[2];
	int ret = pci_call(mmio->pci, RINGABI_PCI_MMIO_READ, arg, offset, big);
	uint64_t value = ret ? UINT64_MAX : big[0];

	probe_mmio_read(mmio->pci, mmio->region, offset, width, value);
	return value;
}

void pcidipc_mmio_write_slow(const struct pcidipc_mmio *mmio, uint64_t offset, unsigned width,
			     uint64_t value)
{
	struct ringabi_pci_arg arg = {.index = mmio->region, .width = width, .value = value};

	probe_mmio_write(mmio->pci, mmio->region, offset, width, value);
	pci_post(mmio->pci, RINGABI_PCI_MMIO_WRITE, arg, offset);
}
