package mounts

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// roundTrips are namespaces, each made by a script with a folder $D on the host's disk, and
// folders in it whose files are compared, too.
var roundTrips = map[string]struct {
	script string
	files  []string
}{
	"copy of the host's": {script: ``},
	"tmpfs": {script: `mkdir $D/t; mount -t tmpfs -o size=1m,mode=1750,uid=7,gid=8,nr_inodes=100,nosuid,nodev,noexec,noatime some $D/t
		cd $D/t; echo hello > a; chmod 640 a; chown 3:4 a; ln a b; mkdir -m 2711 d; ln a d/c; ln -s /nowhere l; mkfifo -m 622 p
		truncate -s 300000 sparse; printf x | dd of=sparse bs=1 seek=200000 conv=notrunc status=none
		python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("s")'
		python3 -c 'import os; os.setxattr("a", "user.x", b"y"); os.setxattr("d", "trusted.x", b"")'; ln l l2; chown -h 5:6 l
		touch -d 2001-02-03T04:05:06.789 a; touch -hd 2002-02-03 l; touch -d 2003-02-03 d; touch -d 2004-01-01 .`, files: []string{"t"}},
	"devices": {script: `mkdir $D/t; mount -t tmpfs x $D/t; mknod $D/t/null c 1 3; chmod 666 $D/t/null; mknod $D/t/sda b 8 0; mknod $D/t/w c 0 0`, files: []string{"t"}},
	"set-user-id": {script: `mkdir $D/t; mount -t tmpfs x $D/t; cp /bin/true $D/t; chmod 6755 $D/t/true; cp /bin/true $D/t/cap
		python3 -c 'import os,sys; os.setxattr(sys.argv[1], "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))' $D/t/cap`, files: []string{"t"}},
	"access lists": {script: `mkdir $D/t; mount -t tmpfs x $D/t; mkdir $D/t/d; python3 -c 'import os,sys
v = bytes.fromhex("02000000" "01000700ffffffff" "0200060007000000" "04000500ffffffff" "10000700ffffffff" "20000500ffffffff")
os.setxattr(sys.argv[1], "system.posix_acl_access", v); os.setxattr(sys.argv[1], "system.posix_acl_default", v)' $D/t/d; touch $D/t/d/f`, files: []string{"t"}},
	"read-only": {script: `mkdir $D/t $D/u; mount -t tmpfs x $D/t; echo a > $D/t/a; mount -o remount,ro $D/t
		mount -t tmpfs y $D/u; echo a > $D/u/a; mount -o remount,bind,ro $D/u`, files: []string{"t", "u"}},
	"below others": {script: `mkdir $D/t; mount -t tmpfs x $D/t; mkdir $D/t/d; echo hidden > $D/t/d/f; mount -t tmpfs y $D/t/d; echo over > $D/t/d/g
		mount -t tmpfs z $D/t; echo top > $D/t/h`, files: []string{"t"}},
	"stacked":         {script: `mkdir $D/t; for i in 1 2 3; do mount -t tmpfs x$i $D/t; echo $i > $D/t/n; done`, files: []string{"t"}},
	"covered sibling": {script: `mkdir -p $D/a/b; mount -t tmpfs x $D/a/b; echo 1 > $D/a/b/f; mount -t tmpfs y $D/a; echo 2 > $D/a/g`, files: []string{"a"}},
	"strange names":   {script: `mkdir "$D/a b"; mount -t tmpfs 'x y' "$D/a b"; mkdir "$D/a b/"$'t\tab\n\\134' "$D/a b/,="; mount -t tmpfs x "$D/a b/"$'t\tab\n\\134'; touch "$D/a b/"$'t\tab\n\\134/\xff'`, files: []string{"a b"}},
	"binds": {script: `mkdir -p $D/src/in $D/b $D/c; echo x > $D/src/in/f; echo y > $D/file; touch $D/onto; mount --bind $D/src $D/b; mount --bind $D/src/in $D/c
		mount --bind $D/file $D/onto; mount -o remount,bind,ro,nosuid $D/c`, files: []string{"b", "c"}},
	"binds of a tmpfs": {script: `mkdir -p $D/t $D/b $D/c; mount -t tmpfs x $D/t; mkdir -p $D/t/s/u; echo 1 > $D/t/s/u/f; mount --bind $D/t/s $D/b; mount --bind $D/b/u $D/c; echo 2 > $D/c/g`,
		files: []string{"t", "b", "c"}},
	"part of a tmpfs": {script: `mkdir -p $D/t $D/b; mount -t tmpfs x $D/t; mkdir -p $D/t/s/u; echo 1 > $D/t/s/u/f; mount --bind $D/t/s/u $D/b; umount $D/t`, files: []string{"b"}},
	"deleted roots": {script: `mkdir -p $D/t $D/d; touch $D/f; mount -t tmpfs x $D/t; echo gone > $D/t/f; mkdir $D/t/d; mount --bind $D/t/f $D/f; mount --bind $D/t/d $D/d
		rm $D/t/f; rmdir $D/t/d; echo other > $D/t/f`, files: []string{"t"}},
	"kernel's views": {script: `mkdir $D/proc $D/sys $D/mq $D/cg $D/pts $D/sub; mount -t proc -o hidepid=2,gid=5 p $D/proc; mount -t sysfs sysfs $D/sys; mount -t mqueue m $D/mq
		mount -t cgroup2 cgroup2 $D/cg; mount -t devpts -o newinstance,gid=5,mode=620,ptmxmode=666,max=7 d $D/pts; mount --bind $D/proc/sys $D/sub; mount -o remount,bind,ro $D/sub`},
	"cgroups":    {script: `mkdir $D/cg; grep -q ' cgroup .*name=systemd' /proc/self/mountinfo; mount -t tmpfs x $D/cg; mkdir $D/cg/s $D/cg/p; mount -t cgroup -o none,name=systemd cgroup $D/cg/s; mount -t cgroup -o pids cgroup $D/cg/p`},
	"huge pages": {script: `mkdir $D/h; mount -t hugetlbfs -o pagesize=2M,size=4M,mode=700 h $D/h`},
	"ramfs":      {script: `mkdir $D/r; mount -t ramfs -o mode=711 r $D/r; echo x > $D/r/f`, files: []string{"r"}},
	"overlay": {script: `mkdir -p $D/l1 $D/l2 $D/u $D/w $D/o; echo 1 > $D/l1/a; echo 2 > $D/l2/b; mount -t overlay -o lowerdir=$D/l1:$D/l2,upperdir=$D/u,workdir=$D/w o $D/o
		echo 3 > $D/o/c; rm $D/o/a`, files: []string{"o"}},
	"overlay of a tmpfs": {script: `mkdir $D/t; mount -t tmpfs x $D/t; mkdir $D/t/l $D/t/u $D/t/w $D/t/o; echo 1 > $D/t/l/a; mount -t overlay -o lowerdir=$D/t/l,upperdir=$D/t/u,workdir=$D/t/w o $D/t/o
		echo 3 > $D/t/o/c; rm $D/t/o/a; mkdir $D/t/o/d; mount -t tmpfs y $D/t/o/d; echo 4 > $D/t/o/d/e`, files: []string{"t/o", "t/l"}},
	"strict times": {script: `mkdir $D/t; mount -t tmpfs -o strictatime,nodiratime x $D/t; mkdir $D/u; mount -t tmpfs -o nosymfollow,sync,dirsync,lazytime x $D/u`},
	"a new root": {script: `mkdir $D/r; mount -t tmpfs root $D/r; cd $D/r; mkdir old bin lib lib64 usr proc; for d in bin lib lib64 usr; do mount --bind /$d $D/r/$d; done
		mount -t proc proc proc; pivot_root . old; umount -l /old; rmdir /old; cd /; echo new > /f`},
	"a root on disk": {script: `mkdir -p $D/r/old $D/r/usr $D/r/proc $D/r/tmp; for d in bin lib lib64; do ln -s usr/$d $D/r/$d; done; mount --bind $D/r $D/r; mount --bind /usr $D/r/usr; cd $D/r
		mount -t proc proc proc; mount -t tmpfs tmp tmp; echo x > tmp/x; pivot_root . old; umount -l /old; cd /`},

	"peers": {script: `mkdir $D/a $D/b $D/c; mount -t tmpfs x $D/a; mkdir $D/a/s; mount --make-shared $D/a; mount --bind $D/a $D/b; mount --bind $D/a/s $D/c; mount -t tmpfs y $D/a/s`},
	"slaves": {script: `mkdir $D/a $D/b $D/c $D/d; mount -t tmpfs x $D/a; mount --make-shared $D/a; mount --bind $D/a $D/b; mount --make-slave $D/b; mount --make-shared $D/b
		mount --bind $D/b $D/c; mount --bind $D/c $D/d; mount --make-slave $D/d; mount --bind $D/b $D/b; mount --make-unbindable $D/b`},
	"shared root": {script: `mkdir $D/t; mount -t tmpfs x $D/t; mount --make-rshared /; mkdir $D/u; mount --bind $D $D/u`},
}

func TestRoundTrip(t *testing.T) {
	for name, c := range roundTrips {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			dir := t.TempDir()
			tg := start(t, dir, c.script)
			want := tableText(t, mountinfo(t, tg.pid))
			var files []string
			root := fmt.Sprintf("/proc/%d/root", tg.pid)
			for _, d := range c.files {
				files = append(files, treeText(t, filepath.Join(root, dir, d)))
			}
			s := save(t, tg.pid)
			if now := tableText(t, mountinfo(t, tg.pid)); now != want {
				t.Errorf("the target's mounts changed: %s", cmp.Diff(want, now))
			}
			for i, d := range c.files {
				if now := treeText(t, filepath.Join(root, dir, d)); now != files[i] {
					t.Errorf("the target's files changed: %s", cmp.Diff(files[i], now))
				}
			}
			tg.kill()
			before := mountinfo(t, os.Getpid())
			n := restore(t, s, trusting(t)).Made(1)
			if after := mountinfo(t, os.Getpid()); after != before {
				t.Errorf("our own mounts changed: %s", cmp.Diff(before, after))
			}
			if got := tableText(t, runIn(t, n, "cat /proc/self/mountinfo")); got != want {
				t.Errorf("mounts: %s", cmp.Diff(want, got))
			}
			root = fmt.Sprintf("/proc/self/fd/%d", n.Root().Fd())
			for i, d := range c.files {
				if got := treeText(t, filepath.Join(root, dir, d)); got != files[i] {
					t.Errorf("files in %s: %s", d, cmp.Diff(files[i], got))
				}
			}
		})
	}
}
