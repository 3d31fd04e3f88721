# What the scenes share. They run as the first user of a system of their own, with
# job control. The first command that fails ends a scene.
set -E -o pipefail
trap 'echo "FAILED with status $?: $BASH_COMMAND"; exit 1' ERR
for f in /proc/$$/fd/*; do # what started the tests may have left some
	n=${f##*/}
	if [ "$n" -gt 2 ] && [ "$n" != 255 ]; then eval "exec $n>&-"; fi
done
mkdir -p /mnt /srv
for dir in /mnt /srv /run; do mount -t tmpfs tmpfs $dir; done

pause() { sleep 0.02; }

# next chooses the process id of what is started next.
next() { echo $(($1 - 1)) > /proc/sys/kernel/ns_last_pid; }

# target starts a program with the process id 4711: target COMMAND...
target() {
	next 4711
	"$@" &
	until [ "$(readlink /proc/4711/exe)" = "$(readlink -f "$(command -v "$1")")" ]; do pause; done
}

# quiet is target for one without terminal.
quiet() { target "$@" </dev/null >/dev/null 2>&1; }

# waits is a program that ends, with "done", when there is a file $TOOLS/go.
cat > $TOOLS/waits <<'END'
exec 5<> <(:)
echo begun
until [ -e $TOOLS/go ]; do read -t 0.02 -u 5; done
echo done
END

# saved saves and ends the target, which will end by itself when it is restored.
saved() {
	ckpt-collect --leave killed 4711 | ckpt-dedup | ckpt-write -o img
	gone
	touch $TOOLS/go
}

gone() { until [ ! -e /proc/4711 ]; do pause; done; }

# runs fails unless the target runs on unharmed.
runs() { grep -q '^State:.[RS]' /proc/4711/status && grep -q '^TracerPid:.0$' /proc/4711/status; }
end() {
	kill -KILL 4711
	gone
}

# repository makes a copy of the repository and goes there.
repository() {
	PATH=$GOBIN_DIR:$PATH
	export PAGER=cat
	mkdir $TOOLS/repo
	cd $TOOLS/repo
	tar -C $REPO --exclude=./.git --exclude=./bin -cf - . | tar -xf -
	git init -q
	git add -A
	git -c user.name=test -c user.email=test@example.org commit -qm copy
}

# compare compares what the last example said with what the page shows.
compare() { sed 's|/dev/pts/[0-9]*|/dev/pts/0|g' said | diff -u /dev/stdin <(cat <&3); } 3<&0
