# SPDX-License-Identifier: MIT
# usage: bash completion.bash DIRECTORY-OF-COMPLETIONS LINE: what bash would offer behind it, one a line
dir=$1 COMP_LINE=$2 COMP_POINT=${#2}
command=${COMP_LINE%% *}
# as bash-completion does: by the command's name
source "$dir/${command##*/}" || exit 1
function=$(complete -p "${command##*/}" | sed 's/.*-F \([^ ]*\).*/\1/')
COMPREPLY=()
"$function" "$command"
[ ${#COMPREPLY[@]} -eq 0 ] || printf '%s\n' "${COMPREPLY[@]}" | sort
