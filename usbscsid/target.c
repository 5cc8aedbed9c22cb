/* SPDX-License-Identifier: MIT */
/* A device from its descriptors to its disks, and its end. */
#include "target.h"

#include <errno.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONFIGURATION_BYTES 4096
#define DESCRIPTOR_DEVICE 1
#define DESCRIPTOR_CONFIGURATION 2
#define DESCRIPTOR_STRING 3
#define MOST_BYTES (1u << 20)
#define MOST_BYTES_SLOW (120u << 10) /* what USB 2 sticks are known to bear */

/* ---- descriptors ---- */

static int read_pipes(struct target *t, struct storage_pipes *pipes)
{
	uint8_t *d = malloc(CONFIGURATION_BYTES);
	int ret = -ENOMEM;

	if (d)
		ret = t->link->ops->descriptor(t->link, DESCRIPTOR_CONFIGURATION, 0, d,
					       CONFIGURATION_BYTES);
	if (ret > 0)
		target_dump(t, "descriptor", DESCRIPTOR_CONFIGURATION, d, (size_t)ret);
	if (ret >= 0)
		ret = pipes_parse(d, (size_t)ret, t->link->interface, pipes);
	free(d);
	if (ret)
		pcidipc_err("%s: interface %u is no mass storage that we know: %s", t->label,
			    t->link->interface, strerror(-ret));
	return ret;
}

/* UTF-16LE; what is not printable ASCII is left out. */
static void take_string(char *to, size_t room, const uint8_t *d, size_t bytes)
{
	size_t n = 0;

	for (size_t i = 2; i + 1 < bytes && n + 1 < room; i += 2)
		if (d[i] > ' ' && d[i] < 0x7f && !d[i + 1])
			to[n++] = (char)d[i];
	to[n] = '\0';
}

static void read_serial(struct target *t)
{
	uint8_t device[18], string[255];
	int n = t->link->ops->descriptor(t->link, DESCRIPTOR_DEVICE, 0, device, sizeof(device));

	if (n > 0)
		target_dump(t, "descriptor", DESCRIPTOR_DEVICE, device, (size_t)n);
	if (n < (int)sizeof(device) || !device[16])
		return;
	n = t->link->ops->descriptor(t->link, DESCRIPTOR_STRING, device[16], string,
				     sizeof(string));
	if (n > 0)
		target_dump(t, "descriptor", DESCRIPTOR_STRING, string, (size_t)n);
	if (n > 2)
		take_string(t->serial, sizeof(t->serial), string, (size_t)n);
}

/* ---- the transport ---- */

static void transport_lost(struct transport *transport);

/* UAS where the device has it and it works, else Bulk-Only. */
static int make_transport(struct target *t)
{
	struct storage_pipes pipes;
	int ret = read_pipes(t, &pipes);

	if (ret)
		return ret;
	ret = pipes.uas.found ? uas_create(t->link, &pipes.uas, &t->transport) : -ENOENT;
	if (ret && pipes.bot.found)
		ret = bot_create(t->link, &pipes.bot, &t->transport);
	if (ret)
		return ret;
	t->transport->tick_ns = t->tick_ns;
	t->transport->limit = t->limit;
	t->transport->lost = transport_lost;
	t->transport->heed = target_heed;
	t->transport->was_reset = target_was_reset;
	t->transport->user = t;
	t->most_bytes = t->transport->most_luns && t->link->speed < RINGABI_USB_SPEED_SUPER
				? MOST_BYTES_SLOW
				: MOST_BYTES;
	if (t->most_bytes > t->link->most_bytes)
		t->most_bytes = t->link->most_bytes;
	return 0;
}

/* ---- logical units ---- */

/* A unit that comes without a medium is a disk all the same. */
static bool worth_a_disk(const struct lun *lun, int ret)
{
	return !ret || ret == -ENOMEDIUM || (lun->identity.removable && ret != -ENODEV);
}

static struct lun *new_lun(struct target *t, uint8_t number)
{
	struct lun *lun = calloc(1, sizeof(*lun));

	if (!lun)
		return NULL;
	lun->target = t;
	lun->number = number;
	pcidipc_list_init(&lun->parked);
	return lun;
}

/* From its first look on it is listed, for what it says meanwhile. */
static int bring_up(struct lun *lun)
{
	struct target *t = lun->target;
	int ret = lun_identify(lun);

	if (ret)
		return ret;
	t->lun[t->nluns++] = lun;
	ret = lun_examine(lun);
	if (ret)
		lun_describe_empty(lun);
	lun->retry = ret && ret != -ENOMEDIUM && ret != -EOPNOTSUPP;
	if (!lun->stale) /* nobody knows of another medium */
		lun->told = lun->generation;
	if (worth_a_disk(lun, ret))
		ret = lun_publish(lun);
	if (ret)
		t->nluns--;
	return ret;
}

static void start_lun(struct target *t, uint8_t number)
{
	struct lun *lun = new_lun(t, number);
	int ret = lun ? bring_up(lun) : -ENOMEM;

	if (ret) {
		pcidipc_warn("%s: LUN %u does not become a disk: %s", t->label, number,
			     strerror(-ret));
		free(lun);
		return;
	}
	if (lun->stale)
		lun_look_again(lun);
	lun_poll_start(lun);
	pcidipc_info("%s: %s: %llu MiB, blocks of %u, %s", t->label, lun->disk.name,
		     (unsigned long long)(lun->disk.info.bytes >> 20), lun->disk.info.block_bytes,
		     t->transport->ops->name);
}

static unsigned report_luns(struct target *t, uint8_t *numbers)
{
	uint8_t a[8 + 8 * 64];
	struct scsi_cdb cdb = scsi_report_luns(sizeof(a));
	int n = lun_ask(t, 0, &cdb, a, sizeof(a));
	unsigned count = n < 0 ? 0 : scsi_parse_luns(a, (size_t)n, numbers, MAX_LUNS);

	if (!count)
		numbers[0] = 0;
	return count ? count : 1;
}

static void start_luns(struct target *t)
{
	uint8_t numbers[MAX_LUNS];
	unsigned n = t->transport->most_luns;

	if (!n)
		n = report_luns(t, numbers);
	else
		for (unsigned i = 0; i < n; i++)
			numbers[i] = (uint8_t)i;
	for (unsigned i = 0; i < n && !t->device_gone && !t->stopping; i++)
		start_lun(t, numbers[i]);
}

int target_start(struct target *t)
{
	int ret;

	target_limits(&t->users);
	snprintf(t->label, sizeof(t->label), "%04x:%04x", t->link->vendor, t->link->product);
	t->scratch = pcidipc_pool_alloc(t->link->pool, SCRATCH_BYTES, 64);
	t->zeroes = pcidipc_pool_alloc(t->link->pool, LARGEST_BLOCK, 64);
	if (!t->scratch || !t->zeroes)
		return -ENOMEM;
	memset(pcidipc_buf_ptr(t->zeroes), 0, LARGEST_BLOCK);
	read_serial(t);
	ret = make_transport(t);
	if (ret)
		return ret;
	start_luns(t);
	return t->device_gone ? -ENODEV : t->nluns ? 0 : -ENXIO;
}

/* ---- the end ---- */

static void remove_disks(struct target *t)
{
	for (unsigned i = 0; i < t->nluns; i++) {
		struct lun *lun = t->lun[i];

		if (!lun->published)
			continue;
		pcidipc_timer_cancel(&lun->poll);
		pcidipc_disk_remove(&lun->disk);
		while (lun->examining || lun->polling || lun->waking)
			pcidipc_task_sleep(1000000);
		pcidipc_timer_cancel(&lun->poll);
		t->unpublish(t, &lun->service);
	}
}

static void lost_task(void *arg)
{
	struct target *t = arg;

	remove_disks(t);
	t->ended(t, 1);
}

static void transport_lost(struct transport *transport)
{
	struct target *t = transport->user;

	if (t->device_gone)
		return;
	t->device_gone = true;
	if (transport->failure)
		pcidipc_err("%s: it could not be mended and is given up: %s", t->label,
			    strerror(-transport->failure));
	else
		pcidipc_notice("%s: the device is gone", t->label);
	if (!t->stopping && pcidipc_spawn(t->loop, lost_task, t))
		t->ended(t, 1);
}

static void flush_all(struct target *t)
{
	for (unsigned i = 0; i < t->nluns && !t->device_gone; i++) {
		struct lun *lun = t->lun[i];
		struct scsi_cdb cdb = scsi_synchronize_cache(lun->sync16);
		int ret = 0;

		if (lun->disk.info.flags & RINGABI_BLOCK_VOLATILE_CACHE)
			ret = lun_ask(t, lun->number, &cdb, NULL, 0);
		if (ret < 0 || lun->lost_writes)
			pcidipc_err("%s: data that was written last may be lost: %s",
				    lun->disk.name, strerror(ret < 0 ? -ret : EIO));
	}
}

void target_stop(struct target *t)
{
	t->stopping = true;
	if (!t->device_gone)
		remove_disks(t);
	if (t->transport)
		flush_all(t);
}

void target_destroy(struct target *t)
{
	for (unsigned i = 0; i < t->nluns; i++) {
		pcidipc_timer_cancel(&t->lun[i]->again);
		pcidipc_timer_cancel(&t->lun[i]->poll);
		free(t->lun[i]);
	}
	t->nluns = 0;
	if (t->transport)
		transport_destroy(t->transport);
	if (t->scratch)
		pcidipc_buf_free(t->scratch);
	if (t->zeroes)
		pcidipc_buf_free(t->zeroes);
}
