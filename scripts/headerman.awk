# SPDX-License-Identifier: MIT
# A manual page from a public header: its comments are the only source. docs/testing.md, "Manual pages", has the rules.
# usage: awk -f headerman.awk -v page=NAME -v section=N -v include=DIR/FILE.h -v date=... -v version=... FILE.h
#   environment: SYNOPSIS, SEE_ALSO, as they are to stand in the page
#   names=1: print the functions and macros it documents instead, one a line
# What it knows of C is how clang-format writes a header of this project: comments, #defines, structs, enums, prototypes,
# static inline functions. What it does not understand it refuses.

# ---- text: comments to roff ----

function hyphens(s,    out, i, c, before, after)
{
	for (i = 1; i <= length(s); i++) {
		c = substr(s, i, 1)
		before = substr(s, i - 1, i > 1)
		after = substr(s, i + 1, 1)
		out = out (c == "-" && !(before ~ /[A-Za-z]/ && after ~ /[a-z]/) ? "\\-" : c)
	}
	return out
}

function special(s)
{
	gsub(/\\/, "\\e", s)
	gsub(/\^/, "\\(ha", s)
	gsub(/~/, "\\(ti", s)
	return s
}

function escape(s)
{
	s = hyphens(special(s))
	gsub(/`/, "\\(ga", s)
	gsub(/'/, "\\(cq", s)
	return s
}

# Names of ours in bold, what stands in backquotes in italics.
function line_of_text(s,    out, word)
{
	out = ""
	while (match(s, /`[^`]+`|(pcidipc|PCIDIPC|ringabi|RINGABI|IORING|IOSQE)_[A-Za-z0-9_]*[A-Za-z0-9]/)) {
		word = substr(s, RSTART, RLENGTH)
		out = out escape(substr(s, 1, RSTART - 1))
		if (word ~ /^`/)
			out = out "\\fI" escape(substr(word, 2, length(word) - 2)) "\\fP"
		else
			out = out "\\fB" escape(word) "\\fP"
		s = substr(s, RSTART + RLENGTH)
	}
	out = out escape(s)
	return out ~ /^[.'\\]/ ? "\\&" out : out
}

# Lines as they stand, without the first one's indentation.
function table_line(s, indent)
{
	return line_of_text(match(s, /^ */) && RLENGTH < indent ? substr(s, RLENGTH + 1) : substr(s, indent + 1)) "\n"
}

# A comment's lines, without its marks, "\n" between them: paragraphs, lists of what begins with "- ", and what is indented
# after an empty line, a table: it stays as it is.
function paragraphs(text,    n, lines, i, out, list, gap, table)
{
	n = split(text, lines, "\n")
	for (i = 1; i <= n; i++) {
		if (table && lines[i] !~ /^  /) {
			out = out ".EE\n.in\n"
			table = 0
		}
		if (!table && gap && lines[i] ~ /^  / && lines[i] !~ /^ *- /) {
			match(lines[i], /^ */)
			table = RLENGTH
			out = out ".PP\n.in +2n\n.EX\n"
			list = gap = 0
		}
		if (table) {
			out = out table_line(lines[i], table)
			continue
		}
		if (lines[i] == "") {
			gap = 1
			continue
		}
		if (lines[i] ~ /^ *- /) {
			sub(/^ *- /, "", lines[i])
			out = out ".IP \\(bu 2\n"
			list = 1
		} else if (gap) {
			out = out ".PP\n"
			list = 0
		}
		gap = 0
		sub(/^ */, "", lines[i])
		out = out line_of_text(lines[i]) "\n"
	}
	return out (table ? ".EE\n.in\n" : "")
}

function plain_comment(s)
{
	sub(/^[ \t]*\/\*+[ \t]*/, "", s)
	sub(/[ \t]*\*\/[ \t]*$/, "", s)
	gsub(/\n[ \t]*\*[ \t]*\n/, "\n\n", s)
	gsub(/\n[ \t]*\* ?/, "\n", s)
	gsub(/\n[ \t]+\n/, "\n\n", s)
	sub(/^\n+/, "", s)
	sub(/\n+$/, "", s)
	return s
}

# ---- code ----

function code(s)
{
	gsub(/\t/, "    ", s)
	s = special(s)
	gsub(/-/, "\\-", s)
	gsub(/'/, "\\(aq", s)
	gsub(/`/, "\\(ga", s)
	gsub(/\n\./, "\n\\\\\\&.", s)
	return s
}

function squeeze(s)
{
	gsub(/[ \t\n]+/, " ", s)
	sub(/^ /, "", s)
	sub(/ $/, "", s)
	gsub(/\( /, "(", s)
	return s
}

# A prototype, in lines that fit.
function prototype(s,    n, part, i, line, out)
{
	s = squeeze(s)
	sub(/ ?__attribute__ ?\(\(.*\)\)/, "", s)
	n = split(s, part, ", ")
	line = part[1]
	for (i = 2; i <= n; i++) {
		if (length(line) + length(part[i]) > 68) {
			out = out code(line) ",\n"
			line = "        " part[i]
		} else {
			line = line ", " part[i]
		}
	}
	return "\\fB" out code(line) "\\fP\n"
}

function name_in(s,    before)
{
	if (!match(s, /[A-Za-z_0-9]+\(/))
		return ""
	return substr(s, RSTART, RLENGTH - 1)
}

# ---- a page's entries: declarations, and the comment before them ----

function put(s)
{
	body = body s
}

function flush(    text)
{
	text = paragraphs(comment)
	if (protos != "") {
		put(".PP\n.nf\n" protos ".fi\n")
		if (text != "")
			put(".RS 4\n" text ".RE\n")
	} else if (text != "") {
		put(".PP\n" text)
	}
	if (block != "")
		put(".PP\n.in +4n\n.EX\n" block ".EE\n.in\n")
	protos = block = comment = ""
	nprotos = 0
}

function refuse(what)
{
	printf "%s:%d: headerman.awk does not understand: %s\n", FILENAME, FNR, what >"/dev/stderr"
	failed = 1
	exit 1
}

function heading(s,    rest)
{
	flush()
	gsub(/^-+ *| *-+$/, "", s)
	s = squeeze(s)
	rest = ""
	if (match(s, /[:;] /)) {
		rest = substr(s, RSTART + 2)
		s = substr(s, 1, RSTART - 1)
	}
	put(".SS " toupper(substr(s, 1, 1)) code(substr(s, 2)) "\n")
	if (rest != "")
		put(paragraphs(toupper(substr(rest, 1, 1)) substr(rest, 2) "."))
}

function add_comment(s)
{
	s = plain_comment(s)
	if (s ~ /^----/) {
		heading(s)
		return
	}
	flush()
	if (!described) {
		described = 1
		head = s
		return
	}
	comment = s
}

function add_prototype(s, note)
{
	if (block != "")
		flush()
	if (name_in(s) == "")
		refuse(s)
	names_seen = names_seen name_in(s) "\n"
	protos = protos prototype(s)
	nprotos++
	if (note == "")
		return
	note = plain_comment(note)
	if (nprotos > 1)
		note = name_in(s) ": " note
	comment = comment (comment == "" ? "" : "\n\n") note
	flush()
}

function add_block(s)
{
	if (protos != "")
		flush()
	block = block code(s) "\n"
}

function add_define(s,    head_of, args)
{
	if (s ~ /^#define RINGABI_(SIZE|AT|ASSERT)\(/) {
		comment = "" # what freezes the ABI is no part of it
	} else if (s ~ /DTRACE_PROBE/) {
		match(s, /DTRACE_PROBE[0-9]+\(pcidipc, [a-z_]+/)
		args = substr(s, RSTART + RLENGTH)
		s = substr(s, RSTART, RLENGTH)
		sub(/.* /, "", s)
		sub(/^,? ?/, "(", args)
		add_prototype(s args, "")
	} else if (s ~ /^#define [A-Za-z_0-9]+\(/) {
		head_of = s
		sub(/^#define /, "", head_of)
		if (head_of ~ /\\\n/) {
			match(head_of, /^[^)]*\)/)
			head_of = substr(head_of, 1, RLENGTH)
			add_prototype(head_of, "")
		} else {
			match(head_of, /^[^)]*\)/)
			add_prototype(substr(head_of, 1, RLENGTH) " = " substr(head_of, RLENGTH + 2), "")
		}
	} else if (s !~ /_H$/) {
		gsub(/ *\\\n[ \t]*/, " ", s)
		add_block(s)
	}
}

# ---- reading ----

function gather(until)
{
	while (text !~ until) {
		if ((getline line) <= 0)
			refuse("the end of the file in " text)
		text = text "\n" line
	}
}

/^#if/ && !/_H$/ { # for C++
	text = $0
	gather("\n#endif")
	next
}
/^#ifndef .*_H$|^#endif|^#include|^RINGABI_(SIZE|AT)\(/ { next }
/^$/ {
	if (protos != "" || block != "" || !described)
		flush()
	next
}
/^\/\*.*SPDX/ { next }
/^[ \t]*\/\*/ {
	text = $0
	gather("\\*/[ \t]*$")
	add_comment(text)
	next
}
/^#define/ {
	text = $0
	while (text ~ /\\$/ || text ~ /\/\*/ && text !~ /\*\/$/) {
		if ((getline line) <= 0)
			refuse(text)
		text = text "\n" line
	}
	add_define(text)
	next
}
/^struct [a-z_0-9]+;$/ { next }
/^(struct|enum|union) [a-z_0-9]+ \{/ {
	text = $0
	gather("(^|\n)}[^\n]*;[^\n]*$")
	add_block(text)
	next
}
/^_Static_assert|^static_assert/ {
	text = $0
	gather(";[ \t]*$")
	next
}
/^static inline/ {
	text = $0
	gather("(^|\n)}[ \t]*$")
	sub(/\n\{.*/, "", text)
	sub(/^static inline /, "", text)
	add_prototype(text ";", "")
	next
}
/^[a-z]/ {
	text = $0
	gather(";")
	note = ""
	if (match(text, /;[ \t]*\/\*/)) {
		gather("\\*/[ \t]*$")
		match(text, /;[ \t]*\/\*/)
		note = substr(text, RSTART + 1)
		text = substr(text, 1, RSTART)
	}
	add_prototype(text, note)
	next
}
{ refuse($0) }

# ---- the page ----

# The first sentence of the header, or as much of it as makes sense in a line.
function summary(s)
{
	s = squeeze(s)
	if (match(s, /\. |\.$/))
		s = substr(s, 1, RSTART - 1)
	if (length(s) > 78 && match(substr(s, 1, 78), /.*[,:;] /) && RLENGTH > 20)
		s = substr(s, 1, RLENGTH - 2)
	return substr(s, 2, 1) ~ /[A-Z]/ ? s : tolower(substr(s, 1, 1)) substr(s, 2)
}

END {
	if (failed)
		exit 1
	flush()
	if (names) {
		printf "%s", names_seen
		exit
	}
	print ".\\\" SPDX-License-Identifier: MIT"
	print ".\\\" Made by scripts/headerman.awk from " include "."
	print ".TH " toupper(page) " " section " " date " \"pcid " version "\" \"libpcidipc\""
	print ".ad l\n.SH NAME"
	print page " \\- " code(summary(head))
	print ".SH SYNOPSIS"
	if (section == 3) {
		print ".nf\n.B #include <" include ">"
		print ".PP\n.B cc \\fIfile\\fP.c $(pkg\\-config \\-\\-cflags \\-\\-libs libpcidipc)\n.fi"
	} else {
		print ENVIRON["SYNOPSIS"]
	}
	printf ".SH DESCRIPTION\n%s", paragraphs(head)
	printf ".SH %s\n%s", section == 3 ? "INTERFACE" : "DETAILS", body
	print ".SH SEE ALSO"
	print ENVIRON["SEE_ALSO"]
}
