/* SPDX-License-Identifier: MIT */
/*
 * The channel: the SOCK_SEQPACKET Unix socket beside every ring. What carries a file descriptor
 * goes over the channel, everything else over the ring; the channel also carries set-up and
 * wake-ups. One message per packet, each a fixed-size structure that begins with struct
 * ringabi_msg.
 *
 * A request is answered by a message of the same type with RINGABI_MSG_REPLY set, the same tag,
 * and a result of 0 or a negative errno. File descriptors accompany a reply only when its
 * result is 0. More of them than is said below, and whatever else is not of this form, ends the
 * connection (-EPROTO).
 */
#ifndef RINGABI_CHANNEL_H
#define RINGABI_CHANNEL_H

#include <ringabi/ring.h>

#define RINGABI_CHANNEL_MAGIC 0x44494350u /* "PCID", little endian */
#define RINGABI_MSG_MAX_BYTES 256u
#define RINGABI_MSG_MAX_FDS 64u
#define RINGABI_NAME_BYTES 64u /* a service's name, its NUL included */

struct ringabi_msg {
	__u32 type;   /* RINGABI_MSG_* */
	__u32 size;   /* bytes of the whole message, this header included */
	__u32 tag;    /* chosen by the asker, echoed in the reply; 0 for messages without reply */
	__s32 result; /* replies: 0 or a negative errno; 0 in requests */
};
RINGABI_SIZE(ringabi_msg, 16);

#define RINGABI_MSG_REPLY 0x80000000u

enum ringabi_msg_type {
	RINGABI_MSG_WAKE = 1,	     /* both ways: struct ringabi_msg, no reply */
	RINGABI_MSG_HELLO = 2,	     /* consumer to producer: the first message */
	RINGABI_MSG_ATTACH_RING = 3, /* consumer to producer; the reply carries the ring's memfd */
	RINGABI_MSG_ATTACH_POOL = 4, /* consumer to producer, carries the pool's memfd */
	RINGABI_MSG_ALLOC_VECTORS = 5, /* to pcid; the reply carries the interrupts' fds */
	RINGABI_MSG_MAP_REGION = 6,    /* to pcid; the reply carries the fd to map */
	RINGABI_MSG_PUBLISH = 7,       /* to pcid; the reply carries the listening sockets */
	RINGABI_MSG_ANNOUNCE = 8,      /* to pcid: a child function exists */
	RINGABI_MSG_ADOPT = 9,	/* from pcid: a child's driver waits on this channel; no reply */
	RINGABI_MSG_EVENT = 10, /* producer to consumer: struct ringabi_event, no reply */
};

/* How a consumer opens a service. */
#define RINGABI_OPEN_READ_ONLY (1u << 0) /* requests that change the disk get -EROFS */
#define RINGABI_OPEN_EXCLUSIVE                                             \
	(1u << 1) /* -EBUSY while anybody else has it open, and for others \
		   */
#define RINGABI_OPEN_ALL (RINGABI_OPEN_READ_ONLY | RINGABI_OPEN_EXCLUSIVE)

/*
 * HELLO. Errors: -EPROTO (magic, size), -EPROTONOSUPPORT (major version or interface),
 * -EINVAL (unknown open flag), -EBUSY (exclusive), -ENODEV (the service is gone),
 * -EMFILE (too many connections), -EDQUOT (too many of this user).
 */
struct ringabi_hello {
	struct ringabi_msg msg;
	__u32 magic; /* RINGABI_CHANNEL_MAGIC */
	__u16 version_major;
	__u16 version_minor;
	__u32 interface;  /* RINGABI_INTERFACE_* that the consumer speaks */
	__u32 open_flags; /* RINGABI_OPEN_* */
};
RINGABI_SIZE(ringabi_hello, 32);

struct ringabi_hello_reply {
	struct ringabi_msg msg;
	__u16 version_major;
	__u16 version_minor; /* the lower of the two sides' */
	__u32 interface;
	__u32 ring_features;  /* RINGABI_RING_* that the ring will have */
	__u32 max_sq_entries; /* limits for ATTACH_RING */
	__u32 max_cq_entries;
	__u32 max_pools;
	__u64 generation; /* differs each time the producer starts anew */
};
RINGABI_SIZE(ringabi_hello_reply, 48);

/* ATTACH_RING. Errors: -EINVAL (not a power of two, beyond the limits), -EALREADY, -ENOMEM. */
struct ringabi_attach_ring {
	struct ringabi_msg msg;
	__u32 sq_entries;
	__u32 cq_entries; /* 0: twice sq_entries */
};
RINGABI_SIZE(ringabi_attach_ring, 24);

struct ringabi_attach_ring_reply { /* fds: the ring */
	struct ringabi_msg msg;
	__u64 bytes; /* size of the ring's memfd */
};
RINGABI_SIZE(ringabi_attach_ring_reply, 24);

/*
 * ATTACH_POOL, one fd: a memfd with F_SEAL_SHRINK and F_SEAL_GROW set. The consumer chooses
 * the index. Errors: -EINVAL (index, size, not a sealed memfd), -EEXIST (index in use),
 * -EBADF (no fd), -ENOSPC (no room for it in the device's address space), -EDQUOT (too many
 * bytes in all of the connection's pools; too many pools or bytes of this user), -ENOMEM.
 */
struct ringabi_attach_pool {
	struct ringabi_msg msg;
	__u32 index; /* buf_index of later SQEs, below max_pools */
	__u32 reserved;
	__u64 bytes; /* size, a multiple of RINGABI_POOL_ALIGN, equal to the memfd's */
};
RINGABI_SIZE(ringabi_attach_pool, 32);

struct ringabi_attach_pool_reply {
	struct ringabi_msg msg;
	__u64 iova; /* pcid: where the pool's offset 0 lies in the device's address space; else 0 */
};
RINGABI_SIZE(ringabi_attach_pool_reply, 24);

/* Kinds of interrupt. */
#define RINGABI_IRQ_INTX 1u
#define RINGABI_IRQ_MSI 2u
#define RINGABI_IRQ_MSIX 3u

/*
 * ALLOC_VECTORS: vectors 0 .. granted-1, once per driver's life. pcid grants the largest
 * number up to `most` that the function offers, at least `least`. Vectors start unmasked. Each
 * vector has one fd, readable when the interrupt fired; read 8 bytes to acknowledge. Its kind
 * (eventfd or socket) is pcid's affair. Errors: -EINVAL, -ENOSPC (fewer than `least`),
 * -EALREADY.
 */
struct ringabi_alloc_vectors {
	struct ringabi_msg msg;
	__u32 least;
	__u32 most; /* at most RINGABI_MSG_MAX_FDS */
};
RINGABI_SIZE(ringabi_alloc_vectors, 24);

struct ringabi_alloc_vectors_reply { /* fds: one per vector, in order */
	struct ringabi_msg msg;
	__u32 kind; /* RINGABI_IRQ_* */
	__u32 granted;
};
RINGABI_SIZE(ringabi_alloc_vectors_reply, 24);

/*
 * MAP_REGION. Errors: -EINVAL (index), -ENXIO (no such BAR), -EOPNOTSUPP (this bus cannot map
 * registers: use RINGABI_PCI_MMIO_READ and _WRITE).
 */
struct ringabi_map_region {
	struct ringabi_msg msg;
	__u32 region; /* BAR number, 0 to 5 */
	__u32 reserved;
};
RINGABI_SIZE(ringabi_map_region, 24);

struct ringabi_hole { /* bytes that must not be mapped: the MSI-X table's pages */
	__u64 offset;
	__u64 bytes;
};
RINGABI_SIZE(ringabi_hole, 16);

#define RINGABI_MAX_HOLES 2u
struct ringabi_map_region_reply { /* fds: what to mmap */
	struct ringabi_msg msg;
	__u64 offset; /* mmap offset of the region's first byte */
	__u64 bytes;
	__u32 holes; /* entries of hole[] in use */
	__u32 reserved;
	struct ringabi_hole hole[RINGABI_MAX_HOLES];
};
RINGABI_SIZE(ringabi_map_region_reply, 72);

/*
 * PUBLISH. pcid composes the name as kind/STEM SUFFIX (disk/nvme0n1): the stem is the driver's
 * configured service name and a number that pcid keeps for the function, so a restarted driver
 * gets the same name and the same sockets. kind: [a-z]{1,15}; suffix: [a-z0-9]{0,15}.
 * Errors: -EINVAL (characters), -EEXIST (published already), -EDQUOT (too many services).
 */
struct ringabi_publish {
	struct ringabi_msg msg;
	char kind[16];
	char suffix[16];
};
RINGABI_SIZE(ringabi_publish, 48);

struct ringabi_publish_reply { /* fds: listening socket, then the admin listening socket */
	struct ringabi_msg msg;
	__u32 service; /* for RINGABI_PCI_UNPUBLISH */
	__u32 reserved;
	char name[RINGABI_NAME_BYTES];
};
RINGABI_SIZE(ringabi_publish_reply, 88);

/*
 * ANNOUNCE: below the announcing driver's function there is a child (a USB interface) that
 * wants a driver of its own. If one matches, pcid starts it and sends ADOPT. The child goes
 * by RINGABI_PCI_CHILD_GONE. Errors: -EINVAL, -EEXIST, -EDQUOT (too many children),
 * -ENOENT (no driver is configured for it: not an error, the child is listed without driver).
 */
struct ringabi_announce {
	struct ringabi_msg msg;
	__u32 child;	 /* chosen by the announcer */
	__u32 interface; /* RINGABI_INTERFACE_* that the announcer serves it with */
	__u16 vendor;
	__u16 product;
	__u8 class_code;
	__u8 subclass;
	__u8 protocol;
	__u8 reserved;
	char path[32];		       /* where it sits, e.g. "1-4.2:1.0" */
	char name[RINGABI_NAME_BYTES]; /* for people, UTF-8 */
};
RINGABI_SIZE(ringabi_announce, 128);

struct ringabi_adopt { /* fds: the producer's end of the child driver's channel */
	struct ringabi_msg msg;
	__u32 child;
	__u32 reserved;
};
RINGABI_SIZE(ringabi_adopt, 24);

/* What happened, to struct ringabi_event.event. */
#define RINGABI_EVENT_SHUTDOWN 1u /* finish, stop the device, exit 0 */
#define RINGABI_EVENT_REMOVED 2u  /* the function, or the medium, is gone */
#define RINGABI_EVENT_CHANGED 3u  /* size or medium changed: read the identity again */

struct ringabi_event {
	struct ringabi_msg msg;
	__u32 event;
	__u32 reserved;
};
RINGABI_SIZE(ringabi_event, 24);

RINGABI_AT(ringabi_msg, type, 0);
RINGABI_AT(ringabi_msg, size, 4);
RINGABI_AT(ringabi_msg, tag, 8);
RINGABI_AT(ringabi_msg, result, 12);
RINGABI_AT(ringabi_hello, magic, 16);
RINGABI_AT(ringabi_hello, version_major, 20);
RINGABI_AT(ringabi_hello, version_minor, 22);
RINGABI_AT(ringabi_hello, interface, 24);
RINGABI_AT(ringabi_hello, open_flags, 28);
RINGABI_AT(ringabi_hello_reply, version_major, 16);
RINGABI_AT(ringabi_hello_reply, version_minor, 18);
RINGABI_AT(ringabi_hello_reply, interface, 20);
RINGABI_AT(ringabi_hello_reply, ring_features, 24);
RINGABI_AT(ringabi_hello_reply, max_sq_entries, 28);
RINGABI_AT(ringabi_hello_reply, max_cq_entries, 32);
RINGABI_AT(ringabi_hello_reply, max_pools, 36);
RINGABI_AT(ringabi_hello_reply, generation, 40);
RINGABI_AT(ringabi_attach_ring, sq_entries, 16);
RINGABI_AT(ringabi_attach_ring, cq_entries, 20);
RINGABI_AT(ringabi_attach_ring_reply, bytes, 16);
RINGABI_AT(ringabi_attach_pool, index, 16);
RINGABI_AT(ringabi_attach_pool, bytes, 24);
RINGABI_AT(ringabi_attach_pool_reply, iova, 16);
RINGABI_AT(ringabi_alloc_vectors, least, 16);
RINGABI_AT(ringabi_alloc_vectors, most, 20);
RINGABI_AT(ringabi_alloc_vectors_reply, kind, 16);
RINGABI_AT(ringabi_alloc_vectors_reply, granted, 20);
RINGABI_AT(ringabi_map_region, region, 16);
RINGABI_AT(ringabi_map_region_reply, offset, 16);
RINGABI_AT(ringabi_map_region_reply, bytes, 24);
RINGABI_AT(ringabi_map_region_reply, holes, 32);
RINGABI_AT(ringabi_map_region_reply, hole, 40);
RINGABI_AT(ringabi_publish, kind, 16);
RINGABI_AT(ringabi_publish, suffix, 32);
RINGABI_AT(ringabi_publish_reply, service, 16);
RINGABI_AT(ringabi_publish_reply, name, 24);
RINGABI_AT(ringabi_announce, child, 16);
RINGABI_AT(ringabi_announce, interface, 20);
RINGABI_AT(ringabi_announce, vendor, 24);
RINGABI_AT(ringabi_announce, product, 26);
RINGABI_AT(ringabi_announce, class_code, 28);
RINGABI_AT(ringabi_announce, subclass, 29);
RINGABI_AT(ringabi_announce, protocol, 30);
RINGABI_AT(ringabi_announce, path, 32);
RINGABI_AT(ringabi_announce, name, 64);
RINGABI_AT(ringabi_adopt, child, 16);
RINGABI_AT(ringabi_event, event, 16);

#endif
