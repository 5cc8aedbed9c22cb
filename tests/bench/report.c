// SPDX-License-Identifier: MIT
/* The table and the JSON file. */
#include "bench.h"

#include <json-c/json.h>
#include <string.h>

#define NUMBER_CHARS 32

/* Four significant digits, or more before the point; "-" for nothing. */
static const char *number(char text[NUMBER_CHARS], double value, const char *unit)
{
	int digits = fabs(value) >= 100 ? 0 : fabs(value) >= 10 ? 1 : fabs(value) >= 1 ? 2 : 3;

	if (isnan(value))
		strcpy(text, "-");
	else if (fabs(value) >= 1e6)
		snprintf(text, NUMBER_CHARS, "%.2fM%s", value / 1e6, unit);
	else
		snprintf(text, NUMBER_CHARS, "%.*f%s%s", digits, value, *unit == '/' ? "" : " ",
			 unit);
	return text;
}

static const char *verdict(const struct bench_line *line, double measured, char text[NUMBER_CHARS])
{
	bool met = line->goal == BENCH_AT_MOST ? measured <= line->limit : measured >= line->limit;

	if (line->goal == BENCH_NO_GOAL)
		return "";
	snprintf(text, NUMBER_CHARS, "%s %g%s",
		 line->goal == BENCH_AT_MOST ? "<=" : ">=", line->limit,
		 isnan(measured) ? ""
		 : met		 ? "  met"
				 : "  MISSED");
	return text;
}

static void print_line(const struct bench_line *line)
{
	const struct bench_series *ours = bench_find(line->ours);
	const struct bench_series *peer = line->peer ? bench_find(line->peer) : NULL;
	double ratio = peer ? bench_ratio(line->ours, line->peer) : NAN;
	char a[NUMBER_CHARS], b[NUMBER_CHARS], r[NUMBER_CHARS], v[NUMBER_CHARS];

	if (!ours || (line->peer && !peer))
		return;
	printf("  %-44s %14s  %-32s %14s %7s  %s\n", ours->value->title,
	       number(a, ours->median, ours->value->unit), peer ? peer->value->title : "",
	       peer ? number(b, peer->median, peer->value->unit) : "",
	       peer ? number(r, ratio, "x") : "", verdict(line, peer ? ratio : ours->median, v));
}

void bench_print(const struct bench_group *group)
{
	printf("%s\n", group->title);
	for (const struct bench_line *line = group->lines; line->ours; line++)
		print_line(line);
	fflush(stdout);
}

static void add(struct json_object *o, const char *name, double value)
{
	char text[64];

	if (isnan(value)) {
		json_object_object_add(o, name, NULL);
		return;
	}
	snprintf(text, sizeof(text), "%.6g", value);
	json_object_object_add(o, name, json_object_new_double_s(value, text));
}

int bench_write_json(const char *path)
{
	struct json_object *o = json_object_new_object();
	int ret;

	for (unsigned i = 0; bench_groups[i]; i++) {
		const struct bench_group *group = bench_groups[i];

		for (unsigned k = 0; group->measurements[k]; k++)
			for (const struct bench_value *v = group->measurements[k]->values; v->name;
			     v++)
				add(o, v->name,
				    bench_find(v->name) ? bench_find(v->name)->median : NAN);
		for (const struct bench_line *line = group->lines; line->ours; line++)
			if (line->ratio)
				add(o, line->ratio, bench_ratio(line->ours, line->peer));
	}
	ret = json_object_to_file_ext(path, o, JSON_C_TO_STRING_PRETTY);
	json_object_put(o);
	if (ret)
		fprintf(stderr, "bench: %s: %s\n", path, json_util_get_last_err());
	return ret ? -EIO : 0;
}
