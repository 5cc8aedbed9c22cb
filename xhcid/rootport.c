/* SPDX-License-Identifier: MIT */
/* Root ports: PORTSC (xHCI 1.2, 5.4.8), in the form that hubs' ports have too. */
#include <errno.h>

#include "xhcid.h"

static uint64_t portsc(const struct port *port)
{
	return port->controller->op + OP_PORTSC + (port->number - 1ull) * PORT_BYTES;
}

static uint8_t speed_of(const struct port *port, uint32_t value)
{
	unsigned speed = PORTSC_SPEED(value);

	if (port->major == 3)
		return speed > SPEED_SUPER ? SPEED_SUPER_PLUS : SPEED_SUPER;
	return speed >= SPEED_FULL && speed <= SPEED_HIGH ? (uint8_t)speed : SPEED_FULL;
}

int rootport_state(struct port *port, struct port_state *state)
{
	struct pcidipc_mmio *bar = &port->controller->bar;
	uint32_t value = pcidipc_read32(bar, portsc(port));
	unsigned link = PORTSC_LINK(value);

	if (value == UINT32_MAX)
		return -ENODEV;
	if (value & PORTSC_CONNECT_CHANGE) /* it is told once */
		port->replugged = true;
	if (value & PORTSC_CHANGES)
		pcidipc_write32(bar, portsc(port), value & (PORTSC_KEEP | PORTSC_CHANGES));
	*state = (struct port_state){
		.connected = value & PORTSC_CONNECTED,
		.enabled = value & PORTSC_ENABLED,
		.powered = value & PORTSC_POWER,
		.overcurrent = value & PORTSC_OVERCURRENT,
		.resetting = value & (PORTSC_RESET | PORTSC_WARM_RESET),
		.inactive = port->major == 3 && (link == LINK_INACTIVE || link == LINK_COMPLIANCE),
		.connect_changed = value & PORTSC_CONNECT_CHANGE,
		.enable_changed = value & PORTSC_ENABLE_CHANGE,
		.overcurrent_changed = value & PORTSC_OVERCURRENT_CHANGE,
		.config_error = value & PORTSC_CONFIG_ERROR,
		.speed = speed_of(port, value),
	};
	return 0;
}

static int set(struct port *port, uint32_t bits)
{
	struct pcidipc_mmio *bar = &port->controller->bar;
	uint32_t value = pcidipc_read32(bar, portsc(port));

	if (value == UINT32_MAX)
		return -ENODEV;
	pcidipc_write32(bar, portsc(port), (value & PORTSC_KEEP) | bits);
	return 0;
}

int rootport_reset(struct port *port, bool warm)
{
	return set(port, warm ? PORTSC_WARM_RESET : PORTSC_RESET);
}

int rootport_power(struct port *port)
{
	return set(port, PORTSC_POWER);
}
