// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One configuration file, by libconfuse. Values are checked as they are read, so that messages name
 * the line; the whole file is taken or none of it.
 */
#include "config_file.h"

#include <confuse.h>
#include <errno.h>
#include <grp.h>
#include <pcidipc/log.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_QUOTA_MIB (16 << 20)
#define MAX_STEM 15
#define MAX_FILE_BYTES (1u << 20)
#define STEM_LETTERS "abcdefghijklmnopqrstuvwxyz"

/*
 * libconfuse takes a file that ends within a section for a good one, so a file cut short would lose
 * a "mode" unnoticed. Behind each file an assignment is put which is good at the top only.
 */
#define END "end_of_this_file"
#define MISSING_BRACE "the file ends within a section: a } is missing"

static cfg_opt_t driver_options[] = {
	CFG_STR("below", "pci", CFGF_NONE),
	CFG_INT("vendor", -1, CFGF_NONE),
	CFG_INT("device", -1, CFGF_NONE),
	CFG_INT("class", -1, CFGF_NONE),
	CFG_INT("subclass", -1, CFGF_NONE),
	CFG_INT("interface", -1, CFGF_NONE),
	CFG_STR("command", NULL, CFGF_NODEFAULT),
	CFG_STR_LIST("args", NULL, CFGF_NONE),
	CFG_STR("service", NULL, CFGF_NODEFAULT),
	CFG_STR("user", NULL, CFGF_NODEFAULT),
	CFG_STR("owner", NULL, CFGF_NODEFAULT),
	CFG_STR("group", NULL, CFGF_NODEFAULT),
	CFG_STR("mode", "0660", CFGF_NONE),
	CFG_STR("admin_mode", "0600", CFGF_NONE),
	CFG_INT("restart_limit", 5, CFGF_NONE),
	CFG_INT("dma_quota_mib", 0, CFGF_NONE),
	CFG_INT("max_children", 64, CFGF_NONE),
	CFG_STR("sandbox", "yes", CFGF_NONE),
	CFG_END(),
};

static cfg_opt_t qemu_options[] = {
	CFG_STR("binary", NULL, CFGF_NODEFAULT),
	CFG_STR_LIST("args", NULL, CFGF_NONE),
	CFG_INT("ram_mib", 0, CFGF_NONE),
	CFG_END(),
};

static cfg_opt_t vfio_options[] = {
	CFG_STR_LIST("take", NULL, CFGF_NONE),
	CFG_BOOL("shared_groups", cfg_false, CFGF_NONE),
	CFG_END(),
};

static cfg_opt_t file_options[] = {
	CFG_SEC("driver", driver_options, CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES),
	CFG_SEC("qemu", qemu_options, CFGF_NODEFAULT),
	CFG_SEC("vfio", vfio_options, CFGF_NODEFAULT),
	CFG_INT("user_dma_quota_mib", 0, CFGF_NONE),
	CFG_INT("first_driver_uid", 0, CFGF_NONE),
	CFG_INT("driver_uids", -1, CFGF_NONE),
	CFG_STR("control_group", NULL, CFGF_NODEFAULT),
	CFG_STR("control_mode", NULL, CFGF_NODEFAULT),
	CFG_INT(END, 0, CFGF_NONE),
	CFG_END(),
};

static void report(cfg_t *cfg, const char *format, va_list args)
{
	char text[512];

	vsnprintf(text, sizeof(text), format, args);
	pcidipc_err("%s:%d: %s", cfg->filename ? cfg->filename : "?", cfg->line,
		    strstr(text, END) ? MISSING_BRACE : text);
}

/* ---- checks of single values, called right after the value was read ---- */

static int check_range(cfg_t *cfg, cfg_opt_t *opt, long least, long most)
{
	long value = cfg_opt_getnint(opt, cfg_opt_size(opt) - 1);

	if (value >= least && value <= most)
		return 0;
	cfg_error(cfg, "%s = %ld: it must be %ld to %ld", cfg_opt_name(opt), value, least, most);
	return -1;
}

static int check_byte(cfg_t *cfg, cfg_opt_t *opt)
{
	return check_range(cfg, opt, -1, 0xff);
}

static int check_word(cfg_t *cfg, cfg_opt_t *opt)
{
	return check_range(cfg, opt, -1, 0xffff);
}

static int check_restarts(cfg_t *cfg, cfg_opt_t *opt)
{
	return check_range(cfg, opt, -1, 1000000);
}

static int check_quota(cfg_t *cfg, cfg_opt_t *opt)
{
	return check_range(cfg, opt, 1, MAX_QUOTA_MIB);
}

/* As many as there may be fit behind it. */
static int check_first_uid(cfg_t *cfg, cfg_opt_t *opt)
{
	return check_range(cfg, opt, 1, 0xfffe0000);
}

static int check_uids(cfg_t *cfg, cfg_opt_t *opt)
{
	return check_range(cfg, opt, 0, 65536);
}

static int check_ram(cfg_t *cfg, cfg_opt_t *opt)
{
	return check_range(cfg, opt, 16, 2048);
}

static int check_children(cfg_t *cfg, cfg_opt_t *opt)
{
	return check_range(cfg, opt, 0, 256);
}

static int parse_mode(const char *text, mode_t *mode)
{
	char *end;
	unsigned long value = strtoul(text, &end, 8);

	if (end == text || *end || value > 0777)
		return -EINVAL;
	*mode = (mode_t)value;
	return 0;
}

static int check_mode(cfg_t *cfg, cfg_opt_t *opt)
{
	const char *text = cfg_opt_getnstr(opt, 0);
	mode_t mode;

	if (text && !parse_mode(text, &mode))
		return 0;
	cfg_error(cfg, "%s = \"%s\": it must be an octal mode like \"0660\"", cfg_opt_name(opt),
		  text);
	return -1;
}

static int check_below(cfg_t *cfg, cfg_opt_t *opt)
{
	const char *text = cfg_opt_getnstr(opt, 0);

	if (text && (!strcmp(text, "pci") || !strcmp(text, "usb")))
		return 0;
	cfg_error(cfg, "below = \"%s\": it must be \"pci\" or \"usb\"", text);
	return -1;
}

static int parse_sandbox(const char *text, enum pcid_sandbox *sandbox)
{
	for (unsigned i = PCID_SANDBOX_YES; i <= PCID_SANDBOX_NO; i++)
		if (!strcmp(text, pcid_sandbox_name(i))) {
			*sandbox = i;
			return 0;
		}
	return -EINVAL;
}

static int check_sandbox(cfg_t *cfg, cfg_opt_t *opt)
{
	const char *text = cfg_opt_getnstr(opt, 0);
	enum pcid_sandbox sandbox;

	if (text && !parse_sandbox(text, &sandbox))
		return 0;
	cfg_error(cfg, "sandbox = \"%s\": it must be \"yes\", \"no\" or \"debug\"", text);
	return -1;
}

static int check_service(cfg_t *cfg, cfg_opt_t *opt)
{
	const char *text = cfg_opt_getnstr(opt, 0);
	size_t n = text ? strspn(text, STEM_LETTERS) : 0;

	if (n && n <= MAX_STEM && !text[n])
		return 0;
	cfg_error(cfg, "service = \"%s\": it must be 1 to %d letters a to z", text, MAX_STEM);
	return -1;
}

static int check_args(cfg_t *cfg, cfg_opt_t *opt)
{
	if (cfg_opt_size(opt) < PCID_MAX_ARGS)
		return 0;
	cfg_error(cfg, "args: %u of them; the limit is %d", cfg_opt_size(opt), PCID_MAX_ARGS - 1);
	return -1;
}

/* 0, or -ENOENT. Numbers are taken as they are. */
static int find_user(const char *name, uid_t *uid, gid_t *gid)
{
	struct passwd *pw = getpwnam(name);
	char *end;
	unsigned long number = strtoul(name, &end, 10);

	if (pw) {
		*uid = pw->pw_uid;
		*gid = pw->pw_gid;
		return 0;
	}
	if (!*name || *end || number >= PCID_OWN_ID)
		return -ENOENT;
	*uid = (uid_t)number;
	*gid = (gid_t)number;
	return 0;
}

static int find_group(const char *name, gid_t *gid)
{
	struct group *gr = getgrnam(name);
	char *end;
	unsigned long number = strtoul(name, &end, 10);

	if (gr)
		*gid = gr->gr_gid;
	else if (!*name || *end || number >= UINT32_MAX)
		return -ENOENT;
	else
		*gid = (gid_t)number;
	return 0;
}

static int check_user(cfg_t *cfg, cfg_opt_t *opt)
{
	const char *text = cfg_opt_getnstr(opt, 0);
	uid_t uid;
	gid_t gid;

	if (text && !find_user(text, &uid, &gid))
		return 0;
	cfg_error(cfg, "%s = \"%s\": there is no such user", cfg_opt_name(opt), text);
	return -1;
}

static int check_group(cfg_t *cfg, cfg_opt_t *opt)
{
	const char *text = cfg_opt_getnstr(opt, 0);
	gid_t gid;

	if (text && !find_group(text, &gid))
		return 0;
	cfg_error(cfg, "%s = \"%s\": there is no such group", cfg_opt_name(opt), text);
	return -1;
}

/* ---- checks of a whole section ---- */

static int check_driver(cfg_t *cfg, cfg_opt_t *opt)
{
	cfg_t *sec = cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1);
	const char *missing = NULL;
	const char *command = cfg_getstr(sec, "command");

	if (!command || !*command)
		missing = "command";
	else if (cfg_getint(sec, "vendor") < 0 && cfg_getint(sec, "class") < 0)
		missing = "class or vendor: it would fit every function, so one of them";
	else if (cfg_getint(sec, "device") >= 0 && cfg_getint(sec, "vendor") < 0)
		missing = "vendor, which device belongs to,";
	else if (cfg_getint(sec, "subclass") >= 0 && cfg_getint(sec, "class") < 0)
		missing = "class, which subclass belongs to,";
	else if (cfg_getint(sec, "interface") >= 0 && cfg_getint(sec, "subclass") < 0)
		missing = "subclass, which interface belongs to,";
	if (!missing)
		return 0;
	cfg_error(cfg, "driver \"%s\": %s must be given", cfg_title(sec), missing);
	return -1;
}

/* "0000:00:02.0" or "8086:0a54" */
static int check_take(cfg_t *cfg, cfg_opt_t *opt)
{
	const char *text = cfg_opt_getnstr(opt, cfg_opt_size(opt) - 1);
	size_t n = strlen(text);
	unsigned a, b, c, d;
	int end = 0;

	if (strspn(text, "0123456789abcdefABCDEF:.") == n &&
	    ((n == 12 && sscanf(text, "%4x:%2x:%2x.%1x%n", &a, &b, &c, &d, &end) == 4 &&
	      end == 12) ||
	     (n == 9 && sscanf(text, "%4x:%4x%n", &a, &b, &end) == 2 && end == 9)))
		return 0;
	cfg_error(cfg,
		  "take: \"%s\" is neither an address like 0000:00:02.0 nor vendor and device like "
		  "8086:0a54",
		  text);
	return -1;
}

static void set_checks(cfg_t *cfg)
{
	static const struct {
		const char *option;
		cfg_validate_callback_t check;
	} checks[] = {
		{"driver", check_driver},
		{"driver|below", check_below},
		{"driver|vendor", check_word},
		{"driver|device", check_word},
		{"driver|class", check_byte},
		{"driver|subclass", check_byte},
		{"driver|interface", check_byte},
		{"driver|args", check_args},
		{"driver|service", check_service},
		{"driver|user", check_user},
		{"driver|owner", check_user},
		{"driver|group", check_group},
		{"driver|mode", check_mode},
		{"driver|admin_mode", check_mode},
		{"driver|restart_limit", check_restarts},
		{"driver|dma_quota_mib", check_quota},
		{"driver|max_children", check_children},
		{"driver|sandbox", check_sandbox},
		{"qemu|ram_mib", check_ram},
		{"vfio|take", check_take},
		{"user_dma_quota_mib", check_quota},
		{"first_driver_uid", check_first_uid},
		{"driver_uids", check_uids},
		{"control_group", check_group},
		{"control_mode", check_mode},
	};

	for (size_t i = 0; i < sizeof(checks) / sizeof(*checks); i++)
		cfg_set_validate_func(cfg, checks[i].option, checks[i].check);
}

/* ---- taking over what was read ---- */

static char *copy(const char *text)
{
	return text ? strdup(text) : NULL;
}

/* A list option as a NULL-terminated array, with `first` in front of it unless that is NULL. */
static char **strings(cfg_t *cfg, const char *option, const char *first)
{
	unsigned n = cfg_size(cfg, option), at = 0;
	char **array = calloc(n + 2, sizeof(*array));

	if (!array)
		return NULL;
	if (first)
		array[at++] = strdup(first);
	for (unsigned i = 0; i < n; i++)
		array[at++] = strdup(cfg_getnstr(cfg, option, i));
	for (unsigned i = 0; i < at; i++)
		if (!array[i]) {
			pcid_strings_free(array);
			return NULL;
		}
	return array;
}

static void take_user(struct pcid_stanza *s, cfg_t *sec)
{
	const char *name = cfg_getstr(sec, "user");

	s->user = strdup(name ? name : "of its own");
	s->uid = s->gid = PCID_OWN_ID;
	if (name)
		find_user(name, &s->uid, &s->gid);
	if (geteuid())
		s->uid = s->gid = PCID_KEEP_ID;
}

static void take_sockets(struct pcid_stanza *s, cfg_t *sec)
{
	const char *owner = cfg_getstr(sec, "owner"), *group = cfg_getstr(sec, "group");
	gid_t ignored;

	s->owner = s->group = PCID_KEEP_ID;
	if (owner)
		find_user(owner, &s->owner, &ignored);
	if (group)
		find_group(group, &s->group);
	parse_mode(cfg_getstr(sec, "mode"), &s->mode);
	parse_mode(cfg_getstr(sec, "admin_mode"), &s->admin_mode);
}

/* Without a service name the driver's own, if it can be part of one. */
static char *stem_of(cfg_t *sec)
{
	const char *stem = cfg_getstr(sec, "service");
	size_t n;

	if (!stem)
		stem = cfg_title(sec);
	n = strspn(stem, STEM_LETTERS);
	return strdup(n && n <= MAX_STEM && !stem[n] ? stem : "dev");
}

static struct pcid_stanza *take_stanza(cfg_t *sec)
{
	struct pcid_stanza *s = calloc(1, sizeof(*s));
	long quota = cfg_getint(sec, "dma_quota_mib");

	if (!s)
		return NULL;
	s->refs = 1;
	s->name = copy(cfg_title(sec));
	s->below = strcmp(cfg_getstr(sec, "below"), "usb") ? PCID_BELOW_PCI : PCID_BELOW_USB;
	s->vendor = (int)cfg_getint(sec, "vendor");
	s->device = (int)cfg_getint(sec, "device");
	s->class_code = (int)cfg_getint(sec, "class");
	s->subclass = (int)cfg_getint(sec, "subclass");
	s->interface = (int)cfg_getint(sec, "interface");
	s->command = copy(cfg_getstr(sec, "command"));
	s->args = strings(sec, "args", s->command);
	s->service = stem_of(sec);
	s->restart_limit = (int)cfg_getint(sec, "restart_limit");
	s->dma_quota = quota ? (uint64_t)quota << 20 : pcid_default_dma_quota();
	s->max_children = (unsigned)cfg_getint(sec, "max_children");
	parse_sandbox(cfg_getstr(sec, "sandbox"), &s->sandbox);
	take_user(s, sec);
	take_sockets(s, sec);
	if (s->name && s->command && s->args && s->service && s->user)
		return s;
	pcid_stanza_put(s);
	return NULL;
}

static int take_qemu(struct pcid_config *config, cfg_t *sec)
{
	const char *binary = cfg_getstr(sec, "binary");

	if (binary) {
		free(config->qemu_binary);
		config->qemu_binary = strdup(binary);
	}
	if (cfg_size(sec, "args")) {
		pcid_strings_free(config->qemu_args);
		config->qemu_args = strings(sec, "args", NULL);
	}
	if (cfg_getint(sec, "ram_mib"))
		config->qemu_ram_mib = (unsigned)cfg_getint(sec, "ram_mib");
	return (binary && !config->qemu_binary) || (cfg_size(sec, "args") && !config->qemu_args)
		       ? -ENOMEM
		       : 0;
}

/* Of several files each names functions of its own. */
static int take_vfio(struct pcid_config *config, cfg_t *sec)
{
	unsigned n = 0, more = cfg_size(sec, "take");
	char **list;

	config->vfio_shared_groups |= cfg_getbool(sec, "shared_groups");
	while (config->vfio_take && config->vfio_take[n])
		n++;
	list = realloc(config->vfio_take, (n + more + 1) * sizeof(*list));
	if (!list)
		return -ENOMEM;
	config->vfio_take = list;
	for (unsigned i = 0; i < more; i++) {
		list[n + i] = strdup(cfg_getnstr(sec, "take", i));
		list[n + i + 1] = NULL;
		if (!list[n + i])
			return -ENOMEM;
	}
	list[n + more] = NULL;
	return 0;
}

static int take_all(struct pcid_config *config, cfg_t *cfg)
{
	struct pcid_stanza **tail = &config->stanzas;
	int ret = 0;

	while (*tail)
		tail = &(*tail)->next;
	for (unsigned i = 0; i < cfg_size(cfg, "driver"); i++) {
		*tail = take_stanza(cfg_getnsec(cfg, "driver", i));
		if (!*tail)
			return -ENOMEM;
		tail = &(*tail)->next;
	}
	if (cfg_size(cfg, "qemu"))
		ret = take_qemu(config, cfg_getsec(cfg, "qemu"));
	if (!ret && cfg_size(cfg, "vfio"))
		ret = take_vfio(config, cfg_getsec(cfg, "vfio"));
	if (cfg_getint(cfg, "user_dma_quota_mib"))
		config->user_dma_quota = (uint64_t)cfg_getint(cfg, "user_dma_quota_mib") << 20;
	if (cfg_getint(cfg, "first_driver_uid"))
		config->first_driver_uid = (uid_t)cfg_getint(cfg, "first_driver_uid");
	if (cfg_getint(cfg, "driver_uids") >= 0)
		config->driver_uids = (unsigned)cfg_getint(cfg, "driver_uids");
	if (cfg_getstr(cfg, "control_group"))
		find_group(cfg_getstr(cfg, "control_group"), &config->control_group);
	if (cfg_getstr(cfg, "control_mode"))
		parse_mode(cfg_getstr(cfg, "control_mode"), &config->control_mode);
	return ret;
}

/* The file's text with END behind it. The caller frees *text. */
static int read_whole(FILE *file, const char *name, char **text)
{
	static const char end[] = "\n" END " = 1\n";
	char *whole = malloc(MAX_FILE_BYTES + sizeof(end));
	size_t n;

	if (!whole)
		return -ENOMEM;
	n = fread(whole, 1, MAX_FILE_BYTES, file);
	if (!ferror(file) && feof(file) && !memchr(whole, '\0', n)) {
		memcpy(whole + n, end, sizeof(end));
		*text = whole;
		return 0;
	}
	pcidipc_err("%s: %s", name,
		    ferror(file) ? "it cannot be read"
		    : feof(file) ? "it has a 0 byte: it is no text"
				 : "it is too large: the limit is 1 MiB");
	free(whole);
	return -EINVAL;
}

static int parse(struct pcid_config *config, cfg_t *cfg, const char *text)
{
	FILE *file = fmemopen((void *)text, strlen(text), "r");
	int ret;

	if (!file)
		return -errno;
	ret = cfg_parse_fp(cfg, file) == CFG_SUCCESS ? 0 : -EINVAL;
	fclose(file);
	if (!ret && !cfg_getint(cfg, END)) {
		pcidipc_err("%s: the file ends within a comment or a string", cfg->filename);
		ret = -EINVAL;
	}
	return ret ? ret : take_all(config, cfg);
}

int pcid_config_read(struct pcid_config *config, FILE *file, const char *name)
{
	cfg_t *cfg = cfg_init(file_options, CFGF_NONE);
	char *text = NULL;
	int ret = -ENOMEM;

	if (!cfg)
		return ret;
	cfg_set_error_function(cfg, report);
	set_checks(cfg);
	cfg->filename = strdup(name);
	if (cfg->filename)
		ret = read_whole(file, name, &text);
	if (!ret)
		ret = parse(config, cfg, text);
	free(text);
	cfg_free(cfg);
	return ret;
}
