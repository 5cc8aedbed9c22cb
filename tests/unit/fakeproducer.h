/* SPDX-License-Identifier: MIT */
/*
 * A producer by hand, with no library between it and the shared memory, to be run in a process of
 * its own: what it does, and when, is the test's. Whatever waits here ends when its client acts.
 */
#ifndef FAKEPRODUCER_H
#define FAKEPRODUCER_H

#include <pcidipc/channel.h>
#include <pcidipc/consumer.h>
#include <pcidipc/ring.h>

struct fake {
	int listener; /* the test's, nonblocking */
	int channel;
	struct pcidipc_producer_ring ring;
};

/* Accept a client and answer its hello: the entries that are offered. */
void fake_accept(struct fake *f, uint32_t sq_entries, uint32_t cq_entries);
/* And give it the ring that it asks for. */
void fake_connect(struct fake *f, uint32_t sq_entries, uint32_t cq_entries);
/* The client's next message; its descriptors are the caller's. */
void fake_await_message(struct fake *f, struct pcidipc_packet *packet);
/* Hang up as a process does that is killed. The ring stays mapped. */
void fake_die(struct fake *f);

/* Publish what was taken and completed, and wake the client if it sleeps. */
void fake_publish(struct fake *f);
/* Wait for `n` requests, and take them. */
void fake_take(struct fake *f, struct io_uring_sqe *sqes, unsigned n);
/* One that was taken. */
void fake_complete(struct fake *f, uint64_t user_data, int res);
/* One that was not. */
void fake_forge(struct fake *f, uint64_t user_data, int res);
/* Until the client has published so many SQEs on this ring. */
void fake_await_published(struct fake *f, uint32_t n);

/* The client's side: ask it something over the channel, which is to attach a pool. The answer. */
int fake_ask(struct pcidipc_consumer *c);

/* Until the client, which is the parent, sleeps in the kernel. */
void fake_await_client_asleep(void);
/* Until the client has ended the connection from its side. */
void fake_await_client_end(struct fake *f);

#endif
