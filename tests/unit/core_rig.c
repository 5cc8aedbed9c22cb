/* SPDX-License-Identifier: MIT */
#include "core_rig.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void finish_call(struct core_rig *rig)
{
	pthread_mutex_lock(&rig->lock);
	rig->done = true;
	pthread_cond_signal(&rig->called);
	pthread_mutex_unlock(&rig->lock);
}

static void call_task(void *arg)
{
	struct core_rig *rig = arg;

	rig->call(rig, rig->arg);
	finish_call(rig);
}

static void call_wanted(struct pcidipc_watch *watch, unsigned events)
{
	struct core_rig *rig = pcidipc_container_of(watch, struct core_rig, watch);
	uint64_t count;

	(void)events;
	if (read(watch->fd, &count, sizeof(count)) != sizeof(count))
		return;
	if (rig->call_in_task)
		pcidipc_spawn(rig->pcid.loop, call_task, rig);
	else
		call_task(rig);
}

static void call(struct core_rig *rig, void (*fn)(struct core_rig *, void *), void *arg, bool task)
{
	uint64_t one = 1;

	rig->call = fn;
	rig->arg = arg;
	rig->call_in_task = task;
	rig->done = false;
	CU_ASSERT_EQUAL(write(rig->calls, &one, sizeof(one)), sizeof(one));
	pthread_mutex_lock(&rig->lock);
	while (!rig->done)
		pthread_cond_wait(&rig->called, &rig->lock);
	pthread_mutex_unlock(&rig->lock);
}

void core_rig_call(struct core_rig *rig, void (*fn)(struct core_rig *, void *), void *arg)
{
	call(rig, fn, arg, false);
}

void core_rig_call_task(struct core_rig *rig, void (*fn)(struct core_rig *, void *), void *arg)
{
	call(rig, fn, arg, true);
}

/* ---- the core's thread ---- */

static void set_up(struct core_rig *rig, struct pcid_config *config)
{
	CU_ASSERT_EQUAL_FATAL(pcidipc_loop_create(0, &rig->pcid.loop), 0);
	pcid_init(&rig->pcid, rig->pcid.loop, config);
	rig->pcid.options.runtime_dir = rig->dir;
	CU_ASSERT_EQUAL_FATAL(pcid_rundir_open(&rig->pcid), 0);
	rig->fake = fake_bus_create(rig->pcid.loop);
	pcid_take_bus(&rig->pcid, &rig->fake->bus);
	rig->pcid.bus_started = true;
	CU_ASSERT_EQUAL_FATAL(
		pcidipc_watch_add(rig->pcid.loop, &rig->watch, rig->calls, EPOLLIN, call_wanted),
		0);
}

static void *core_main(void *arg)
{
	struct core_rig *rig = arg;

	pcidipc_loop_run(rig->pcid.loop);
	pcidipc_watch_remove(&rig->watch);
	fake_bus_destroy(rig->fake);
	pcid_rundir_close(&rig->pcid);
	pcid_fini(&rig->pcid);
	pcidipc_loop_destroy(rig->pcid.loop);
	return NULL;
}

void core_rig_start(struct core_rig *rig, const char *text)
{
	struct pcid_config *config;

	memset(rig, 0, sizeof(*rig));
	snprintf(rig->dir, sizeof(rig->dir), "/tmp/pcid-core.XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(rig->dir));
	CU_ASSERT_EQUAL_FATAL(pcid_config_parse(text, &config), 0);
	pthread_mutex_init(&rig->lock, NULL);
	pthread_cond_init(&rig->called, NULL);
	rig->calls = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	set_up(rig, config);
	pthread_create(&rig->thread, NULL, core_main, rig);
}

static void stop_all(struct core_rig *rig, void *arg)
{
	(void)arg;
	pcid_stop_drivers(&rig->pcid);
	pcid_control_close(&rig->pcid);
	pcidipc_loop_stop(rig->pcid.loop, 0);
}

void core_rig_stop(struct core_rig *rig)
{
	char path[128];

	core_rig_call_task(rig, stop_all, NULL);
	pthread_join(rig->thread, NULL);
	close(rig->calls);
	snprintf(path, sizeof(path), "%s/pcid.lock", rig->dir);
	unlink(path);
	CU_ASSERT_EQUAL(rmdir(rig->dir), 0);
}

/* ---- a driver without a process ---- */

static void join(struct core_rig *rig, void *arg)
{
	struct pcid_driver *d = calloc(1, sizeof(*d));
	int ends[2];

	d->pcid = &rig->pcid;
	d->stanza = rig->pcid.config->stanzas;
	d->function = &rig->fake->f;
	d->id = pcid_identity_of(d->function);
	d->pidfd = -1;
	d->claimed = true;
	snprintf(d->where, sizeof(d->where), "%s", d->function->address);
	snprintf(d->name, sizeof(d->name), "test %s", d->where);
	pcidipc_list_init(&d->pools);
	pcidipc_list_init(&d->services);
	pcidipc_list_init(&d->children);
	d->number = (unsigned)pcid_number_of(&rig->pcid, d->stanza->service, d->where);
	pcid_scheme_init(d);
	pcidipc_list_append(&rig->pcid.drivers, &d->link);
	d->function->owner = d;
	rig->driver = d;
	CU_ASSERT_EQUAL_FATAL(pcidipc_channel_pair(ends), 0);
	CU_ASSERT_EQUAL_FATAL(pcidipc_session_create(rig->pcid.loop, &d->scheme, ends[0], 0, NULL),
			      0);
	*(int *)arg = ends[1];
}

int core_rig_join(struct core_rig *rig)
{
	int channel = -1;

	core_rig_call(rig, join, &channel);
	return channel;
}

static void leave(struct core_rig *rig, void *arg)
{
	struct pcid_driver *d = rig->driver;

	(void)arg;
	pcid_driver_quiesce(d);
	pcid_children_remove(d, PCID_STOP_REMOVED);
	pcidipc_scheme_end_sessions(&d->scheme);
	pcid_irq_free(d, false);
	pcid_services_remove(d);
	while (d->nchildren_alive)
		pcidipc_task_sleep(1000000);
	pcidipc_timer_cancel(&d->settling);
	pcidipc_list_remove(&d->link);
	d->function->owner = NULL;
	free(d);
	rig->driver = NULL;
}

void core_rig_leave(struct core_rig *rig)
{
	core_rig_call_task(rig, leave, NULL);
}
