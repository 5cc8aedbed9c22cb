// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One thread per function for what may sleep. A job lies on the stack of the task that awaits it;
 * the thread hands it back over a list and an eventfd, because completions are posted on the loop's
 * thread.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vfio.h"

/* ---- back to the loop ---- */

static void hand_back(struct vfio_done *done, struct vfio_job *job)
{
	uint64_t one = 1;

	pthread_mutex_lock(&done->lock);
	job->next = done->jobs;
	done->jobs = job;
	pthread_mutex_unlock(&done->lock);
	(void)!write(done->fd, &one, sizeof(one));
}

static void finished(struct pcidipc_watch *watch, unsigned events)
{
	struct vfio_done *done = pcidipc_container_of(watch, struct vfio_done, watch);
	struct vfio_job *job, *next;
	uint64_t count;

	(void)events;
	(void)!read(done->fd, &count, sizeof(count));
	pthread_mutex_lock(&done->lock);
	job = done->jobs;
	done->jobs = NULL;
	pthread_mutex_unlock(&done->lock);
	for (; job; job = next) {
		next = job->next; /* the task may be gone once it was told */
		pcidipc_post(&job->done, job->ret);
	}
}

int vfio_done_init(struct vfio_done *done, struct pcidipc_loop *loop)
{
	int ret;

	done->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (done->fd < 0)
		return -errno;
	pthread_mutex_init(&done->lock, NULL);
	ret = pcidipc_watch_add(loop, &done->watch, done->fd, EPOLLIN, finished);
	if (ret) {
		close(done->fd);
		done->fd = -1;
	}
	return ret;
}

void vfio_done_fini(struct vfio_done *done)
{
	if (done->fd < 0)
		return;
	pcidipc_watch_remove(&done->watch);
	pthread_mutex_destroy(&done->lock);
	close(done->fd);
	done->fd = -1;
}

/* ---- the thread ---- */

/* The next job, or NULL: the end. */
static struct vfio_job *next_job(struct vfio_worker *w)
{
	struct vfio_job *job;

	pthread_mutex_lock(&w->lock);
	while (!w->first && !w->stopping)
		pthread_cond_wait(&w->more, &w->lock);
	job = w->first;
	if (job) {
		w->first = job->next;
		if (!w->first)
			w->last = NULL;
	}
	pthread_mutex_unlock(&w->lock);
	return job;
}

static void *work(void *arg)
{
	struct vfio_worker *w = arg;
	struct vfio_job *job;

	while ((job = next_job(w))) {
		job->ret = job->run(job->arg);
		hand_back(w->report_to, job);
	}
	return NULL;
}

/* Signals are the loop's. */
static int start(struct vfio_done *done, struct vfio_worker *w)
{
	sigset_t all, old;
	int ret;

	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->more, NULL);
	w->report_to = done;
	w->stopping = false;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = pthread_create(&w->thread, NULL, work, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (ret)
		w->report_to = NULL;
	return -ret;
}

static void push(struct vfio_worker *w, struct vfio_job *job)
{
	pthread_mutex_lock(&w->lock);
	if (w->last)
		w->last->next = job;
	else
		w->first = job;
	w->last = job;
	pthread_cond_signal(&w->more);
	pthread_mutex_unlock(&w->lock);
}

int vfio_call(struct vfio_done *done, struct vfio_worker *w, int (*run)(void *), void *arg)
{
	struct vfio_job job = {.run = run, .arg = arg};
	int ret = w->report_to ? 0 : start(done, w);

	if (ret)
		return ret;
	push(w, &job);
	return pcidipc_await(&job.done);
}

void vfio_worker_stop(struct vfio_worker *w)
{
	if (!w->report_to)
		return;
	pthread_mutex_lock(&w->lock);
	w->stopping = true;
	pthread_cond_signal(&w->more);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	pthread_cond_destroy(&w->more);
	pthread_mutex_destroy(&w->lock);
	w->report_to = NULL;
}
