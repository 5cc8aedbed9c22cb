/* SPDX-License-Identifier: MIT */
/* The controller, its ports and the devices on them. Everything runs on the loop's one thread. */
#ifndef XHCID_H
#define XHCID_H

#include <pcidipc/blockserve.h>
#include <pcidipc/pci.h>
#include <pcidipc/scheme.h>
#include <pcidipc/task.h>
#include <ringabi/usb.h>

#include "descriptor.h"
#include "ring.h"

#define MAX_SLOTS 255
#define MAX_PORTS 255
#define MAX_DCI 32
#define MAX_DEPTH 5 /* hubs in a row */
#define DMA_BYTES (64ull << 20)
#define COMMAND_ENTRIES 64
#define EVENT_SEGMENTS 4
#define EVENT_ENTRIES 256 /* of a segment */
#define TICK_NS 100000000ull
#define COMMAND_LIMIT 50 /* ticks */
#define MAX_STREAMS 64
#define CONTROL_TIMEOUT_MS 5000

struct controller;
struct device;
struct endpoint;
struct hub;
struct interface;

/* ---- transfers ---- */

/* One transfer descriptor: TRBs side by side on a ring. The caller's, in place until `done`. */
struct td {
	struct td *next;
	void (*done)(struct td *td, int res); /* bytes moved or -errno; may free it */
	uint32_t bytes;			      /* asked for */
	uint32_t moved;			      /* of a control transfer's data stage */
	uint32_t deadline;		      /* on the controller's clock, when timed */
	uint16_t first, count;		      /* on the ring */
	int16_t cancel;			      /* what it is to end with, 0: it is not to end */
	bool cycle;			      /* of its TRBs */
	bool timed;
	bool control;
	bool shortened; /* its data stage */
};

/* A transfer ring: an endpoint's only one, or a stream's. */
struct stream {
	struct endpoint *endpoint;
	struct ring ring;
	struct td *first, *last;			    /* in flight, in order */
	struct pcidipc_request *parked_first, *parked_last; /* no room on the ring yet */
	uint16_t id;
	int32_t stale; /* a TRB whose event may still come, although its TD is done; -1: none */
	bool just_finished; /* a transfer, since the last that was queued */
	bool ringing;	    /* in the controller's list of doorbells to ring */
	bool cramped;	    /* empty, and yet there is no room */
	struct stream *ring_next;
};

struct endpoint {
	struct endpoint *next; /* of those that are kept */
	struct device *device;
	struct interface *owner; /* NULL: xhcid's own */
	struct endpoint_info info;
	uint8_t dci;
	uint16_t nstreams; /* granted; 0: one ring without a stream number */
	uint16_t entries;  /* of each ring */
	struct stream *streams;
	struct pcidipc_buf *rings, *contexts; /* memory of the rings, and of the stream array */
	bool halted;			      /* until CLEAR_HALT */
	bool wanted;			      /* the controller has to be stopped here */
	bool serving;			      /* that is under way */
	bool spawned;
	bool toggle_clean; /* since the last Reset Endpoint nothing has moved */
	struct pcidipc_task_mutex lock;
};

/* ---- devices ---- */

struct interface {
	struct device *device;
	struct interface_info info;
	uint8_t alternate; /* the current one */
	bool claimed;	   /* its endpoints are up */
	bool used;	   /* it was claimed before: the device's toggles are not new */
	bool announced;
	uint32_t child; /* pcid's name for it */
	struct pcidipc_scheme scheme;
	char name[48];
};

/* So many at once, then one in a while: what devices bring about is not to fill the log, or keep us
 * busy. */
struct pace {
	uint64_t due; /* all that was allowed has its time until then */
};
bool pace_allows(struct pace *pace, uint64_t now, uint64_t step, unsigned burst);

struct port {
	struct controller *controller;
	struct device *hub; /* NULL: a root port */
	uint8_t number;	    /* as the controller or the hub counts */
	uint8_t shown;	    /* as people count: root ports of a protocol from 1 on */
	uint8_t major;	    /* root: USB 2 or 3; 0: no such port */
	uint8_t slot_type;
	bool changed;	/* its task has to look */
	bool again;	/* the device has to be enumerated anew */
	bool replugged; /* the connection has changed since its task looked */
	bool busy;	/* its task runs */
	bool overcurrent;
	bool given_up;	 /* what is plugged in cannot be used */
	uint8_t revived; /* warm resets of a link with nothing at its end */
	struct pace attaches, lines;
	struct device *device;
};

struct device {
	struct controller *controller;
	struct port *port;
	struct device *tt; /* the hub that translates for it, or NULL */
	uint8_t tt_port;
	uint8_t slot;
	uint8_t speed;	   /* SPEED_* */
	uint8_t root_port; /* as the controller counts */
	uint8_t depth;	   /* hubs above it */
	uint8_t address;
	uint32_t route;
	bool gone;			    /* no more requests */
	bool resetting;			    /* a port reset is under way */
	unsigned tasks;			    /* that use it */
	struct pcidipc_buf *output, *input; /* contexts */
	struct pcidipc_task_mutex configure_lock;
	struct pcidipc_task_mutex performing; /* one at a time that changes it, of all interfaces */
	struct endpoint *endpoints[MAX_DCI];
	struct endpoint *kept; /* what else of them the controller may know */
	struct descriptors descriptors;
	struct interface *interfaces;
	unsigned ninterfaces;
	struct hub *hub;
	char path[24]; /* "2-1.4" */
};

/* ---- the controller ---- */

struct command {
	struct pcidipc_completion done; /* res: a completion code, or -errno */
	uint32_t started;
	uint8_t slot; /* that the answer names */
};

struct event_ring {
	struct pcidipc_buf *memory, *table;
	unsigned segments;
	unsigned segment, index; /* the next event */
	bool cycle;
	unsigned unread; /* events taken since the controller was told */
};

/* Who watches the transfers, if anybody does. */
struct capture {
	struct pcidipc_session *session;
	struct pcidipc_request *first, *last; /* buffers; the first is being filled */
	struct pcidipc_timer timer;
	uint32_t used; /* of the first */
	uint32_t data; /* most bytes of a packet's data */
	uint64_t lost; /* packets */
	uint64_t next; /* id */
	uint8_t slot;  /* 0: all */
};

struct controller {
	struct pcidipc_loop *loop;
	struct pcidipc_pci *pci;
	const char *address;
	struct pcidipc_mmio bar;
	struct pcidipc_dma dma;
	struct pcidipc_vectors vectors;
	uint64_t op, runtime, doorbells; /* offsets in the BAR */
	uint32_t hcc;
	uint32_t context_bytes;
	uint32_t page;
	uint8_t nslots, nports;
	uint8_t stream_bits; /* MaxPSASize: at most 2^bits streams; 0: none */
	unsigned event_segments_most, scratchpads;

	struct pcidipc_buf *dcbaa, *scratch_array, *scratch;
	struct pcidipc_buf *command_memory;
	struct ring commands;
	struct command *waiting[COMMAND_ENTRIES];
	unsigned ncommands;
	bool aborting;
	struct event_ring events;

	struct device *slots[MAX_SLOTS + 1];
	struct device *kept[MAX_SLOTS + 1]; /* gone, but it has not let go of their slots */
	uint8_t asked;			    /* for it, last: a slot */
	struct port ports[MAX_PORTS + 1];
	struct stream *to_ring, *to_ring_last; /* doorbells; the last one, if there is a first */
	struct pcidipc_task_mutex enumeration; /* one device without an address at a time */
	uint32_t next_child;

	struct pcidipc_poller poller;
	struct pcidipc_watch irq;
	bool interrupted; /* since the loop went to sleep */
	bool masked;

	uint64_t tick_ns;
	uint32_t clock;
	unsigned timed; /* TDs with a deadline */
	struct pcidipc_timer watchdog;
	bool watching, slowly, looking;
	bool starved; /* something waits for a task that there was no memory for */

	struct pcidipc_scheme scheme; /* for people: what there is */
	struct capture capture;
	bool capturing;

	bool looks_ahead; /* QEMU's: see transfer.c */
	bool started;
	bool dead; /* the controller is gone or given up */
	bool stopping;
};

/* capability.c: extended capabilities (tasks) */
int capability_hand_off(struct controller *c);
int capability_protocols(struct controller *c);

/* controller.c (tasks) */
int controller_start(struct controller *c);
void controller_stop(struct controller *c);
/* The controller is gone: end everything with -ENODEV, stop the loop with `code`. */
void controller_lost(struct controller *c, int code);
uint32_t controller_status(struct controller *c);
static inline void controller_write64(struct controller *c, uint64_t at, uint64_t value)
{
	pcidipc_write32(&c->bar, at, (uint32_t)value);
	pcidipc_write32(&c->bar, at + 4, (uint32_t)(value >> 32));
}

/* event.c */
int events_create(struct controller *c);
/* Tell the controller of the event ring. */
void events_program(struct controller *c);
int events_start(struct controller *c); /* task */
void events_stop(struct controller *c);
unsigned events_reap(struct controller *c, unsigned budget);

/* command.c */
int commands_create(struct controller *c);
/* Task. A completion code, or -errno: -ETIMEDOUT (aborted), -ENODEV. */
int command_run(struct controller *c, uint64_t parameter, uint32_t status, uint32_t control,
		uint8_t *slot);
/* The same, 0 or an errno, and a failure is logged. */
int command_check(struct controller *c, const char *what, uint64_t parameter, uint32_t control);
/* The same for what command_run has returned. */
int command_report(struct controller *c, const char *what, uint32_t control, int ret);
/* What command_run returned, as 0 or -errno. */
int command_error(int ret);
void command_event(struct controller *c, const struct trb *event);
void commands_fail(struct controller *c);
int completion_error(unsigned code);
const char *completion_name(unsigned code);

/* watchdog.c */
void watchdog_start(struct controller *c);
/* There is no memory for a task: endpoints, ports and hubs are looked at again at the next tick. */
void watchdog_starved(struct controller *c);

/* context.c: contexts in memory that the controller reads and writes */
void context_set_slot(struct device *dev, uint64_t iova);
/* Begin an input context: what to drop and to add. */
uint32_t *input_begin(struct device *dev, uint32_t drop, uint32_t add);
void input_slot(struct device *dev, unsigned entries);
void input_endpoint(struct endpoint *ep);
uint64_t input_iova(const struct device *dev);
unsigned endpoint_state(const struct endpoint *ep);
unsigned device_entries(const struct device *dev);
uint8_t context_address(const struct device *dev);

/* endpoint.c */
int endpoint_create(struct device *dev, uint8_t dci, const struct endpoint_info *info,
		    unsigned streams, struct endpoint **ep);
/* The controller must not know it any more. */
void endpoint_destroy(struct endpoint *ep);
/* It may: what it reads and writes stays its own until it lets go of the device. */
void endpoint_keep(struct endpoint *ep);
/* As new: after the controller has forgotten it. Nothing may be in flight. */
void endpoint_reset_rings(struct endpoint *ep);
/* The address that its context names (xHCI 1.2, 6.2.3). */
uint64_t endpoint_dequeue(const struct endpoint *ep);
struct stream *endpoint_stream(struct endpoint *ep, uint16_t id);
/* Mark what is in flight, all of it or (stream, td not NULL) a part; endpoint_service ends it. */
void endpoint_cancel(struct endpoint *ep, struct stream *only, int error);
/* Task. Stop the controller here, end what is marked, go on. */
int endpoint_service(struct endpoint *ep);
/* The same in a task of its own. */
void endpoint_service_soon(struct endpoint *ep);
/* Task. Everything ends with `error`, and the controller has stopped. */
void endpoint_drain(struct endpoint *ep, int error);
/* Task. RINGABI_USB_CLEAR_HALT. */
int endpoint_clear_halt(struct endpoint *ep);
/* The controller is dead: end all. */
void endpoint_fail(struct endpoint *ep, int error);

/* transfer.c */
/* Room for n TRBs now, and nothing in the way? */
bool transfer_ready(struct stream *s, uint16_t n);
/* It is not, although nothing is in flight: have that changed. */
void transfer_make_room(struct stream *s);
/* Queue what ring_write has written; flush rings the doorbell. */
void transfer_queue(struct stream *s, struct td *td, uint16_t n, uint32_t timeout_ms);
/* Ring the doorbell at the next flush. */
void transfer_ring(struct stream *s);
/* Take it out of those in flight. */
void transfer_forget(struct stream *s, struct td *td);
void transfer_event(struct controller *c, const struct trb *event);
void transfer_flush(struct controller *c);
/* How many TRBs the segments take. */
unsigned transfer_count(const struct pcidipc_segment *segments, unsigned n, bool zero_packet);
/* The TD Size field of the TRB with which `done` of `bytes` have been said. */
uint32_t transfer_packets_left(uint32_t packet, uint32_t bytes, uint32_t done);
/* Write them as one transfer descriptor. */
void transfer_write(struct stream *s, const struct pcidipc_segment *segments, unsigned n,
		    uint32_t bytes, bool zero_packet);

/* control.c */
struct setup {
	uint8_t type, request;
	uint16_t value, index, length;
};
/* TRBs of a control transfer with its data at `iova`. False: no room now. */
bool control_queue(struct endpoint *ep, const struct setup *setup, uint64_t iova, struct td *td,
		   uint32_t timeout_ms);
/* Task. Bytes moved or -errno. data: setup->length bytes, in or out. */
int control_run(struct device *dev, const struct setup *setup, void *data);
int control_get_descriptor(struct device *dev, uint8_t recipient, unsigned type, unsigned index,
			   unsigned language, void *to, unsigned bytes);

/* device.c (tasks) */
/* Make a device on the port, which has been reset, up to its address. */
int device_create(struct port *port, uint8_t speed, struct device **dev);
/* Everything that uses it ends; it is freed. */
void device_destroy(struct device *dev);
int device_address(struct device *dev);
/* Free what was kept of devices: the controller must have stopped. */
void devices_free_kept(struct controller *c);
/* RINGABI_USB_RESET_DEVICE */
int device_reset(struct device *dev);
/* End it without the controller, which is dead. */
void device_fail(struct device *dev);
int device_set_configuration(struct device *dev);
int device_evaluate(struct device *dev, unsigned packet);

/* enumerate.c (tasks) */
int enumerate(struct device *dev);

/* configure.c (tasks): the endpoints of an interface. Streams granted, or -errno. */
int interface_configure(struct interface *in, unsigned alternate, unsigned streams);
void interface_release(struct interface *in);
int device_restore(struct device *dev);
/* The controller's side of an endpoint begins anew, toggle and all. Nothing may be in flight. */
int endpoint_renew(struct endpoint *ep);

/* scheme.c (tasks) */
void interfaces_make(struct device *dev);
void interfaces_announce(struct device *dev);
void interfaces_remove(struct device *dev);
void interface_adopt(struct controller *c, uint32_t child, int channel);

/* service.c: usb/xhciN, for people */
int service_publish(struct controller *c); /* task */
/* The descriptor that `value` of RINGABI_USB_DESCRIPTOR names, or NULL. */
const uint8_t *find_descriptor(const struct descriptors *d, uint32_t value, size_t *bytes);
unsigned shown_speed(uint8_t speed);

/* capture.c: while c->capturing */
struct capture_data {
	const void *at;
	size_t bytes;
};
struct packet {
	const struct device *device;
	const struct endpoint_info *endpoint;
	const struct setup *setup; /* NULL: not a control transfer, or a completion */
	uint64_t id;
	uint32_t length;
	int status;
	char type; /* 'S', 'C' */
	bool in;
	const struct capture_data *data;
	unsigned ndata;
};
/* Is it to be captured? A new id, or 0. */
uint64_t capture_id(struct controller *c, const struct device *dev);
void capture_packet(struct controller *c, const struct packet *packet);
int capture_request(struct pcidipc_request *rq, struct controller *c);
int capture_end(struct controller *c, struct pcidipc_session *session);
void capture_session_close(struct controller *c, struct pcidipc_session *session);

/* request.c: TRANSFER and CONTROL */
int request_transfer(struct pcidipc_request *rq, struct interface *in);
int request_control(struct pcidipc_request *rq, struct interface *in);
int request_cancel(struct pcidipc_request *rq);
/* Of a request without a transfer: it need not be begun. */
bool request_canceled(struct pcidipc_request *rq);
uint32_t request_bytes(void);
void request_session_close(struct pcidipc_session *session);
struct endpoint *request_endpoint(struct interface *in, uint8_t address, int *error);
void request_resume(struct stream *s);
void request_fail_parked(struct stream *s, int error);

/* port.c */
void port_changed(struct port *port);
/* The same for those whose task did not begin. */
void port_retry(struct port *port);
void ports_retry(struct controller *c);
/* May it have a line in the log? */
bool port_may_log(struct port *port);
#define port_log(port, level, ...)                       \
	do {                                             \
		if (port_may_log(port))                  \
			pcidipc_log(level, __VA_ARGS__); \
	} while (0)
/* Root ports, after the controller runs. */
void ports_start(struct controller *c);
void ports_stop(struct controller *c);		   /* task */
int port_reset(struct port *port, uint8_t *speed); /* task */
void port_remove_device(struct port *port);	   /* task */

/* rootport.c, hub.c: what a port says, in one form (tasks). */
struct port_state {
	bool connected, enabled, powered, overcurrent, resetting;
	bool inactive; /* USB 3: the link has failed and wants a warm reset */
	bool connect_changed, enable_changed, overcurrent_changed, config_error;
	uint8_t speed; /* while enabled */
};
int rootport_state(struct port *port, struct port_state *state);
int rootport_reset(struct port *port, bool warm);
int rootport_power(struct port *port);
int hub_port_state(struct port *port, struct port_state *state);
int hub_port_reset(struct port *port, bool warm);
int hub_port_power(struct port *port);
int hub_start(struct device *dev);
void hub_stop(struct device *dev);
void hub_retry(struct device *dev);
void hub_free(struct device *dev);
void hub_fill_slot(const struct device *dev, uint32_t *slot);
/* A hub's ports count from 1; NULL: it has no such port, or is no hub. */
struct port *hub_port(const struct device *dev, unsigned number);
bool hub_multiple_translators(const struct device *dev);

#endif
