# SPDX-License-Identifier: MIT
# usage: zsh -f completion.zsh DIRECTORY-OF-COMPLETIONS TYPED EXPECTED: in a zsh of its own, on a pseudo-terminal, TYPED and
# a tab make EXPECTED appear.
zmodload zsh/zpty || exit 1
zpty shell 'TERM=dumb PS1= zsh -f -i'
zpty -w shell "fpath=(${(q)1} \$fpath); autoload -U compinit; compinit -u -D; PS1='ready> '; print set''up"
zpty -r shell answer '*setup*ready> ' || exit 1
zpty -w -n shell "$2"$'\t'
zpty -r shell answer "*$3*"
