// SPDX-License-Identifier: GPL-2.0-or-later
/* What the control socket tells, as JSON. docs/control.md describes it for programs. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver.h"
#include "pcid.h"

static void add_text(struct json_object *o, const char *key, const char *text)
{
	json_object_object_add(o, key, text ? json_object_new_string(text) : NULL);
}

static void add_number(struct json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

static void add_bool(struct json_object *o, const char *key, bool value)
{
	json_object_object_add(o, key, json_object_new_boolean(value));
}

static void add_null(struct json_object *o, const char *key)
{
	json_object_object_add(o, key, NULL);
}

static uint64_t age_ms(const struct pcid *pcid, uint64_t since)
{
	return (pcidipc_loop_now(pcid->loop) - since) / 1000000u;
}

static void add_pid(struct json_object *o, const struct pcid_driver *d)
{
	if (d && d->pid)
		add_number(o, "pid", (uint64_t)d->pid);
	else
		add_null(o, "pid");
}

static struct json_object *service_names(struct pcid_driver *d)
{
	struct json_object *array = json_object_new_array();

	if (d)
		pcidipc_list_for_each(s, &d->services, struct pcid_service, link)
			json_object_array_add(array, json_object_new_string(s->name));
	return array;
}

/* ---- functions ---- */

static const char *state_of(const struct pcid_function *f)
{
	const struct pcid_driver *d = f->owner;

	if (f->gone)
		return "gone";
	return d ? pcid_state_name(d->state) : "none";
}

static struct json_object *function_json(struct pcid_function *f)
{
	struct json_object *o = json_object_new_object();
	struct pcid_driver *d = f->owner;

	add_text(o, "address", f->address);
	add_text(o, "parent", f->parent ? f->parent->address : NULL);
	add_number(o, "bus", f->bus_number);
	add_number(o, "vendor", f->vendor);
	add_number(o, "device", f->device);
	add_number(o, "subsystem_vendor", f->subsystem_vendor);
	add_number(o, "subsystem_device", f->subsystem_device);
	add_number(o, "class", f->class_code);
	add_number(o, "revision", f->revision);
	add_number(o, "header_type", f->header_type);
	add_number(o, "secondary", f->secondary);
	add_number(o, "subordinate", f->subordinate);
	add_text(o, "driver", d ? d->stanza->name : NULL);
	add_text(o, "state", state_of(f));
	add_pid(o, d);
	add_number(o, "group", f->group);
	add_bool(o, "present", !f->gone);
	return o;
}

static struct json_object *list(struct pcid *pcid)
{
	struct json_object *array = json_object_new_array();
	struct pcidipc_list *head = &pcid->bus->functions;

	if (!pcid->bus_started)
		return array;
	for (struct pcidipc_list *l = head->next; l != head; l = l->next)
		json_object_array_add(
			array, function_json(pcidipc_container_of(l, struct pcid_function, link)));
	return array;
}

/* ---- one function ---- */

static struct json_object *bars_json(const struct pcid_function *f)
{
	struct json_object *array = json_object_new_array();

	for (unsigned i = 0; i < PCID_BARS; i++) {
		const struct pcid_bar *bar = &f->bars[i];
		struct json_object *o;

		if (!bar->bytes)
			continue;
		o = json_object_new_object();
		add_number(o, "index", i);
		add_number(o, "address", bar->address);
		add_number(o, "bytes", bar->bytes);
		add_text(o, "type", bar->io ? "io" : bar->is64 ? "mem64" : "mem32");
		add_bool(o, "prefetch", bar->prefetch);
		json_object_array_add(array, o);
	}
	return array;
}

static struct json_object *caps_json(const struct pcid_function *f)
{
	struct json_object *array = json_object_new_array();

	for (unsigned i = 0; i < f->ncaps; i++) {
		struct json_object *o = json_object_new_object();

		add_number(o, "id", f->caps[i].id);
		add_number(o, "offset", f->caps[i].offset);
		add_number(o, "bytes", f->caps[i].bytes);
		add_bool(o, "extended", f->caps[i].extended);
		json_object_array_add(array, o);
	}
	return array;
}

static struct json_object *msix_json(const struct pcid_function *f)
{
	struct json_object *o;

	if (!f->msix.cap)
		return NULL;
	o = json_object_new_object();
	add_number(o, "vectors", f->msix.count);
	add_number(o, "table_bar", f->msix.bar);
	add_number(o, "table_offset", f->msix.offset);
	add_number(o, "pba_bar", f->msix.pba_bar);
	add_number(o, "pba_offset", f->msix.pba_offset);
	return o;
}

static struct json_object *msi_json(const struct pcid_function *f)
{
	struct json_object *o;

	if (!f->msi.cap)
		return NULL;
	o = json_object_new_object();
	add_number(o, "vectors", f->msi.count);
	add_bool(o, "maskable", f->msi.maskable);
	add_bool(o, "64bit", f->msi.is64);
	return o;
}

static struct json_object *pools_json(struct pcid_driver *d)
{
	struct json_object *array = json_object_new_array();

	if (!d)
		return array;
	pcidipc_list_for_each(m, &d->pools, struct pcid_mapping, link) {
		struct json_object *o = json_object_new_object();

		add_number(o, "iova", m->pool.iova);
		add_number(o, "bytes", m->pool.bytes);
		add_number(o, "mapped", m->mapped_bytes);
		json_object_array_add(array, o);
	}
	return array;
}

static struct json_object *children_json(struct pcid_driver *d)
{
	struct json_object *array = json_object_new_array();

	if (!d)
		return array;
	pcidipc_list_for_each(child, &d->children, struct pcid_child, link) {
		struct json_object *o = json_object_new_object();

		add_text(o, "path", child->path);
		add_text(o, "name", child->name);
		add_number(o, "vendor", child->id.vendor);
		add_number(o, "device", child->id.device);
		add_number(o, "class",
			   (uint32_t)child->id.class_code << 16 |
				   (uint32_t)child->id.subclass << 8 | child->id.interface);
		add_text(o, "driver", child->driver ? child->driver->stanza->name : NULL);
		add_text(o, "state",
			 child->driver ? pcid_state_name(child->driver->state) : "none");
		json_object_array_add(array, o);
	}
	return array;
}

static const char *kind_name(uint32_t kind)
{
	return kind == RINGABI_IRQ_MSIX ? "msix" : kind == RINGABI_IRQ_MSI ? "msi" : "intx";
}

static struct json_object *vector_json(const struct pcid_driver *d, unsigned i)
{
	struct json_object *o = json_object_new_object();
	const struct pcid_vector *v = &d->irq.vector[i];

	add_text(o, "function", d->where);
	add_text(o, "driver", d->stanza->name);
	add_number(o, "vector", i);
	add_text(o, "kind", kind_name(d->irq.kind));
	add_bool(o, "masked", v->masked);
	add_bool(o, "function_masked", d->irq.function_masked);
	add_number(o, "masks", v->masks);
	add_number(o, "unmasks", v->unmasks);
	if (d->irq.maskable) { /* the kernel or the bus delivers straight to the driver */
		add_null(o, "pending");
		add_null(o, "relayed");
		add_null(o, "interrupts");
		return o;
	}
	add_bool(o, "pending", v->pending);
	add_number(o, "relayed", v->relayed);
	add_number(o, "interrupts", v->interrupts);
	return o;
}

static void add_vectors(struct json_object *array, const struct pcid_driver *d)
{
	for (unsigned i = 0; d && i < d->irq.count; i++)
		json_object_array_add(array, vector_json(d, i));
}

/* Hexadecimal; null when the function has just gone. */
static struct json_object *config_json(struct pcid_function *f)
{
	char *text = malloc(2u * f->config_bytes + 1);
	struct json_object *o = NULL;
	unsigned offset;

	for (offset = 0; text && offset < f->config_bytes; offset += 4) {
		uint32_t value;

		if (f->gone || f->bus->ops->config_read(f, offset, 4, &value))
			break;
		snprintf(text + 2 * offset, 9, "%02x%02x%02x%02x", value & 0xff, value >> 8 & 0xff,
			 value >> 16 & 0xff, value >> 24);
	}
	if (text && offset == f->config_bytes)
		o = json_object_new_string_len(text, 2 * f->config_bytes);
	free(text);
	return o;
}

struct json_object *pcid_report_function(struct pcid *pcid, struct pcid_function *f)
{
	struct json_object *o = function_json(f), *vectors = json_object_new_array();

	json_object_object_add(o, "bars", bars_json(f));
	json_object_object_add(o, "capabilities", caps_json(f));
	json_object_object_add(o, "msix", msix_json(f));
	json_object_object_add(o, "msi", msi_json(f));
	add_number(o, "dma_bits", f->dma_bits);
	json_object_object_add(o, "services", service_names(f->owner));
	add_vectors(vectors, f->owner);
	json_object_object_add(o, "vectors", vectors);
	json_object_object_add(o, "pools", pools_json(f->owner));
	json_object_object_add(o, "children", children_json(f->owner));
	if (f->bus->ops->describe)
		add_text(o, "details", f->bus->ops->describe(f));
	pcid->showing++; /* from here on it awaits: nothing about the driver may be used any more */
	json_object_object_add(o, "config", config_json(f));
	pcid->showing--;
	return o;
}

/* ---- drivers ---- */

static void add_lock(struct json_object *array, bool holds, const char *name)
{
	if (holds)
		json_object_array_add(array, json_object_new_string(name));
}

/* What keeps a driver's process in: the first ones are pcid's own doing (spawn.c). */
static struct json_object *locks_json(const struct pcid_driver *d)
{
	struct json_object *array = json_object_new_array();

	if (!d->pid)
		return array;
	add_lock(array, d->uid && d->uid != PCID_KEEP_ID, "user");
	add_lock(array, true, "capabilities");
	add_lock(array, true, "no_new_privs");
	add_lock(array, true, "limits");
	add_lock(array, d->confined, "registers");
	add_lock(array, d->locks & RINGABI_PCI_LOCK_SECCOMP, "seccomp");
	add_lock(array, d->locks & RINGABI_PCI_LOCK_LANDLOCK, "landlock");
	add_lock(array, d->locks & RINGABI_PCI_LOCK_RING, "io_uring");
	add_lock(array, d->locks & RINGABI_PCI_LOCK_HIDDEN, "hidden");
	return array;
}

static struct json_object *driver_json(struct pcid_driver *d)
{
	struct json_object *o = json_object_new_object();

	add_text(o, "name", d->stanza->name);
	add_text(o, "command", d->stanza->command);
	add_text(o, "function", d->where);
	add_pid(o, d);
	add_number(o, "uid", d->uid == PCID_KEEP_ID ? geteuid() : d->uid);
	add_text(o, "state", pcid_state_name(d->state));
	add_number(o, "restarts", d->restarts);
	add_number(o, "uptime_ms", d->pid ? age_ms(d->pcid, d->started_at) : 0);
	json_object_object_add(o, "services", service_names(d));
	add_text(o, "last_exit", *d->last_exit ? d->last_exit : NULL);
	add_text(o, "sandbox", pcid_sandbox_name(d->stanza->sandbox));
	json_object_object_add(o, "locks", locks_json(d));
	return o;
}

static bool stanza_used(struct pcid *pcid, const struct pcid_stanza *stanza)
{
	pcidipc_list_for_each(d, &pcid->drivers, struct pcid_driver, link)
		if (!strcmp(d->stanza->name, stanza->name))
			return true;
	return false;
}

static struct json_object *idle_json(const struct pcid_stanza *stanza)
{
	struct json_object *o = json_object_new_object();

	add_text(o, "name", stanza->name);
	add_text(o, "command", stanza->command);
	add_null(o, "function");
	add_null(o, "pid");
	add_null(o, "uid");
	add_text(o, "state", "none");
	add_number(o, "restarts", 0);
	add_number(o, "uptime_ms", 0);
	json_object_object_add(o, "services", json_object_new_array());
	add_null(o, "last_exit");
	add_text(o, "sandbox", pcid_sandbox_name(stanza->sandbox));
	json_object_object_add(o, "locks", json_object_new_array());
	return o;
}

static struct json_object *drivers(struct pcid *pcid)
{
	struct json_object *array = json_object_new_array();

	pcidipc_list_for_each(d, &pcid->drivers, struct pcid_driver, link)
		json_object_array_add(array, driver_json(d));
	for (const struct pcid_stanza *s = pcid->config->stanzas; s; s = s->next)
		if (!stanza_used(pcid, s))
			json_object_array_add(array, idle_json(s));
	return array;
}

static struct json_object *service_json(struct pcid_driver *d, const struct pcid_service *s)
{
	struct json_object *o = json_object_new_object();
	char mode[8];

	snprintf(mode, sizeof(mode), "%04o", (unsigned)d->stanza->mode & 07777);
	add_text(o, "name", s->name);
	add_text(o, "path", s->path);
	add_text(o, "admin_path", s->admin_path);
	add_text(o, "driver", d->stanza->name);
	add_text(o, "function", d->where);
	add_text(o, "mode", mode);
	add_text(o, "state", pcid_service_state(s));
	return o;
}

static struct json_object *services(struct pcid *pcid)
{
	struct json_object *array = json_object_new_array();

	pcidipc_list_for_each(d, &pcid->drivers, struct pcid_driver, link)
		pcidipc_list_for_each(s, &d->services, struct pcid_service, link)
			json_object_array_add(array, service_json(d, s));
	return array;
}

static struct json_object *irq(struct pcid *pcid)
{
	struct json_object *array = json_object_new_array();

	pcidipc_list_for_each(d, &pcid->drivers, struct pcid_driver, link)
		add_vectors(array, d);
	return array;
}

/* ---- numbers ---- */

static struct json_object *driver_stats(struct pcid_driver *d)
{
	struct json_object *o = json_object_new_object();
	struct pcidipc_session_stats stats = {0};

	if (d->session)
		pcidipc_session_stats(d->session, &stats);
	add_text(o, "name", d->stanza->name);
	add_text(o, "function", d->where);
	add_number(o, "sqes", stats.sqes);
	add_number(o, "cqes", stats.cqes);
	add_number(o, "wakes", stats.wakes);
	add_number(o, "mmio_reads", d->count.mmio_reads);
	add_number(o, "mmio_writes", d->count.mmio_writes);
	add_number(o, "masks", d->count.masks);
	add_number(o, "unmasks", d->count.unmasks);
	add_number(o, "pools", stats.pools);
	add_number(o, "mapped_bytes", d->mapped_bytes);
	return o;
}

static uint64_t resident_kib(void)
{
	unsigned long size = 0, resident = 0;
	FILE *file = fopen("/proc/self/statm", "re");

	if (!file)
		return 0;
	if (fscanf(file, "%lu %lu", &size, &resident) != 2)
		resident = 0;
	fclose(file);
	return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE) / 1024;
}

static struct json_object *stats(struct pcid *pcid)
{
	struct json_object *o = json_object_new_object(), *array = json_object_new_array();

	add_number(o, "uptime_ms", age_ms(pcid, pcid->started_at));
	add_text(o, "loop", pcidipc_loop_backend(pcid->loop));
	add_text(o, "bus", pcid->bus->ops->name);
	pcidipc_list_for_each(d, &pcid->drivers, struct pcid_driver, link)
		json_object_array_add(array, driver_stats(d));
	json_object_object_add(o, "drivers", array);
	add_number(o, "rss_kib", resident_kib());
	return o;
}

static struct json_object *version(struct pcid *pcid)
{
	struct json_object *o = json_object_new_object();
	char abi[16];

	(void)pcid;
	snprintf(abi, sizeof(abi), "%d.%d", RINGABI_VERSION_MAJOR, RINGABI_VERSION_MINOR);
	add_text(o, "version", PCID_VERSION);
	add_text(o, "abi", abi);
	return o;
}

struct json_object *pcid_report(struct pcid *pcid, const char *command)
{
	static const struct {
		const char *command;
		struct json_object *(*report)(struct pcid *pcid);
	} reports[] = {
		{"list", list}, {"drivers", drivers}, {"services", services},
		{"irq", irq},	{"stats", stats},     {"version", version},
	};

	for (size_t i = 0; i < sizeof(reports) / sizeof(*reports); i++)
		if (!strcmp(reports[i].command, command))
			return reports[i].report(pcid);
	return NULL;
}
