/* SPDX-License-Identifier: MIT */
/*
 * A driver's main program: what all drivers have in common. Its command line, the loop, the
 * signals, the function from pcid, the beginning and the end. A driver describes itself in a struct
 * pcidipc_driver, which it may put into a structure of its own, and hands it to
 * pcidipc_driver_main. docs/driver-guide.md writes one.
 */
#ifndef PCIDIPC_DRIVER_H
#define PCIDIPC_DRIVER_H

#include <pcidipc/list.h>
#include <pcidipc/log.h>
#include <pcidipc/pci.h>
#include <pcidipc/scheme.h>
#include <pcidipc/task.h>

/*
 * An option of the command line: --name VALUE, and -letter VALUE if it has a letter. Exactly one of
 * `number` and `text` says where its value goes; neither is touched when it is not given. A list of
 * at most 32 ends with one that has no name. PCIDIPC_OPTION_* fill one in. Taken are --verbose and
 * -v, --help and -h, --version and -V. An argument that belongs to no option is refused.
 */
struct pcidipc_option {
	const char *name;
	char letter;	   /* 0: none */
	const char *value; /* what --help calls the value: "SECONDS"; NULL: nothing */
	const char *help;  /* one line, without a full stop; NULL: nothing */
	const char **text; /* stays in argv */
	uint64_t *number;  /* decimal, least to most; refused with a message that names both */
	uint64_t least, most;
};

/* Initializers of a struct pcidipc_option. */
#define PCIDIPC_OPTION_TEXT(name, letter, value, help, text) \
	{                                                    \
		name, letter, value, help, text, NULL, 0, 0  \
	}
#define PCIDIPC_OPTION_NUMBER(name, letter, value, help, number, least, most) \
	{                                                                     \
		name, letter, value, help, NULL, number, least, most          \
	}

struct pcidipc_driver {
	const char *name;    /* of the program: "edud" */
	const char *version; /* what --version says behind it; NULL: nothing */
	const char *about;   /* what --help says it is for: "Drives ..."; NULL: nothing */
	const struct pcidipc_option *options; /* beyond -v, --help and --version; NULL: none */
	unsigned dma_bits; /* of address that the device drives: see pcidipc_pci_dma_bits; 0: all */

	/*
	 * The command line is read, nothing is claimed, the sandbox is open: the last chance to
	 * read files. 0; or it has said what is wrong, and this is the program's exit status (2 is
	 * for wrong options); or -errno, which is said, and the status is 1. Not a task. NULL:
	 * nothing.
	 */
	int (*prepare)(struct pcidipc_driver *driver);
	/* Bring the device up, publish. -errno ends the program with status 1, after a message.
	 * Task. */
	int (*start)(struct pcidipc_driver *driver);
	/*
	 * pcid (RINGABI_EVENT_SHUTDOWN), SIGTERM or SIGINT wants it to end: let the clients' work
	 * finish, flush, then pcidipc_loop_stop. At most once, perhaps while `start` still awaits.
	 * Task. NULL: the loop stops at once, and pcid resets the function.
	 */
	void (*stop)(struct pcidipc_driver *driver);
	/* The device is gone (RINGABI_EVENT_REMOVED), its registers read all ones: end the clients'
	 * work with -ENODEV, then pcidipc_loop_stop. Task. NULL: the loop stops at once. */
	void (*removed)(struct pcidipc_driver *driver);

	/* Set by `prepare`: it drives something that is not pcid's, so nothing is claimed. */
	bool standalone;

	/* The library's, for the driver to read: */
	struct pcidipc_loop *loop;
	struct pcidipc_pci *pci; /* from start on; NULL: standalone */
	const char *address;	 /* of the function, for messages; the name, when standalone */
	bool stopping;		 /* it was told to end */

	struct pcidipc_watch signals; /* the library's */
};

/*
 * Run the driver until its loop is stopped. Returns what main returns: the code of
 * pcidipc_loop_stop; 1 when something failed, which was said; 2 for a wrong command line; 0 after
 * --help and --version. Blocks SIGTERM and SIGINT, which arrive by `stop`. The process is in its
 * sandbox before `start` runs (see pcidipc_pci_open).
 */
int pcidipc_driver_main(struct pcidipc_driver *driver, int argc, char **argv);

/*
 * The device does not do what it must: stop its DMA, so that requests may be answered and their
 * buffers used again, say why, and end with 1; pcid resets it and starts the driver anew. (A
 * standalone driver stops its device itself, before.) Returns -EIO. Task.
 */
int pcidipc_driver_give_up(struct pcidipc_driver *driver, const char *why);

/*
 * Publish a service (see pcidipc_pci_publish) and serve it by `scheme`, on both of its sockets:
 * sessions of the admin socket have the flag PCIDIPC_SESSION_ADMIN. A scheme without a name gets
 * the service's, one without `pci` this one. It stays in place. Errors: of publish and of listen,
 * -ENOMEM. Awaits inside a task.
 */
int pcidipc_pci_serve(struct pcidipc_pci *pci, const char *kind, const char *suffix,
		      struct pcidipc_scheme *scheme);
/* Accept nobody any more, end the sessions, wait until they are gone. The name stays until the
 * driver ends. Fine when nothing is served. Task. */
void pcidipc_pci_serve_end(struct pcidipc_scheme *scheme);

#endif
