#!/bin/bash
# Install the Debian packages the tests need, where they are missing. The tests
# checkpoint Debian's own programs, so what counts is the file under /usr, not
# what PATH finds first.
set -euo pipefail

# a file, and the package that has it
needed="
/usr/bin/xz         xz-utils
/usr/bin/gzip       gzip
/usr/bin/mawk       mawk
/usr/bin/sha256sum  coreutils
/usr/bin/bc         bc
/usr/bin/python3    python3
/usr/bin/perl       perl
/usr/bin/sqlite3    sqlite3
/usr/bin/jq         jq
/usr/bin/zstd       zstd
/usr/bin/age        age
/usr/bin/gpg        gpg
/usr/bin/gpg-agent  gpg-agent
/usr/bin/gpgconf    gpgconf
/sbin/ip            iproute2
/usr/bin/git        git
/usr/bin/diff       diffutils
/usr/bin/nsenter    util-linux
/usr/bin/file       file
/usr/bin/gcc        gcc
/usr/include/stdio.h libc6-dev
/usr/bin/pgrep      procps
/usr/bin/ps         procps
/usr/bin/setsid     util-linux
/usr/bin/strace     strace
/usr/sbin/setcap    libcap2-bin
/usr/bin/make       make
/usr/bin/javac      default-jdk-headless
/usr/bin/node       nodejs
/usr/sbin/rsyslogd  rsyslog
/usr/bin/redis-server redis-server
/usr/bin/psql       postgresql
/usr/sbin/mariadbd  mariadb-server
/usr/sbin/nginx     nginx-light
/usr/bin/tmux       tmux
/usr/bin/vim        vim
/usr/bin/top        procps
/usr/sbin/dnsmasq   dnsmasq-base
/usr/bin/dbus-daemon dbus-daemon
/usr/bin/dbus-send  dbus-bin
/usr/bin/Xvfb       xvfb
/usr/bin/xterm      xterm
/usr/bin/xwininfo   x11-utils
/usr/sbin/sshd      openssh-server
/usr/bin/ssh        openssh-client
/usr/bin/mpiexec.hydra mpich
/usr/bin/mpicc.mpich libmpich-dev
/usr/sbin/nft       nftables
/usr/sbin/ip        iproute2
/usr/bin/qemu-system-x86_64 qemu-system-x86
/usr/bin/busybox    busybox-static
/usr/bin/bwrap      bubblewrap
/usr/sbin/runc      runc
/usr/bin/crun       crun
"

missing=()
while read -r path package; do
	if [ -n "$path" ] && [ ! -e "$path" ]; then
		echo "install-deps: $path is missing"
		missing+=("$package")
	fi
done <<<"$needed"

if [ ${#missing[@]} -eq 0 ]; then
	exit 0
fi
if ! command -v apt-get >/dev/null; then
	echo "install-deps: there is no apt-get here; install these by hand: ${missing[*]}" >&2
	exit 1
fi
echo "install-deps: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
# The tests start servers of their own; the packages must not start theirs.
if [ ! -e /usr/sbin/policy-rc.d ]; then
	trap 'rm -f /usr/sbin/policy-rc.d' EXIT
	printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
	chmod 755 /usr/sbin/policy-rc.d
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null

while read -r path package; do
	if [ -n "$path" ] && [ ! -e "$path" ]; then
		echo "install-deps: package $package is installed, and still $path is missing" >&2
		exit 1
	fi
done <<<"$needed"
