/* SPDX-License-Identifier: MIT */
/*
 * Static probes of libpcidipc, for bpftrace, perf, SystemTap and gdb. They tell what happens on
 * rings, at registers that are reached through pcid, to interrupts and to sessions. The provider is
 * "pcidipc". Each is one nop in the code until somebody traces it; its arguments are what the code
 * has at hand there.
 *
 * They are in the shared library and in every program that is linked with the static one, pcid and
 * its drivers among them; "bpftrace -l usdt:/usr/local/libexec/pcid/nvmed:*" lists them. In
 * bpftrace the first argument is arg0. `consumer`, `session`, `loop`, `waiter` and `pci` are
 * addresses that tell one object from another as long as it lives; `path` and `name` are strings;
 * all else is numbers.
 *
 * There are none in pcidipc_read32 and its like where a BAR is mapped: they are inline, in the
 * driver's own code, which would then need the probes' header to be built, and carry one more note
 * for each register access. On the QEMU bus every register access goes through pcid, and is seen.
 */
#ifndef PROBES_H
#define PROBES_H

#include <sys/sdt.h>

/* ---- the consumer's side of a ring ---- */

/* Requests are published. Those of one ring are numbered, modulo 2^32; these are `first` to
 * `end` - 1: the batch is as large as (uint32)(arg2 - arg1). */
#define probe_submit(consumer, first, end) DTRACE_PROBE3(pcidipc, submit, consumer, first, end)

/* A completion has been taken out of the ring. `user_data` is the request's, `res` its result or a
 * negative errno. */
#define probe_reap(consumer, user_data, res) DTRACE_PROBE3(pcidipc, reap, consumer, user_data, res)

/* The producer sleeps: it is woken, by a message on the channel. */
#define probe_consumer_wake(consumer) DTRACE_PROBE1(pcidipc, consumer_wake, consumer)

/* The connection works: its ring is attached. `path` is the service's socket, or 0 for a channel
 * that was adopted. */
#define probe_consumer_open(consumer, path) DTRACE_PROBE2(pcidipc, consumer_open, consumer, path)

/* The connection ended by itself, with `error` (a negative errno), and everything in flight has
 * been completed with it. */
#define probe_consumer_lost(consumer, error) DTRACE_PROBE2(pcidipc, consumer_lost, consumer, error)

/* It is closed from this side. */
#define probe_consumer_close(consumer) DTRACE_PROBE1(pcidipc, consumer_close, consumer)

/* ---- the producer's side ---- */

/* A request has been taken out of the ring. `slot` is its number among the session's requests until
 * it completes (pcidipc_request.slot); `opcode` is an IORING_OP_*; `user_data` is the consumer's.
 */
#define probe_request(session, slot, opcode, user_data) \
	DTRACE_PROBE4(pcidipc, request, session, slot, opcode, user_data)

/* A request has been completed with `res`: its completion, unless it is to be silent, is in the
 * ring, but not published. */
#define probe_complete(session, slot, user_data, res) \
	DTRACE_PROBE4(pcidipc, complete, session, slot, user_data, res)

/* Completions number `first` to `end` - 1 are published. */
#define probe_publish(session, first, end) DTRACE_PROBE3(pcidipc, publish, session, first, end)

/* The consumer sleeps: it is woken. */
#define probe_session_wake(session) DTRACE_PROBE1(pcidipc, session_wake, session)

/* A consumer said hello to the scheme `name` and was let in; `pid` is its process, as this one sees
 * it. */
#define probe_session_open(session, name, pid) \
	DTRACE_PROBE3(pcidipc, session_open, session, name, pid)

/* The session ends, for the reason `error` (a negative errno; -32, EPIPE: the consumer has gone).
 */
#define probe_session_end(session, error) DTRACE_PROBE2(pcidipc, session_end, session, error)

/* Its requests have ended too, its pools are detached, and its memory is given back. */
#define probe_session_close(session) DTRACE_PROBE1(pcidipc, session_close, session)

/* ---- waiting ---- */

/* A spin, which goes before a sleep, found what it waited for. `waiter` is a loop, or the consumer
 * of a call that blocks. */
#define probe_spin_hit(waiter) DTRACE_PROBE1(pcidipc, spin_hit, waiter)

/* A spin ended without it, after `ns` nanoseconds. Where spinning is off there is none. */
#define probe_spin_miss(waiter, ns) DTRACE_PROBE2(pcidipc, spin_miss, waiter, ns)

/* The thread goes to sleep in the kernel. */
#define probe_sleep(waiter) DTRACE_PROBE1(pcidipc, sleep, waiter)

/* It is awake again. */
#define probe_awake(waiter) DTRACE_PROBE1(pcidipc, awake, waiter)

/* ---- registers that are reached through pcid ---- */

/* `value` has been read, of `width` bytes at `offset` in BAR `region`. */
#define probe_mmio_read(pci, region, offset, width, value) \
	DTRACE_PROBE5(pcidipc, mmio_read, pci, region, offset, width, value)

/* `value` is going to be written. */
#define probe_mmio_write(pci, region, offset, width, value) \
	DTRACE_PROBE5(pcidipc, mmio_write, pci, region, offset, width, value)

/* ---- interrupts ---- */

/* An interrupt has been acknowledged that came by the file descriptor `fd` (pcidipc_vectors.fds),
 * which got readable before; `count` is how many came at once. */
#define probe_irq(fd, count) DTRACE_PROBE2(pcidipc, irq, fd, count)

/* A vector is going to be masked. */
#define probe_irq_mask(pci, vector) DTRACE_PROBE2(pcidipc, irq_mask, pci, vector)

/* A vector is going to be unmasked. */
#define probe_irq_unmask(pci, vector) DTRACE_PROBE2(pcidipc, irq_unmask, pci, vector)

/* All of a function's vectors are going to be masked. */
#define probe_irq_mask_all(pci) DTRACE_PROBE1(pcidipc, irq_mask_all, pci)

/* All of them are going to be unmasked. */
#define probe_irq_unmask_all(pci) DTRACE_PROBE1(pcidipc, irq_unmask_all, pci)

#endif
