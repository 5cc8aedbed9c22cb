/* SPDX-License-Identifier: MIT */
/* What a logical unit is, and what state it is in. Everything here is a device's word. */
#include <errno.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <string.h>

#include "target.h"

#define ANSWER_BYTES 252u /* the most that a one-byte length can ask for, of whole words */
#define WRITE_SAME_BLOCKS 65535u
#define MOST_PHYSICAL (1u << 20)
#define SPC_2 4
#define SPC_3 5

/* ---- identity, once ---- */

static int vpd(struct lun *lun, uint8_t page, uint8_t *answer)
{
	struct scsi_cdb cdb = scsi_inquiry_vpd(page, ANSWER_BYTES);
	int n = lun_ask(lun->target, lun->number, &cdb, answer, ANSWER_BYTES);

	if (n > 0)
		target_dump(lun->target, "vital product data", page, answer, (size_t)n);
	return n;
}

/* Only what page 00h lists is asked for: some devices do not survive the others. */
static void vital_product_data(struct lun *lun)
{
	struct ringabi_block_info *info = &lun->disk.info;
	uint8_t list[ANSWER_BYTES], a[ANSWER_BYTES];
	int listed = vpd(lun, 0x00, list), n;

	if (listed < 0)
		return;
	for (unsigned page = 0x80; page <= 0xb2; page++) {
		if (!scsi_vpd_lists(list, (size_t)listed, (uint8_t)page))
			continue;
		if (page > 0x80 && page != 0x83 && page < 0xb0)
			continue;
		n = vpd(lun, (uint8_t)page, a);
		if (n < 0)
			continue;
		if (page == 0x80)
			scsi_vpd_serial(a, (size_t)n, info->serial, sizeof(info->serial));
		else if (page == 0x83)
			scsi_vpd_id(a, (size_t)n, info->id);
		else if (page == 0xb0)
			scsi_vpd_limits(a, (size_t)n, &lun->limits);
		else if (page == 0xb1)
			scsi_vpd_medium(a, (size_t)n, &lun->limits);
		else
			scsi_vpd_provisioning(a, (size_t)n, &lun->limits);
	}
}

static void name_it(struct lun *lun)
{
	struct ringabi_block_info *info = &lun->disk.info;
	const struct scsi_identity *id = &lun->identity;

	snprintf(info->model, sizeof(info->model), "%s%s%s", id->vendor, *id->vendor ? " " : "",
		 id->product);
	snprintf(info->firmware, sizeof(info->firmware), "%s", id->revision);
	snprintf(info->transport, sizeof(info->transport), "%s", lun->target->transport->ops->name);
	if (!info->serial[0])
		snprintf(info->serial, sizeof(info->serial), "%s", lun->target->serial);
	info->name_space = lun->number;
	info->dma_align = 1;
}

int lun_identify(struct lun *lun)
{
	struct scsi_cdb cdb = scsi_inquiry(36);
	uint8_t a[36];
	int n = lun_ask(lun->target, lun->number, &cdb, a, sizeof(a));

	if (n < 0)
		return n;
	target_dump(lun->target, "inquiry data of LUN", lun->number, a, (size_t)n);
	n = scsi_parse_inquiry(a, (size_t)n, &lun->identity);
	if (n)
		return n;
	if (lun->identity.qualifier || (lun->identity.type != 0 && lun->identity.type != 7)) {
		pcidipc_info("%s: LUN %u is no disk (type %u)", lun->target->label, lun->number,
			     lun->identity.type);
		return -ENODEV;
	}
	if (lun->identity.version >= SPC_3 && lun->number < MAX_LUNS)
		lun->target->transport->long_sense |= (uint16_t)(1u << lun->number);
	if (lun->identity.version >= SPC_2)
		vital_product_data(lun);
	name_it(lun);
	return 0;
}

/* ---- capacity ---- */

static int capacity_16(struct lun *lun, struct scsi_capacity *c)
{
	struct scsi_cdb cdb = scsi_read_capacity_16(32);
	uint8_t a[32];
	int n = lun_ask(lun->target, lun->number, &cdb, a, sizeof(a));

	return n < 0 ? n : scsi_parse_capacity_16(a, (size_t)n, c);
}

/* Sticks of old do not survive READ CAPACITY(16). What speaks UAS knows it, and what has a page on
 * provisioning, where the answer is needed. */
static bool knows_long_capacity(const struct lun *lun)
{
	return !lun->target->transport->most_luns || lun->limits.unmap ||
	       lun->limits.write_same_unmaps;
}

/* The short command is what every device knows; the long one tells more, where it is understood. */
static int capacity(struct lun *lun)
{
	struct scsi_cdb cdb = scsi_read_capacity_10();
	struct scsi_capacity longer;
	uint8_t a[8];
	int n = lun_ask(lun->target, lun->number, &cdb, a, sizeof(a));

	if (n >= 0)
		n = scsi_parse_capacity_10(a, (size_t)n, &lun->capacity);
	if (n == -EOVERFLOW)
		return capacity_16(lun, &lun->capacity);
	if (!n && knows_long_capacity(lun) && !capacity_16(lun, &longer) &&
	    longer.blocks == lun->capacity.blocks &&
	    longer.block_bytes == lun->capacity.block_bytes)
		lun->capacity = longer;
	return n;
}

static int check_geometry(const struct lun *lun)
{
	const struct scsi_capacity *c = &lun->capacity;
	uint32_t block = c->block_bytes;

	if (block >= 512 && block <= LARGEST_BLOCK && !(block & (block - 1)) && c->blocks &&
	    c->blocks <= (uint64_t)INT64_MAX / block && !c->protected)
		return 0;
	pcidipc_log_ratelimited(PCIDIPC_WARNING,
				"%s: LUN %u says %llu blocks of %u bytes%s: left alone; blocks of "
				"512 to %u bytes without protection information can be driven",
				lun->target->label, lun->number, (unsigned long long)c->blocks,
				block, c->protected ? ", protected" : "", LARGEST_BLOCK);
	return -EOPNOTSUPP;
}

static uint32_t physical(const struct scsi_capacity *c)
{
	uint64_t bytes = (uint64_t)c->block_bytes << c->physical_shift;

	return bytes > MOST_PHYSICAL ? c->block_bytes : (uint32_t)bytes;
}

/* ---- protection and cache ---- */

static int mode_6(struct lun *lun, uint8_t page, struct scsi_mode *mode)
{
	struct scsi_cdb cdb = scsi_mode_sense_6(page, 192);
	uint8_t a[192];
	int n = lun_ask(lun->target, lun->number, &cdb, a, sizeof(a));

	return n < 0 ? n : scsi_parse_mode_6(a, (size_t)n, mode);
}

static int mode_10(struct lun *lun, uint8_t page, struct scsi_mode *mode)
{
	struct scsi_cdb cdb = scsi_mode_sense_10(page, 192);
	uint8_t a[192];
	int n = lun_ask(lun->target, lun->number, &cdb, a, sizeof(a));

	return n < 0 ? n : scsi_parse_mode_10(a, (size_t)n, mode);
}

/* The caching page, or all pages where that one is unknown. */
static void mode(struct lun *lun, struct scsi_mode *m)
{
	if (!mode_6(lun, 0x08, m) || !mode_10(lun, 0x08, m) || !mode_6(lun, 0x3f, m))
		return;
	memset(m, 0, sizeof(*m));
}

static int flush(struct lun *lun)
{
	struct scsi_cdb cdb = scsi_synchronize_cache(lun->sync16);

	return lun_ask(lun->target, lun->number, &cdb, NULL, 0);
}

/* Only a unit that says so has no such command: any other failure says nothing about that. */
static void probe_flush(struct lun *lun, bool has_cache)
{
	int ret;

	lun->sync16 = lun->capacity.blocks > UINT32_MAX;
	ret = flush(lun);
	if (ret == -EOPNOTSUPP) {
		lun->sync16 = !lun->sync16;
		ret = flush(lun);
	}
	lun->flush_probed = ret >= 0 || ret == -EOPNOTSUPP;
	lun->can_flush = ret >= 0 || (ret != -EOPNOTSUPP && has_cache);
	if (ret < 0)
		lun->sync16 = false;
	if (ret == -EOPNOTSUPP && has_cache)
		pcidipc_warn("%s: LUN %u has a write cache that cannot be flushed",
			     lun->target->label, lun->number);
}

/* A unit that does not tell whether it has a cache is flushed all the same, if it can be. Once: a
 * flush in its later life would take the errors that a client's is to get. */
static uint32_t cache_flag(struct lun *lun, const struct scsi_mode *m)
{
	if (m->has_caching && !m->write_cache)
		return 0;
	if (!lun->flush_probed)
		probe_flush(lun, m->has_caching);
	return lun->can_flush ? RINGABI_BLOCK_VOLATILE_CACHE | RINGABI_BLOCK_CACHE_AT_RISK : 0;
}

/* ---- all of it ---- */

/* UNMAP and WRITE SAME, where the unit says what they do. */
static uint32_t provisioning_flags(struct lun *lun)
{
	struct scsi_limits *l = &lun->limits;
	uint32_t flags = 0;

	if (l->unmap && !l->unmap_blocks)
		l->unmap = false;
	if (!l->write_same_blocks || l->write_same_blocks > WRITE_SAME_BLOCKS)
		l->write_same_blocks = WRITE_SAME_BLOCKS;
	if (lun->capacity.provisioned && (l->unmap || l->write_same_unmaps))
		flags |= RINGABI_BLOCK_DISCARD_WORKS;
	if (l->write_same_unmaps)
		flags |= RINGABI_BLOCK_ZEROES_WORK;
	return flags;
}

static uint32_t most_blocks(const struct lun *lun)
{
	uint32_t most = lun->target->most_bytes / lun->capacity.block_bytes;

	if (lun->limits.most_blocks && lun->limits.most_blocks < most)
		most = lun->limits.most_blocks;
	return most ? most : 1;
}

static void describe(struct lun *lun, const struct scsi_mode *m, uint32_t flags)
{
	struct ringabi_block_info *info = &lun->disk.info;
	const struct scsi_capacity *c = &lun->capacity;

	lun->fua = m->fua;
	lun->most_blocks = most_blocks(lun);
	info->bytes = c->blocks * c->block_bytes;
	info->block_bytes = c->block_bytes;
	info->physical_bytes = physical(c);
	info->best_bytes = lun->most_blocks * c->block_bytes;
	info->flags = flags | (lun->identity.removable ? RINGABI_BLOCK_REMOVABLE : 0) |
		      (m->write_protected ? RINGABI_BLOCK_READ_ONLY : 0);
}

void lun_describe_empty(struct lun *lun)
{
	struct ringabi_block_info *info = &lun->disk.info;

	if (lun->disk.running) /* which is checked and counted by what the disk was */
		return;
	info->bytes = 0;
	info->block_bytes = info->physical_bytes = info->best_bytes = 0;
	info->flags =
		RINGABI_BLOCK_NO_MEDIUM | (lun->identity.removable ? RINGABI_BLOCK_REMOVABLE : 0);
}

int lun_examine(struct lun *lun)
{
	int ret = lun_wait_ready(lun->target, lun->number);
	struct scsi_mode m;

	lun->medium = !ret; /* it may still be of no use */
	if (!ret)
		lun->stale = false; /* what it has said until now is seen to here */
	if (!ret)
		ret = capacity(lun);
	if (!ret)
		ret = check_geometry(lun);
	if (ret)
		return ret;
	mode(lun, &m);
	describe(lun, &m, cache_flag(lun, &m) | provisioning_flags(lun));
	return 0;
}

/* ---- a unit that changes ---- */

/*
 * Requests that were checked against the old medium must not reach the new one: none is taken, and
 * those that the driver has end, before the new geometry counts.
 */
static void close_gate(struct lun *lun)
{
	lun->disk.info.flags |= RINGABI_BLOCK_NO_MEDIUM;
	while (lun->disk.running && !lun->target->stopping)
		pcidipc_task_sleep(1000000);
}

static void tell(const struct lun *lun)
{
	const struct ringabi_block_info *info = &lun->disk.info;

	if (info->flags & RINGABI_BLOCK_NO_MEDIUM)
		pcidipc_notice("%s: %s: no medium", lun->target->label, lun->disk.name);
	else
		pcidipc_notice("%s: %s: %llu MiB, blocks of %u", lun->target->label, lun->disk.name,
			       (unsigned long long)(info->bytes >> 20), info->block_bytes);
}

/*
 * It could not be examined. For a passing reason, and where nothing says that its medium is another
 * one, it stays what it was; in any case it is looked at again.
 */
static void not_examined(struct lun *lun, const struct ringabi_block_info *before, int error)
{
	lun->retry = error != -ENOMEDIUM && error != -EOPNOTSUPP;
	if (lun->retry)
		pcidipc_log_ratelimited(PCIDIPC_WARNING, "%s: %s: it could not be examined: %s",
					lun->target->label, lun->disk.name, strerror(-error));
	if (lun->retry && lun->told == lun->generation)
		lun->disk.info = *before;
	else
		lun_describe_empty(lun);
	lun_poll_start(lun);
}

static void look_task(void *arg)
{
	struct lun *lun = arg;

	while (lun->stale && !lun->target->stopping && !lun->target->device_gone) {
		struct ringabi_block_info before = lun->disk.info;
		int ret;

		lun->stale = lun->retry = false;
		close_gate(lun);
		ret = lun_examine(lun);
		if (ret)
			not_examined(lun, &before, ret);
		if (lun->told == lun->generation &&
		    !memcmp(&before, &lun->disk.info, sizeof(before)))
			continue;
		lun->told = lun->generation;
		tell(lun);
		pcidipc_disk_changed(&lun->disk);
	}
	lun->examining = false;
}

void lun_look_again(struct lun *lun)
{
	lun->stale = true;
	if (lun->examining || !lun->published)
		return;
	lun->examining = !pcidipc_spawn(lun->target->loop, look_task, lun);
}

/* ---- removable media, and what could not be examined: looked at now and then ---- */

static void poll(struct pcidipc_timer *timer);

static void poll_task(void *arg)
{
	struct lun *lun = arg;
	struct target *t = lun->target;
	struct scsi_cdb cdb = scsi_test_unit_ready();
	struct scsi_result r = {0};
	int ret;

	ret = t->stopping || t->device_gone ? -ENODEV : lun_execute(t, lun->number, &cdb, 0, &r);
	if (!ret && (r.changed || lun->retry || (r.status == SCSI_GOOD) != lun->medium))
		lun_look_again(lun);
	lun->polling = false;
	lun_poll_start(lun);
}

static void poll(struct pcidipc_timer *timer)
{
	struct lun *lun = pcidipc_container_of(timer, struct lun, poll);

	lun->polling = !lun->disk.running && !lun->examining &&
		       !pcidipc_spawn(lun->target->loop, poll_task, lun);
	if (!lun->polling)
		lun_poll_start(lun);
}

void lun_poll_start(struct lun *lun)
{
	const struct target *t = lun->target;

	if ((lun->identity.removable || lun->retry) && !t->stopping && !t->device_gone)
		pcidipc_timer_set(t->loop, &lun->poll, t->poll_ns, poll);
}
