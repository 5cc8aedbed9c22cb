/* SPDX-License-Identifier: MIT */
/* nvmed: drives one NVMe controller and serves its namespaces as disks. Started by pcid. */
#include <pcidipc/driver.h>

#include "nvmed.h"

static struct controller controller = {.tick_ns = TICK_NS, .admin_limit = ADMIN_LIMIT};
static uint64_t timeout = IO_LIMIT;
static struct limits limits;

static const struct pcidipc_option options[] = {
	PCIDIPC_OPTION_NUMBER("timeout", 't', "SECONDS", "abort a command after that (30)",
			      &timeout, 1, 3600),
	PCIDIPC_OPTION_NUMBER("user-connections", 0, "N", "of one user's clients (512)",
			      &limits.connections, 1, MAX_SESSIONS),
	PCIDIPC_OPTION_NUMBER("user-pools", 0, "N", "that one user's clients attach (192)",
			      &limits.pools, 1, RINGABI_MAX_POOLS),
	PCIDIPC_OPTION_NUMBER("user-pool-gib", 0, "N", "their sizes together (1024)",
			      &limits.pool_gib, 1, 1u << 20),
	PCIDIPC_OPTION_NUMBER("user-dma-mib", 0, "N",
			      "of them in the device's reach (half of what it may)",
			      &limits.dma_mib, 1, 1u << 30),
	{0}};

/* The sandbox is open still: how much memory there is may take a look at a file. */
static int prepare(struct pcidipc_driver *driver)
{
	(void)driver;
	controller.io_limit = (uint32_t)timeout;
	limits_apply(&limits, &controller.users);
	return 0;
}

static int start(struct pcidipc_driver *driver)
{
	struct controller *c = &controller;
	int ret;

	c->loop = driver->loop;
	c->pci = driver->pci;
	c->address = driver->address;
	ret = controller_start(c);
	if (!ret)
		ret = pairs_start(c);
	if (ret)
		return ret;
	events_start(c);
	return namespaces_start(c);
}

/* One that is dead ends by itself. */
static void stop(struct pcidipc_driver *driver)
{
	struct controller *c = &controller;

	if (c->dead)
		return;
	c->stopping = true;
	namespaces_stop(c);
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
		.name = "nvmed",
		.version = PCID_VERSION,
		.about = "Drives one NVMe controller. pcid starts it and hands it the function; "
			 "see pcid(8).",
		.options = options,
		.prepare = prepare,
		.start = start,
		.stop = stop,
		.removed = removed,
	};

	return pcidipc_driver_main(&driver, argc, argv);
}
