/* SPDX-License-Identifier: MIT */
/* Extended capabilities (xHCI 1.2, chapter 7): taking the controller over from the firmware, and
 * which port speaks which protocol. */
#include <errno.h>
#include <pcidipc/log.h>

#include "xhcid.h"

#define STEP_NS 1000000u
#define HAND_OFF_TICKS 10
#define MOST_CAPABILITIES 64 /* a list that is longer goes in circles */

/* The offset of the next capability with this id behind `at` (0: from the start), or 0. */
static uint64_t find(struct controller *c, unsigned id, uint64_t at)
{
	uint32_t next = at ? pcidipc_read32(&c->bar, at) >> 8 & 0xff : c->hcc >> 16;

	for (unsigned i = 0; next && i < MOST_CAPABILITIES; i++) {
		uint32_t value;

		at += 4ull * next;
		if (at + 16 > c->bar.bytes)
			break;
		value = pcidipc_read32(&c->bar, at);
		if (value == UINT32_MAX)
			break;
		if ((value & 0xff) == id)
			return at;
		next = value >> 8 & 0xff;
	}
	return 0;
}

/* USB Legacy Support (7.1). Firmware that does not let go within a second is overruled. */
int capability_hand_off(struct controller *c)
{
	uint64_t at = find(c, XECP_LEGACY, 0);
	uint64_t end = pcidipc_loop_now(c->loop) + HAND_OFF_TICKS * c->tick_ns;
	uint32_t value;

	if (!at)
		return 0;
	value = pcidipc_read32(&c->bar, at);
	pcidipc_write32(&c->bar, at, value | LEGACY_OS_OWNED);
	while ((value = pcidipc_read32(&c->bar, at)) & LEGACY_BIOS_OWNED) {
		if (value == UINT32_MAX)
			return -ENODEV;
		if (pcidipc_loop_now(c->loop) >= end) {
			pcidipc_warn("%s: the firmware does not hand the controller over: taken",
				     c->address);
			pcidipc_write32(&c->bar, at, value & ~LEGACY_BIOS_OWNED);
			break;
		}
		pcidipc_task_sleep(STEP_NS);
	}
	value = pcidipc_read32(&c->bar, at + LEGACY_CTLSTS);
	pcidipc_write32(&c->bar, at + LEGACY_CTLSTS, (value & LEGACY_SMI_KEEP) | LEGACY_SMI_CLEAR);
	return 0;
}

static unsigned ports_of(const struct controller *c, unsigned major)
{
	unsigned n = 0;

	for (unsigned i = 1; i <= c->nports; i++)
		n += c->ports[i].major == major;
	return n;
}

/* xHCI Supported Protocol Capability (7.2). */
static void read_protocol(struct controller *c, uint64_t at)
{
	uint32_t revision = pcidipc_read32(&c->bar, at), name = pcidipc_read32(&c->bar, at + 4);
	uint32_t ports = pcidipc_read32(&c->bar, at + 8), type = pcidipc_read32(&c->bar, at + 12);
	unsigned first = ports & 0xff, count = ports >> 8 & 0xff, major = revision >> 24;
	unsigned shown = ports_of(c, major);

	if (name != PROTOCOL_NAME || major < 2 || major > 3)
		return;
	if (!first || first + count > c->nports + 1u) {
		pcidipc_warn("%s: USB %u: ports %u to %u, but there are %u: ignored", c->address,
			     major, first, first + count - 1, c->nports);
		return;
	}
	for (unsigned i = first; i < first + count; i++) {
		struct port *port = &c->ports[i];

		if (port->major)
			continue;
		*port = (struct port){.controller = c,
				      .number = (uint8_t)i,
				      .shown = (uint8_t)++shown,
				      .major = (uint8_t)major,
				      .slot_type = type & 31};
	}
}

int capability_protocols(struct controller *c)
{
	uint64_t at = 0;

	for (unsigned i = 0; i < MOST_CAPABILITIES && (at = find(c, XECP_PROTOCOL, at)); i++)
		read_protocol(c, at);
	if (ports_of(c, 2) + ports_of(c, 3))
		return 0;
	pcidipc_err("%s: none of its %u ports speaks USB 2 or 3", c->address, c->nports);
	return -EOPNOTSUPP;
}
