/* SPDX-License-Identifier: MIT */
/*
 * Sessions that share a queue pair: how much of it each may have, and who is next when a slot comes
 * free. While one session alone is at work it may fill the queue. As soon as there are more, each
 * has an equal part of it, but MOST_SHARED commands at most, so that a modest one's neither waits
 * for a slot nor has a greedy one's whole queue before it; and LEAST_SHARED at least, with slots
 * that go round if there are too few. What goes beyond waits here and not with the controller.
 *
 * Who is at work is counted over EPOCH commands: one that waits for each answer before it asks
 * again has nothing in flight most of the time, and must not be forgotten in between.
 */
#include "nvmed.h"

#define EPOCH 1024
#define MOST_SHARED 32
#define LEAST_SHARED 4

void share_note(struct share *s)
{
	struct pair *p = s->pair;

	if (s->epoch == p->epoch)
		return;
	s->epoch = p->epoch;
	p->active_now++;
}

static void count_command(struct pair *p)
{
	if (++p->sent < EPOCH)
		return;
	p->sent = 0;
	p->active_before = p->active_now;
	p->active_now = 0;
	p->epoch++;
}

/* How many commands the session may have in flight. */
static unsigned part(const struct pair *p)
{
	unsigned all = p->queue.params.entries - 1u, active = p->active_now;

	if (active < p->active_before)
		active = p->active_before;
	if (p->users <= 1 || active <= 1)
		return all;
	all /= active;
	return all < LEAST_SHARED ? LEAST_SHARED : all < MOST_SHARED ? all : MOST_SHARED;
}

bool share_is_used_up(const struct share *s)
{
	return s->in_flight >= part(s->pair);
}

void share_sent(struct share *s)
{
	s->in_flight++;
	share_note(s);
	count_command(s->pair);
}

void share_completed(struct share *s)
{
	s->in_flight--;
	share_line_up(s);
}

/* ---- waiting ---- */

/* A session with something parked is in the line, or has a command in flight whose end puts it
 * there. */
void share_line_up(struct share *s)
{
	struct pair *p = s->pair;

	if (s->in_line || !s->parked_first)
		return;
	s->in_line = true;
	s->next = NULL;
	if (p->line_last)
		p->line_last->next = s;
	else
		p->line_first = s;
	p->line_last = s;
}

struct share *share_next(struct pair *p)
{
	struct share *s = p->line_first;

	p->line_first = s->next;
	if (!p->line_first)
		p->line_last = NULL;
	s->in_line = false;
	return s;
}

static void line_up_unless_used_up(struct share *s)
{
	if (!s->in_flight || !share_is_used_up(s))
		share_line_up(s);
}

void share_park(struct share *s, struct pcidipc_request *rq)
{
	rq->next = NULL;
	if (s->parked_last)
		s->parked_last->next = rq;
	else
		s->parked_first = rq;
	s->parked_last = rq;
	line_up_unless_used_up(s);
}

/* It began already: it ends before the session's others begin. */
void share_park_first(struct share *s, struct pcidipc_request *rq)
{
	rq->next = s->parked_first;
	s->parked_first = rq;
	if (!s->parked_last)
		s->parked_last = rq;
	line_up_unless_used_up(s);
}

struct pcidipc_request *share_unpark(struct share *s)
{
	struct pcidipc_request *rq = s->parked_first;

	s->parked_first = rq->next;
	if (!s->parked_first)
		s->parked_last = NULL;
	return rq;
}
