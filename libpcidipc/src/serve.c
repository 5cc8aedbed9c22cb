/* SPDX-License-Identifier: MIT */
/* A driver's service: published and listened to. */
#include <pcidipc/driver.h>
#include <stdlib.h>

struct pcidipc_served {
	struct pcidipc_service service;
	struct pcidipc_listener *listener, *admin_listener;
};

static int listen_on_both(struct pcidipc_loop *loop, struct pcidipc_scheme *scheme)
{
	struct pcidipc_served *served = scheme->served;
	int ret = pcidipc_listen(loop, scheme, served->service.listen_fd, 0, &served->listener);

	if (ret)
		return ret;
	ret = pcidipc_listen(loop, scheme, served->service.admin_fd, PCIDIPC_SESSION_ADMIN,
			     &served->admin_listener);
	if (!ret)
		return 0;
	pcidipc_listener_close(served->listener); /* serve no half of it */
	served->listener = NULL;
	return ret;
}

int pcidipc_pci_serve(struct pcidipc_pci *pci, const char *kind, const char *suffix,
		      struct pcidipc_scheme *scheme)
{
	int ret;

	scheme->served = calloc(1, sizeof(*scheme->served));
	if (!scheme->served)
		return -ENOMEM;
	if (!scheme->pci)
		scheme->pci = pci;
	ret = pcidipc_pci_publish(pci, kind, suffix, &scheme->served->service);
	if (ret) {
		free(scheme->served);
		scheme->served = NULL;
		return ret;
	}
	if (!scheme->name)
		scheme->name = scheme->served->service.name;
	return listen_on_both(pcidipc_pci_loop(pci), scheme);
}

void pcidipc_pci_serve_end(struct pcidipc_scheme *scheme)
{
	struct pcidipc_served *served = scheme->served;

	if (!served)
		return;
	pcidipc_listener_close(served->listener);
	pcidipc_listener_close(served->admin_listener);
	served->listener = served->admin_listener = NULL;
	pcidipc_scheme_end_sessions(scheme);
}
