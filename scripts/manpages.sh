#!/bin/sh
# SPDX-License-Identifier: MIT
# All manual pages: those of docs/man as they are, and what is made from the public headers.
# usage: manpages.sh DIR VERSION      afterwards: DIR/man1, man3, man5, man7, man8
# Deterministic: the date is that of pcid(8).
set -eu
cd "$(dirname "$0")/.."
out=$1 version=$2
date=$(sed -n 's/^\.TH PCID 8 \([-0-9]*\).*/\1/p' docs/man/pcid.8)
awk=${AWK:-awk}
rm -rf "$out"
mkdir -p "$out/man1" "$out/man3" "$out/man5" "$out/man7" "$out/man8"
pages=

# Pages of the headers that a header includes.
see_also()
{
	{
		sed -n 's,^#include <pcidipc/\(.*\)\.h>.*,.BR pcidipc_\1 (3),p; s,^#include <ringabi/\(.*\)\.h>.*,.BR ringabi_\1 (7),p' "$1"
		echo ".BR pcidipc (3)"
	} | LC_ALL=C sort -u | sed '$!s/$/,/'
}

# page, section, header, what it is included as, synopsis (roff: with -v awk would take its backslashes for escapes)
make_page()
{
	SYNOPSIS=$5 SEE_ALSO=$(see_also "$3") "$awk" -f scripts/headerman.awk -v page="$1" -v section="$2" -v include="$4" \
		-v date="$date" -v version="$version" "$3" >"$out/man$2/$1.$2"
	pages="$pages $2/$1"
}

# For each function and macro of a page, one that leads there.
make_aliases()
{
	for name in $("$awk" -f scripts/headerman.awk -v names=1 "$2"); do
		[ -e "$out/man3/$name.3" ] || echo ".so man3/$1.3" >"$out/man3/$name.3"
	done
}

for page in docs/man/*.[1-8]; do
	cp "$page" "$out/man${page##*.}/"
done
for header in libpcidipc/include/pcidipc/*.h; do
	name=$(basename "$header" .h)
	make_page "pcidipc_$name" 3 "$header" "pcidipc/$name.h" ""
done
for header in libpcidipc/include/pcidipc/*.h; do
	make_aliases "pcidipc_$(basename "$header" .h)" "$header"
done
for header in ringabi/*.h; do
	name=$(basename "$header" .h)
	make_page "ringabi_$name" 7 "$header" "ringabi/$name.h" ".B #include <ringabi/$name.h>"
done
make_page pcidipc_probes 7 libpcidipc/src/probes.h libpcidipc/src/probes.h \
	".B bpftrace \\-e \\(aqusdt:\\fIfile\\fP:pcidipc:\\fIprobe\\fP { ... }\\(aq"

list_pages()
{
	for page in $pages; do
		name=${page#*/} section=${page%%/*}
		printf '.BR %s (%s) \\- ' "$name" "$section"
		sed -n '/^\.SH NAME/{n;s/.* \\- //p;q;}' "$out/man$section/$name.$section"
	done
}
# A word in bold roman, then the description: one line each, in no-fill mode.
list_pages | sed 's/^\.BR \([^ ]*\) (\(.\)) \(.*\)/\\fB\1\\fP(\2) \3/' >"$out/pages"
sed "s/@DATE@/$date/; s/@VERSION@/$version/; /@PAGES@/{
r $out/pages
d
}" docs/man/pcidipc.3.in >"$out/man3/pcidipc.3"
rm "$out/pages"
