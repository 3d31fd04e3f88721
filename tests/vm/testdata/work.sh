#!/bin/sh
# Restores programs that were saved elsewhere, and saves some, in a machine of its own or
# in namespaces. The folder of this script has
#   bin/         the tools and programs
#   want/NAME    what a program writes if nobody interrupts it
#   in/FROM/...  what was saved on other kernels
#   out/         what is saved here
#   run/         where the programs run
# and plan, which says what to do, line by line. What came of it is written as lines that
# begin with "vm:".
cd "$(dirname "$0")" || exit 1
TOP=$PWD
export PATH="$TOP/bin:$PATH" LC_ALL=POSIX
TICKS=${TICKS:-8} # of CPU time that a program computes before it is saved

say() { echo "vm: $* ($(cut -d. -f1 /proc/uptime) s)" | tr '\n' ' '; echo; }

# begin NAME: starts a program in its folder; $pid is its process. NAME.bare may use all that
# the CPU has.
begin() {
	program=${1%%.*} unmask=
	case $1 in *.bare) unmask="env -u GLIBC_TUNABLES -u OPENSSL_ia32cap -u LD_BIND_NOW" ;; esac
	rm -rf "$TOP/run/$program"
	mkdir -p "$TOP/run/$program"
	cd "$TOP/run/$program" || exit 1
	case $program in
	xz) set -- /usr/bin/xz -9e -T1 -c; in=$TOP/data ;;
	bc) set -- /usr/bin/bc -lq; in=$TOP/work.bc ;;
	python) set -- /usr/bin/python3 -I -S "$TOP/work.py"; in=/dev/null ;;
	*) set -- "$TOP/bin/$program"; in=/dev/null ;;
	esac
	: >out && : >err && chown -R 65534 .
	$unmask nobody "$@" <"$in" >out 2>err &
	pid=$!
}

# busy PID: waits until it has computed for a while.
busy() {
	n=0
	while [ $n -lt 3000 ]; do
		# fields 14 and 15: the time in its own code and in the kernel
		t=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '{print $12 + $13}')
		[ "${t:-0}" -ge "$TICKS" ] && return 0
		[ -e "/proc/$1" ] || return 1
		sleep 0.02
		n=$((n + 1))
	done
	return 1
}

# save NAME AS: saves and kills the process $pid, and puts it with its folder into out/AS.
save() {
	if ! busy "$pid"; then
		say "$2: FAILED: it ended before it could be saved: $(tail -n 3 err out)"
		return
	fi
	mkdir -p "$TOP/out/$2"
	if ckpt-collect --timeout 2m --max-freeze 2m --leave killed "$pid" 2>"$TOP/log" | ckpt-dedup 2>>"$TOP/log" |
		ckpt-write -o "$TOP/out/$2/img" 2>>"$TOP/log"; then
		cp -a . "$TOP/out/$2/"
		say "$2: saved"
	else
		kill -9 "$pid"
		say "$2: FAILED: save: $(cat "$TOP/log")"
	fi
}

# prepare FROM AS: makes the folder of a program what it was.
prepare() {
	name=${2%%.*}
	rm -rf "$TOP/run/$name"
	mkdir -p "$TOP/run"
	if [ ! -d "$TOP/in/$1/$2" ]; then
		say "$2 of $1: FAILED: it was not saved"
		return 1
	fi
	cp -a "$TOP/in/$1/$2" "$TOP/run/$name"
	cd "$TOP/run/$name" || exit 1
}

apply() { ckpt-read <img | ckpt-apply --files same-path --cgroups ignore "$@"; }

# restore FROM AS [OPTION...]: restores a program and lets it end.
restore() {
	prepare "$1" "$2" || return
	what="$2 of $1"
	shift 2
	(sleep 0.5; touch go) &
	if apply "$@" 2>"$TOP/log" && cmp out "$TOP/want/$name" >/dev/null; then
		say "$what: restored"
	else
		say "$what: FAILED: $(tail -n 5 "$TOP/log" out err )"
	fi
	wait
}

# again FROM AS [OPTION...]: restores a program and saves it again.
again() {
	prepare "$1" "$2" || return
	as=$2.$1
	from=$1
	shift 2
	if apply --pidfile "$TOP/pid" --detach "$@" 2>"$TOP/log"; then
		pid=$(cat "$TOP/pid")
		TICKS=1 save "$name" "$as"
	else
		say "$as: FAILED: $(cat "$TOP/log")"
	fi
}

# refused FROM AS PATTERN [OPTION...]: it is not restored, and the sentence that says why fits.
refused() {
	prepare "$1" "$2" || return
	what="$2 of $1" pattern=$3
	shift 3
	if apply "$@" 2>"$TOP/log"; then
		say "$what: FAILED: it was restored"
	elif grep -q -e "$pattern" "$TOP/log"; then
		say "$what: refused: $(cat "$TOP/log")"
	else
		say "$what: FAILED: $(cat "$TOP/log")"
	fi
}

# new NAME: starts a program and saves it, with an id that is free in a fresh machine.
new() {
	[ "$(cat /proc/sys/kernel/ns_last_pid)" -ge 20000 ] || echo 20000 >/proc/sys/kernel/ns_last_pid
	begin "$1"
	save "$1" "$1"
}

# old: both tools say that this kernel is too old, and a program is as it was.
old() {
	begin clock
	busy "$pid"
	for line in "ckpt-collect --leave killed $pid | ckpt-dedup | ckpt-write -o img" "ckpt-read <$TOP/in/here/clock/img | ckpt-apply"; do
		if sh -c "$line" >"$TOP/log" 2>&1; then
			say "${line%% *}: FAILED: it works here"
		elif [ "$(grep -c 'error: this kernel (.*) is too old: it takes' "$TOP/log")" = 1 ] && [ "$(wc -l <"$TOP/log")" = 1 ]; then
			say "${line%% *}: refused: $(cat "$TOP/log")"
		else
			say "${line%% *}: FAILED: $(cat "$TOP/log")"
		fi
	done
	touch go
	n=0
	while [ -e "/proc/$pid" ] && [ $n -lt 3000 ]; do
		sleep 0.02
		n=$((n + 1))
	done
	if cmp out "$TOP/want/clock" >/dev/null; then
		say "clock: it ran on"
	else
		say "clock: FAILED: $(cat out err)"
	fi
}

uname -r | sed 's/^/vm: kernel /'
while read -r line; do
	eval "$line" </dev/null
done <"$TOP/plan"
say done
