/* SPDX-License-Identifier: MIT */
/* The endpoints of an interface: Configure Endpoint (xHCI 1.2, 4.6.6) and SET_INTERFACE. */
#include <errno.h>
#include <pcidipc/log.h>
#include <string.h>

#include "xhcid.h"

static uint8_t dci_of(uint8_t address)
{
	return (uint8_t)(2 * (address & 15) + (address >> 7));
}

/* A set of endpoints, and what is done with it. */
struct change {
	struct endpoint *old[MAX_DCI];
	uint32_t drop, add;
	uint32_t halted; /* of the old ones, before */
	bool unknown;	 /* whether the controller has made it */
};

static void configure_command(struct device *dev, const struct change *change)
{
	input_begin(dev, change->drop, change->add | 1);
	input_slot(dev, device_entries(dev));
	for (unsigned i = 2; i < MAX_DCI; i++)
		if (change->add & 1u << i)
			input_endpoint(dev->endpoints[i]);
}

/* With configure_lock held. *unknown: there is no answer that says what the controller has done. */
static int tell(struct device *dev, const struct change *change, bool *unknown)
{
	uint32_t control = TRB_TYPE(TRB_CONFIGURE_ENDPOINT) | TRB_SLOT(dev->slot);
	int ret;

	configure_command(dev, change);
	ret = command_run(dev->controller, input_iova(dev), 0, control, NULL);
	if (unknown)
		*unknown = ret < 0;
	return command_report(dev->controller, "Configure Endpoint", control, ret);
}

static void take_old(struct interface *in, struct change *change)
{
	struct device *dev = in->device;

	for (unsigned i = 2; i < MAX_DCI; i++) {
		struct endpoint *ep = dev->endpoints[i];

		if (!ep || ep->owner != in)
			continue;
		change->halted |= (uint32_t)ep->halted << i;
		ep->halted = true;
		endpoint_drain(ep, -ECANCELED);
		change->old[i] = ep;
		change->drop |= 1u << i;
	}
}

/* ---- streams ---- */

static unsigned grant(const struct controller *c, const struct endpoint_info *list, int n,
		      unsigned wanted)
{
	unsigned most = c->stream_bits ? 1u << c->stream_bits : 0;
	bool any = false;

	most = most < MAX_STREAMS ? most : MAX_STREAMS;
	most = most < wanted ? most : wanted;
	for (int i = 0; i < n; i++) {
		if (!list[i].streams)
			continue;
		any = true;
		if (list[i].streams < 16 && most > 1u << list[i].streams)
			most = 1u << list[i].streams;
	}
	return any && most > 1 ? most : 0; /* an array of one cannot be told from none */
}

/* ---- claiming ---- */

static int add_endpoints(struct interface *in, const struct endpoint_info *list, int n,
			 unsigned streams, struct change *change)
{
	struct device *dev = in->device;
	int ret = 0;

	for (int i = 0; i < n && !ret; i++) {
		uint8_t dci = dci_of(list[i].address);

		if (list[i].type == LIBUSB_TRANSFER_TYPE_ISOCHRONOUS)
			continue;
		if (dev->endpoints[dci] && !change->old[dci])
			return -EBUSY;
		dev->endpoints[dci] = NULL;
		ret = endpoint_create(dev, dci, &list[i], list[i].streams ? streams : 0,
				      &dev->endpoints[dci]);
		if (ret)
			break;
		dev->endpoints[dci]->owner = in;
		dev->endpoints[dci]->halted = true; /* until the controller knows it */
		change->add |= 1u << dci;
	}
	return ret;
}

/* It did not work: as it was before. */
static void undo(struct device *dev, struct change *change)
{
	for (unsigned i = 2; i < MAX_DCI; i++) {
		if (change->add & 1u << i && change->unknown)
			endpoint_keep(dev->endpoints[i]);
		else if (change->add & 1u << i)
			endpoint_destroy(dev->endpoints[i]);
		if ((change->add | change->drop) & 1u << i)
			dev->endpoints[i] = change->old[i];
		if (change->old[i] && !change->unknown)
			change->old[i]->halted = change->halted & 1u << i;
	}
}

static void finish(struct device *dev, struct change *change)
{
	for (unsigned i = 2; i < MAX_DCI; i++) {
		if (change->add & 1u << i)
			dev->endpoints[i]->halted = false;
		if (!change->old[i])
			continue;
		if (!(change->add & 1u << i))
			dev->endpoints[i] = NULL;
		endpoint_destroy(change->old[i]);
	}
}

static void forget_old(struct device *dev, const struct change *change)
{
	for (unsigned i = 2; i < MAX_DCI; i++)
		if (change->old[i] && !(change->add & 1u << i))
			dev->endpoints[i] = NULL;
}

static int exchange(struct interface *in, const struct endpoint_info *list, int n, unsigned streams)
{
	struct device *dev = in->device;
	struct change change = {0};
	int ret;

	take_old(in, &change);
	pcidipc_task_lock(&dev->configure_lock);
	ret = dev->gone ? -ENODEV : add_endpoints(in, list, n, streams, &change);
	if (!ret) {
		forget_old(dev, &change);
		if (change.add | change.drop)
			ret = tell(dev, &change, &change.unknown);
	}
	if (ret)
		undo(dev, &change);
	else
		finish(dev, &change);
	pcidipc_task_unlock(&dev->configure_lock);
	return ret;
}

static int set_interface(struct interface *in, unsigned alternate)
{
	struct setup setup = {.type = LIBUSB_RECIPIENT_INTERFACE,
			      .request = LIBUSB_REQUEST_SET_INTERFACE,
			      .value = (uint16_t)alternate,
			      .index = in->info.number};

	return control_run(in->device, &setup, NULL);
}

/* Its data toggles have to begin anew, as the controller's do. */
static int reset_toggles(struct interface *in)
{
	int ret = 0;

	for (unsigned i = 2; i < MAX_DCI && ret >= 0; i++) {
		struct endpoint *ep = in->device->endpoints[i];
		struct setup setup = {.type = LIBUSB_RECIPIENT_ENDPOINT,
				      .request = LIBUSB_REQUEST_CLEAR_FEATURE};

		if (!ep || ep->owner != in)
			continue;
		setup.index = ep->info.address;
		ret = control_run(in->device, &setup, NULL);
	}
	return ret;
}

static int tell_device(struct interface *in, unsigned alternate)
{
	int ret = 0;

	if (in->info.alternates > 1)
		ret = set_interface(in, alternate);
	else if (in->used)
		ret = reset_toggles(in);
	if (ret == -EPIPE && in->used && in->info.alternates == 1) {
		/* It must not refuse this, but QEMU's UAS does, which keeps no toggles. */
		ret = set_interface(in, alternate);
		ret = ret == -EPIPE ? 0 : ret;
	}
	return ret < 0 ? ret : 0;
}

static int find_endpoints(struct interface *in, unsigned alternate, struct endpoint_info *list)
{
	const struct device *dev = in->device;
	const char *fault = "there is no such alternate setting";
	int n = alternate > UINT8_MAX
			? -ENOENT
			: descriptor_endpoints(dev->descriptors.config,
					       dev->descriptors.config_bytes, in->info.number,
					       (uint8_t)alternate, dev->speed, list, &fault);

	if (n < 0)
		pcidipc_log_ratelimited(PCIDIPC_WARNING, "%s: alternate setting %u: %s", in->name,
					alternate, fault);
	return n == -ENOENT ? -EINVAL : n;
}

int interface_configure(struct interface *in, unsigned alternate, unsigned streams)
{
	struct endpoint_info list[MAX_ENDPOINTS];
	int n = find_endpoints(in, alternate, list), ret;

	if (n < 0)
		return n;
	if (streams & (streams - 1))
		return -EINVAL;
	streams = grant(in->device->controller, list, n, streams);
	ret = exchange(in, list, n, streams);
	if (!ret)
		ret = tell_device(in, alternate);
	if (ret)
		return ret;
	in->alternate = (uint8_t)alternate;
	in->claimed = in->used = true;
	return (int)streams;
}

void interface_release(struct interface *in)
{
	struct device *dev = in->device;

	pcidipc_task_lock(&dev->performing);
	if (in->claimed && !dev->controller->dead && !dev->gone)
		exchange(in, NULL, 0, 0);
	in->claimed = false;
	pcidipc_task_unlock(&dev->performing);
}

/* ---- anew ---- */

int endpoint_renew(struct endpoint *ep)
{
	struct device *dev = ep->device;
	struct change change = {.drop = 1u << ep->dci, .add = 1u << ep->dci};
	int ret;

	pcidipc_task_lock(&dev->configure_lock);
	endpoint_reset_rings(ep);
	ret = dev->gone ? -ENODEV : tell(dev, &change, NULL);
	ep->toggle_clean = !ret;
	pcidipc_task_unlock(&dev->configure_lock);
	return ret;
}

/* After a reset of the device: all endpoints that there were. */
int device_restore(struct device *dev)
{
	struct change change = {0};
	int ret = 0;

	for (unsigned i = 2; i < MAX_DCI; i++)
		if (dev->endpoints[i])
			change.add |= 1u << i;
	pcidipc_task_lock(&dev->configure_lock);
	if (change.add)
		ret = tell(dev, &change, NULL);
	for (unsigned i = 2; i < MAX_DCI && !ret; i++)
		if (dev->endpoints[i])
			dev->endpoints[i]->halted = false;
	pcidipc_task_unlock(&dev->configure_lock);
	for (unsigned i = 0; i < dev->ninterfaces && !ret; i++)
		if (dev->interfaces[i].claimed && dev->interfaces[i].alternate)
			ret = set_interface(&dev->interfaces[i], dev->interfaces[i].alternate);
	return ret < 0 ? ret : 0;
}
