# SPDX-License-Identifier: MIT
# The functions and macros of pages (of scripts/headerman.awk) whose prototypes have no text behind them, one a line.
FNR == 1 { bare = "" }
bare != "" && !/^\.RS/ { printf "%s", bare }
{ bare = "" }
/^\.nf/ { names = "" }
/^\\fB.*[(]/ {
	split($0, part, "(")
	sub(/^\\fB(.*[ *])?/, "", part[1])
	names = names part[1] "\n"
}
/^\.fi/ { bare = names; names = "" }
