// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Children: what a driver announces below its function (USB interfaces). pcid looks for a driver,
 * starts it, and joins the two by a fresh channel, whose other end goes to the announcer.
 */
#include <ctype.h>
#include <errno.h>
#include <pcidipc/log.h>
#include <stdlib.h>
#include <string.h>

#include "driver.h"

/* ---- announcing ---- */

/* The length of the character at `text`, which NUL ends: 0 if it is not UTF-8, or a control
 * character. */
static size_t utf8_length(const char *text)
{
	const unsigned char *t = (const unsigned char *)text;
	size_t n = *t < 0x80 ? 1 : *t < 0xe0 ? 2 : *t < 0xf0 ? 3 : 4;
	uint32_t c = n == 1 ? *t : *t & 0x7fu >> n;
	static const uint32_t least[] = {0, ' ', 0xa0, 0x800, 0x10000};

	if ((*t >= 0x80 && *t < 0xc2) || *t > 0xf4)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((t[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (t[i] & 0x3f);
	}
	if (c < least[n] || c == 0x7f || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff)
		return 0;
	return n;
}

static bool name_ok(const char *text, size_t room)
{
	size_t n;

	if (strnlen(text, room) == room)
		return false;
	for (; *text; text += n) {
		n = utf8_length(text);
		if (!n)
			return false;
	}
	return true;
}

static bool path_ok(const char *text, size_t room)
{
	size_t n = strnlen(text, room);

	if (n == room || !n)
		return false;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c >= 0x80 || (!isalnum(c) && !strchr(".:-", c)))
			return false;
	}
	return true;
}

static int refuse(struct pcid_driver *d, const struct ringabi_announce *m, int error,
		  const char *why)
{
	pcidipc_log_ratelimited(PCIDIPC_WARNING, "%s: child %u was not accepted: %s", d->name,
				m->child, why);
	return error;
}

static int check(struct pcid_driver *d, const struct ringabi_announce *m)
{
	if (!d->function)
		return refuse(d, m, -EINVAL, "children have no children");
	if (m->interface != RINGABI_INTERFACE_USB)
		return refuse(d, m, -EINVAL, "only USB interfaces can be announced");
	if (m->reserved || !path_ok(m->path, sizeof(m->path)) || !name_ok(m->name, sizeof(m->name)))
		return refuse(d, m, -EINVAL,
			      "its path or name is no text (UTF-8), or a reserved field is not 0");
	pcidipc_list_for_each(child, &d->children, struct pcid_child, link)
		if (child->number == m->child || !strcmp(child->path, m->path))
			return refuse(d, m, -EEXIST, "there is one with its number or path");
	if (d->nchildren >= d->stanza->max_children)
		return refuse(d, m, -EDQUOT, "max_children is reached");
	return 0;
}

static struct pcid_child *new_child(struct pcid_driver *d, const struct ringabi_announce *m)
{
	struct pcid_child *child = calloc(1, sizeof(*child));

	if (!child)
		return NULL;
	child->parent = d;
	child->number = m->child;
	child->interface = m->interface;
	child->id = (struct pcid_identity){
		.below = PCID_BELOW_USB,
		.vendor = m->vendor,
		.device = m->product,
		.class_code = m->class_code,
		.subclass = m->subclass,
		.interface = m->protocol,
	};
	memcpy(child->path, m->path, strlen(m->path));
	memcpy(child->name, m->name, strlen(m->name));
	pcidipc_list_append(&d->children, &child->link);
	d->nchildren++;
	return child;
}

/* -ENOENT: no driver is configured for it. */
static int match(struct pcid_child *child)
{
	struct pcid *pcid = child->parent->pcid;
	struct pcid_stanza *stanza = pcid_match(pcid->config, &child->id);

	if (!stanza)
		return -ENOENT;
	return pcid_driver_start(pcid, stanza, NULL, child->parent, child);
}

int pcid_child_announce(struct pcid_driver *d, const struct ringabi_announce *m)
{
	struct pcid_child *child;
	int ret = check(d, m);

	if (ret)
		return ret;
	child = new_child(d, m);
	if (!child)
		return -ENOMEM;
	pcidipc_info("%s: below it there is %s (%s)", d->name, child->path, child->name);
	ret = match(child);
	return ret;
}

unsigned pcid_children_match(struct pcid_driver *d)
{
	unsigned n = 0;

	pcidipc_list_for_each(child, &d->children, struct pcid_child, link)
		if (!child->driver)
			n += !match(child);
	return n;
}

/* ---- going ---- */

static void remove_child(struct pcid_child *child, enum pcid_stop why)
{
	struct pcid_driver *driver = child->driver;

	pcidipc_list_remove(&child->link);
	child->parent->nchildren--;
	free(child);
	if (!driver)
		return;
	driver->child = NULL;
	pcid_driver_stop(driver, why);
}

int pcid_child_gone(struct pcid_driver *d, uint32_t number)
{
	pcidipc_list_for_each(child, &d->children, struct pcid_child, link) {
		if (child->number != number)
			continue;
		remove_child(child, PCID_STOP_REMOVED);
		return 0;
	}
	return -ENOENT;
}

void pcid_children_remove(struct pcid_driver *d, enum pcid_stop why)
{
	pcidipc_list_for_each_safe(child, after, &d->children, struct pcid_child, link)
		remove_child(child, why);
}

void pcid_child_release(struct pcid_driver *d)
{
	if (d->child)
		d->child->driver = NULL;
	d->child = NULL;
}

/* ---- joining ---- */

int pcid_child_adopt(struct pcid_child *child, int channel)
{
	struct ringabi_adopt m = {
		.msg = {.type = RINGABI_MSG_ADOPT, .size = sizeof(m)},
		.child = child->number,
	};
	struct pcid_driver *parent = child->parent;

	if (!parent->session)
		return -ENOTCONN;
	return pcidipc_channel_send(pcidipc_session_channel(parent->session), &m.msg, &channel, 1);
}
