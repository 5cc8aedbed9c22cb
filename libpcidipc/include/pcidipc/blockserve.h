/* SPDX-License-Identifier: MIT */
/*
 * Serving the block interface (ringabi/block.h), for any driver that has disks: nvmed and usbscsid.
 * The helper owns the scheme: it checks every request against the disk's geometry, resolves buffers
 * to device addresses, and hands the driver requests that are right. A client cannot tell the
 * drivers apart.
 */
#ifndef PCIDIPC_BLOCKSERVE_H
#define PCIDIPC_BLOCKSERVE_H

#include <pcidipc/scheme.h>
#include <ringabi/block.h>

struct pcidipc_disk;

enum pcidipc_block_kind {
	PCIDIPC_BLOCK_READ,
	PCIDIPC_BLOCK_WRITE,
	PCIDIPC_BLOCK_FLUSH,
	PCIDIPC_BLOCK_ZERO,	   /* lba, blocks; `unmap`: deallocate too */
	PCIDIPC_BLOCK_DISCARD,	   /* lba, blocks */
	PCIDIPC_BLOCK_HEALTH,	   /* data: a struct ringabi_block_health to fill in */
	PCIDIPC_BLOCK_PASSTHROUGH, /* data: the struct ringabi_block_passthrough, a private copy;
				      written back */
};

/* A piece of memory at contiguous device addresses. */
struct pcidipc_segment {
	uint64_t iova;
	uint64_t bytes;
};

/*
 * One checked request. Lies in the request's private memory, in place until pcidipc_block_complete.
 * lba and blocks are within the disk; segments add up to blocks * block_bytes (READ, WRITE) and are
 * dma_align-ed.
 */
struct pcidipc_block_io {
	enum pcidipc_block_kind kind;
	bool fua;   /* on stable media before it completes */
	bool unmap; /* ZERO */
	uint16_t nsegments;
	uint64_t lba;
	uint64_t blocks;
	struct pcidipc_segment one;	  /* most requests have one segment ... */
	struct pcidipc_segment *segments; /* ... and this points to it */
	void *data;
	struct pcidipc_segment passthrough; /* PASSTHROUGH: the command's data, if any */
	struct pcidipc_disk *disk;
	_Alignas(16) unsigned char driver[]; /* disk->io_bytes of the driver's own, not cleared */
};

struct pcidipc_disk {
	struct ringabi_block_info info; /* max_bytes 0: no limit but 1 GiB */
	char name[RINGABI_NAME_BYTES];	/* of the published service, for messages */
	uint32_t max_sessions;
	struct pcidipc_users *users; /* see struct pcidipc_scheme */
	uint32_t max_sq_entries;
	uint32_t io_bytes;
	uint32_t session_bytes;
	void *driver;
	struct pcidipc_pci *pci; /* its pools are forwarded to pcid; else the functions below */

	/* Start one; 0 or -errno at once, or PCIDIPC_PENDING and pcidipc_block_complete later. Must
	 * not block. */
	int (*submit)(struct pcidipc_block_io *io);
	/* See struct pcidipc_scheme: flush, cancel, open, close, pool_*. May be NULL where they may
	 * there. */
	void (*flush)(struct pcidipc_session *session);
	int (*cancel)(struct pcidipc_block_io *io);
	int (*open)(struct pcidipc_session *session);
	void (*close)(struct pcidipc_session *session);
	int (*pool_attach)(struct pcidipc_session *session, struct pcidipc_pool_view *pool);
	int (*pool_map)(struct pcidipc_session *session, struct pcidipc_pool_view *pool,
			uint64_t offset, uint64_t bytes);
	void (*pool_detach)(struct pcidipc_session *session, struct pcidipc_pool_view *pool);

	struct pcidipc_scheme scheme; /* the helper's */
	struct pcidipc_listener *listener, *admin_listener;
	struct pcidipc_session *exclusive;
	uint32_t opens;
	uint32_t running; /* requests that the driver has */
	bool removed;
};

/* Serve the disk on two listening sockets (they stay the caller's). Fill in everything above
 * `scheme` before. */
int pcidipc_disk_serve(struct pcidipc_loop *loop, struct pcidipc_disk *disk, int listen_fd,
		       int admin_fd);
/* Geometry changed or the medium came or went: update disk->info before. Clients get
 * RINGABI_EVENT_CHANGED. */
void pcidipc_disk_changed(struct pcidipc_disk *disk);
/* The disk is gone: sessions get RINGABI_EVENT_REMOVED and end once the driver has completed their
 * requests. Task. */
void pcidipc_disk_remove(struct pcidipc_disk *disk);

/* The driver's session_bytes of a session, zeroed. (pcidipc_session_priv is the helper's.) */
void *pcidipc_block_session_priv(struct pcidipc_session *session);

/* Complete a PENDING one. res: 0 or -errno; the helper turns 0 into the byte count where the
 * interface says so. */
void pcidipc_block_complete(struct pcidipc_block_io *io, int res);

/* The request that the I/O is part of: it lies in its `priv`. */
static inline struct pcidipc_request *pcidipc_block_request(const struct pcidipc_block_io *io)
{
	return pcidipc_container_of(io, struct pcidipc_request, priv);
}
/* The session that it came by. */
static inline struct pcidipc_session *pcidipc_block_session(const struct pcidipc_block_io *io)
{
	return pcidipc_block_request(io)->session;
}

#endif
