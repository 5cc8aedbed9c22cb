// SPDX-License-Identifier: GPL-2.0-or-later
/* What a driver prints: line by line into pcid's log, under its name. A driver that floods loses
 * lines, nobody else. */
#include <errno.h>
#include <fcntl.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "driver.h"

#define LINE_BYTES 768
#define LINES_PER_SECOND 200

struct pcid_output {
	struct pcidipc_watch watch;
	struct pcid_driver *driver;
	uint64_t second;
	unsigned lines, lost;
	size_t n;
	char line[LINE_BYTES];
};

/* "<4>nvmed: text" is how the drivers' library says a level; its own name would only repeat ours.
 */
static const char *strip(struct pcid_driver *d, const char *line, int *level)
{
	size_t n = strlen(d->stanza->name);

	*level = PCIDIPC_NOTICE;
	if (line[0] == '<' && line[1] >= '0' && line[1] <= '7' && line[2] == '>') {
		*level = line[1] - '0';
		line += 3;
	}
	if (!strncmp(line, d->stanza->name, n) && line[n] == ':' && line[n + 1] == ' ')
		line += n + 2;
	return line;
}

static bool too_many(struct pcid_output *out)
{
	uint64_t second = pcidipc_loop_now(out->driver->pcid->loop) / 1000000000u;

	if (out->second != second) {
		if (out->lost)
			pcidipc_warn("%s: %u lines lost: more than %d in a second",
				     out->driver->name, out->lost, LINES_PER_SECOND);
		out->second = second;
		out->lines = out->lost = 0;
	}
	if (out->lines++ < LINES_PER_SECOND)
		return false;
	out->lost++;
	return true;
}

static void end_line(struct pcid_output *out)
{
	const char *text;
	int level;

	for (size_t i = 0; i < out->n; i++)
		if ((unsigned char)out->line[i] < ' ' || out->line[i] == 0x7f)
			out->line[i] = out->line[i] == '\t' ? ' ' : '?';
	out->line[out->n] = '\0';
	if (out->n && !too_many(out)) {
		text = strip(out->driver, out->line, &level);
		pcidipc_log(level < PCIDIPC_ERROR ? PCIDIPC_ERROR : (enum pcidipc_log_level)level,
			    "%s: %s", out->driver->name, text);
	}
	out->n = 0;
}

static void take(struct pcid_output *out, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (bytes[i] == '\n') {
			end_line(out);
			continue;
		}
		out->line[out->n++] = bytes[i];
		if (out->n == LINE_BYTES - 1)
			end_line(out);
	}
}

/* One read per turn: others have their turn too. False: there is nothing (more). */
static bool read_some(struct pcid_output *out)
{
	char bytes[2048];
	ssize_t n = read(out->watch.fd, bytes, sizeof(bytes));

	if (n > 0)
		take(out, bytes, (size_t)n);
	else if (!n || errno != EAGAIN)
		pcidipc_watch_remove(&out->watch);
	return n > 0;
}

static void readable(struct pcidipc_watch *watch, unsigned events)
{
	(void)events;
	read_some(pcidipc_container_of(watch, struct pcid_output, watch));
}

int pcid_output_open(struct pcid_driver *d, struct pcid_output **output)
{
	struct pcid_output *out = calloc(1, sizeof(*out));
	int ends[2], ret;

	*output = NULL;
	if (!out)
		return -ENOMEM;
	if (pipe2(ends, O_CLOEXEC)) {
		ret = -errno;
		free(out);
		return ret;
	}
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	out->driver = d;
	ret = pcidipc_watch_add(d->pcid->loop, &out->watch, ends[0], EPOLLIN, readable);
	if (ret) {
		close(ends[0]);
		close(ends[1]);
		free(out);
		return ret;
	}
	*output = out;
	return ends[1];
}

void pcid_output_close(struct pcid_output *out)
{
	if (!out)
		return;
	for (int i = 0; i < 64 && read_some(out); i++)
		; /* its last words; bounded, should somebody else still hold the pipe */
	end_line(out);
	pcidipc_watch_remove(&out->watch);
	close(out->watch.fd);
	free(out);
}
