// SPDX-License-Identifier: MIT
/* What an NVMe controller can do, on a real one of QEMU's: namespaces, flush, zeroes, discard,
 * health, pass-through, events. Everything is compared with the image files or QEMU's counters. */
#include <CUnit/CUnit.h>
#include <endian.h>
#include <errno.h>
#include <libnvme.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "client.h"
#include "monitor.h"

#define MIB (1u << 20)
#define LARGEST (512u << 10) /* several commands: the controllers below have MDTS of 128 KiB */
#define PIECE (64u << 10)

/* Namespaces of one controller. */
static struct ns {
	const char *image, *disk;
	unsigned nsid;
	uint32_t block;
	uint64_t bytes;
	unsigned char *shadow; /* what the image should hold */
} spaces[] = {
	{"a", "nvme0n1", 1, 512, 64u * MIB, NULL},
	{"b", "nvme0n2", 2, 4096, 96u * MIB, NULL},
	{"c", "nvme0n7", 7, 512, 3u * MIB + 512, NULL},
};
#define SPACES (sizeof(spaces) / sizeof(*spaces))

static struct rig rig;

/* ---- helpers ---- */

static void open_space(struct client *c, const struct ns *ns)
{
	CU_ASSERT_EQUAL_FATAL(client_open(c, ns->disk, 0, 4u * MIB), 0);
}

static int same_as_shadow(const struct ns *ns)
{
	return rig_compare(&rig, ns->image, ns->shadow, ns->bytes);
}

/* The blocks that the file really has. */
static int64_t allocated(const struct ns *ns)
{
	char path[RIG_PATH];
	struct stat st = {0};

	snprintf(path, sizeof(path), "%s/%s.img", rig.dir, ns->image);
	CU_ASSERT_EQUAL(stat(path, &st), 0);
	return (int64_t)st.st_blocks * 512;
}

static int write_stable(struct client *c, uint64_t addr, uint32_t bytes, uint64_t off)
{
	return pcidipc_blockdev_write(c->dev, c->index, addr, bytes, off, true);
}

/* ---- namespaces ---- */

static void check_geometry(const struct ns *ns)
{
	struct client c;

	open_space(&c, ns);
	CU_ASSERT_EQUAL(c.info->block_bytes, ns->block);
	CU_ASSERT_EQUAL(c.info->bytes, ns->bytes);
	CU_ASSERT_EQUAL(c.info->name_space, ns->nsid);
	CU_ASSERT_EQUAL(c.info->best_bytes, 128u << 10);
	CU_ASSERT_STRING_EQUAL(c.info->serial, "features");
	CU_ASSERT_TRUE(c.info->flags & RINGABI_BLOCK_VOLATILE_CACHE);
	CU_ASSERT_TRUE(c.info->flags & RINGABI_BLOCK_DISCARD_WORKS);
	CU_ASSERT_TRUE(c.info->flags & RINGABI_BLOCK_ZEROES_WORK);
	CU_ASSERT_EQUAL(client_read(&c, 0, ns->block / 2, 0), -EINVAL);
	CU_ASSERT_EQUAL(client_read(&c, 0, ns->block, ns->block / 2), -EINVAL);
	CU_ASSERT_EQUAL(client_read(&c, 0, ns->block, ns->bytes), -ENOSPC);
	CU_ASSERT_EQUAL(client_read(&c, 0, ns->block, ns->bytes - ns->block), (int)ns->block);
	CU_ASSERT_EQUAL(memcmp(c.base, ns->shadow + ns->bytes - ns->block, ns->block), 0);
	client_close(&c);
}

static void test_geometry(void)
{
	for (unsigned i = 0; i < SPACES; i++)
		check_geometry(&spaces[i]);
}

/* One write somewhere, every second one of them stable, and read back to another place. */
static bool write_and_read(struct client *c, struct ns *ns, uint32_t *random, unsigned round)
{
	uint32_t bytes = ns->block * (1 + next_random(random) % (LARGEST / ns->block));
	uint64_t off = next_random(random) % ((ns->bytes - bytes) / ns->block + 1) * ns->block;
	uint64_t addr = next_random(random) % MIB & ~3ull;
	int ret;

	fill_random(random, c->base + addr, bytes);
	memcpy(ns->shadow + off, c->base + addr, bytes);
	ret = round & 1 ? write_stable(c, addr, bytes, off) : client_write(c, addr, bytes, off);
	return ret == (int)bytes && client_read(c, 2u * MIB, bytes, off) == (int)bytes &&
	       !memcmp(c->base + 2u * MIB, ns->shadow + off, bytes);
}

static void test_data(void)
{
	struct client c[SPACES];
	uint32_t random = 77;
	unsigned wrong = 0;

	for (unsigned i = 0; i < SPACES; i++)
		open_space(&c[i], &spaces[i]);
	for (unsigned i = 0; i < 120; i++)
		wrong += !write_and_read(&c[i % SPACES], &spaces[i % SPACES], &random, i / SPACES);
	CU_ASSERT_EQUAL(wrong, 0);
	for (unsigned i = 0; i < SPACES; i++) {
		CU_ASSERT_EQUAL(pcidipc_blockdev_flush(c[i].dev), 0);
		CU_ASSERT_EQUAL(same_as_shadow(&spaces[i]), 0);
		client_close(&c[i]);
	}
}

/* ---- errors of the medium: a disk of QEMU's blkdebug, which fails what FAULTS says ---- */

#define FAULTS                                                                             \
	"inject-error.0.event=none,inject-error.0.iotype=flush,inject-error.0.errno=5,"    \
	"inject-error.1.event=none,inject-error.1.iotype=read,inject-error.1.sector=64,"   \
	"inject-error.1.errno=5,"                                                          \
	"inject-error.2.event=none,inject-error.2.iotype=write,inject-error.2.sector=128," \
	"inject-error.2.errno=28"
#define FAULTY "nvme0n9"

/* Each flush of a client's is one of the disk's: it fails when that does, and only then. */
static void test_flush(void)
{
	struct client good, bad;

	open_space(&good, &spaces[0]);
	CU_ASSERT_EQUAL_FATAL(client_open(&bad, FAULTY, 0, MIB), 0);
	CU_ASSERT_EQUAL(client_write(&bad, 0, 4096, 0), 4096);
	CU_ASSERT_EQUAL(pcidipc_blockdev_flush(bad.dev), -EIO);
	CU_ASSERT_EQUAL(pcidipc_blockdev_flush(good.dev), 0);
	CU_ASSERT_EQUAL(pcidipc_blockdev_flush(bad.dev), -EIO);
	CU_ASSERT_EQUAL(client_read(&bad, 0, 4096, 0), 4096);
	client_close(&good);
	client_close(&bad);
}

static void test_medium(void)
{
	struct client c;

	CU_ASSERT_EQUAL_FATAL(client_open(&c, FAULTY, 0, MIB), 0);
	CU_ASSERT_EQUAL(client_read(&c, 0, 4096, 64 * 512), -ENODATA);
	CU_ASSERT_EQUAL(client_write(&c, 0, 4096, 64 * 512), 4096);
	CU_ASSERT_EQUAL(client_write(&c, 0, 4096, 128 * 512), -EIO);
	/* One command of several fails: so does the request. */
	CU_ASSERT_EQUAL(client_read(&c, 0, 512u << 10, 0), -ENODATA);
	CU_ASSERT_EQUAL(client_read(&c, 0, 512u << 10, MIB), 512 << 10);
	client_close(&c);
}

/* ---- zeroes, holes, discard ---- */

static void zero_some(struct ns *ns, struct client *c, uint64_t off, uint64_t bytes, bool hole)
{
	memset(ns->shadow + off, 0, bytes);
	CU_ASSERT_EQUAL(pcidipc_blockdev_zero(c->dev, off, bytes, hole), 0);
	CU_ASSERT_EQUAL(same_as_shadow(ns), 0);
	CU_ASSERT_EQUAL(client_read(c, 0, ns->block, off), (int)ns->block);
	CU_ASSERT_EQUAL(memcmp(c->base, ns->shadow + off, ns->block), 0);
}

static void zero_space(struct ns *ns)
{
	struct client c;
	int64_t before;

	open_space(&c, ns);
	zero_some(ns, &c, 0, ns->block, false);
	zero_some(ns, &c, 7ull * ns->block, 129ull * ns->block, true);
	zero_some(ns, &c, ns->bytes - 3ull * ns->block, 3ull * ns->block, true);
	before = allocated(ns);
	zero_some(ns, &c, MIB, MIB, true);
	CU_ASSERT_TRUE(before - allocated(ns) >= MIB / 2);
	CU_ASSERT_EQUAL(pcidipc_blockdev_zero(c.dev, ns->block / 2, ns->block, false), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_blockdev_zero(c.dev, 0, 0, true), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_blockdev_zero(c.dev, ns->bytes, ns->block, false), -ENOSPC);
	CU_ASSERT_EQUAL(same_as_shadow(ns), 0);
	client_close(&c);
}

static void test_zero(void)
{
	for (unsigned i = 0; i < SPACES; i++)
		zero_space(&spaces[i]);
}

/* More blocks than one Write Zeroes can name. */
static void test_zero_all(void)
{
	struct client c;

	open_space(&c, &spaces[0]);
	zero_some(&spaces[0], &c, 0, spaces[0].bytes, false);
	client_close(&c);
}

/* The contents are undefined where it was discarded, and untouched elsewhere. */
static void discard_space(struct ns *ns)
{
	const uint64_t off = MIB, bytes = MIB;
	struct client c;
	int64_t before;

	open_space(&c, ns);
	memset(c.base, 0x5a, MIB);
	memset(ns->shadow + off, 0x5a, bytes);
	CU_ASSERT_EQUAL(client_write(&c, 0, (uint32_t)bytes, off), (int)bytes);
	before = allocated(ns);
	CU_ASSERT_EQUAL(pcidipc_blockdev_discard(c.dev, off, bytes), 0);
	CU_ASSERT_TRUE(before - allocated(ns) >= (int64_t)bytes / 2);
	CU_ASSERT_EQUAL(client_read(&c, 0, (uint32_t)bytes, off), (int)bytes);
	memcpy(ns->shadow + off, c.base, bytes);
	CU_ASSERT_EQUAL(same_as_shadow(ns), 0);
	CU_ASSERT_EQUAL(pcidipc_blockdev_discard(c.dev, off + 1, bytes), -EINVAL);
	CU_ASSERT_EQUAL(pcidipc_blockdev_discard(c.dev, ns->bytes - bytes, 2 * bytes), -ENOSPC);
	client_close(&c);
}

static void test_discard(void)
{
	for (unsigned i = 0; i < SPACES; i++)
		discard_space(&spaces[i]);
}

/* ---- health ---- */

#define UNIT 512000ull /* the log counts thousands of 512 bytes, rounded up */

static bool near(uint64_t got, uint64_t wanted)
{
	return got + UNIT >= wanted && got <= wanted + UNIT;
}

static void test_health(void)
{
	struct ringabi_block_health before, after;
	const unsigned reads = 40, writes = 25;
	struct client c;

	open_space(&c, &spaces[1]);
	CU_ASSERT_EQUAL_FATAL(pcidipc_blockdev_health(c.dev, &before), 0);
	for (unsigned i = 0; i < reads; i++)
		CU_ASSERT_EQUAL(client_read(&c, 0, PIECE, (uint64_t)i * PIECE), (int)PIECE);
	for (unsigned i = 0; i < writes; i++) {
		CU_ASSERT_EQUAL(client_write(&c, 0, PIECE, (uint64_t)i * PIECE), (int)PIECE);
		memcpy(spaces[1].shadow + i * PIECE, c.base, PIECE);
	}
	CU_ASSERT_EQUAL_FATAL(pcidipc_blockdev_health(c.dev, &after), 0);
	CU_ASSERT_EQUAL(after.reads - before.reads, reads);
	CU_ASSERT_EQUAL(after.writes - before.writes, writes);
	CU_ASSERT_TRUE(near(after.bytes_read - before.bytes_read, (uint64_t)reads * PIECE));
	CU_ASSERT_TRUE(near(after.bytes_written - before.bytes_written, (uint64_t)writes * PIECE));
	CU_ASSERT_EQUAL(after.warnings, 0);
	CU_ASSERT_EQUAL(after.temperature, 323);
	CU_ASSERT_EQUAL(after.media_errors, 0);
	client_close(&c);
}

/* ---- pass-through ---- */

#define PT_AT 0u	      /* the request's own place in the pool */
#define PT_DATA (8192u - 64u) /* its data crosses a page */

static struct ringabi_block_passthrough *pt(struct client *c, uint8_t opcode, uint32_t nsid,
					    uint32_t cdw10, uint32_t bytes)
{
	struct ringabi_block_passthrough *p = (void *)(c->base + PT_AT);

	memset(p, 0, sizeof(*p));
	memset(c->base + 4096, 0xee, 12288);
	p->kind = RINGABI_BLOCK_PT_NVME_ADMIN;
	p->data = PT_DATA;
	p->data_bytes = bytes;
	p->command[0] = opcode;
	p->command[1] = nsid;
	p->command[10] = cdw10;
	return p;
}

static int pass(struct client *c)
{
	return pcidipc_blockdev_passthrough(c->dev, c->index, PT_AT);
}

static void open_admin(struct client *c)
{
	CU_ASSERT_EQUAL_FATAL(client_open(c, "disk/nvme0n1.admin", 0, 4u * MIB), 0);
	CU_ASSERT_TRUE(c->info->flags & RINGABI_BLOCK_ADMIN);
}

/* Nothing beyond the data was touched. */
static bool untouched(const struct client *c, uint32_t bytes)
{
	for (uint32_t i = 4096; i < 16384; i++)
		if ((i < PT_DATA || i >= PT_DATA + bytes) && c->base[i] != 0xee)
			return false;
	return true;
}

static void test_allowed(void)
{
	struct ringabi_block_passthrough *p;
	struct client c;

	open_admin(&c);
	p = pt(&c, nvme_admin_identify, 0, NVME_IDENTIFY_CNS_CTRL, 4096);
	CU_ASSERT_EQUAL(pass(&c), 0);
	CU_ASSERT_EQUAL(p->status, 0);
	CU_ASSERT_EQUAL(memcmp(c.base + PT_DATA + 4, "features ", 9), 0);
	CU_ASSERT_TRUE(untouched(&c, 4096));
	pt(&c, nvme_admin_identify, 2, NVME_IDENTIFY_CNS_NS, 4096);
	CU_ASSERT_EQUAL(pass(&c), 0);
	CU_ASSERT_EQUAL(le64toh(*(uint64_t *)(c.base + PT_DATA)), spaces[1].bytes / 4096);
	pt(&c, nvme_admin_get_log_page, NVME_NSID_ALL, NVME_LOG_LID_SMART | (512 / 4 - 1) << 16,
	   512);
	CU_ASSERT_EQUAL(pass(&c), 0);
	CU_ASSERT_EQUAL(c.base[PT_DATA + 1] | c.base[PT_DATA + 2] << 8, 323);
	CU_ASSERT_TRUE(untouched(&c, 512));
	p = pt(&c, nvme_admin_get_features, 0, NVME_FEAT_FID_NUM_QUEUES, 0);
	CU_ASSERT_EQUAL(pass(&c), 0);
	CU_ASSERT_NOT_EQUAL(p->result, 0);
	CU_ASSERT_TRUE(untouched(&c, 0));
	/* A command that the controller refuses: its status comes back. */
	p = pt(&c, nvme_admin_identify, 0, 0x77, 4096);
	CU_ASSERT_EQUAL(pass(&c), -EIO);
	CU_ASSERT_EQUAL(p->status & 0xff, NVME_SC_INVALID_FIELD);
	client_close(&c);
}

static int refused(struct client *c, uint8_t opcode, uint32_t cdw10, uint32_t bytes)
{
	pt(c, opcode, 1, cdw10, bytes);
	return pass(c);
}

static void test_refused(void)
{
	static const uint8_t opcodes[] = {
		nvme_admin_format_nvm,
		nvme_admin_set_features,
		nvme_admin_delete_sq,
		nvme_admin_create_cq,
		nvme_admin_async_event,
		nvme_admin_security_send,
		nvme_admin_abort_cmd,
		nvme_admin_dbbuf,
		nvme_admin_fw_commit,
		nvme_admin_ns_attach,
		0xc0,
		0xff,
	};
	struct client c;

	open_admin(&c);
	for (unsigned i = 0; i < sizeof(opcodes); i++)
		CU_ASSERT_EQUAL(refused(&c, opcodes[i], 0, 4096), -EACCES);
	CU_ASSERT_EQUAL(refused(&c, nvme_admin_get_features, NVME_FEAT_FID_LBA_RANGE, 4096),
			-EACCES);
	CU_ASSERT_EQUAL(refused(&c, nvme_admin_identify, NVME_IDENTIFY_CNS_CTRL, 4092), -EINVAL);
	CU_ASSERT_EQUAL(
		refused(&c, nvme_admin_get_log_page, NVME_LOG_LID_SMART | 0xffffu << 16, 512),
		-EINVAL);
	pt(&c, nvme_admin_identify, 0, 1, 4096)->to_device = 1;
	CU_ASSERT_EQUAL(pass(&c), -EINVAL);
	pt(&c, nvme_admin_identify, 0, 1, 4096)->command[0] |= 0x4000; /* SGLs */
	CU_ASSERT_EQUAL(pass(&c), -EINVAL);
	pt(&c, nvme_admin_identify, 0, 1, 4096)->kind = RINGABI_BLOCK_PT_SCSI;
	CU_ASSERT_EQUAL(pass(&c), -EINVAL);
	pt(&c, nvme_admin_identify, 0, 1, 4096)->data = 1ull << 40;
	CU_ASSERT_EQUAL(pass(&c), -EFAULT);
	CU_ASSERT_TRUE(untouched(&c, 0));
	CU_ASSERT_EQUAL(client_read(&c, 0, 512, 0), 512);
	client_close(&c);
	open_space(&c, &spaces[0]);
	CU_ASSERT_FALSE(c.info->flags & RINGABI_BLOCK_ADMIN);
	CU_ASSERT_EQUAL(refused(&c, nvme_admin_identify, NVME_IDENTIFY_CNS_CTRL, 4096), -EPERM);
	client_close(&c);
}

/* ---- events ---- */

static bool set_warning(unsigned value)
{
	return monitor_do(&rig,
			  "\"execute\":\"qom-set\",\"arguments\":{\"path\":\"/machine/peripheral/"
			  "ctl\",\"property\":\"smart_critical_warning\",\"value\":%u}",
			  value);
}

static uint32_t warnings(void)
{
	struct ringabi_block_health health = {.warnings = ~0u};
	struct client c;

	open_space(&c, &spaces[0]);
	CU_ASSERT_EQUAL(pcidipc_blockdev_health(c.dev, &health), 0);
	client_close(&c);
	return health.warnings;
}

/* An event comes once until the log was read: the second and third show that it was. */
static void test_smart(void)
{
	CU_ASSERT_TRUE(set_warning(4));
	CU_ASSERT_TRUE(RIG_UNTIL(rig_logged(&rig, "critical warning 0x4,")));
	CU_ASSERT_EQUAL(warnings(), RINGABI_BLOCK_WARN_DEGRADED);
	CU_ASSERT_TRUE(set_warning(0));
	CU_ASSERT_TRUE(set_warning(1));
	CU_ASSERT_TRUE(RIG_UNTIL(rig_logged(&rig, "critical warning 0x1,")));
	CU_ASSERT_TRUE(set_warning(3));
	CU_ASSERT_TRUE(RIG_UNTIL(rig_logged(&rig, "critical warning 0x3,")));
	CU_ASSERT_TRUE(set_warning(0));
	CU_ASSERT_EQUAL(warnings(), 0);
}

/* ---- the rig ---- */

static int add_space(struct ns *ns)
{
	int ret = rig_image(&rig, ns->image, ns->bytes, ns->nsid, &ns->shadow);

	rig_arg(&rig, "-drive");
	rig_arg(&rig, "file=@/%s.img,if=none,id=d%s,format=raw,discard=unmap", ns->image,
		ns->image);
	rig_arg(&rig, "-device");
	rig_arg(&rig,
		"nvme-ns,bus=ctl,drive=d%s,nsid=%u,logical_block_size=%u,physical_block_size=%u",
		ns->image, ns->nsid, ns->block, ns->block);
	return ret;
}

static int start(void)
{
	int ret = rig_create(&rig, 300);

	rig_arg(&rig, "-device");
	rig_arg(&rig, "nvme,id=ctl,serial=features,mdts=5");
	for (unsigned i = 0; i < SPACES && !ret; i++)
		ret = add_space(&spaces[i]);
	if (!ret)
		ret = rig_image(&rig, "faulty", 16u * MIB, 5, NULL);
	rig_arg(&rig, "-blockdev");
	rig_arg(&rig, "driver=blkdebug,node-name=faulty,image.driver=file,image.filename=@/"
		      "faulty.img," FAULTS);
	rig_arg(&rig, "-device");
	rig_arg(&rig, "nvme-ns,bus=ctl,drive=faulty,nsid=9");
	return ret ? ret : rig_start(&rig, NULL);
}

static CU_TestInfo tests[] = {
	{"namespaces: geometry", test_geometry},
	{"data of every namespace", test_data},
	{"flush", test_flush},
	{"errors of the medium", test_medium},
	{"write zeroes, holes", test_zero},
	{"zeroes over a whole disk", test_zero_all},
	{"discard", test_discard},
	{"the health log", test_health},
	{"pass-through: allowed", test_allowed},
	{"pass-through: refused", test_refused},
	{"health events", test_smart},
	CU_TEST_INFO_NULL,
};

static CU_SuiteInfo suites[] = {
	{"NVMe", NULL, NULL, NULL, NULL, tests},
	CU_SUITE_INFO_NULL,
};

int main(void)
{
	int ret = rig_main(&rig, start(), suites);

	for (unsigned i = 0; i < SPACES; i++)
		free(spaces[i].shadow);
	return ret;
}
