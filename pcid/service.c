// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Services: pcid composes the name, makes the sockets and keeps them while drivers come and go.
 * While nobody serves one, clients wait in its backlog; when nobody ever will, pcid answers them
 * itself.
 */
#include <errno.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver.h"

#define REPUBLISH_NS \
	10000000000ull /* a restarted driver has this long to publish again what it had */

const char *pcid_service_state(const struct pcid_service *s)
{
	return s->taken ? "serving" : s->refuser ? "refused" : "waiting";
}

/* ---- one service ---- */

static struct pcid_service *find(struct pcid_driver *d, const char *kind, const char *suffix)
{
	pcidipc_list_for_each(s, &d->services, struct pcid_service, link)
		if (!strcmp(s->kind, kind) && !strcmp(s->suffix, suffix))
			return s;
	return NULL;
}

/* nvme1 with suffix 0n1, and nvme10 with n1: the second one has to do without. */
static bool name_taken(struct pcid *pcid, const char *name)
{
	pcidipc_list_for_each(d, &pcid->drivers, struct pcid_driver, link)
		pcidipc_list_for_each(s, &d->services, struct pcid_service, link)
			if (!strcmp(s->name, name))
				return true;
	return false;
}

static int make_socket(struct pcid_driver *d, const char *path, mode_t mode, int *fd)
{
	const struct pcid_stanza *stanza = d->stanza;

	*fd = pcidipc_listen_socket(path, mode);
	if (*fd < 0)
		return *fd;
	if ((stanza->owner != PCID_KEEP_ID || stanza->group != PCID_KEEP_ID) &&
	    chown(path, stanza->owner, stanza->group))
		pcidipc_warn("%s: changing owner and group of %s: %s", d->name, path,
			     strerror(errno));
	return 0;
}

static int compose(struct pcid_driver *d, struct pcid_service *s)
{
	const char *dir = d->pcid->runtime_dir;
	size_t n = sizeof(s->path);

	if ((size_t)snprintf(s->name, sizeof(s->name), "%s/%s%u%s", s->kind, d->stanza->service,
			     d->number, s->suffix) >= sizeof(s->name) ||
	    (size_t)snprintf(s->path, n, "%s/%s", dir, s->name) >= n ||
	    (size_t)snprintf(s->admin_path, n, "%s/%s.admin", dir, s->name) >= n)
		return -ENAMETOOLONG;
	return name_taken(d->pcid, s->name) ? -EEXIST : 0;
}

static void free_service(struct pcid_service *s)
{
	pcid_refuser_free(s->refuser);
	pcid_refuser_free(s->admin_refuser);
	if (s->fd >= 0)
		close(s->fd);
	if (s->admin_fd >= 0)
		close(s->admin_fd);
	free(s);
}

static int open_sockets(struct pcid_driver *d, struct pcid_service *s)
{
	int ret = compose(d, s);

	if (!ret)
		ret = pcid_rundir_mkdir(d->pcid, s->kind, 0755);
	if (!ret)
		ret = make_socket(d, s->path, d->stanza->mode, &s->fd);
	if (ret)
		return ret;
	ret = make_socket(d, s->admin_path, d->stanza->admin_mode, &s->admin_fd);
	if (ret)
		unlink(s->path);
	return ret;
}

static int create(struct pcid_driver *d, const char *kind, const char *suffix,
		  struct pcid_service **out)
{
	struct pcid_service *s;
	int ret;

	if (d->nservices >= PCID_MAX_SERVICES) {
		pcidipc_log_ratelimited(PCIDIPC_WARNING, "%s: it has %d services, the limit",
					d->name, PCID_MAX_SERVICES);
		return -EDQUOT;
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->fd = s->admin_fd = -1;
	snprintf(s->kind, sizeof(s->kind), "%s", kind);
	snprintf(s->suffix, sizeof(s->suffix), "%s", suffix);
	ret = open_sockets(d, s);
	if (ret) {
		pcidipc_err("%s: service %s: %s", d->name, s->name, strerror(-ret));
		free_service(s);
		return ret;
	}
	s->id = d->next_service++;
	pcidipc_list_append(&d->services, &s->link);
	d->nservices++;
	*out = s;
	return 0;
}

/*
 * Those who wait get their answer: it tells them that no device holds on to their memory. Not while
 * the driver lives, who has to answer itself, and could make us block on the socket that we share.
 */
static void remove_service(struct pcid_driver *d, struct pcid_service *s)
{
	unlink(s->path);
	unlink(s->admin_path);
	if (!d->pid) {
		pcid_refuse_backlog(s->fd);
		pcid_refuse_backlog(s->admin_fd);
	}
	pcidipc_list_remove(&s->link);
	d->nservices--;
	pcidipc_info("%s: service %s is gone", d->name, s->name);
	free_service(s);
}

/* ---- the driver's requests ---- */

int pcid_service_publish(struct pcid_driver *d, const char *kind, const char *suffix,
			 struct pcid_service **service)
{
	struct pcid_service *s = find(d, kind, suffix);
	int ret;

	if (s && s->taken)
		return -EEXIST;
	if (!s) {
		ret = create(d, kind, suffix, &s);
		if (ret)
			return ret;
	}
	s->taken = true;
	*service = s;
	pcidipc_info("%s: serves %s", d->name, s->name);
	pcid_driver_published(d);
	return 0;
}

int pcid_service_unpublish(struct pcid_driver *d, uint32_t id)
{
	pcidipc_list_for_each(s, &d->services, struct pcid_service, link) {
		if (s->id != id || !s->taken)
			continue;
		remove_service(d, s);
		return 0;
	}
	return -ENOENT;
}

/* ---- as the driver comes and goes ---- */

void pcid_services_wait(struct pcid_driver *d)
{
	pcidipc_timer_cancel(&d->republish);
	pcidipc_list_for_each(s, &d->services, struct pcid_service, link)
		s->taken = false;
}

static void sweep(struct pcidipc_timer *timer)
{
	struct pcid_driver *d = pcidipc_container_of(timer, struct pcid_driver, republish);

	pcidipc_list_for_each_safe(s, after, &d->services, struct pcid_service, link)
		if (!s->taken)
			remove_service(d, s);
}

void pcid_services_sweep_later(struct pcid_driver *d)
{
	if (!pcidipc_list_empty(&d->services))
		pcidipc_timer_set(d->pcid->loop, &d->republish, REPUBLISH_NS, sweep);
}

void pcid_services_refuse(struct pcid_driver *d)
{
	pcidipc_list_for_each(s, &d->services, struct pcid_service, link) {
		if (!s->refuser)
			pcid_refuser_create(d->pcid->loop, s->fd, &s->refuser);
		if (!s->admin_refuser)
			pcid_refuser_create(d->pcid->loop, s->admin_fd, &s->admin_refuser);
	}
}

void pcid_services_accept(struct pcid_driver *d)
{
	pcidipc_list_for_each(s, &d->services, struct pcid_service, link) {
		pcid_refuser_free(s->refuser);
		pcid_refuser_free(s->admin_refuser);
		s->refuser = s->admin_refuser = NULL;
	}
}

void pcid_services_remove(struct pcid_driver *d)
{
	pcidipc_timer_cancel(&d->republish);
	pcidipc_list_for_each_safe(s, after, &d->services, struct pcid_service, link)
		remove_service(d, s);
}
