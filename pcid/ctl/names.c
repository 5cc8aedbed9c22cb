// SPDX-License-Identifier: GPL-2.0-or-later
/* Names from pci.ids. No bus is opened: pci_lookup_name needs only the database. */
#include <pci/pci.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "ctl.h"

#define LOOKUP_FLAGS (PCI_LOOKUP_NO_NUMBERS | PCI_LOOKUP_NO_HWDB)

static char name_buffer[512];

static void ids_error(char *message, ...) __attribute__((format(printf, 1, 2), noreturn));
static void ids_error(char *message, ...)
{
	va_list args;

	va_start(args, message);
	fputs("pcidctl: libpci: ", stderr);
	vfprintf(stderr, message, args);
	fputc('\n', stderr);
	va_end(args);
	exit(CTL_FAILED);
}

static void ids_quiet(char *message, ...) __attribute__((format(printf, 1, 2)));
static void ids_quiet(char *message, ...)
{
	(void)message;
}

static struct pci_access *ids;

static void ids_close(void)
{
	pci_cleanup(ids);
}

/* pci_init would look for a bus, so it is not called; these are what it would have set for lookups.
 */
static struct pci_access *ids_open(void)
{
	if (ids)
		return ids;
	ids = pci_alloc();
	ids->error = ids_error;
	ids->warning = ids_quiet;
	ids->debug = ids_quiet;
	atexit(ids_close);
	return ids;
}

static const char *or_number(const char *name, const char *format, unsigned number)
{
	if (name)
		return name;
	snprintf(name_buffer, sizeof(name_buffer), format, number);
	return name_buffer;
}

static const char *vendor_name(unsigned vendor, char *buf, int size)
{
	return pci_lookup_name(ids_open(), buf, size, LOOKUP_FLAGS | PCI_LOOKUP_VENDOR, vendor);
}

static const char *device_name(unsigned vendor, unsigned device, char *buf, int size)
{
	return pci_lookup_name(ids_open(), buf, size, LOOKUP_FLAGS | PCI_LOOKUP_DEVICE, vendor,
			       device);
}

const char *name_device(struct json_object *function)
{
	unsigned vendor = (unsigned)field_u64(function, "vendor");
	unsigned device = (unsigned)field_u64(function, "device");
	char vendor_buf[128], device_buf[128];
	const char *v = vendor_name(vendor, vendor_buf, sizeof(vendor_buf));
	const char *d = device_name(vendor, device, device_buf, sizeof(device_buf));

	if (v && d)
		snprintf(name_buffer, sizeof(name_buffer), "%s %s", v, d);
	else if (v)
		snprintf(name_buffer, sizeof(name_buffer), "%s device %04x", v, device);
	else
		snprintf(name_buffer, sizeof(name_buffer), "device %04x:%04x", vendor, device);
	return name_buffer;
}

const char *name_subsystem(struct json_object *function)
{
	unsigned vendor = (unsigned)field_u64(function, "subsystem_vendor");
	unsigned device = (unsigned)field_u64(function, "subsystem_device");
	char vendor_buf[128], device_buf[128];
	const char *v = vendor_name(vendor, vendor_buf, sizeof(vendor_buf));
	const char *d = pci_lookup_name(ids_open(), device_buf, sizeof(device_buf),
					LOOKUP_FLAGS | PCI_LOOKUP_SUBSYSTEM | PCI_LOOKUP_DEVICE,
					(unsigned)field_u64(function, "vendor"),
					(unsigned)field_u64(function, "device"), vendor, device);

	snprintf(name_buffer, sizeof(name_buffer), "%s%s%s", v ? v : "", v && d ? " " : "",
		 d ? d : "");
	return name_buffer;
}

const char *name_class(uint32_t class_code)
{
	const char *name = pci_lookup_name(ids_open(), name_buffer, sizeof(name_buffer),
					   LOOKUP_FLAGS | PCI_LOOKUP_CLASS, class_code >> 8);

	return or_number(name, "class %04x", class_code >> 8);
}

const char *name_interface(uint32_t class_code)
{
	const char *name = pci_lookup_name(ids_open(), name_buffer, sizeof(name_buffer),
					   LOOKUP_FLAGS | PCI_LOOKUP_PROGIF, class_code >> 8,
					   class_code & 0xff);

	return name ? name : "";
}

static const char *const standard_caps[] = {
	[PCI_CAP_ID_PM] = "Power management",
	[PCI_CAP_ID_AGP] = "AGP",
	[PCI_CAP_ID_VPD] = "Vital product data",
	[PCI_CAP_ID_SLOTID] = "Slot number",
	[PCI_CAP_ID_MSI] = "MSI",
	[PCI_CAP_ID_CHSWP] = "CompactPCI hot swap",
	[PCI_CAP_ID_PCIX] = "PCI-X",
	[PCI_CAP_ID_HT] = "HyperTransport",
	[PCI_CAP_ID_VNDR] = "Vendor-specific",
	[PCI_CAP_ID_DBG] = "Debug port",
	[PCI_CAP_ID_CCRC] = "CompactPCI resource control",
	[PCI_CAP_ID_HOTPLUG] = "Hot plug",
	[PCI_CAP_ID_SSVID] = "Bridge subsystem ids",
	[PCI_CAP_ID_AGP3] = "AGP 8x",
	[PCI_CAP_ID_SECURE] = "Secure device",
	[PCI_CAP_ID_EXP] = "PCI Express",
	[PCI_CAP_ID_MSIX] = "MSI-X",
	[PCI_CAP_ID_SATA] = "SATA configuration",
	[PCI_CAP_ID_AF] = "Advanced features",
	[PCI_CAP_ID_EA] = "Enhanced allocation",
};

static const char *const extended_caps[] = {
	[PCI_EXT_CAP_ID_AER] = "Advanced error reporting",
	[PCI_EXT_CAP_ID_VC] = "Virtual channel",
	[PCI_EXT_CAP_ID_DSN] = "Device serial number",
	[PCI_EXT_CAP_ID_PB] = "Power budgeting",
	[PCI_EXT_CAP_ID_RCLINK] = "Root complex link",
	[PCI_EXT_CAP_ID_RCILINK] = "Root complex internal link",
	[PCI_EXT_CAP_ID_RCEC] = "Root complex event collector",
	[PCI_EXT_CAP_ID_MFVC] = "Multi-function virtual channel",
	[PCI_EXT_CAP_ID_VC2] = "Virtual channel (with MFVC)",
	[PCI_EXT_CAP_ID_VNDR] = "Vendor-specific",
	[PCI_EXT_CAP_ID_ACS] = "Access control services",
	[PCI_EXT_CAP_ID_ARI] = "Alternative routing id",
	[PCI_EXT_CAP_ID_ATS] = "Address translation service",
	[PCI_EXT_CAP_ID_SRIOV] = "Single root I/O virtualization",
	[PCI_EXT_CAP_ID_MRIOV] = "Multi-root I/O virtualization",
	[PCI_EXT_CAP_ID_MCAST] = "Multicast",
	[PCI_EXT_CAP_ID_PRI] = "Page request",
	[PCI_EXT_CAP_ID_REBAR] = "Resizable BAR",
	[PCI_EXT_CAP_ID_DPA] = "Dynamic power allocation",
	[PCI_EXT_CAP_ID_TPH] = "Transaction processing hints",
	[PCI_EXT_CAP_ID_LTR] = "Latency tolerance reporting",
	[PCI_EXT_CAP_ID_SECPCI] = "Secondary PCI Express",
	[PCI_EXT_CAP_ID_PMUX] = "Protocol multiplexing",
	[PCI_EXT_CAP_ID_PASID] = "Process address space id",
	[PCI_EXT_CAP_ID_DPC] = "Downstream port containment",
	[PCI_EXT_CAP_ID_L1PM] = "L1 power management substates",
	[PCI_EXT_CAP_ID_PTM] = "Precision time measurement",
	[PCI_EXT_CAP_ID_DVSEC] = "Designated vendor-specific",
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const char *name_capability(unsigned id, bool extended)
{
	const char *const *names = extended ? extended_caps : standard_caps;
	size_t count = extended ? COUNT(extended_caps) : COUNT(standard_caps);

	return or_number(id < count ? names[id] : NULL, "capability %#x", id);
}

static void add_name(struct json_object *object, const char *key, const char *name)
{
	json_object_object_add(object, key, name ? json_object_new_string(name) : NULL);
}

void add_names(struct json_object *function)
{
	unsigned vendor = (unsigned)field_u64(function, "vendor");
	char buf[128];

	add_name(function, "class_name", name_class((uint32_t)field_u64(function, "class")));
	add_name(function, "vendor_name", vendor_name(vendor, buf, sizeof(buf)));
	add_name(function, "device_name",
		 device_name(vendor, (unsigned)field_u64(function, "device"), buf, sizeof(buf)));
}
