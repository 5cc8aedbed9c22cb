// SPDX-License-Identifier: MIT
#include "blockclient.h"

#include <liburing.h>

int client_open(struct client *client, const char *name, uint32_t open_flags)
{
	int ret;

	memset(client, 0, sizeof(*client));
	ret = pcidipc_blockdev_open(name, open_flags, 64, &client->dev);
	if (ret)
		return ret;
	client->consumer = pcidipc_blockdev_consumer(client->dev);
	ret = pcidipc_pool_create(CLIENT_POOL, 0, &client->pool);
	if (!ret)
		ret = pcidipc_consumer_attach_pool(client->consumer, client->pool, &client->index);
	if (ret)
		client_close(client);
	else
		client->base = pcidipc_pool_base(client->pool);
	return ret;
}

void client_close(struct client *client)
{
	pcidipc_blockdev_close(client->dev);
	if (client->pool)
		pcidipc_pool_destroy(client->pool);
	memset(client, 0, sizeof(*client));
}

struct io_uring_sqe sqe_of(uint8_t opcode)
{
	struct io_uring_sqe sqe = {.opcode = opcode};

	return sqe;
}

struct io_uring_sqe sqe_rw(const struct client *client, bool write, uint64_t addr, uint32_t bytes,
			   uint64_t off)
{
	struct io_uring_sqe sqe;

	memset(&sqe, 0, sizeof(sqe));
	if (write)
		io_uring_prep_write_fixed(&sqe, 0, (void *)(uintptr_t)addr, bytes, off,
					  client->index);
	else
		io_uring_prep_read_fixed(&sqe, 0, (void *)(uintptr_t)addr, bytes, off,
					 client->index);
	return sqe;
}

struct io_uring_sqe sqe_command(const struct client *client, uint32_t cmd_op, uint64_t addr,
				uint32_t len)
{
	struct io_uring_sqe sqe = {.opcode = IORING_OP_URING_CMD};

	sqe.cmd_op = cmd_op;
	sqe.addr = addr;
	sqe.len = len;
	sqe.buf_index = client->index;
	return sqe;
}

int client_call(struct client *client, struct io_uring_sqe sqe)
{
	return pcidipc_call(client->consumer, &sqe, NULL);
}

struct iovec piece(uint64_t addr, uint64_t bytes)
{
	return (struct iovec){(void *)(uintptr_t)addr, bytes};
}

int client_vector(struct client *client, bool write, uint64_t at, const struct iovec *iov,
		  uint32_t n, uint64_t off)
{
	struct io_uring_sqe sqe = sqe_rw(client, write, at, n, off);

	sqe.opcode = write ? IORING_OP_WRITEV : IORING_OP_READV;
	if (iov)
		memcpy(client->base + at, iov, n * sizeof(*iov));
	return client_call(client, sqe);
}

void client_queue(struct client *client, struct io_uring_sqe sqe, uint64_t user_data)
{
	struct io_uring_sqe *slot = pcidipc_get_sqe(client->consumer);

	if (!slot)
		return;
	*slot = sqe;
	slot->user_data = user_data;
}

int client_reap(struct client *client, uint64_t *user_data)
{
	struct pcidipc_cqe cqe;
	int ret = pcidipc_submit_and_wait(client->consumer, 1);

	if (!ret)
		ret = pcidipc_next_cqe(client->consumer, &cqe);
	if (ret <= 0)
		return ret ? ret : -ENODATA;
	if (user_data)
		*user_data = cqe.user_data;
	return cqe.res;
}
