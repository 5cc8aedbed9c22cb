// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * From the kernel's driver to vfio-pci and back. A function is taken over only if the configuration
 * names it, and only if nothing speaks against it: no IOMMU, others in its IOMMU group, a kernel
 * that still uses it. What was taken is written down in the runtime directory first, so that a
 * successor gives back what a killed pcid could not.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vfio.h"

#define NONE "-" /* no driver, in the state file */

/* ---- what the configuration names ---- */

/* "0000:00:02.0", or "8086:0a54": vendor and device. */
static bool names(const char *text, const char *address, unsigned vendor, unsigned device)
{
	unsigned v, d;
	int n = 0;

	if (!strcasecmp(text, address))
		return true;
	return sscanf(text, "%4x:%4x%n", &v, &d, &n) == 2 && !text[n] && v == vendor && d == device;
}

static bool any_names(char *const *take, const char *address, unsigned vendor, unsigned device)
{
	for (size_t i = 0; take && take[i]; i++)
		if (names(take[i], address, vendor, device))
			return true;
	return false;
}

static bool named(struct pcid_function *f)
{
	struct vfio_bus *bus = vfio_bus_of(f);
	bool found;

	pthread_mutex_lock(&bus->list_lock);
	found = any_names(bus->take, f->address, f->vendor, f->device);
	pthread_mutex_unlock(&bus->list_lock);
	return found;
}

static bool on_bus(struct vfio_bus *bus, const char *name)
{
	pcidipc_list_for_each(f, &bus->bus.functions, struct pcid_function, link)
		if (!f->gone && names(name, f->address, f->vendor, f->device))
			return true;
	return false;
}

void vfio_tell_missing(struct vfio_bus *bus)
{
	for (size_t i = 0; bus->take && bus->take[i]; i++)
		if (!on_bus(bus, bus->take[i]))
			pcidipc_notice("%s: named in the configuration's section vfio, but this "
				       "machine has no such function",
				       bus->take[i]);
}

static bool is_vfio(const char *driver)
{
	return !strcmp(driver, VFIO_DRIVER);
}

bool vfio_offered(struct pcid_function *f)
{
	char driver[VFIO_DRIVER_BYTES];

	if (f->header_type)
		return false;
	vfio_sysfs_driver(f->address, driver);
	return is_vfio(driver) || named(f);
}

bool pcid_vfio_bus_wanted(const struct pcid_vfio_options *options)
{
	DIR *dir = opendir("/sys/bus/pci/devices");
	char driver[VFIO_DRIVER_BYTES];
	struct dirent *entry;
	bool wanted = false;

	while (dir && !wanted && (entry = readdir(dir))) {
		const char *name = entry->d_name;

		if (*name == '.')
			continue;
		vfio_sysfs_driver(name, driver);
		wanted = is_vfio(driver) ||
			 any_names(options->take, name,
				   (unsigned)vfio_sysfs_number(name, "vendor", 0),
				   (unsigned)vfio_sysfs_number(name, "device", 0));
	}
	if (dir)
		closedir(dir);
	return wanted;
}

/* ---- the group ---- */

/* A bridge belongs to no driver of ours and does no DMA of its own. */
static bool is_bridge(const char *address)
{
	return vfio_sysfs_number(address, "class", 0) >> 8 == 0x0604;
}

static int check_member(struct pcid_function *f, const char *other)
{
	char driver[VFIO_DRIVER_BYTES];

	if (!strcmp(other, f->address) || is_bridge(other))
		return 0;
	vfio_sysfs_driver(other, driver);
	if (*driver && !is_vfio(driver) && strcmp(driver, "pci-stub")) {
		pcidipc_err("%s: refused: it shares IOMMU group %u with %s, which the kernel's "
			    "driver %s has",
			    f->address, f->group, other, driver);
		return -EBUSY;
	}
	if (vfio_bus_of(f)->shared_groups)
		return 0;
	pcidipc_err("%s: refused: it shares IOMMU group %u with %s, so that neither is kept from "
		    "the other's memory "
		    "(\"shared_groups = true\" in the configuration's section vfio allows it)",
		    f->address, f->group, other);
	return -EPERM;
}

static int check_group(struct pcid_function *f)
{
	struct dirent *entry;
	char path[PATH_MAX];
	int ret = 0;
	DIR *dir;

	if (f->group == VFIO_NO_GROUP) {
		pcidipc_err("%s: refused: no IOMMU confines it (is it on in the firmware, and is "
			    "the kernel told, "
			    "with intel_iommu=on?)",
			    f->address);
		return -EPERM;
	}
	snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%u/devices", f->group);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (!ret && (entry = readdir(dir)))
		if (*entry->d_name != '.')
			ret = check_member(f, entry->d_name);
	closedir(dir);
	return ret;
}

/* ---- what was taken, on disk ---- */

/* Written anew as a whole, because there are few of them. */
static int write_state(struct vfio_bus *bus)
{
	char path[sizeof(bus->state_path) + 4];
	FILE *file;
	int ret = 0;

	snprintf(path, sizeof(path), "%s.new", bus->state_path);
	file = fopen(path, "we");
	if (!file)
		return -errno;
	pcidipc_list_for_each(f, &bus->bus.functions, struct pcid_function, link)
		if (vfio_of(f)->taken)
			fprintf(file, "%s %s\n", f->address,
				*vfio_of(f)->was ? vfio_of(f)->was : NONE);
	if (fflush(file) || ferror(file))
		ret = -EIO;
	fclose(file);
	return ret || !rename(path, bus->state_path) ? ret : -errno;
}

static int note(struct pcid_function *f, bool taken)
{
	struct vfio_bus *bus = vfio_bus_of(f);
	int ret;

	pthread_mutex_lock(&bus->list_lock);
	vfio_of(f)->taken = taken;
	ret = write_state(bus);
	pthread_mutex_unlock(&bus->list_lock);
	if (ret)
		pcidipc_err("%s: %s could not be written: %s", f->address, bus->state_path,
			    strerror(-ret));
	return ret;
}

void vfio_takeover_recall(struct vfio_bus *bus)
{
	FILE *file = fopen(bus->state_path, "re");
	char address[VFIO_ADDRESS_BYTES], was[VFIO_DRIVER_BYTES], driver[VFIO_DRIVER_BYTES];

	while (file && fscanf(file, "%15s %63s", address, was) == 2) {
		struct pcid_function *f = vfio_find(bus, address);

		if (!f)
			continue;
		vfio_sysfs_driver(address, driver);
		vfio_of(f)->taken = is_vfio(driver);
		snprintf(vfio_of(f)->was, sizeof(vfio_of(f)->was), "%s",
			 strcmp(was, NONE) ? was : "");
	}
	if (file)
		fclose(file);
}

/* ---- taking and giving ---- */

static int step(const char *who, const char *path, const char *text)
{
	int ret = vfio_sysfs_write(path, text);

	if (ret)
		pcidipc_err("%s: writing %s to %s: %s", who, *text == '\n' ? "nothing" : text, path,
			    strerror(-ret));
	return ret;
}

static int step_of(const struct pcid_function *f, const char *attribute, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "devices/%s/%s", f->address, attribute);
	return step(f->address, path, text);
}

/* driver_override first: whatever probes it in between must leave it to vfio-pci. */
static int rebind(struct pcid_function *f, bool bound)
{
	char driver[VFIO_DRIVER_BYTES];
	int ret;

	ret = step_of(f, "driver_override", VFIO_DRIVER);
	if (!ret && bound)
		ret = step_of(f, "driver/unbind", f->address);
	if (!ret)
		ret = step(f->address, "drivers_probe", f->address);
	vfio_sysfs_driver(f->address, driver);
	if (ret || is_vfio(driver))
		return ret;
	pcidipc_err("%s: vfio-pci did not take it%s%s", f->address,
		    *driver ? ", it is bound to " : "", driver);
	return -ENODEV;
}

static int take(struct pcid_function *f, const char *driver)
{
	struct vfio_hold hold;
	int ret;

	if (access("/sys/bus/pci/drivers/" VFIO_DRIVER, F_OK)) {
		pcidipc_err("%s: refused: the kernel's driver vfio-pci is not loaded", f->address);
		return -EPERM;
	}
	ret = vfio_hold_unused(f->address, &hold);
	if (ret)
		return ret;
	snprintf(vfio_of(f)->was, sizeof(vfio_of(f)->was), "%s", driver);
	ret = note(f, true);
	if (!ret)
		ret = rebind(f, *driver);
	vfio_hold_end(&hold);
	if (ret)
		vfio_give_back(f);
	else
		pcidipc_notice("%s: taken over from %s", f->address,
			       *driver ? driver : "no driver");
	return ret;
}

int vfio_take_over(struct pcid_function *f)
{
	char driver[VFIO_DRIVER_BYTES];
	int ret = check_group(f);

	if (ret)
		return ret;
	vfio_sysfs_driver(f->address, driver);
	if (is_vfio(driver))
		return 0;
	if (named(f))
		return take(f, driver);
	pcidipc_err("%s: refused: it is not bound to vfio-pci, and the configuration's section "
		    "vfio does not name it",
		    f->address);
	return -EPERM;
}

/* Where it had none: to whichever has come to want it, as at boot, when pcid is there before the
 * kernel's modules are. */
static void bind_to(const struct pcid_function *f, const char *driver)
{
	char path[128] = "drivers_probe";

	if (*driver)
		snprintf(path, sizeof(path), "drivers/%s/bind", driver);
	step(f->address, path, f->address);
}

int vfio_give_back(void *function)
{
	struct pcid_function *f = function;
	struct vfio_function *p = vfio_of(f);
	char driver[VFIO_DRIVER_BYTES];

	if (!p->taken)
		return 0;
	vfio_sysfs_driver(f->address, driver);
	step_of(f, "driver_override", "\n");
	if (is_vfio(driver))
		step_of(f, "driver/unbind", f->address);
	if (is_vfio(driver) || !*driver) /* else somebody else has given it away */
		bind_to(f, p->was);
	vfio_sysfs_driver(f->address, driver);
	pcidipc_notice("%s: given back to %s", f->address, *driver ? driver : "no driver");
	return note(f, false);
}
