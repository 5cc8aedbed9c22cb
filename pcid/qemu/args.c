// SPDX-License-Identifier: GPL-2.0-or-later
/* The command line that QEMU is started with. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu.h"

struct args {
	char **v;
	size_t n, room;
	bool failed;
};

static void add_string(struct args *a, char *string)
{
	if (string && a->n + 2 > a->room) {
		char **v = realloc(a->v, (a->room + 32) * sizeof(*v));

		if (!v) {
			free(string);
			string = NULL;
		} else {
			a->v = v;
			a->room += 32;
		}
	}
	if (!string) {
		a->failed = true;
		return;
	}
	a->v[a->n++] = string;
	a->v[a->n] = NULL;
}

static __attribute__((format(printf, 2, 3))) void add(struct args *a, const char *format, ...)
{
	char *string = NULL;
	va_list list;

	va_start(list, format);
	if (vasprintf(&string, format, list) < 0)
		string = NULL;
	va_end(list);
	add_string(a, string);
}

static void option(struct args *a, const char *name, const char *value)
{
	add_string(a, strdup(name));
	add_string(a, strdup(value));
}

/*
 * A CPU that is nobody's: it executes three instructions of our firmware. Its vendor is set because
 * QEMU moves all memory above 1 TiB for AMD's processors; 48 bits are what the IOMMU's page tables
 * can say.
 */
static void add_machine(struct args *a, const struct qemu_bus *qb, const struct qemu_ends *ends)
{
	option(a, "-M", "q35,memory-backend=ram,smm=off");
	option(a, "-accel", "tcg");
	option(a, "-cpu", "max,phys-bits=48,vendor=GenuineIntel");
	add(a, "-m");
	add(a, "%lluM,slots=%u,maxmem=%lluM", (unsigned long long)qb->ram_bytes >> 20, POOL_SLOTS,
	    (unsigned long long)(qb->ram_bytes + POOL_END - POOL_BASE) >> 20);
	add(a, "-object");
	add(a, "memory-backend-file,id=ram,size=%llu,mem-path=/proc/self/fd/%d,share=on",
	    (unsigned long long)qb->ram_bytes, ends->ram);
	add(a, "-bios");
	add(a, "/proc/self/fd/%d", ends->firmware);
	option(a, "-display", "none");
	add(a, "-nodefaults");
	add(a, "-no-user-config");
}

static void add_socket(struct args *a, const char *id, int fd, const char *more)
{
	add(a, "-chardev");
	add(a, "socket,id=%s,fd=%d%s", id, fd, more);
}

/* ACPI's hot-plug would take the root ports' own away, which needs no firmware. */
static void add_plumbing(struct args *a, const struct qemu_ends *ends)
{
	add_socket(a, "pcid-qtest", ends->qtest, "");
	option(a, "-object", "qtest,id=pcid-qtest,chardev=pcid-qtest,log=none");
	add_socket(a, "pcid-qmp", ends->qmp, "");
	option(a, "-mon", "chardev=pcid-qmp,mode=control");
	add_socket(a, "pcid-user", ends->user_qmp, ",server=on,wait=off");
	option(a, "-mon", "chardev=pcid-user,mode=control");
	add_socket(a, "pcid-ivshmem", ends->ivshmem, "");
	option(a, "-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off");
	option(a, "-device", "intel-iommu,intremap=off,aw-bits=48");
	add(a, "-device");
	add(a,
	    "ivshmem-doorbell,id=pcid-ivshmem,chardev=pcid-ivshmem,vectors=%u,ioeventfd=off,addr="
	    "1f.7",
	    IVSHMEM_VECTORS);
	/* An IOMMU fault raises an interrupt of the CPU only; the trace tells us. */
	option(a, "-trace", "vtd_dmar_fault");
}

char **qemu_args(struct qemu_bus *qb, const struct qemu_ends *ends)
{
	struct args a = {0};

	add_string(&a, strdup(qb->binary));
	add_machine(&a, qb, ends);
	add_plumbing(&a, ends);
	for (char **arg = qb->user_args; arg && *arg; arg++)
		add_string(&a, strdup(*arg));
	if (!a.failed)
		return a.v;
	qemu_args_free(a.v);
	return NULL;
}

void qemu_args_free(char **args)
{
	for (char **arg = args; arg && *arg; arg++)
		free(*arg);
	free(args);
}
