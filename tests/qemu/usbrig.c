// SPDX-License-Identifier: MIT
#include "usbrig.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MOST_DISKS 16
#define MOST_UNITS 4

const char usb_config[] = "driver \"xhcid\" {\n"
			  "	class = 0x0c\n"
			  "	subclass = 0x03\n"
			  "	interface = 0x30\n"
			  "	command = \"xhcid\"\n"
			  "	service = \"xhci\"\n"
			  "}\n"
			  "driver \"usbscsid\" {\n"
			  "	below = \"usb\"\n"
			  "	class = 0x08\n"
			  "	command = \"usbscsid\"\n"
			  "	service = \"usb\"\n"
			  "	args = { \"-v\" }\n"
			  "	restart_limit = -1\n"
			  "}\n";

void usb_controller(struct rig *rig)
{
	rig_arg(rig, "-device");
	rig_arg(rig, "qemu-xhci,id=x,p2=12,p3=12");
}

void usb_drive(struct rig *rig, const char *name, const char *more)
{
	rig_arg(rig, "-drive");
	rig_arg(rig, "file=@/%s.img,if=none,id=d-%s,format=raw%s", name, name, more);
}

void usb_stick(struct rig *rig, const char *name, const char *port, const char *more)
{
	rig_arg(rig, "-device");
	rig_arg(rig, "usb-storage,id=%s,bus=x.0,port=%s,drive=d-%s,serial=%s%s", name, port, name,
		name, more);
}

void usb_adapter(struct rig *rig, const char *model, const char *id, const char *port)
{
	rig_arg(rig, "-device");
	rig_arg(rig, "%s,id=%s,bus=x.0,port=%s", model, id, port);
}

void usb_unit(struct rig *rig, const char *adapter, const char *kind, unsigned lun,
	      const char *name, const char *more)
{
	rig_arg(rig, "-device");
	rig_arg(rig, "%s,bus=%s.0,lun=%u,drive=d-%s,serial=%s%s", kind, adapter, lun, name, name,
		more);
}

/* ---- clients ---- */

/* 0: it is open, and the one that is looked for. */
static int try(struct client *c, const char *name, const char *serial, uint64_t pool_bytes)
{
	int ret = client_open(c, name, 0, pool_bytes);

	if (ret)
		return ret;
	if (!strcmp(c->info->serial, serial))
		return 0;
	client_close(c);
	return -ENOENT;
}

/* Ask every disk who it is. The order in which they come up is not ours to say. */
static int look(struct client *c, const char *serial, uint64_t pool_bytes, char name[32])
{
	for (unsigned n = 0; n < MOST_DISKS; n++)
		for (unsigned lun = 0; lun < MOST_UNITS; lun++) {
			char unit[8] = "";

			if (lun)
				snprintf(unit, sizeof(unit), "l%u", lun);
			snprintf(name, 32, "disk/usb%u%s", n, unit);
			if (!try(c, name, serial, pool_bytes))
				return 0;
		}
	return -ENOENT;
}

int usb_open(struct client *c, const char *serial, uint64_t pool_bytes)
{
	char name[32];
	int ret = -ENOENT;

	if (!RIG_UNTIL(!(ret = look(c, serial, pool_bytes, name))))
		fprintf(stderr, "%s: there is no such disk\n", serial);
	return ret;
}

bool usb_find(const char *serial, char name[32])
{
	struct client c;

	if (!RIG_UNTIL(!look(&c, serial, 1u << 20, name))) {
		fprintf(stderr, "%s: there is no such disk\n", serial);
		return false;
	}
	client_close(&c);
	return true;
}

bool usb_reads(struct client *c, const unsigned char *shadow, uint64_t addr, uint32_t bytes,
	       uint64_t off)
{
	int ret;

	memset(c->base + addr, 0xee, bytes);
	ret = client_read(c, addr, bytes, off);
	if (ret == (int)bytes && !memcmp(c->base + addr, shadow + off, bytes))
		return true;
	fprintf(stderr, "%s: %u bytes at %llu to %#llx: %d\n", c->info->serial, bytes,
		(unsigned long long)off, (unsigned long long)addr, ret);
	return false;
}
