#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: install.sh install|uninstall      the directories are variables: see the Makefile, which calls this
# What goes where is told once, by `everything`. Configuration files that are there already are left alone; uninstall
# removes those that nobody changed.
set -eu
cd "$(dirname "$0")/.."

# file MODE SOURCE TARGET; link WHERE-TO TARGET; made TARGET FUNCTION: its standard output; config SOURCE TARGET

installs()
{
	what=$1
	shift
	case $what in
	file) install -D -m "$1" "$2" "$DESTDIR$3" ;;
	link) install -d "$(dirname "$DESTDIR$2")" && ln -sf "$1" "$DESTDIR$2" ;;
	made) install -d "$(dirname "$DESTDIR$1")" && "$2" >"$DESTDIR$1" && chmod 644 "$DESTDIR$1" ;;
	config) [ -e "$DESTDIR$2" ] || install -D -m 644 "$1" "$DESTDIR$2" ;;
	esac
}

uninstalls()
{
	what=$1
	shift
	case $what in
	file) rm -f "$DESTDIR$3" ;;
	link) rm -f "$DESTDIR$2" ;;
	made) rm -f "$DESTDIR$1" ;;
	config)
		if cmp -s "$1" "$DESTDIR$2"; then
			rm "$DESTDIR$2"
		elif [ -e "$DESTDIR$2" ]; then
			echo "$DESTDIR$2 was changed: it stays"
		fi ;;
	esac
}

# mode, source directory, target directory, files below the source directory (a pattern): also those in its directories
tree()
{
	(cd "$2" && find . -type f -name "$4" | LC_ALL=C sort) | while read -r name; do
		each file "$1" "$2/${name#./}" "$3/${name#./}" || exit 1
	done
}

pkgconfig()
{
	printf '%s\n' "prefix=$PREFIX" "libdir=$LIBDIR" "includedir=$INCLUDEDIR" '' 'Name: libpcidipc' "Version: $VERSION" \
		'Description: io_urings, buffer pools and channels between user processes' \
		'Requires.private: liburing libseccomp' 'Cflags: -I${includedir}' 'Libs: -L${libdir} -lpcidipc' \
		'Libs.private: -lpthread'
}

unit()
{
	sed "s|@SBINDIR@|$SBINDIR|" init/pcid.service
}

everything()
{
	each file 755 "$B/bin/pcid" "$SBINDIR/pcid"
	each file 755 "$B/bin/pcidctl" "$BINDIR/pcidctl"
	for driver in nvmed xhcid usbscsid; do
		each file 755 "$B/bin/$driver" "$LIBEXECDIR/$driver"
	done
	each file 644 "$B/lib/libpcidipc.so.$SOVERSION" "$LIBDIR/libpcidipc.so.$SOVERSION"
	each link "libpcidipc.so.$SOVERSION" "$LIBDIR/libpcidipc.so"
	each file 644 "$B/lib/libpcidipc.a" "$LIBDIR/libpcidipc.a"
	each made "$LIBDIR/pkgconfig/libpcidipc.pc" pkgconfig
	tree 644 ringabi "$INCLUDEDIR/ringabi" '*.h'
	tree 644 libpcidipc/include/pcidipc "$INCLUDEDIR/pcidipc" '*.h'
	tree 644 "$B/man" "$MANDIR" '*.[1-8]'
	for conf in init/*.conf; do
		each config "$conf" "$SYSCONFDIR/pcid.d/${conf##*/}"
	done
	each made "$UNITDIR/pcid.service" unit
	for command in pcid pcidctl nvmed xhcid usbscsid; do
		each file 644 completions/pcid.bash "$BASHCOMPDIR/$command"
	done
	each file 644 completions/_pcid "$ZSHCOMPDIR/_pcid"
	each file 644 README.md "$DOCDIR/README.md"
	tree 644 docs "$DOCDIR/docs" '*.md'
	tree 644 examples "$DOCDIR/examples" '*'
	for file in pcid.init initramfs.sh s6/pcid/run s6/pcid/notification-fd; do
		each file 644 "init/$file" "$DOCDIR/init/$file"
	done
}

# Directories that are the suite's alone, with all in them.
own_directories()
{
	echo "$LIBEXECDIR $INCLUDEDIR/ringabi $INCLUDEDIR/pcidipc $DOCDIR $SYSCONFDIR/pcid.d"
}

case $1 in
install)
	each() { installs "$@"; }
	everything ;;
uninstall)
	each() { uninstalls "$@"; }
	everything
	for directory in $(own_directories); do
		[ ! -d "$DESTDIR$directory" ] || find "$DESTDIR$directory" -depth -type d -empty -delete
	done ;;
*)
	echo "usage: install.sh install|uninstall" >&2
	exit 2 ;;
esac
