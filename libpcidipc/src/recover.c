/* SPDX-License-Identifier: MIT */
/*
 * The connection is over. What was in flight may still be written by the device, so no request
 * completes before that is done with. A producer that lives closes its end of the channel after
 * its requests have drained. For one that died it is pcid that resets the function; pcid keeps the
 * service's listening socket, and a hello that is answered there, by the next driver or by pcid's
 * refusal, comes after the reset.
 *
 * A class driver's connection was given to it and has no name. There pcid says that the device is
 * gone, after the reset of the function that it was behind; a producer that lives says so itself.
 */
#include <pcidipc/log.h>
#include <sys/socket.h>
#include <unistd.h>

#include "consumer_internal.h"

#define PATIENCE_MS 10000 /* no pcid at all, for this long: nobody drives the device any more */

uint64_t consumer_patience(const struct pcidipc_consumer *c)
{
	return 1000000ull * (c->params.patience_ms ? c->params.patience_ms : PATIENCE_MS);
}

void consumer_recover_start(struct pcidipc_consumer *c, int error)
{
	c->lost_error = error == -EPROTO ? -EPROTO : c->removed ? -ENODEV : -ENOTCONN;
	shutdown(c->channel, SHUT_WR); /* a producer that lives shall end it too */
	c->lost_producer = true;
	c->successor = -1;
	c->successor_ready = false;
	c->give_up_at = clock_ns() + consumer_patience(c);
}

static void drop_successor(struct pcidipc_consumer *c)
{
	close(c->successor);
	c->successor = -1;
}

/* ENOENT: pcid took the service away in good order. Refused: pcid is gone too, its successor may
 * come. */
static bool connect_failed(struct pcidipc_consumer *c, int error)
{
	if (error == -ENOENT)
		return true;
	if (clock_ns() < c->give_up_at)
		return false;
	pcidipc_warn("%s: nobody answers (%s); is pcid running?", c->path, strerror(-error));
	return true;
}

/* Until it is closed the producer lives, and may have requests of ours. */
static bool producer_closed(struct pcidipc_consumer *c)
{
	struct pcidipc_packet packet;
	int ret = pcidipc_channel_receive(c->channel, &packet, NULL);

	if (ret > 0)
		pcidipc_packet_close(&packet);
	if (ret < 0 && ret != -EPROTO)
		return true;
	if (clock_ns() < c->give_up_at)
		return false;
	pcidipc_warn("%s: the producer does not end a connection that is over", c->path);
	return true;
}

/*
 * One that broke the rules may never answer again, and a successor's hello is waited for only as
 * long as that is bearable. One that died has a successor, or pcid's refusal, however long a reset
 * takes.
 */
static bool waited_enough(const struct pcidipc_consumer *c)
{
	return c->lost_error == -EPROTO && clock_ns() >= c->give_up_at;
}

/* Without pcid's word nothing completes: our own end is what makes it take everything back. */
static bool warden_has_spoken(struct pcidipc_consumer *c)
{
	if (!c->warden->error) /* a call may keep its loop from doing so */
		consumer_read_channel(c->warden);
	if (c->removed || c->warden->removed) {
		c->lost_error = -ENODEV;
		return true;
	}
	if (clock_ns() >= c->give_up_at) {
		pcidipc_err("the controller's driver has ended the connection, and pcid does not "
			    "say why: stopping");
		pcidipc_loop_stop(c->loop, 1);
		c->give_up_at = UINT64_MAX;
	}
	return false;
}

bool consumer_recover_step(struct pcidipc_consumer *c)
{
	struct pcidipc_packet reply;
	int ret;

	if (c->warden)
		return warden_has_spoken(c);
	if (!c->path)
		return true;
	if (c->successor < 0 && !producer_closed(c))
		return false;
	if (c->successor < 0) {
		c->successor = pcidipc_channel_connect(c->path);
		if (c->successor < 0)
			return connect_failed(c, c->successor);
		if (consumer_send_hello(c, c->successor)) {
			drop_successor(c);
			return connect_failed(c, -ECONNREFUSED);
		}
	}
	ret = pcidipc_channel_receive(c->successor, &reply, NULL);
	if (!ret)
		return waited_enough(c);
	if (ret < 0) {
		drop_successor(c);
		return connect_failed(c, ret);
	}
	c->successor_ready = !consumer_check_hello(c, &reply);
	c->successor_generation = c->generation;
	pcidipc_packet_close(&reply);
	if (!c->successor_ready)
		drop_successor(c);
	return true;
}
