/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two of QEMU's devices, driven by hand through a bus's operations, from a task. */
#ifndef QEMUDEVICES_H
#define QEMUDEVICES_H

#include "qemubus.h"

/*
 * The edu device: 4 KiB of its own, copied by DMA, which it does after 100 ms. QEMU 7.2 aborts when
 * a transfer touches the last byte, so half is used.
 */
#define EDU_ID 0x00u
#define EDU_LIVENESS 0x04u
#define EDU_RAISE 0x60u
#define EDU_ACK 0x64u
#define EDU_SOURCE 0x80u
#define EDU_TARGET 0x88u
#define EDU_COUNT 0x90u
#define EDU_COMMAND 0x98u
#define EDU_RUN 1u
#define EDU_TO_MEMORY 2u
#define EDU_BUFFER 0x40000u
#define EDU_BYTES 2048u

/* An NVMe controller's admin queue: ASQ at 0, ACQ at 4 KiB, data at 8 KiB of m. */
#define NVME_CC 0x14u
#define NVME_CSTS 0x1cu
#define NVME_AQA 0x24u
#define NVME_ASQ 0x28u
#define NVME_ACQ 0x30u
#define NVME_SQ0 0x1000u
#define NVME_DATA 0x2000u
#define NVME_ENTRIES 16u

struct nvme {
	struct pcid_function *f;
	struct memory m;
	struct pcid_irqs irqs;
	unsigned tail, head, phase;
};

/* An I/O queue pair of it, which is made by nvme_read_pages. */
#define NVME_IO_SQ 0x3000u
#define NVME_IO_CQ 0x4000u
#define NVME_SQ1 0x1008u
#define NVME_READ_BYTES 4096u

void edu_start(struct pcid_function *f, uint64_t iova, unsigned bytes, bool to_memory);
void edu_await(struct pcid_function *f);
void edu_copy(struct pcid_function *f, uint64_t iova, unsigned bytes, bool to_memory);
void nvme_open(struct nvme *n, struct pcid_function *f);
void nvme_close(struct nvme *n);
void nvme_identify(struct nvme *n, uint64_t prp);
unsigned nvme_status(struct nvme *n);
/* Read block 0 to `count` pages from `prp` on, a command each. */
void nvme_read_pages(struct nvme *n, uint64_t prp, unsigned count);

#endif
