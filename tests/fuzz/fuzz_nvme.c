// SPDX-License-Identifier: MIT
/*
 * What an NVMe controller answers: identify data, lists of namespaces that change, logs,
 * asynchronous events, and completions, of which there are some for nothing, twice, and with phases
 * of their own. The driver's files are taken in as they are; the ways to the device lead into the
 * input.
 */
#include <errno.h>
#include <libnvme.h>
#include <stdlib.h>
#include <string.h>

#include <pcidipc/blockserve.h>
#include <pcidipc/pci.h>
#include <pcidipc/pool.h>

#include "../../nvmed/nvmed.h"
#include "fuzz.h"

static struct fuzz_input *answers;
static struct pcidipc_dma dma;
static unsigned asked, disks;

/* Sparse: what the input does not fill is zero. Pieces of it land where it says. */
static void fill(void *to, size_t bytes)
{
	memset(to, 0, bytes);
	for (unsigned n = fuzz_u8(answers) % 8; n; n--) {
		size_t at = fuzz_take(answers, 2) % bytes, length = 1 + fuzz_u8(answers) % 32;

		fuzz_copy(answers, (char *)to + at, length < bytes - at ? length : bytes - at);
	}
}

/* Ascending numbers, as they must be, but for what the input spoils. */
static void fill_list(uint32_t *list, uint32_t after)
{
	unsigned n = fuzz_u8(answers) & 0x80 ? 1024 : fuzz_u8(answers) % 200;

	memset(list, 0, 4096);
	for (unsigned i = 0; i < n; i++)
		list[i] = htole32(after + 1 + i);
	if (fuzz_u8(answers) & 1)
		list[fuzz_take(answers, 2) % 1024] = (uint32_t)fuzz_take(answers, 4);
}

static bool by_queue; /* a device answers, or the input at once */
int queue_identify(struct controller *c, uint32_t cns, uint32_t nsid, void *to);

static int answer_identify(struct controller *c, uint32_t cns, uint32_t nsid, void *to)
{
	if (by_queue)
		return queue_identify(c, cns, nsid, to);
	if (!answers->left || ++asked > 2000)
		return -EIO;
	if (cns == NVME_IDENTIFY_CNS_NS_ACTIVE_LIST)
		fill_list(to, nsid);
	else
		fill(to, 4096);
	return 0;
}

static int check_disk(struct namespace *ns)
{
	const struct ringabi_block_info *info = &ns->disk.info;
	uint32_t block = info->block_bytes;

	fuzz_expect(block >= 512 && block <= 65536 && !(block & (block - 1)),
		    "blocks have a size that can be driven");
	fuzz_expect(info->bytes && !(info->bytes % block) && info->bytes <= INT64_MAX,
		    "a disk has whole blocks, and not too many");
	fuzz_expect(info->best_bytes >= block &&
			    !(info->physical_bytes & (info->physical_bytes - 1)),
		    "one command moves a block at least");
	fuzz_expect(memchr(info->serial, 0, sizeof(info->serial)) &&
			    memchr(info->model, 0, sizeof(info->model)) &&
			    memchr(info->firmware, 0, sizeof(info->firmware)),
		    "text ends");
	return 0;
}

static int publish_disk(struct namespace *ns)
{
	disks++;
	return check_disk(ns);
}

static void disk_changed(struct pcidipc_disk *disk)
{
	check_disk(pcidipc_container_of(disk, struct namespace, disk));
}

static void remove_disk(struct pcidipc_disk *disk)
{
	(void)disk;
	disks--;
}

static int unpublish(struct pcidipc_pci *pci, struct pcidipc_service *service)
{
	(void)pci;
	(void)service;
	return 0;
}

#pragma GCC diagnostic ignored "-Wmissing-prototypes" /* of what is renamed here */
#define identify answer_identify
#define disk_publish publish_disk
#define pcidipc_disk_changed disk_changed
#define pcidipc_disk_remove remove_disk
#define pcidipc_pci_unpublish unpublish
#define identify_controller fuzzed_identify_controller
#define namespaces_start fuzzed_namespaces_start
#define namespaces_rescan fuzzed_namespaces_rescan
#define namespaces_stop fuzzed_namespaces_stop
#include "../../nvmed/identity.c"
#include "../../nvmed/namespace.c"

/* The commands that fetch all this, logs and events, by the queue of a device of ours. */
static unsigned healths;

static void no_watchdog(struct controller *c)
{
	(void)c; /* no clock: what takes too long ends with the input */
}

static void health_done(struct pcidipc_block_io *io, int res)
{
	fuzz_expect(io->data && res <= 0, "a health request completes once");
	free(io->data);
	free(io);
	healths--;
}

#undef identify
#define identify queue_identify
#define log_page fuzzed_log_page
#define status_error fuzzed_status_error
#define admin_create fuzzed_admin_create
#define admin_status fuzzed_admin_status
#define admin_command fuzzed_admin_command
#define events_start fuzzed_events_start
#define health_submit fuzzed_health_submit
#define watchdog_start no_watchdog
#define pcidipc_block_complete health_done
int status_error(const struct controller *c, uint16_t status, const char *what);
#include "../../nvmed/admin.c"
#include "../../nvmed/event.c"
#include "../../nvmed/health.c"
#undef pcidipc_block_complete

/* ---- identify ---- */

static bool identified;

static void identify_task(void *arg)
{
	struct controller c = {.address = "0000:00:01.0", .page = 4096u << fuzz_u8(answers) % 5};

	(void)arg;
	if (!identify_controller(&c)) {
		fuzz_expect(c.max_bytes >= c.page && c.max_bytes <= MOST_COMMAND_BYTES,
			    "one command moves a page at least");
		namespaces_start(&c);
		while (answers->left)
			namespaces_rescan(&c);
	}
	fuzz_expect(disks == c.nnamespaces && disks <= MAX_NAMESPACES, "namespaces are counted");
	while (c.nnamespaces)
		free(c.namespaces[--c.nnamespaces]);
	disks = 0;
	identified = true;
}

static bool is_identified(void *arg)
{
	(void)arg;
	return identified;
}

static void fuzz_identify(void)
{
	asked = 0;
	identified = false;
	fuzz_expect(!pcidipc_spawn(fuzz_loop(), identify_task, NULL), "a task");
	fuzz_run_until(is_identified, NULL, "a controller can be looked at in finite time");
}

/* ---- completions ---- */

#define ENTRIES 8u

static unsigned in_flight;

static void command_done(struct nvme_command *command, uint16_t status, uint32_t result)
{
	(void)result;
	(void)status;
	fuzz_expect(command->arg, "a command completes once");
	command->arg = NULL;
	in_flight--;
}

static void send_command(struct nvme_queue *q)
{
	struct nvme_command *command;
	struct nvme_sqe *sqe = nvme_queue_get(q, &command);

	if (!sqe)
		return;
	fuzz_expect(in_flight < ENTRIES - 1, "no more commands than the queue has room for");
	command->done = command_done;
	command->arg = q;
	in_flight++;
	nvme_queue_ring(q);
}

/* An entry of the completion queue, wherever, with a command id that may be one of ours. */
static void write_completion(struct nvme_queue *q)
{
	uint8_t how = fuzz_u8(answers);
	volatile struct nvme_cqe *cqe = &q->cq[how & 8 ? how % ENTRIES : q->cq_head];

	cqe->cid = how & 0x40 ? (uint16_t)fuzz_take(answers, 2)
			      : nvme_command_id(q, &q->commands[how % ENTRIES]);
	cqe->result = fuzz_u8(answers);
	cqe->sq_head = fuzz_u8(answers);
	cqe->status = (uint16_t)(fuzz_take(answers, 2) << 1 | (how & 0x80 ? !q->phase : q->phase));
}

static void fuzz_queue(void)
{
	static unsigned char registers[8192];
	static uint32_t clock;
	struct pcidipc_mmio bar = {.base = registers, .bytes = sizeof(registers)};
	struct nvme_queue_params params = {.dma = &dma,
					   .bar = &bar,
					   .clock = &clock,
					   .limit = 30,
					   .page = 4096,
					   .list_bytes = 4096,
					   .stride = 4,
					   .id = 1,
					   .entries = ENTRIES};
	struct nvme_queue q;

	fuzz_expect(!nvme_queue_create(&q, &params), "a queue");
	while (answers->left) {
		uint8_t what = fuzz_u8(answers);

		clock += what >> 4;
		if (what % 4 == 0)
			send_command(&q);
		else if (what % 4 == 1)
			write_completion(&q);
		else if (what % 4 == 2)
			fuzz_expect(nvme_queue_reap(&q, 16) <= 16, "a budget is kept");
		else if (what == 0xff)
			nvme_queue_fail(&q, STATUS_RESET);
		fuzz_expect(q.in_flight == in_flight, "commands in flight are counted");
	}
	nvme_queue_fail(&q, STATUS_GONE);
	fuzz_expect(!in_flight, "every command completes");
	nvme_queue_destroy(&q);
}

/* ---- a device that answers ---- */

#define DEVICE_HEALTHS 4u

static struct {
	struct controller c;
	uint16_t sq_head, cq_tail;
	bool phase;
	uint16_t waiting[ADMIN_ENTRIES]; /* places in the SQ of those that it has not answered */
	unsigned nwaiting;
	bool starting;
	unsigned rescans;
} device;

static void start_task(void *arg)
{
	struct controller *c = &device.c;

	(void)arg;
	if (!identify_controller(c)) {
		events_start(c);
		namespaces_start(c);
	}
	device.starting = false;
}

static void rescan_task(void *arg)
{
	(void)arg;
	namespaces_rescan(&device.c);
	device.rescans--;
}

static void device_look(void)
{
	while (device.sq_head != device.c.admin.sq_tail) {
		fuzz_expect(device.nwaiting < ADMIN_ENTRIES - 1, "the queue does not overflow");
		device.waiting[device.nwaiting++] = device.sq_head;
		device.sq_head = (uint16_t)((device.sq_head + 1) % ADMIN_ENTRIES);
	}
}

static void device_data(const struct nvme_sqe *sqe)
{
	struct controller *c = &device.c;

	if (sqe->opcode != nvme_admin_identify && sqe->opcode != nvme_admin_get_log_page)
		return;
	fuzz_expect(sqe->prp1 == pcidipc_dma_iova(&c->dma, c->scratch) && !sqe->prp2,
		    "data goes to the driver's own page");
	if (sqe->opcode == nvme_admin_identify &&
	    (sqe->cdw10 & 0xff) == NVME_IDENTIFY_CNS_NS_ACTIVE_LIST)
		fill_list(pcidipc_buf_ptr(c->scratch), sqe->nsid);
	else
		fill(pcidipc_buf_ptr(c->scratch), 4096);
}

/* One of those that wait, not the oldest always. */
static void device_answer(void)
{
	struct nvme_queue *q = &device.c.admin;
	uint8_t how = fuzz_u8(answers);
	volatile struct nvme_cqe *cqe = &q->cq[device.cq_tail];
	unsigned nth;

	device_look();
	if (!device.nwaiting)
		return;
	nth = (how & 0x3f) % device.nwaiting;
	device_data(&q->sq[device.waiting[nth]]);
	cqe->cid = q->sq[device.waiting[nth]].cid;
	device.waiting[nth] = device.waiting[--device.nwaiting];
	cqe->result = how & 0x40 ? (uint32_t)fuzz_take(answers, 4) : TYPE_NOTICE;
	cqe->status = (uint16_t)((how & 0x80 ? fuzz_take(answers, 2) : 0) << 1 | device.phase);
	device.cq_tail = (uint16_t)((device.cq_tail + 1) % ADMIN_ENTRIES);
	device.phase ^= !device.cq_tail;
}

static void ask_health(void)
{
	static struct pcidipc_disk disk;
	static struct namespace ns;
	struct pcidipc_block_io *io = calloc(1, sizeof(*io));

	ns.controller = &device.c;
	disk.driver = &ns;
	fuzz_expect(io, "memory");
	io->disk = &disk;
	io->data = calloc(1, sizeof(struct ringabi_block_health));
	healths++;
	fuzz_expect(health_submit(io) == PCIDIPC_PENDING, "a health request begins");
}

static void device_step(void)
{
	uint8_t what = fuzz_u8(answers);

	if (what % 8 < 3)
		device_answer();
	else if (what % 8 == 3 && healths < DEVICE_HEALTHS)
		ask_health();
	else if (what % 8 == 4 && device.rescans < 2 && !device.starting)
		device.rescans += !pcidipc_spawn(fuzz_loop(), rescan_task, NULL);
	nvme_queue_reap(&device.c.admin, 16);
	for (unsigned turns = what >> 5; turns; turns--)
		pcidipc_loop_turn(fuzz_loop(), false);
}

static bool device_ended(void *arg)
{
	struct controller *c = &device.c;

	(void)arg;
	nvme_queue_fail(&c->admin, STATUS_GONE);
	return !device.starting && !device.rescans && !healths && !c->admin.in_flight &&
	       !c->scratch_lock.owner && !c->namespaces_lock.owner;
}

static void fuzz_device(void)
{
	static unsigned char registers[8192];
	static struct pcidipc_buf *scratch;
	struct controller *c = &device.c;

	if (!scratch)
		scratch = pcidipc_pool_alloc(dma.pool, 4096, 4096);
	memset(&device, 0, sizeof(device));
	*c = (struct controller){.loop = fuzz_loop(),
				 .address = "0000:00:01.0",
				 .page = 4096,
				 .stride = 4,
				 .dma = dma,
				 .scratch = scratch,
				 .bar = {.base = registers, .bytes = sizeof(registers)}};
	fuzz_expect(!admin_create(c), "a queue");
	device.phase = device.starting = by_queue = true;
	fuzz_expect(!pcidipc_spawn(fuzz_loop(), start_task, NULL), "a task");
	while (answers->left)
		device_step();
	c->dead = true;
	fuzz_run_until(device_ended, NULL, "everything ends when the controller is gone");
	fuzz_run(); /* what an event began */
	fuzz_expect(device_ended(NULL), "and nothing begins then");
	fuzz_expect(disks == c->nnamespaces && disks <= MAX_NAMESPACES, "namespaces are counted");
	while (c->nnamespaces)
		free(c->namespaces[--c->nnamespaces]);
	disks = 0;
	by_queue = false;
	nvme_queue_destroy(&c->admin);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	uint8_t how;

	if (!size)
		return 0;
	answers = &in;
	fuzz_loop();
	if (!dma.pool) /* the driver's memory, kept for all inputs */
		fuzz_expect(!pcidipc_pool_create(2 << 20, 0, &dma.pool), "a pool");
	fuzz_begin();
	how = fuzz_u8(&in);
	if (how & 1)
		fuzz_identify();
	else if (how & 0x80)
		fuzz_device();
	else
		fuzz_queue();
	fuzz_end();
	return 0;
}
