// SPDX-License-Identifier: GPL-2.0-or-later
/* pcid's configuration files, and what is done with one that was accepted. */
#include <stdlib.h>
#include <string.h>

#include "../../pcid/config.h"
#include "fuzz.h"

static void match_some(const struct pcid_config *config)
{
	struct pcid_identity id = {.class_code = 1, .subclass = 8, .interface = 2};

	for (unsigned below = 0; below < 2; below++) {
		struct pcid_stanza *stanza;

		id.below = (enum pcid_below)below;
		stanza = pcid_match(config, &id);
		if (stanza)
			fuzz_expect(pcid_match_score(stanza, &id) >= 0 && stanza->command &&
					    stanza->args && stanza->args[0],
				    "a stanza that matches fits and has a command");
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct pcid_config *config;

	fuzz_begin();
	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = 0;
	if (!pcid_config_parse(text, &config)) {
		match_some(config);
		pcid_config_free(config);
	}
	free(text);
	fuzz_end();
	return 0;
}
