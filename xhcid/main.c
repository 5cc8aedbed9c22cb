/* SPDX-License-Identifier: MIT */
/* xhcid: drives one xHCI controller and serves the interfaces of the USB devices on it to
 * their drivers. Started by pcid. */
#include <pcidipc/driver.h>

#include "xhcid.h"

static struct controller controller = {.tick_ns = TICK_NS};

static void on_adopt(struct pcidipc_consumer *consumer, uint32_t child, int channel, void *arg)
{
	(void)consumer;
	interface_adopt(arg, child, channel);
}

static int start(struct pcidipc_driver *driver)
{
	struct controller *c = &controller;
	int ret;

	c->loop = driver->loop;
	c->pci = driver->pci;
	c->address = driver->address;
	pcidipc_consumer_on_adopt(pcidipc_pci_consumer(c->pci), on_adopt, c);
	ret = controller_start(c);
	if (ret)
		return ret;
	ports_start(c);
	service_publish(c);
	return 0;
}

/* One that is dead ends by itself. */
static void stop(struct pcidipc_driver *driver)
{
	struct controller *c = &controller;

	if (c->dead)
		return;
	c->stopping = true;
	pcidipc_pci_serve_end(&c->scheme);
	ports_stop(c);
	controller_stop(c);
	pcidipc_loop_stop(driver->loop, 0);
}

static void removed(struct pcidipc_driver *driver)
{
	(void)driver;
	controller_lost(&controller, 0);
}

int main(int argc, char **argv)
{
	static struct pcidipc_driver driver = {
		.name = "xhcid",
		.version = PCID_VERSION,
		.about = "Drives one xHCI controller. pcid starts it and hands it the function; "
			 "see pcid(8).",
		.start = start,
		.stop = stop,
		.removed = removed,
	};

	return pcidipc_driver_main(&driver, argc, argv);
}
