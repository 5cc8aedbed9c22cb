// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The control socket: one JSON object per line each way (docs/control.md). Requests are bounded,
 * clients are few, and one that does not read its answer keeps nobody but itself waiting.
 */
#include <errno.h>
#include <json-c/json.h>
#include <pcidipc/log.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "breather.h"
#include "driver.h"
#include "pcid.h"

#define MAX_REQUEST 4096
#define MAX_CLIENTS 32
#define MAX_DEPTH 8 /* of nested JSON */
/* For a process to end: its children's time, its own, and some for it to be killed. */
#define END_NS (2 * PCID_STOP_NS + 1000000000ull)

struct client {
	struct pcidipc_list link; /* oldest activity first */
	struct pcid_control *control;
	struct pcidipc_watch watch;
	bool busy; /* a task works for it */
	bool gone; /* meanwhile it went: the task frees it */
	size_t in_bytes, out_bytes, out_sent;
	char *out;
	char in[MAX_REQUEST];
};

struct pcid_control {
	struct pcid *pcid;
	struct pcidipc_watch watch;
	struct pcid_breather breather;
	struct pcidipc_list clients;
	unsigned nclients;
	unsigned working; /* tasks */
	char path[108];
};

/* ---- requests ---- */

static struct json_object *success(struct json_object *result)
{
	struct json_object *reply = json_object_new_object();

	json_object_object_add(reply, "ok", json_object_new_boolean(1));
	json_object_object_add(reply, "result", result);
	return reply;
}

static struct json_object *failure(int error, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static struct json_object *failure(int error, const char *format, ...)
{
	struct json_object *reply = json_object_new_object();
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	json_object_object_add(reply, "ok", json_object_new_boolean(0));
	json_object_object_add(reply, "error", json_object_new_string(text));
	json_object_object_add(reply, "errno", json_object_new_int(error));
	return reply;
}

static const char *string_field(struct json_object *request, const char *key)
{
	struct json_object *value;

	if (!json_object_object_get_ex(request, key, &value) ||
	    !json_object_is_type(value, json_type_string))
		return NULL;
	return json_object_get_string(value);
}

static struct json_object *do_show(struct pcid *pcid, const char *where)
{
	struct pcid_function *f = where ? pcid_find_function(pcid, where) : NULL;

	if (!where)
		return failure(-EINVAL, "\"show\" needs a \"function\"");
	if (!f)
		return failure(-ENOENT, "there is no function %.64s; \"list\" has them all", where);
	return success(pcid_report_function(pcid, f));
}

/* Who asks next finds the new process: the old one has ended when this is answered. */
static struct json_object *do_restart(struct pcid *pcid, const char *where)
{
	struct pcid_driver *d = where ? pcid_find_driver(pcid, where) : NULL;
	struct json_object *result;
	int ret;

	if (!where)
		return failure(-EINVAL, "\"restart\" needs a \"function\"");
	if (!d && pcid_find_function(pcid, where))
		return failure(-ENOENT, "function %.64s has no driver", where);
	if (!d)
		return failure(-ENOENT, "there is no function %.64s; \"list\" has them all", where);
	result = json_object_new_object();
	json_object_object_add(result, "function", json_object_new_string(d->where));
	json_object_object_add(result, "driver", json_object_new_string(d->stanza->name));
	pcid_driver_stop(d, PCID_STOP_RESTART);
	ret = pcid_driver_await_exit(d, END_NS); /* then its record may be gone */
	if (!ret)
		return success(result);
	json_object_put(result);
	return failure(ret,
		       "the driver of %.64s has not ended in 11 s; it is started again when it has",
		       where);
}

/* Reading files and looking up users wants more stack than a task has. */
struct reload {
	struct pcidipc_deferred deferred;
	struct pcidipc_completion done;
	struct pcid *pcid;
};

static void reload_now(struct pcidipc_deferred *deferred)
{
	struct reload *r = pcidipc_container_of(deferred, struct reload, deferred);

	pcidipc_post(&r->done, pcid_reload(r->pcid));
}

static struct json_object *do_rescan(struct pcid *pcid)
{
	struct reload r = {.pcid = pcid};
	struct json_object *result;
	int started;

	pcidipc_defer(pcid->loop, &r.deferred, reload_now);
	started = pcidipc_await(&r.done);
	if (started < 0)
		return failure(started, "the configuration could not be read: %s",
			       strerror(-started));
	result = json_object_new_object();
	json_object_object_add(result, "started", json_object_new_int(started));
	json_object_object_add(result, "files", json_object_new_int64(pcid->config->files));
	json_object_object_add(result, "bad_files", json_object_new_int64(pcid->config->bad_files));
	return success(result);
}

static struct json_object *perform(struct pcid *pcid, struct json_object *request)
{
	const char *command = string_field(request, "command");
	const char *where = string_field(request, "function");
	struct json_object *result;

	if (!command)
		return failure(-EINVAL, "a request is an object with a \"command\"");
	if (!strcmp(command, "show"))
		return do_show(pcid, where);
	if (!strcmp(command, "restart"))
		return do_restart(pcid, where);
	if (!strcmp(command, "rescan"))
		return do_rescan(pcid);
	result = pcid_report(pcid, command);
	return result ? success(result)
		      : failure(-EOPNOTSUPP, "there is no command \"%.32s\"", command);
}

/* Nothing but white space may follow the object. */
static bool ends_here(const char *text, size_t bytes)
{
	return strspn(text, " \t\r") >= bytes;
}

static struct json_object *perform_text(struct pcid *pcid, const char *text, size_t bytes)
{
	struct json_tokener *tokener = json_tokener_new_ex(MAX_DEPTH);
	struct json_object *request =
		tokener ? json_tokener_parse_ex(tokener, text, (int)bytes) : NULL;
	struct json_object *reply;
	size_t parsed = 0;

	if (tokener)
		parsed = json_tokener_get_parse_end(tokener);
	if (!json_object_is_type(request, json_type_object) ||
	    !ends_here(text + parsed, bytes - parsed))
		reply = failure(-EINVAL, "a request is one JSON object on one line");
	else
		reply = perform(pcid, request);
	json_object_put(request);
	if (tokener)
		json_tokener_free(tokener);
	return reply;
}

/* ---- clients ---- */

static void readable(struct pcidipc_watch *watch, unsigned events);

static void drop(struct client *c)
{
	pcidipc_watch_remove(&c->watch);
	if (c->watch.fd >= 0)
		close(c->watch.fd);
	c->watch.fd = -1;
	if (c->link.next) {
		pcidipc_list_remove(&c->link);
		c->control->nclients--;
	}
	c->gone = true;
	if (c->busy)
		return;
	free(c->out);
	free(c);
}

static void touch(struct client *c)
{
	pcidipc_list_remove(&c->link);
	pcidipc_list_append(&c->control->clients, &c->link);
}

/* Send what there is; false: the client is gone. */
static bool flush(struct client *c)
{
	while (c->out_sent < c->out_bytes) {
		ssize_t n = send(c->watch.fd, c->out + c->out_sent, c->out_bytes - c->out_sent,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			pcidipc_watch_change(&c->watch, EPOLLOUT);
			return true;
		}
		if (n < 0) {
			drop(c);
			return false;
		}
		c->out_sent += (size_t)n;
	}
	free(c->out);
	c->out = NULL;
	c->out_bytes = c->out_sent = 0;
	pcidipc_watch_change(&c->watch, EPOLLIN);
	return true;
}

static int set_reply(struct client *c, struct json_object *reply)
{
	size_t n;
	const char *text = json_object_to_json_string_length(reply, JSON_C_TO_STRING_PLAIN, &n);

	c->out = text ? malloc(n + 1) : NULL;
	if (!c->out)
		return -ENOMEM;
	memcpy(c->out, text, n);
	c->out[n] = '\n';
	c->out_bytes = n + 1;
	c->out_sent = 0;
	return 0;
}

static void serve(void *arg)
{
	struct client *c = arg;
	char *end = memchr(c->in, '\n', c->in_bytes);
	size_t line = (size_t)(end - c->in);
	struct json_object *reply = perform_text(c->control->pcid, c->in, line);
	int ret = set_reply(c, reply);

	json_object_put(reply);
	c->control->working--;
	c->busy = false;
	if (c->gone || ret) {
		drop(c);
		return;
	}
	c->in_bytes -= line + 1;
	memmove(c->in, end + 1, c->in_bytes);
	if (flush(c) && !c->out && memchr(c->in, '\n', c->in_bytes))
		readable(&c->watch, 0); /* one more request had come along */
}

/* A whole line is there: have it served, and read nothing more until it is answered. */
static void begin(struct client *c)
{
	pcidipc_watch_change(&c->watch, 0);
	c->busy = true;
	if (!pcidipc_spawn(c->control->pcid->loop, serve, c)) {
		c->control->working++;
		return;
	}
	c->busy = false;
	drop(c);
}

static void too_long(struct client *c)
{
	struct json_object *reply =
		failure(-EMSGSIZE, "a request has at most %d bytes", MAX_REQUEST - 1);

	if (!set_reply(c, reply) && flush(c))
		drop(c);
	json_object_put(reply);
}

static void take_input(struct client *c)
{
	ssize_t n =
		recv(c->watch.fd, c->in + c->in_bytes, sizeof(c->in) - c->in_bytes, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		drop(c);
		return;
	}
	touch(c);
	c->in_bytes += (size_t)n;
	if (memchr(c->in, '\n', c->in_bytes))
		begin(c);
	else if (c->in_bytes == sizeof(c->in))
		too_long(c);
}

static void readable(struct pcidipc_watch *watch, unsigned events)
{
	struct client *c = pcidipc_container_of(watch, struct client, watch);

	if (c->busy)
		drop(c); /* only a hang-up is told then */
	else if (c->out)
		flush(c);
	else if (memchr(c->in, '\n', c->in_bytes))
		begin(c);
	else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		take_input(c);
}

static bool make_room(struct pcid_control *control)
{
	if (control->nclients < MAX_CLIENTS)
		return true;
	pcidipc_list_for_each(c, &control->clients, struct client, link) {
		if (c->busy)
			continue;
		drop(c);
		return true;
	}
	return false;
}

static int add_client(struct pcid_control *control, int fd)
{
	struct client *c = calloc(1, sizeof(*c));
	int ret;

	if (!c)
		return -ENOMEM;
	c->control = control;
	ret = pcidipc_watch_add(control->pcid->loop, &c->watch, fd, EPOLLIN, readable);
	if (ret) {
		free(c);
		return ret;
	}
	pcidipc_list_append(&control->clients, &c->link);
	control->nclients++;
	return 0;
}

static void incoming(struct pcidipc_watch *watch, unsigned events)
{
	struct pcid_control *control = pcidipc_container_of(watch, struct pcid_control, watch);
	int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0)
		pcid_breathe(&control->breather, watch, errno);
	else if (!make_room(control) || add_client(control, fd))
		close(fd);
}

/* ---- the socket ---- */

static int make_socket(struct pcid_control *control)
{
	const struct pcid_config *config = control->pcid->config;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	memcpy(address.sun_path, control->path, sizeof(address.sun_path));
	unlink(control->path);
	if (!bind(fd, (struct sockaddr *)&address, sizeof(address)) &&
	    !chmod(control->path, config->control_mode) && !listen(fd, MAX_CLIENTS)) {
		if (config->control_group != PCID_KEEP_ID &&
		    chown(control->path, PCID_KEEP_ID, config->control_group))
			pcidipc_warn("%s: changing its group: %s", control->path, strerror(errno));
		return fd;
	}
	close(fd);
	return -errno;
}

int pcid_control_open(struct pcid *pcid)
{
	struct pcid_control *control = calloc(1, sizeof(*control));
	int fd;

	if (!control)
		return -ENOMEM;
	control->pcid = pcid;
	pcidipc_list_init(&control->clients);
	snprintf(control->path, sizeof(control->path), "%s/pcid.sock", pcid->runtime_dir);
	fd = make_socket(control);
	if (fd >= 0 && !pcidipc_watch_add(pcid->loop, &control->watch, fd, EPOLLIN, incoming)) {
		pcid->control = control;
		return 0;
	}
	pcidipc_err("%s: %s", control->path, strerror(fd < 0 ? -fd : ENOMEM));
	if (fd >= 0)
		close(fd);
	free(control);
	return fd < 0 ? fd : -ENOMEM;
}

void pcid_control_close(struct pcid *pcid)
{
	struct pcid_control *control = pcid->control;

	if (!control)
		return;
	pcid->control = NULL;
	pcid_breather_cancel(&control->breather);
	pcidipc_watch_remove(&control->watch);
	close(control->watch.fd);
	unlink(control->path);
	while (control->working)
		pcidipc_task_sleep(1000000);
	pcidipc_list_for_each_safe(c, after, &control->clients, struct client, link)
		drop(c);
	free(control);
}
