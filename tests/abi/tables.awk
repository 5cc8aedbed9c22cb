# SPDX-License-Identifier: MIT
# Turn the tables of docs/ring-abi.md into static asserts: offsets, sizes, constants.
function trim(text) { gsub(/^[ `]+|[ `]+$/, "", text); return text }
/^\*\*`struct / {
	match($0, /`struct [a-z0-9_]+`/)
	name = substr($0, RSTART + 1, RLENGTH - 2)
	match($0, /, [0-9]+ bytes/)
	printf "_Static_assert(sizeof(%s) == %s, \"%s\");\n", name, substr($0, RSTART + 2, RLENGTH - 8), name
	next
}
/^#/ { name = "" }
/^\| *[0-9]+ \| *[0-9]+ \| `/ && name != "" {
	split($0, cell, "|")
	field = trim(cell[4])
	printf "_Static_assert(__builtin_offsetof(%s, %s) == %s, \"offset of %s in %s\");\n", name, field, cell[2], field, name
	printf "_Static_assert(sizeof(((%s *)0)->%s) == %s, \"size of %s in %s\");\n", name, field, cell[3], field, name
	next
}
/^\| `(RINGABI|IORING|IOSQE)_[A-Z0-9_]+` \| *(0x)?[0-9a-f]+ \|/ {
	split($0, cell, "|")
	printf "_Static_assert((%s) == %s, \"%s\");\n", trim(cell[2]), trim(cell[3]), trim(cell[2])
}
