#!/bin/sh
# SPDX-License-Identifier: MIT
# The manual pages: man has no complaint; every function of the library, every option of a program and every word of the
# configuration has its place; what pages refer to is there. The last line is "man: N passed, N failed". Environment: B.
set -u

cd "$(dirname "$0")/../.." || exit 1
B=$(realpath "${B:-build}") || exit 1
dir=$(mktemp -d "${TMPDIR:-/tmp}/pcid-man.XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT
trap 'exit 143' INT TERM HUP
export LC_ALL=C.UTF-8 MANWIDTH=100
man=$dir/man
. tests/count.sh

if ! scripts/manpages.sh "$man" 1.2.3; then
	echo "FAILED: scripts/manpages.sh"
	echo "man: 0 passed, 1 failed"
	exit 1
fi
scripts/manpages.sh "$dir/again" 1.2.3 && diff -r "$man" "$dir/again" >/dev/null
count $? "the pages are the same when they are made again"

# ---- what man says ----

real_pages=$(find "$man" -type f -size +100c | sort)
for page in $real_pages; do
	said=$(man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)
	none "man about $page" "$said"
done
none "pages with control characters" "$(grep -lP '[\x00-\x08\x0b-\x1f\x7f]' $real_pages)"
man -l "$man/man7/ringabi_block.7" | grep -q '^ *IORING_OP_NOP   *res: 0$'
count $? "a table in a header's comment stays one"
# lexgrog is what apropos goes by
none "pages without a NAME that apropos understands" \
	"$(for page in $real_pages; do lexgrog "$page" >/dev/null 2>&1 || echo "$page"; done)"
none "pages that lead nowhere" \
	"$(for page in "$man"/man3/*; do
		to=$(sed -n 's/^\.so //p' "$page")
		[ -z "$to" ] || [ -s "$man/$to" ] || echo "$page"
	done)"
none "pages that refer to one that is not there" \
	"$(sed -n 's/^\.BR \(pcid[a-z._]*\|nvmed\|xhcid\|usbscsid\|ringabi_[a-z]*\) (\([1-8]\)).*/\2 \1/p' $real_pages | sort -u |
		while read -r section name; do
			[ -e "$man/man$section/$name.$section" ] || echo "$name($section)"
		done)"

# ---- what must have a page ----

symbols=$(nm -D --defined-only "$B/lib/libpcidipc.so" | sed -n 's/.* [TBDR] \(pcidipc_[a-z0-9_]*\).*/\1/p')
[ "$(echo "$symbols" | wc -l)" -ge 100 ]
count $? "the library has $(echo "$symbols" | wc -l) symbols, at least 100 expected"
none "functions of the library without a page" \
	"$(for symbol in $symbols; do [ -e "$man/man3/$symbol.3" ] || echo "$symbol"; done)"
none "functions that the page they lead to does not have" \
	"$(for symbol in $symbols; do
		page=$(sed -n 's/^\.so //p' "$man/man3/$symbol.3")
		grep -q "^[^ ].*\b$symbol(" "$man/${page:-man3/$symbol.3}" || echo "$symbol"
	done)"
none "functions and macros without a text" "$(awk -f tests/man/bare.awk $(echo "$real_pages" | grep '/man3/pcidipc_\|/ringabi_'))"
man -M "$man" 3 pcidipc_submit 2>/dev/null | grep -q '^ *int pcidipc_submit('
count $? "man -M $man pcidipc_submit"
none "headers without a page" \
	"$(for header in libpcidipc/include/pcidipc/*.h; do
		[ -s "$man/man3/pcidipc_$(basename "$header" .h).3" ] || echo "$header"
	done)"
none "structures that are in no page" \
	"$(sed -n 's/^struct \(pcidipc_[a-z_]*\) {.*/\1/p' libpcidipc/include/pcidipc/*.h | while read -r name; do
		grep -q "^struct $name {" "$man"/man3/*.3 || echo "$name"
	done)"
none "probes that pcidipc_probes(7) does not have" \
	"$(sed -n 's/.*DTRACE_PROBE[0-9](pcidipc, \([a-z_]*\).*/\1/p' libpcidipc/src/probes.h | while read -r name; do
		grep -q "^\\\\fB$name(" "$man/man7/pcidipc_probes.7" || echo "$name"
	done)"

# ---- options: the program's own words, and the page ----

options_in()
{
	grep -oE '(^|[^-a-zA-Z0-9])--[a-z][-a-z]+' | sed 's/.*--/--/' | sort -u
}

# The options that a page explains: the heads of its paragraphs.
options_of_page()
{
	sed -n '/^\.SH OPTIONS/,/^\.SH [^O]/p' "$1" | sed -n '/^\.TP/{n;p;}' | sed 's/\\-/-/g' | options_in
}

helps_of()
{
	case $1 in
	pcidctl)
		"$B/bin/pcidctl" --help
		for command in "disk read" "disk write" "disk info" show "usb show" "usb capture" restart; do
			"$B/bin/pcidctl" $command --help
		done ;;
	pcid) "$B/bin/pcid" --help | sed '/^What follows/,$d' ;;
	*) "$B/bin/$1" --help ;;
	esac
}

for page in pcid.8 pcidctl.1 nvmed.8 xhcid.8 usbscsid.8; do
	program=${page%.*}
	helps_of "$program" | options_in >"$dir/help"
	options_of_page "docs/man/$page" >"$dir/page"
	[ -s "$dir/help" ]
	count $? "$program --help has options"
	none "$program: options of --help that $page does not explain" \
		"$(grep -v -x -e --help -e --version "$dir/help" | grep -v -x -F -f "$dir/page")" # these two go without saying
	none "$program: options that $page explains and --help does not have" \
		"$(grep -v -x -F -f "$dir/help" "$dir/page" | grep -v -x -e --verbose -e --quiet)"
done
commands=$("$B/bin/pcidctl" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z ]*[a-z]\).*/\1/p' | sed 's/  .*//')
none "pcidctl's commands that pcidctl.1 does not have" \
	"$(echo "$commands" | while read -r command; do
		sed -n '/^\.SH COMMANDS/,/^\.SH OPTIONS/p' docs/man/pcidctl.1 | grep -q "^\.B[IR]* \"*$command\b" || echo "$command"
	done)"
none "words of the configuration that pcid.conf.5 does not have" \
	"$(sed -n 's/^\tCFG_[A-Z_]*("\([a-z_]*\)".*/\1/p' pcid/config_file.c | sort -u | while read -r word; do
		man -l docs/man/pcid.conf.5 | grep -qw "$word" || echo "$word"
	done)"

summary man
