/* SPDX-License-Identifier: MIT */
/* Identify Controller: the device's word about itself, checked before anything relies on it. */
#include <endian.h>
#include <errno.h>
#include <libnvme.h>
#include <pcidipc/log.h>
#include <stdlib.h>

#include "nvmed.h"

#define OAES_NAMESPACES (1u << 8)
#define OACS_DOORBELL_BUFFERS (1u << 8)

/* Fixed-width, space-padded, from a device: printable or a question mark. */
static void copy_text(char *to, const char *from, size_t bytes)
{
	while (bytes && (from[bytes - 1] == ' ' || !from[bytes - 1]))
		bytes--;
	for (size_t i = 0; i < bytes; i++)
		to[i] = from[i] >= ' ' && from[i] < 127 ? from[i] : '?';
	to[bytes] = 0;
}

/* MDTS is a power of two of the controller's smallest pages; 0: no limit. */
static uint32_t command_limit(const struct controller *c, uint8_t mdts)
{
	if (!mdts || mdts >= 16 || (uint64_t)c->page << mdts > MOST_COMMAND_BYTES)
		return MOST_COMMAND_BYTES;
	return c->page << mdts;
}

static int take(struct controller *c, const struct nvme_id_ctrl *id)
{
	copy_text(c->serial, id->sn, sizeof(id->sn));
	copy_text(c->model, id->mn, sizeof(id->mn));
	copy_text(c->firmware, id->fr, sizeof(id->fr));
	c->max_bytes = command_limit(c, id->mdts);
	c->list_bytes = prp_list_bytes(c->max_bytes, c->page);
	c->oncs = le16toh(id->oncs);
	c->aerl = id->aerl;
	c->aborts_most = (uint16_t)(id->acl + 1);
	c->event_notices = le32toh(id->oaes) & OAES_NAMESPACES;
	c->namespaces_most = le32toh(id->nn);
	c->volatile_cache = id->vwc & 1;
	c->doorbell_buffers = le16toh(id->oacs) & OACS_DOORBELL_BUFFERS;
	if ((id->sqes & 15) <= 6 && (id->cqes & 15) <= 4)
		return 0;
	pcidipc_err("%s: wants queue entries larger than 64 and 16 bytes (SQES %#x, CQES %#x)",
		    c->address, id->sqes, id->cqes);
	return -EOPNOTSUPP;
}

int identify_controller(struct controller *c)
{
	struct nvme_id_ctrl *id = calloc(1, sizeof(*id));
	int ret = id ? identify(c, NVME_IDENTIFY_CNS_CTRL, 0, id) : -ENOMEM;

	if (!ret)
		ret = take(c, id);
	free(id);
	return ret;
}
