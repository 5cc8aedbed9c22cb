// SPDX-License-Identifier: GPL-2.0-or-later
/* Finding the configuration files, and the life of what they say. */
#include <dirent.h>
#include <errno.h>
#include <pcidipc/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "config_file.h"

/* Without a configuration file NVMe and USB controllers and USB disks are driven, so that a fresh
 * installation works. */
static const char built_in[] = "driver \"nvmed\" {\n"
			       "	class = 0x01\n"
			       "	subclass = 0x08\n"
			       "	interface = 0x02\n"
			       "	command = \"nvmed\"\n"
			       "	service = \"nvme\"\n"
			       "}\n"
			       "driver \"xhcid\" {\n"
			       "	class = 0x0c\n"
			       "	subclass = 0x03\n"
			       "	interface = 0x30\n"
			       "	command = \"xhcid\"\n"
			       "	service = \"xhci\"\n"
			       "}\n"
			       "driver \"usbscsid\" {\n"
			       "	below = \"usb\"\n"
			       "	class = 0x08\n"
			       "	subclass = 0x06\n"
			       "	command = \"usbscsid\"\n"
			       "	service = \"usb\"\n"
			       "}\n";

const char *pcid_sandbox_name(enum pcid_sandbox sandbox)
{
	static const char *const names[] = {
		[PCID_SANDBOX_YES] = "yes",
		[PCID_SANDBOX_DEBUG] = "debug",
		[PCID_SANDBOX_NO] = "no",
	};

	return names[sandbox];
}

struct pcid_stanza *pcid_stanza_get(struct pcid_stanza *stanza)
{
	stanza->refs++;
	return stanza;
}

void pcid_strings_free(char **strings)
{
	for (char **s = strings; s && *s; s++)
		free(*s);
	free(strings);
}

void pcid_stanza_put(struct pcid_stanza *stanza)
{
	if (!stanza || --stanza->refs)
		return;
	free(stanza->name);
	free(stanza->command);
	pcid_strings_free(stanza->args);
	free(stanza->service);
	free(stanza->user);
	free(stanza);
}

void pcid_config_free(struct pcid_config *config)
{
	if (!config)
		return;
	while (config->stanzas) {
		struct pcid_stanza *s = config->stanzas;

		config->stanzas = s->next;
		s->next = NULL;
		pcid_stanza_put(s);
	}
	free(config->qemu_binary);
	pcid_strings_free(config->qemu_args);
	pcid_strings_free(config->vfio_take);
	free(config);
}

static struct pcid_config *new_config(void)
{
	struct pcid_config *config = calloc(1, sizeof(*config));

	if (!config)
		return NULL;
	config->user_dma_quota = pcid_default_dma_quota();
	config->first_driver_uid = PCID_FIRST_DRIVER_UID;
	config->driver_uids = PCID_DRIVER_UIDS;
	config->control_group = PCID_KEEP_ID;
	config->control_mode = 0660;
	return config;
}

static int read_file(struct pcid_config *config, const char *path)
{
	FILE *file = fopen(path, "re");
	struct stat st;
	int ret = 0;

	config->files++;
	if (!file || fstat(fileno(file), &st))
		ret = -errno;
	else if (!S_ISREG(st.st_mode))
		ret = -EINVAL;
	if (ret)
		pcidipc_err("%s: %s", path, ret == -EINVAL ? "not a regular file" : strerror(-ret));
	else
		ret = pcid_config_read(config, file, path);
	if (file)
		fclose(file);
	if (!ret)
		return 0;
	config->bad_files++;
	pcidipc_err("%s: skipped because of the error above", path);
	return ret == -ENOMEM ? ret : 0;
}

static int is_conf(const struct dirent *entry)
{
	size_t n = strlen(entry->d_name);

	return n > 5 && entry->d_name[0] != '.' && !strcmp(entry->d_name + n - 5, ".conf");
}

static int read_directory(struct pcid_config *config, const char *path)
{
	struct dirent **entries;
	int n = scandir(path, &entries, is_conf, alphasort);
	int ret = 0;

	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++) {
		char file[4096];

		if ((size_t)snprintf(file, sizeof(file), "%s/%s", path, entries[i]->d_name) >=
		    sizeof(file))
			pcidipc_err("%s/%s: the path is too long", path, entries[i]->d_name);
		else if (!ret)
			ret = read_file(config, file);
		free(entries[i]);
	}
	free(entries);
	return ret;
}

static int read_path(struct pcid_config *config, const char *path)
{
	struct stat st;

	if (stat(path ? path : PCID_CONFIG_DIR, &st)) {
		if (!path && errno == ENOENT)
			return 0;
		pcidipc_err("%s: %s", path ? path : PCID_CONFIG_DIR, strerror(errno));
		return -errno;
	}
	if (!path)
		path = PCID_CONFIG_DIR;
	return S_ISDIR(st.st_mode) ? read_directory(config, path) : read_file(config, path);
}

static int read_text(struct pcid_config *config, const char *text, const char *name)
{
	FILE *file = fmemopen((void *)text, strlen(text), "r");
	int ret;

	if (!file)
		return -errno;
	ret = pcid_config_read(config, file, name);
	fclose(file);
	return ret;
}

int pcid_config_load(const char *path, struct pcid_config **out)
{
	struct pcid_config *config = new_config();
	int ret = config ? read_path(config, path) : -ENOMEM;

	/* A file with an error was meant to say something else: then the built-in does not step in.
	 */
	if (!ret && !config->stanzas && !config->bad_files)
		ret = read_text(config, built_in, "built-in configuration");
	if (ret)
		pcid_config_free(config);
	else
		*out = config;
	return ret;
}

int pcid_config_parse(const char *text, struct pcid_config **out)
{
	struct pcid_config *config = new_config();
	int ret = config ? read_text(config, text, "text") : -ENOMEM;

	if (ret)
		pcid_config_free(config);
	else
		*out = config;
	return ret;
}

uint64_t pcid_default_dma_quota(void)
{
	uint64_t half = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) / 2;

	return half > 1ull << 30 ? half : 1ull << 30;
}
