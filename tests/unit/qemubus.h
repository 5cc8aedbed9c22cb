/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The QEMU bus, in this process, with a real QEMU: each test is a task that gets a bus with the
 * devices it asked for. What a device does is awaited by its interrupt or its registers, never by
 * time.
 */
#ifndef QEMUBUS_H
#define QEMUBUS_H

#include <CUnit/CUnit.h>
#include <pcid/qemu/qemu.h>

#define WAIT_NS 30000000000ull /* for what must come */
#define MANY_READS 200000      /* of a register, until the device has done something */
#define MAX_EVENTS 64

struct seen {
	enum pcid_bus_event event;
	struct pcid_function *f;
	struct pcid_fault fault;
};

/* The loop, the bus, and what the bus told. */
struct bus_rig {
	struct pcidipc_loop *loop;
	struct pcid_bus *bus;
	struct seen seen[MAX_EVENTS];
	unsigned nseen, taken;
	struct pcidipc_completion told;
	struct pcidipc_timer patience;
	unsigned writable;
	int start_result;
	char dir[64];
};
extern struct bus_rig bus_rig;

static inline struct qemu_bus *qemu(void)
{
	return qemu_bus_of(bus_rig.bus);
}

static inline const struct pcid_bus_ops *ops(void)
{
	return bus_rig.bus->ops;
}

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define EDU(nth) find_function(0x1234, 0x11e8, nth)
#define NVME(nth) find_function(0x1b36, 0x0010, nth)
#define TESTDEV(nth) find_function(0x1b36, 0x0005, nth)

/* Its commands. */
#define ADD(driver, id, bus, more)                                                         \
	"\"execute\":\"device_add\",\"arguments\":{\"driver\":\"" driver "\",\"id\":\"" id \
	"\",\"bus\":\"" bus "\"" more "}"
#define DEL(id) "\"execute\":\"device_del\",\"arguments\":{\"id\":\"" id "\"}"

/* A read of a register, awaited apart from its start. */
struct waiting {
	struct pcid_read read;
	struct pcidipc_completion done;
	uint64_t value;
};

/* A pool, and the part of it that the test looks at. */
struct memory {
	struct pcid_pool pool;
	unsigned char *bytes;
	uint64_t mapped;
};

/* Await that the bus tells something; -ETIMEDOUT: it did not. */
int await_news(void);
/* Of what the bus told, the next; awaits it. An event of -1: none came. */
struct seen next_event(void);
/* Run a test (NULL: only start) as a task, with a bus that has these devices. */
void with_bus(void (*test)(void), const char *const *args);
/* The nth function with this vendor and device. */
struct pcid_function *find_function(unsigned vendor, unsigned device, unsigned nth);
void read_done(struct pcid_read *read, int error, uint64_t value);
uint64_t mmio_read(struct pcid_function *f, unsigned bar, uint64_t offset, unsigned width);
void mmio_write(struct pcid_function *f, unsigned bar, uint64_t offset, unsigned width,
		uint64_t value);
uint32_t config_of(struct pcid_function *f, unsigned offset, unsigned width);
/* Claimed, and able to do DMA. */
int claim_function(struct pcid_function *f);
bool is_readable(int fd);
/* Take one interrupt. */
bool await_irq(int fd);
void close_irqs(struct pcid_irqs *irqs);
int memory_attach(struct memory *m, struct pcid_function *f, uint64_t bytes, uint64_t mapped);
void memory_free(struct memory *m);
void memory_detach(struct memory *m);
void expect_event(enum pcid_bus_event event, struct pcid_function *f);
struct pcid_function *expect_arrival(unsigned vendor, unsigned device);
void expect_fault(struct pcid_function *f, uint64_t iova, bool write);
/* How many of n bytes are not this. */
unsigned not_equal(const unsigned char *bytes, size_t n, unsigned char value);
/* The control socket, as people use it. */
bool people_do(const char *command);
unsigned count_answers(const char *command);
/* Every BAR is aligned, alone, and inside the windows of all bridges above it, and its register
 * says so. How many there are. */
unsigned check_all_bars(void);

#endif
