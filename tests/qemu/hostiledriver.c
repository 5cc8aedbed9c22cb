// SPDX-License-Identifier: MIT
#include "hostiledriver.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <ringabi/pci.h>
#include <tests/unit/attacks.h>
#include <tests/unit/rawpeer.h>

#include "client.h"

#define MIB (1ull << 20)
#define POOL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

#define EDU_STATUS 0x24
#define EDU_RAISE 0x60
#define EDU_ACK 0x64
#define EDU_DMA_FROM 0x80
#define EDU_DMA_TO 0x88
#define EDU_DMA_BYTES 0x90
#define EDU_DMA_COMMAND 0x98

static struct hostile_words *words;
static struct rawpeer peer;
static uint32_t seed;

static uint32_t pick(uint32_t n)
{
	return next_random(&seed) % n;
}

static int memfd(uint64_t bytes)
{
	int fd = memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)bytes) || fcntl(fd, F_ADD_SEALS, POOL_SEALS))
		abort();
	return fd;
}

/* ---- pcid's side of it ---- */

static void await_answers(uint32_t n)
{
	while (peer.answers < n)
		if (rawpeer_await(&peer))
			return;
}

static void begin(void)
{
	rawpeer_hello(&peer, 0);
	rawpeer_attach_ring(&peer, 16, 0);
	await_answers(2);
}

static struct io_uring_sqe command(uint32_t cmd_op, uint64_t addr, struct ringabi_pci_arg arg)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD, .cmd_op = cmd_op, .addr = addr};

	memcpy((char *)&sqe + offsetof(struct io_uring_sqe, cmd), &arg, sizeof(arg));
	return sqe;
}

static struct io_uring_sqe write_register(uint64_t at, uint32_t width, uint64_t value)
{
	return command(RINGABI_PCI_MMIO_WRITE, at,
		       (struct ringabi_pci_arg){.width = width, .value = value});
}

/* When there is room. False: the session has ended. */
static bool push(struct io_uring_sqe sqe)
{
	if (!peer.ring)
		return false;
	rawpeer_push(&peer, &sqe);
	pcidipc_channel_wake(peer.channel);
	while (peer.ring->sq_tail - pcidipc_load_acquire(&peer.ring->sq_head) >= 8) {
		rawpeer_reap(&peer);
		if (rawpeer_read(&peer))
			return false;
		sched_yield();
	}
	return true;
}

/* Until everything that was pushed is done. */
static bool settle(void)
{
	uint32_t end = peer.ring ? peer.ring->sq_tail : 0;

	while (peer.ring && pcidipc_load_acquire(&peer.ring->cq_tail) != end) {
		if (rawpeer_read(&peer))
			return false;
		sched_yield();
	}
	rawpeer_reap(&peer);
	return peer.ring;
}

static bool enable(void)
{
	return push(command(RINGABI_PCI_ENABLE, 0,
			    (struct ringabi_pci_arg){.value = RINGABI_PCI_ENABLE_DECODE |
							      RINGABI_PCI_ENABLE_MASTER})) &&
	       settle();
}

/* Not the registers that start edu's DMA: QEMU ends itself (hw_error) when that is told to leave
 * edu's own buffer, and no bus can help it. */
static struct io_uring_sqe random_sqe(void)
{
	static const uint32_t widths[] = {1, 2, 4, 8, 4, 4, 3, 0};
	struct ringabi_pci_arg arg = {.index = pick(4) ? 0 : pick(70), .width = widths[pick(8)]};
	struct io_uring_sqe sqe;

	if (!pick(16)) {
		fill_random(&seed, &sqe, sizeof(sqe));
		return sqe;
	}
	arg.value = pick(4) ? pick(256) : next_random(&seed);
	sqe = command(RINGABI_PCI_CMD(pick(17)),
		      pick(8) ? pick(32) * 4 : next_random(&seed) | 1u << 20, arg);
	if (!pick(8))
		sqe.cmd_op = RINGABI_CMD_OP(RINGABI_INTERFACE_COMMON, pick(4));
	sqe.flags = pick(8) ? 0 : (uint8_t)pick(256);
	sqe.buf_index = (uint16_t)pick(4);
	sqe.len = pick(8) ? 0 : pick(64) * 4096;
	sqe.user_data = pick(8);
	return sqe;
}

/* ---- what it does ---- */

static void requests(void)
{
	begin();
	rawpeer_attach_pool(&peer, 0, memfd(2 * MIB), 2 * MIB);
	for (unsigned i = 0; i < 2000 && push(random_sqe()); i++)
		;
}

static void scribble(void)
{
	begin();
	for (unsigned i = 0; i < 500 && push(random_sqe()); i++) {
		if (i < 50)
			continue;
		rawpeer_scribble(&peer, pick(6), !pick(4), pick(2) ? pick(32) : next_random(&seed));
		pcidipc_channel_wake(peer.channel);
	}
}

static void message(void)
{
	unsigned char bytes[RINGABI_MSG_MAX_BYTES];
	struct ringabi_msg *msg = (void *)bytes;
	uint32_t type = seed;
	int fds[2] = {memfd(2 * MIB), STDERR_FILENO};
	size_t n = pcidipc_msg_bytes(type, 0);

	begin();
	fill_random(&seed, bytes, sizeof(bytes));
	msg->type = type;
	msg->size = (uint32_t)(n ? n : 64);
	for (unsigned nfds = 0; nfds <= 2; nfds++)
		pcidipc_channel_send(peer.channel, msg, fds, nfds);
	msg->type |= RINGABI_MSG_REPLY;
	msg->size = (uint32_t)(pcidipc_msg_bytes(type, 1) ?: 64);
	pcidipc_channel_send(peer.channel, msg, NULL, 0);
	while (!rawpeer_await(&peer))
		;
}

static void pools(void)
{
	begin();
	for (unsigned i = 0; i < ATTACK_WRONG_FDS; i++) {
		int fd = attack_wrong_fd(i);

		rawpeer_attach_pool(&peer, i, fd, 2 * MIB);
		await_answers(3 + i);
		close(fd);
	}
	for (unsigned i = 0; i < RINGABI_MAX_POOLS; i++) {
		struct io_uring_sqe map = {.opcode = IORING_OP_URING_CMD,
					   .cmd_op = RINGABI_CMD_POOL_MAP,
					   .len = RINGABI_POOL_CHUNK};

		rawpeer_attach_pool(&peer, i, memfd(64 * MIB << i % 8), 64 * MIB << i % 8);
		await_answers(3 + ATTACK_WRONG_FDS + i);
		map.buf_index = (uint16_t)i;
		push(map);
	}
}

static void exchange(void)
{
	static const int seals[] = {F_SEAL_WRITE, F_SEAL_FUTURE_WRITE, F_SEAL_SEAL, 0};
	uint32_t asked = 2;

	begin();
	for (unsigned i = 0; i < 24; i++) {
		int pool = memfd(2 * MIB);
		struct io_uring_sqe detach = {.opcode = IORING_OP_URING_CMD,
					      .cmd_op = RINGABI_CMD_POOL_DETACH};
		struct io_uring_sqe map = {
			.opcode = IORING_OP_URING_CMD, .cmd_op = RINGABI_CMD_POOL_MAP, .len = 4096};

		rawpeer_attach_pool(&peer, 0, pool, 2 * MIB);
		(void)fcntl(pool, F_ADD_SEALS, seals[pick(4)]);
		if (!ftruncate(pool, 0) || !ftruncate(pool, 4 * (off_t)MIB))
			words->wrong++;
		rawpeer_attach_pool(&peer, pick(2), pool, 2 * MIB);
		push(map);
		push(detach);
		push(map);
		close(pool);
		await_answers(asked += 2);
	}
}

static void reshape(void)
{
	begin();
	if (!peer.ring || !ftruncate(peer.ring_fd, 0) || !ftruncate(peer.ring_fd, 1 << 20) ||
	    !fcntl(peer.ring_fd, F_ADD_SEALS, F_SEAL_WRITE))
		words->wrong++;
	fallocate(peer.ring_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1 << 20);
	push(random_sqe());
}

static void many_fds(void)
{
	struct ringabi_attach_pool m = {.msg = {RINGABI_MSG_ATTACH_POOL, sizeof(m), 1, 0},
					.bytes = 2 * MIB};
	int fds[RINGABI_MSG_MAX_FDS], pool = memfd(2 * MIB);

	for (unsigned i = 0; i < RINGABI_MSG_MAX_FDS; i++)
		fds[i] = pool;
	begin();
	for (unsigned i = 0; i < 30; i++) {
		m.index = i;
		pcidipc_channel_send(peer.channel, &m.msg, fds,
				     seed & 1 ? RINGABI_MSG_MAX_FDS : 1 + i % 3);
	}
}

static int ask(uint32_t type, uint32_t number)
{
	union {
		struct ringabi_msg msg;
		struct ringabi_publish publish;
		struct ringabi_announce announce;
		struct ringabi_alloc_vectors vectors;
		char bytes[RINGABI_MSG_MAX_BYTES];
	} m = {.msg = {.type = type, .size = (uint32_t)pcidipc_msg_bytes(type, 0), .tag = number}};

	if (type == RINGABI_MSG_PUBLISH) {
		strcpy(m.publish.kind, "hostile");
		snprintf(m.publish.suffix, sizeof(m.publish.suffix), "x%u", number);
	} else if (type == RINGABI_MSG_ANNOUNCE) {
		m.announce.child = number;
		m.announce.interface = RINGABI_INTERFACE_USB;
		snprintf(m.announce.path, sizeof(m.announce.path), "1-%u", number);
	} else if (type == RINGABI_MSG_ALLOC_VECTORS) {
		m.vectors.least = m.vectors.most = 1;
	}
	return pcidipc_channel_send(peer.channel, &m.msg, NULL, 0);
}

/* Until its channel is full, or it has been cut off. */
static void deaf(void)
{
	unsigned refused = 0;
	struct ringabi_msg wake = {RINGABI_MSG_WAKE, sizeof(wake), 0, 0};
	struct io_uring_sqe sqe = command(RINGABI_PCI_INFO, 0, (struct ringabi_pci_arg){0});

	begin();
	for (unsigned i = 0; i < 16; i++)
		rawpeer_push(&peer, &sqe);
	for (unsigned i = 0; i < 20000; i++)
		pcidipc_channel_send(peer.channel, &wake, NULL, 0);
	for (unsigned i = 0; i < 1000; i++)
		refused += ask(i & 1 ? RINGABI_MSG_PUBLISH : RINGABI_MSG_ALLOC_VECTORS, i) < 0;
	if (!refused)
		words->wrong++;
}

static void names(void)
{
	begin();
	for (uint32_t i = 0; i < 300; i++) {
		ask(RINGABI_MSG_PUBLISH, i);
		await_answers(3 + i);
	}
	for (uint32_t i = 0; i < 100; i++) {
		ask(RINGABI_MSG_ANNOUNCE, i);
		await_answers(303 + i);
	}
}

static void vectors(void)
{
	begin();
	ask(RINGABI_MSG_ALLOC_VECTORS, 1);
	await_answers(3);
	if (!enable())
		return;
	for (unsigned i = 0; i < 1500; i++)
		if (!push(write_register(EDU_RAISE, 4, 1)) || !push(write_register(EDU_ACK, 4, 1)))
			return;
}

/* edu reaches 28 bits. What is written while its transfer is under way is of no effect. */
static void dma(void)
{
	begin();
	if (!enable())
		return;
	for (unsigned i = 0; i < 8; i++) {
		push(write_register(EDU_DMA_FROM, 8, 0x40000));
		push(write_register(EDU_DMA_TO, 8, pick(1u << 28)));
		push(write_register(EDU_DMA_BYTES, 8, 2048)); /* QEMU 7.2 ends itself at 4096 */
		push(write_register(EDU_DMA_COMMAND, 8, 3));  /* from the device to memory */
	}
	settle();
}

static void die(void)
{
	uint32_t step = seed;

	if (step > 0)
		rawpeer_hello(&peer, 0);
	if (step > 1)
		rawpeer_attach_ring(&peer, 16, 0);
	if (step > 2)
		ask(RINGABI_MSG_ALLOC_VECTORS, 1);
	if (step > 3)
		rawpeer_attach_pool(&peer, 0, memfd(2 * MIB), 2 * MIB);
	if (step > 4)
		ask(RINGABI_MSG_PUBLISH, 1);
	if (step > 5)
		await_answers(2);
	for (unsigned i = 0; step > 6 && i < 8 * step; i++)
		if (!push(random_sqe()))
			break;
	words->done++;
	kill(getpid(), SIGKILL);
}

static void idle(void)
{
	begin();
	words->idle++;
	for (;;) {
		struct pollfd word = {.fd = peer.channel, .events = POLLIN};
		struct pcidipc_packet packet;
		int ret;

		poll(&word, 1, -1);
		ret = pcidipc_channel_receive(peer.channel, &packet, NULL);
		if (ret < 0 || (ret > 0 && packet.msg.type == RINGABI_MSG_EVENT))
			return;
	}
}

static void (*const life[])(void) = {
	[HOSTILE_NOT] = idle,	     [HOSTILE_REQUESTS] = requests, [HOSTILE_SCRIBBLE] = scribble,
	[HOSTILE_MESSAGE] = message, [HOSTILE_POOLS] = pools,	    [HOSTILE_EXCHANGE] = exchange,
	[HOSTILE_RESHAPE] = reshape, [HOSTILE_FDS] = many_fds,	    [HOSTILE_DEAF] = deaf,
	[HOSTILE_NAMES] = names,     [HOSTILE_VECTORS] = vectors,   [HOSTILE_DMA] = dma,
	[HOSTILE_DIE] = die,
};

static struct hostile_words *map(const char *file, int flags)
{
	int fd = open(file, flags | O_RDWR | O_CLOEXEC, 0666);
	void *p;

	if (fd < 0)
		return NULL;
	if (flags & O_CREAT && (ftruncate(fd, 4096) || fchmod(fd, 0666)))
		return NULL;
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return p == MAP_FAILED ? NULL : p;
}

struct hostile_words *hostile_words(const char *file)
{
	return map(file, O_CREAT);
}

int hostile_driver(const char *file)
{
	const char *channel = getenv("PCID_CLIENT_CHANNEL");
	uint32_t what;

	words = map(file, 0);
	if (!words || !channel)
		return 3;
	signal(SIGPIPE, SIG_IGN);
	alarm(120);
	rawpeer_init(&peer, atoi(channel), RINGABI_INTERFACE_PCI);
	seed = words->seed;
	what = atomic_exchange(&words->what, HOSTILE_NOT);
	life[what]();
	if (what)
		words->done++;
	return 0;
}
