#!/bin/sh
# SPDX-License-Identifier: MIT
# The headers in ringabi/ compile alone and together, as C11, as C++17 and freestanding, with gcc and, where it is
# installed, clang; and the tables of docs/ring-abi.md say what they say. The last line is "abi: N passed, N failed".
set -u

cd "$(dirname "$0")/../.." || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

count()
{
	if [ "$2" -eq 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "FAILED: $1"
		head -n 20 "$work/out"
	fi
}

# what, compiler and options ...: the file must compile without a word
good()
{
	what=$1
	shift
	"$@" -Wall -Wextra -Werror -fsyntax-only -I. >"$work/out" 2>&1
	count "$what: $*" $?
}

# The same must be refused: else the static asserts assert nothing.
bad()
{
	what=$1
	shift
	! "$@" -fsyntax-only -I. >"$work/out" 2>&1
	count "$what was accepted: $*" $?
}

# Only the kernel's headers, and none of the C library's or the compiler's.
mkdir "$work/kernel" "$work/spec"
for dir in linux asm asm-generic; do
	for root in /usr/include "/usr/include/$(${CC:-gcc} -print-multiarch 2>/dev/null)"; do
		[ -d "$root/$dir" ] && ln -s "$root/$dir" "$work/kernel/$dir" && break
	done
done

for header in ringabi/*.h; do
	name=$(basename "$header" .h)
	printf '#include <%s>\n#include <%s>\nint %s_twice;\n' "$header" "$header" "$name" >"$work/$name.c"
	echo "#include <$header>" >>"$work/all.c"
done
echo 'int all;' >>"$work/all.c"
printf '#include <ringabi/ring.h>\nRINGABI_AT(ringabi_ring, sq_tail, 64);\nint x;\n' >"$work/wrong.c"

check_c()
{
	for file in "$work"/*.c; do
		[ "$(basename "$file")" != wrong.c ] || continue
		good C11 "$1" -x c -std=c11 -pedantic "$file"
		good freestanding "$1" -x c -std=c11 -pedantic -ffreestanding -nostdinc -isystem "$work/kernel" "$file"
	done
	bad "a wrong offset" "$1" -x c -std=c11 "$work/wrong.c"
}

check_cxx()
{
	for file in "$work"/*.c; do
		[ "$(basename "$file")" != wrong.c ] || continue
		good C++17 "$1" -x c++ -std=c++17 -pedantic "$file"
	done
	bad "a wrong offset" "$1" -x c++ -std=c++17 "$work/wrong.c"
}

# The specification: every number in its tables, and every constant of the headers in it.
check_tables()
{
	{
		for header in ringabi/*.h; do
			echo "#include <$header>"
		done
		awk -f tests/abi/tables.awk docs/ring-abi.md
	} >"$work/spec/tables.c"
	good tables "$1" -x c -std=gnu11 "$work/spec/tables.c"
	[ "$(grep -c Static_assert "$work/spec/tables.c")" -gt 400 ]
	count "docs/ring-abi.md: most of its tables were not understood" $?
	sed -n 's/^#define \(RINGABI_[A-Z0-9_]*[A-Z0-9]\) .*/\1/p' ringabi/*.h | grep -v RINGABI_OPEN_ALL |
		while read -r constant; do
			grep -q "$constant" docs/ring-abi.md || echo "$constant is not in docs/ring-abi.md"
		done >"$work/out"
	[ ! -s "$work/out" ]
	count "docs/ring-abi.md" $?
}

check_tables "${CC:-gcc}"
for compiler in gcc clang; do
	command -v $compiler >/dev/null 2>&1 && check_c $compiler
done
for compiler in g++ clang++; do
	command -v $compiler >/dev/null 2>&1 && check_cxx $compiler
done

[ "$passed" -gt 0 ] || { echo "no compiler: neither gcc nor clang"; failed=1; }
echo "abi: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
