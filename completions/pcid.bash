# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# Completion for bash: pcid, pcidctl, nvmed, xhcid, usbscsid. Options and commands are those that the program itself tells
# in --help; functions, disks and USB ports are those that pcid has at this moment.

# command ...: the options in its --help
_pcid_options()
{
	"$@" --help 2>/dev/null </dev/null | grep -oE -- '(^|[^-[:alnum:]])--[a-z][-a-z]*' | sed 's/.*--/--/' | sort -u
}

# pcidctl: its commands, "disk read" in one line
_pcid_commands()
{
	"$1" --help 2>/dev/null | sed -n '/^Commands:/,/^$/s/^  \([a-z]\{1,\}\( [a-z]\{1,\}\)\{0,1\}\).*/\1/p'
}

_pcid_addresses()
{
	"$@" --json list 2>/dev/null | sed -n 's/^ *"address": *"\([^"]*\)".*/\1/p'
}

_pcid_disks()
{
	"$@" --json drivers 2>/dev/null | sed -n 's,^ *"disk/\([^"]*\)"\,\{0\,1\}$,\1\
disk/\1,p'
}

# Ports that have a device, alone and with their controller's name before them.
_pcid_ports()
{
	"$@" --json usb 2>/dev/null | awk -F'"' '
		$2 == "name" {name = $4}
		$2 == "function" {controller = name}
		$2 == "path" {path = $4}
		$2 == "device" && $3 ~ /true/ {print path; print controller "/" path}'
}

_pcid_controllers()
{
	"$@" --json drivers 2>/dev/null | sed -n 's,^ *"usb/\([^"]*\)"\,\{0\,1\}$,\1,p'
}

# What the word before the cursor takes. False: it is no option with a value.
_pcid_value()
{
	case $1 in
	--runtime-dir | --driver-dir)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -d -- "$2") ;;
	--config | --pidfile | --input | --output | -o)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$2") ;;
	--bus) mapfile -t COMPREPLY < <(compgen -W 'vfio qemu' -- "$2") ;;
	--ready-fd | --offset | --bytes | --depth | --seconds | --timeout | --user-* | --libusb | --interface | --name) ;;
	*) return 1 ;;
	esac
}

# Offer those lines of standard input that begin with `cur`. Where colons end words (COMP_WORDBREAKS), bash puts in only
# what comes after the last one.
_pcid_offer()
{
	local cur=$1 line
	while read -r line; do
		[[ $line == "$cur"* ]] || continue
		[[ $cur == *:* && $COMP_WORDBREAKS == *:* ]] && line=${line#"${cur%"${cur##*:}"}"}
		COMPREPLY+=("$line")
	done
}

_pcidctl_arguments()
{
	local cur=$1 ask=("${@:2}")
	case "${command[*]}" in
	'') _pcid_offer "$cur" < <(_pcid_commands "${ask[0]}" | cut -d' ' -f1 | uniq) ;;
	disk | usb) _pcid_offer "$cur" < <(_pcid_commands "${ask[0]}" | sed -n "s/^$command \(.\)/\1/p") ;;
	show | restart) _pcid_offer "$cur" < <(_pcid_addresses "${ask[@]}") ;;
	disk\ [a-z]*\ *) ;;
	disk\ *) _pcid_offer "$cur" < <(_pcid_disks "${ask[@]}") ;;
	'usb show') _pcid_offer "$cur" < <(_pcid_ports "${ask[@]}") ;;
	'usb capture') _pcid_offer "$cur" < <(_pcid_ports "${ask[@]}"; _pcid_controllers "${ask[@]}") ;;
	esac
}

# Words are taken from the line: in COMP_WORDS an address is five of them.
_pcidctl()
{
	local line=${COMP_LINE:0:COMP_POINT} cur words command=() ask=("${1/#\~\//$HOME/}") i
	cur=${line##*[[:space:]]}
	read -ra words <<<"${line%"$cur"}"
	COMPREPLY=()
	_pcid_value "${words[-1]}" "$cur" && return
	for ((i = 1; i < ${#words[@]}; i++)); do
		case ${words[i]} in
		--runtime-dir) ask+=(--runtime-dir "${words[++i]}") ;;
		--offset | --bytes | --input | --output | -o | --depth | --seconds) ((i++)) ;;
		-*) ;;
		*) command+=("${words[i]}") ;;
		esac
	done
	if [[ $cur == -* ]]; then
		[[ ${command[0]} == disk || ${command[0]} == usb ]] && command=("${command[@]:0:2}") || command=("${command[@]:0:1}")
		_pcid_offer "$cur" < <(_pcid_options "${ask[0]}" "${command[@]}")
	else
		_pcidctl_arguments "$cur" "${ask[@]}"
	fi
}

# pcid and its drivers: options only; behind -- stands what is QEMU's.
_pcid()
{
	local line=${COMP_LINE:0:COMP_POINT} cur words
	cur=${line##*[[:space:]]}
	read -ra words <<<"${line%"$cur"}"
	COMPREPLY=()
	if [[ " ${words[*]} " == *' -- '* ]]; then
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	elif ! _pcid_value "${words[-1]}" "$cur"; then
		_pcid_offer "$cur" < <(_pcid_options "${1/#\~\//$HOME/}")
	fi
}

complete -F _pcidctl pcidctl
complete -F _pcid pcid nvmed xhcid usbscsid
