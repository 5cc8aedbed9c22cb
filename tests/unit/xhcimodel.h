/* SPDX-License-Identifier: MIT */
/*
 * An xHCI controller in the test's own process, behind the PCI helpers that xhcid calls, with
 * sticks and hubs to plug in. It is stricter than QEMU's, and does wrong what a test tells it to.
 * For one test program only: it defines functions of the library in their place. What is asked of
 * it happens when a doorbell is written; a high-speed device is a hub, others as a test says.
 */
#ifndef XHCIMODEL_H
#define XHCIMODEL_H

#include <CUnit/Basic.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../xhcid/regs.h"
#include "../../xhcid/xhcid.h"

#define MODEL_BAR 0x4000u
#define MODEL_OP 0x40u
#define MODEL_EXT 0x1800u
#define MODEL_RT 0x2000u
#define MODEL_DB 0x3000u
#define MODEL_CLIENT_BYTES (8u << 20)
#define MODEL_HUB_PORTS 4u

struct model_endpoint {
	uint64_t dequeue;
	bool cycle;
};

struct model_slot {
	bool enabled, is_hub;
	uint8_t *output;
	uint32_t input[34 * 16]; /* the last one that it was given */
	struct model_endpoint endpoint[32];
	uint8_t setup[8];
	const uint8_t *reply;
	unsigned reply_bytes;
	bool stall;
	/* wPortStatus | wPortChange << 16; of the hub itself: wHubStatus and wHubChange */
	uint32_t hub[MODEL_HUB_PORTS + 1];
	unsigned hub_depth;   /* that it was told */
	uint64_t streams[32]; /* where the stream contexts of an endpoint lie */
};

static struct model {
	uint32_t cap[8], ext[64], portsc[256];
	uint32_t usbcmd, usbsts, pagesize, config, iman, erstsz;
	uint64_t crcr, dcbaap, erstba, erdp;
	uint64_t command; /* the command ring's dequeue pointer */
	bool command_cycle, command_running, stuck;
	unsigned segment, index; /* of the next event */
	bool cycle;
	struct model_slot slot[256];
	uint64_t iova;	      /* of xhcid's own memory */
	uint64_t client_iova; /* of a client's pool */
	uint8_t *memory, *client;

	/* what it does wrong */
	bool gone, not_ready, never_halts, never_resets, never_aborts, mute;
	bool holds_bulk;      /* transfers of it stay unanswered */
	bool tells_both;      /* a short packet, and the end of its transfer */
	uint8_t hold_command; /* of this type: unanswered */
	uint8_t answer[64];   /* completion codes of commands by type; 0: as they should be */
	uint8_t bulk_code;    /* that the next bulk transfer halts with */
	uint32_t short_by;    /* bytes that the next ones are short by */
	const uint8_t *config_reply; /* a stick's configuration */
	unsigned config_bytes;
	uint8_t packet0; /* bMaxPacketSize0 of sticks */
	bool no_status;	 /* control transfers are left without an end */
	bool chatty_hub; /* hubs tell of port 4, whatever is there */
	bool plugs_hub;	 /* what comes next is a hub, whatever its speed */
	bool single_tt;	 /* hubs have one translator for all ports */
	uint8_t sublink; /* the number of the speed below hubs of SuperSpeedPlus */

	/* what it saw */
	unsigned wild, crossings, lost_events, aborts, resets, warm_resets, announced,
		gone_children;
	unsigned commands[64], td_sizes_wrong, written_unready, transfers;
	unsigned masks, statuses; /* that hubs told */
	bool master, masked, pending;
	unsigned blocked_slot, blocked_dci; /* a transfer waits for room on the event ring */
	int irq;
} m;

/* Memory as the controller reaches it; what lies nowhere, or too high for it, is counted. */
static void *model_at(uint64_t iova, uint64_t bytes)
{
	static uint8_t nowhere[1 << 17];
	bool reached = m.cap[4] & HCC_AC64 || !(iova >> 32);

	if (reached && iova >= m.iova && iova - m.iova + bytes <= DMA_BYTES)
		return m.memory + (iova - m.iova);
	if (reached && iova >= m.client_iova && iova - m.client_iova + bytes <= MODEL_CLIENT_BYTES)
		return m.client + (iova - m.client_iova);
	m.wild++;
	memset(nowhere, 0, 64);
	return nowhere;
}

static unsigned model_context(void)
{
	return m.cap[4] & HCC_CSZ ? 64 : 32;
}

/* ---- events ---- */

static void model_interrupt(void)
{
	uint64_t one = 1;

	if (m.mute || !(m.iman & IMAN_ENABLE) || !(m.usbcmd & USBCMD_INTE) || m.erdp & ERDP_BUSY)
		return;
	m.erdp |= ERDP_BUSY;
	if (m.masked)
		m.pending = true;
	else if (write(m.irq, &one, sizeof(one)) != sizeof(one))
		abort();
}

static uint64_t model_segment(unsigned i, unsigned *entries)
{
	const uint32_t *entry = model_at(m.erstba + 16ull * i, 16);

	*entries = le32toh(entry[2]) & 0xffff;
	return le32toh(entry[0]) | (uint64_t)le32toh(entry[1]) << 32;
}

static void model_event(uint64_t parameter, uint32_t status, uint32_t control)
{
	unsigned entries, next = m.index + 1, segment = m.segment;
	uint64_t base = model_segment(m.segment, &entries), following = base;
	struct trb *trb = model_at(base + 16ull * m.index, 16);

	if (next == entries) {
		next = 0;
		segment = (segment + 1) % m.erstsz;
		following = model_segment(segment, &entries);
	}
	if (following + 16ull * next == (m.erdp & ~15ull)) {
		m.lost_events++; /* the ring is full */
		return;
	}
	trb->parameter = htole64(parameter);
	trb->status = htole32(status);
	__atomic_store_n(&trb->control, htole32((control & ~1u) | m.cycle), __ATOMIC_RELEASE);
	m.cycle ^= next == 0 && segment == 0;
	m.index = next;
	m.segment = segment;
	model_interrupt();
}

/* Room for more events than one transfer gives? */
static bool model_has_room(void)
{
	unsigned entries, ahead = 0, segment = m.segment, index = m.index;
	uint64_t base = model_segment(segment, &entries);

	for (; ahead < 8; ahead++) {
		if (++index == entries) {
			index = 0;
			segment = (segment + 1) % m.erstsz;
			base = model_segment(segment, &entries);
		}
		if (base + 16ull * index == (m.erdp & ~15ull))
			return false;
	}
	return true;
}

static void model_port_event(unsigned port)
{
	model_event((uint64_t)port << 24, 1u << 24, TRB_TYPE(TRB_PORT_EVENT));
}

static void model_transfer_event(unsigned slot, unsigned dci, uint64_t trb, unsigned code,
				 uint32_t left)
{
	model_event(trb, left | code << 24,
		    TRB_TYPE(TRB_TRANSFER_EVENT) | TRB_SLOT(slot) | TRB_DCI(dci));
}

/* ---- contexts ---- */

static uint32_t *model_output(unsigned slot, unsigned dci)
{
	return (uint32_t *)(void *)(m.slot[slot].output + dci * model_context());
}

static unsigned model_state(unsigned slot, unsigned dci)
{
	return EP_STATE(le32toh(*model_output(slot, dci)));
}

static void model_set_state(unsigned slot, unsigned dci, unsigned state)
{
	uint32_t *word = model_output(slot, dci);

	*word = htole32((le32toh(*word) & ~7u) | state);
}

/* A word of the input context that came last; 0 is the input control context. */
static uint32_t model_input(unsigned slot, unsigned context, unsigned word)
{
	return le32toh(m.slot[slot].input[context * (model_context() / 4) + word]);
}

static void model_take_endpoint(unsigned slot, unsigned dci)
{
	uint64_t at = model_input(slot, dci + 1, 2) | (uint64_t)model_input(slot, dci + 1, 3) << 32;

	m.slot[slot].endpoint[dci] = (struct model_endpoint){at & ~15ull, at & 1};
	m.slot[slot].streams[dci] =
		model_input(slot, dci + 1, 0) & EP_LINEAR_STREAMS ? at & ~15ull : 0;
	memcpy(model_output(slot, dci), (uint8_t *)m.slot[slot].input + (dci + 1) * model_context(),
	       model_context());
	model_set_state(slot, dci, EP_RUNNING);
}

/* ---- commands ---- */

static void model_read_input(unsigned slot, uint64_t at)
{
	uint64_t *dcbaa = model_at(m.dcbaap, 8 * 256);

	m.slot[slot].output = model_at(le64toh(dcbaa[slot]), 32u * model_context());
	memcpy(m.slot[slot].input, model_at(at, 33u * model_context()), 33u * model_context());
}

static unsigned model_address(unsigned slot, uint64_t at)
{
	uint32_t *context;

	model_read_input(slot, at);
	context = model_output(slot, 0);
	memcpy(context, (uint8_t *)m.slot[slot].input + model_context(), model_context());
	context[3] = htole32(slot | 2u << 27);
	model_take_endpoint(slot, 1);
	return CC_SUCCESS;
}

static unsigned model_configure(unsigned slot, uint64_t at)
{
	model_read_input(slot, at);
	for (unsigned dci = 2; dci < 32; dci++) {
		if (model_input(slot, 0, 0) & 1u << dci)
			model_set_state(slot, dci, EP_DISABLED);
		if (model_input(slot, 0, 1) & 1u << dci)
			model_take_endpoint(slot, dci);
	}
	return CC_SUCCESS;
}

static uint64_t *model_stream(unsigned slot, unsigned dci, unsigned stream)
{
	return model_at(m.slot[slot].streams[dci] + 16ull * stream, 16);
}

static unsigned model_endpoint_command(unsigned type, const struct trb *trb, unsigned slot)
{
	unsigned dci = TRB_DCI_OF(le32toh(trb->control)), state = model_state(slot, dci);
	uint64_t at = le64toh(trb->parameter);

	if (state == EP_DISABLED)
		return 12; /* Endpoint Not Enabled */
	if (type == TRB_SET_DEQUEUE && state == EP_STOPPED && m.slot[slot].streams[dci])
		*model_stream(slot, dci, le32toh(trb->status) >> 16) = htole64(at);
	else if (type == TRB_SET_DEQUEUE && (state == EP_STOPPED || state == EP_ERROR))
		m.slot[slot].endpoint[dci] = (struct model_endpoint){at & ~15ull, at & 1};
	else if ((type != TRB_RESET_ENDPOINT || state != EP_HALTED) &&
		 (type != TRB_STOP_ENDPOINT || state != EP_RUNNING))
		return CC_CONTEXT_STATE;
	model_set_state(slot, dci, EP_STOPPED);
	return CC_SUCCESS;
}

static unsigned model_perform(const struct trb *trb, unsigned *slot)
{
	unsigned type = TRB_TYPE_OF(le32toh(trb->control));
	uint64_t at = le64toh(trb->parameter);

	if (type == TRB_ENABLE_SLOT) {
		for (*slot = 1; m.slot[*slot].enabled; ++*slot)
			;
		m.slot[*slot] = (struct model_slot){.enabled = true, .is_hub = m.plugs_hub};
		return CC_SUCCESS;
	}
	if (!*slot || !m.slot[*slot].enabled)
		return 11; /* Slot Not Enabled */
	switch (type) {
	case TRB_DISABLE_SLOT:
		m.slot[*slot].enabled = false;
		return CC_SUCCESS;
	case TRB_ADDRESS_DEVICE:
		return model_address(*slot, at);
	case TRB_CONFIGURE_ENDPOINT:
		return model_configure(*slot, at);
	case TRB_EVALUATE_CONTEXT:
		model_read_input(*slot, at);
		return CC_SUCCESS;
	case TRB_RESET_DEVICE:
		for (unsigned dci = 2; dci < 32; dci++)
			model_set_state(*slot, dci, EP_DISABLED);
		return CC_SUCCESS;
	default:
		return model_endpoint_command(type, trb, *slot);
	}
}

static void model_command_event(uint64_t at, unsigned code, unsigned slot)
{
	model_event(at, code << 24, TRB_TYPE(TRB_COMMAND_EVENT) | TRB_SLOT(slot));
}

static void model_run_commands(void)
{
	m.command_running = true;
	while (!m.stuck) {
		const struct trb *trb = model_at(m.command, 16);
		uint32_t control = le32toh(__atomic_load_n(&trb->control, __ATOMIC_ACQUIRE));
		unsigned type = TRB_TYPE_OF(control), slot = TRB_SLOT_OF(control), code;

		if ((control & 1) != m.command_cycle)
			break;
		if (type == TRB_LINK) {
			m.command = le64toh(trb->parameter);
			m.command_cycle ^= !!(control & TRB_TOGGLE);
			continue;
		}
		m.commands[type]++;
		m.stuck = m.hold_command == type;
		if (m.stuck)
			break;
		code = m.answer[type] ? m.answer[type] : model_perform(trb, &slot);
		model_command_event(m.command, code, slot);
		m.command += 16;
	}
}

static void model_write_crcr(uint32_t value, bool high)
{
	uint64_t old = m.crcr;

	m.crcr = high ? (uint32_t)old | (uint64_t)value << 32
		      : (old & ~(uint64_t)UINT32_MAX) | value;
	if (!high && value & CRCR_ABORT) {
		m.aborts++;
		if (m.never_aborts)
			return;
		if (m.stuck)
			model_command_event(m.command, CC_ABORTED, 0);
		m.command += m.stuck ? 16 : 0;
		m.stuck = m.command_running = false;
		m.hold_command = 0;
		model_command_event(m.command, CC_RING_STOPPED, 0);
	} else if (high && m.aborts) {
		/* it stopped between the halves: takes this one */
		m.command = (uint32_t)m.command | (uint64_t)value << 32;
	} else if (!m.command_running) {
		m.command = m.crcr & ~63ull;
		m.command_cycle = m.crcr & 1;
	}
}

/* ---- registers ---- */

static void model_reset_port(unsigned port, bool warm)
{
	m.resets++;
	m.warm_resets += warm;
	if (warm)
		m.portsc[port] &= ~(15u << 5);
	if (m.portsc[port] & PORTSC_CONNECTED)
		m.portsc[port] |= PORTSC_ENABLED | PORTSC_RESET_CHANGE;
	model_port_event(port);
}

static void model_write_portsc(unsigned port, uint32_t value)
{
	m.portsc[port] &= ~(value & PORTSC_CHANGES);
	if (value & PORTSC_ENABLED)
		m.portsc[port] &= ~PORTSC_ENABLED;
	m.portsc[port] = (m.portsc[port] & ~PORTSC_POWER) | (value & PORTSC_POWER);
	if (value & (PORTSC_RESET | PORTSC_WARM_RESET))
		model_reset_port(port, value & PORTSC_WARM_RESET);
}

static void model_write_command(uint32_t value)
{
	if (m.usbsts & USBSTS_NOT_READY)
		m.written_unready++;
	m.usbcmd = value & ~USBCMD_RESET;
	if (value & USBCMD_RESET && m.never_resets)
		m.usbcmd |= USBCMD_RESET;
	if (value & USBCMD_RUN)
		m.usbsts &= ~USBSTS_HALTED;
	else if (!m.never_halts)
		m.usbsts |= USBSTS_HALTED;
}

static void model_half(uint64_t *reg, uint32_t value, bool high)
{
	*reg = high ? (uint32_t)*reg | (uint64_t)value << 32
		    : (*reg & ~(uint64_t)UINT32_MAX) | value;
}

static void model_run_endpoint(unsigned slot, unsigned dci);
static void model_run_stream(unsigned slot, unsigned dci, unsigned stream);

static void model_resume(void)
{
	unsigned slot = m.blocked_slot;

	m.blocked_slot = 0;
	if (slot)
		model_run_endpoint(slot, m.blocked_dci);
}

static void model_write_runtime(uint64_t offset, uint32_t value)
{
	bool busy = m.erdp & ERDP_BUSY;

	if (offset == RT_IMAN)
		m.iman = value & IMAN_ENABLE;
	else if (offset == RT_ERSTSZ)
		m.erstsz = value;
	else if (offset == RT_ERSTBA || offset == RT_ERSTBA + 4)
		model_half(&m.erstba, value, offset & 4);
	else if (offset == RT_ERDP + 4)
		model_half(&m.erdp, value, true);
	else if (offset == RT_ERDP) {
		model_half(&m.erdp, value, false);
		if (value & ERDP_BUSY || !busy)
			m.erdp &= ~(uint64_t)ERDP_BUSY;
		else
			m.erdp |= ERDP_BUSY;
		model_resume();
	}
}

static void model_write_operational(uint64_t offset, uint32_t value)
{
	if (offset == OP_USBCMD)
		model_write_command(value);
	else if (offset == OP_CRCR || offset == OP_CRCR + 4)
		model_write_crcr(value, offset & 4);
	else if (offset == OP_DCBAAP || offset == OP_DCBAAP + 4)
		model_half(&m.dcbaap, value, offset & 4);
	else if (offset == OP_CONFIG)
		m.config = value;
	else if (offset >= OP_PORTSC && (offset & 15) == 0)
		model_write_portsc((unsigned)(offset - OP_PORTSC) / 16 + 1, value);
}

void pcidipc_mmio_write_slow(const struct pcidipc_mmio *mmio, uint64_t offset, unsigned width,
			     uint64_t value)
{
	(void)width;
	if (offset + 4 > mmio->bytes)
		abort();
	if (m.gone)
		return;
	if (offset == MODEL_DB)
		model_run_commands();
	else if (offset > MODEL_DB && !(m.usbsts & USBSTS_HALTED))
		model_run_stream((unsigned)(offset - MODEL_DB) / 4, value & 31,
				 (unsigned)value >> 16);
	else if (offset >= MODEL_RT)
		model_write_runtime(offset - MODEL_RT, (uint32_t)value);
	else if (offset >= MODEL_EXT && offset < MODEL_EXT + sizeof(m.ext))
		m.ext[(offset - MODEL_EXT) / 4] = (uint32_t)value;
	else if (offset >= MODEL_OP)
		model_write_operational(offset - MODEL_OP, (uint32_t)value);
}

static uint32_t model_read_operational(uint64_t offset)
{
	if (offset == OP_USBCMD)
		return m.usbcmd;
	if (offset == OP_USBSTS)
		return m.usbsts | (m.not_ready ? USBSTS_NOT_READY : 0);
	if (offset == OP_PAGESIZE)
		return m.pagesize;
	if (offset == OP_CRCR)
		return m.command_running ? CRCR_RUNNING : 0;
	if (offset >= OP_PORTSC && (offset & 15) == 0)
		return m.portsc[(offset - OP_PORTSC) / 16 + 1];
	return 0;
}

uint64_t pcidipc_mmio_read_slow(const struct pcidipc_mmio *mmio, uint64_t offset, unsigned width)
{
	(void)width;
	if (offset + 4 > mmio->bytes)
		abort();
	if (m.gone)
		return UINT64_MAX;
	if (offset < sizeof(m.cap))
		return m.cap[offset / 4];
	if (offset >= MODEL_EXT && offset < MODEL_EXT + sizeof(m.ext))
		return m.ext[(offset - MODEL_EXT) / 4];
	return offset < MODEL_RT ? model_read_operational(offset - MODEL_OP) : 0;
}

#endif
