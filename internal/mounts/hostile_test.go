package mounts

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/stream"
	"ckpt/stream/record"
)

// image is a small description that can be restored.
type image struct {
	fs     []*record.Filesystem
	nodes  []*record.FSNode
	mounts []*record.Mount
}

func newImage() *image {
	return &image{
		fs: []*record.Filesystem{
			{Object: record.Object{Objref: 1}, Type: "tmpfs", How: record.FSTree, Options: []string{"size=1m", "mode=755"}},
			{Object: record.Object{Objref: 2}, Type: "devpts", How: record.FSFresh, Options: []string{"mode=620"}},
		},
		nodes: []*record.FSNode{
			{Node: 1, Path: "/", Mode: unix.S_IFDIR | 0o755, Refs: record.FSNodeRef{Of: 1}},
			{Node: 2, Path: "/d", Mode: unix.S_IFDIR | 0o755, Refs: record.FSNodeRef{Of: 1}},
			{Node: 3, Path: "/f", Mode: unix.S_IFREG | 0o644, Size: 5, Refs: record.FSNodeRef{Of: 1}},
			{Node: 4, Path: "/l", Mode: unix.S_IFLNK | 0o777, Target: "/etc", Refs: record.FSNodeRef{Of: 1}},
		},
		mounts: []*record.Mount{
			{ID: 10, Root: "/", Point: "/", Mode: unix.S_IFDIR, Refs: record.MountRefs{Of: 9, FS: 1}},
			{ID: 11, Parent: 10, Root: "/", Point: "/d", Mode: unix.S_IFDIR, Attr: 2, Refs: record.MountRefs{Of: 9, FS: 2}},
		},
	}
}

// try adds and checks an image, and makes it if it can be made.
func (i *image) try(t testing.TB) error {
	r := trusting(t)
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	var errs []error
	for _, f := range i.fs {
		errs = append(errs, r.Filesystem(f))
	}
	for _, n := range i.nodes {
		errs = append(errs, r.Node(n))
	}
	for _, m := range i.mounts {
		errs = append(errs, r.Mount(m))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := errors.Join(r.Check()...); err != nil {
		return err
	}
	if err := r.Make(); err != nil {
		return err
	}
	return r.Finish()
}

// hostile changes an image into one that must be refused with these words.
var hostile = map[string]struct {
	change func(i *image)
	want   string
}{
	"no root":           {func(i *image) { i.mounts = i.mounts[1:] }, "does not stand before"},
	"a mount on itself": {func(i *image) { i.mounts[1].ID = 10 }, "two mounts are number 10"},
	"two roots": {func(i *image) {
		m := *i.mounts[1]
		m.ID, m.Parent, m.Point = 9, 9, "/"
		i.mounts = append([]*record.Mount{&m}, i.mounts...)
		i.mounts[1].Parent = 10
	}, "mount 10 at / is on itself, and is not the root"},
	"a covered root": {func(i *image) {
		i.mounts[1].Point = "/"
	}, "whose root is covered"},
	"a folder of the host's, guessed": {func(i *image) {
		var st unix.Stat_t
		_ = unix.Stat("/usr/bin", &st)
		i.fs[1].Type, i.fs[1].How, i.fs[1].Dev = fsTypeOf("/usr/bin"), record.FSHost, st.Dev
		i.mounts[1].Root, i.mounts[1].HostPath = "/usr/bin", "/usr/bin"
		i.mounts[1].Is = &record.FSIdentity{Dev: st.Dev, Ino: st.Ino, Mode: unix.S_IFDIR}
	}, "neither a file handle nor a time of birth"},
	"the same as a whole": {func(i *image) {
		var st unix.Stat_t
		_ = unix.Stat("/usr/bin", &st)
		i.fs[1].Type, i.fs[1].How, i.fs[1].Dev = fsTypeOf("/usr/bin"), record.FSHost, st.Dev
		i.mounts[1].HostPath, i.mounts[1].Is = "/usr/bin", &record.FSIdentity{Dev: st.Dev, Ino: st.Ino, Mode: unix.S_IFDIR}
	}, "which is not found here any more"},
	"a long path":             {func(i *image) { i.nodes[2].Path = "/" + strings.Repeat("x", 1<<20) }, "no path of a file"},
	"a long place":            {func(i *image) { i.mounts[1].Point = strings.Repeat("/xyz", 1<<18) }, "has a path that is too long"},
	"a long root":             {func(i *image) { i.mounts[1].Root = strings.Repeat("/xyz", 1<<18) }, "has a path that is too long"},
	"a long type":             {func(i *image) { i.fs[1].Type = strings.Repeat("x", 1<<20) }, "a file system of type"},
	"a long way":              {func(i *image) { i.fs[1].How = strings.Repeat("x", 1<<20) }, "a file system that is"},
	"a long attribute":        {func(i *image) { i.nodes[2].Xattrs = []record.Xattr{{Name: strings.Repeat("x", 1<<20)}} }, "extended attribute"},
	"a long option":           {func(i *image) { i.fs[1].Options = []string{strings.Repeat("x", 1<<20)} }, "has the option"},
	"a long layer":            {func(i *image) { overlay(i, record.FSLayerDir{Option: "lowerdir", Path: strings.Repeat("/xyz", 1<<18)}) }, "whose path is too long"},
	"a long source":           {func(i *image) { i.fs[1].Source = strings.Repeat("x", 1<<20) + "\x00" }, "a file system of"},
	"layers of no overlay":    {func(i *image) { i.fs[1].Layers = []record.FSLayerDir{{Option: "lowerdir", Path: "/usr"}} }, `type "devpts" with the folder "/usr"`},
	"an overlay of nothing":   {func(i *image) { i.fs[1].Type, i.fs[1].How, i.fs[1].Options = "overlay", record.FSLayer, nil }, "without a folder below"},
	"a layer of another sort": {func(i *image) { overlay(i, record.FSLayerDir{Option: "xino", Path: "/usr"}) }, `as its "xino"`},
	"a layer that is unknown": {func(i *image) { overlay(i, record.FSLayerDir{Option: "lowerdir", Path: "/usr"}) }, "which was not found"},
	"two on one place":        {func(i *image) { m := *i.mounts[1]; m.ID = 12; i.mounts = append(i.mounts, &m) }, "two mounts are at /d"},
	"a way up":                {func(i *image) { i.mounts[1].Point = "/d/../../x" }, "mount 11"},
	"a way up in a root":      {func(i *image) { i.mounts[1].Root = "/.." }, "mount 11"},
	"not below": {func(i *image) {
		m := *i.mounts[1]
		m.ID, m.Parent = 12, 11
		m.Point = "/e"
		i.mounts = append(i.mounts, &m)
	}, "/e is not below /d"},
	"no such place":          {func(i *image) { i.mounts[1].Point = "/nowhere" }, "no folder is now"},
	"a link as a place":      {func(i *image) { i.mounts[1].Point = "/l" }, "no folder is now"},
	"through a link":         {func(i *image) { i.mounts[1].Point = "/l/ssh" }, "no folder is now"},
	"a file as a place":      {func(i *image) { i.mounts[1].Point = "/f" }, "no folder is now"},
	"no file system":         {func(i *image) { i.mounts[1].Refs.FS = 3 }, "file system 3"},
	"no such root":           {func(i *image) { i.mounts[0].Root = "/x" }, "/x as its root"},
	"a link as a root":       {func(i *image) { i.mounts[0].Root = "/l" }, "/l as its root"},
	"idmapped":               {func(i *image) { i.mounts[1].Attr = unix.MOUNT_ATTR_IDMAP }, "attributes"},
	"the host's, unknown":    {func(i *image) { i.fs[1].How = record.FSHost }, "does not tell"},
	"an unknown way":         {func(i *image) { i.fs[1].How = "x" }, `is "x"`},
	"another type as memory": {func(i *image) { i.fs[0].Type = "ext4" }, `type "ext4"`},
	"a device as memory":     {func(i *image) { i.fs[0].Type, i.fs[0].Source = "ramfs", "/dev/sda\x00" }, "/dev/sda"},
	"an option of another":   {func(i *image) { i.fs[0].Options = []string{"lowerdir=/etc"} }, "lowerdir"},
	"an option with a comma": {func(i *image) { i.fs[0].Options = []string{"quota,size=1m"} }, "quota"},
	"release_agent": {func(i *image) {
		i.fs[1].Type, i.fs[1].How = "cgroup", record.FSView
		i.fs[1].Options = []string{"release_agent=/tmp/x"}
	}, "release_agent"},
	"a file in a file": {func(i *image) {
		i.nodes = append(i.nodes, &record.FSNode{Node: 5, Path: "/f/x", Mode: unix.S_IFREG, Refs: record.FSNodeRef{Of: 1}})
	}, "no folder"},
	"a file behind a link": {func(i *image) {
		i.nodes = append(i.nodes, &record.FSNode{Node: 5, Path: "/l/x", Mode: unix.S_IFREG, Refs: record.FSNodeRef{Of: 1}})
	}, "no folder"},
	"a file deep below a link": {func(i *image) {
		i.nodes = append(i.nodes, &record.FSNode{Node: 5, Path: "/l/x/y", Mode: unix.S_IFREG, Refs: record.FSNodeRef{Of: 1}})
	}, "/l/x"},
	"a file twice":       {func(i *image) { n := *i.nodes[2]; n.Node = 5; i.nodes = append(i.nodes, &n) }, "stands before"},
	"a name of nothing":  {func(i *image) { i.nodes[2].Again = true }, "not there"},
	"a name of a folder": {func(i *image) { i.nodes[3].Again, i.nodes[3].Node = true, 2 }, "not there"},
	"a negative size":    {func(i *image) { i.nodes[2].Size = -1 }, "no such file"},
	"no kind of file":    {func(i *image) { i.nodes[2].Mode = 0o644 }, "mode"},
	"a label":            {func(i *image) { i.nodes[2].Xattrs = []record.Xattr{{Name: "security.selinux", Value: []byte("x")}} }, "security.selinux"},
	"in devpts":          {func(i *image) { i.nodes[2].Refs.Of = 2 }, "takes no files"},
	"an overlay in itself": {func(i *image) {
		i.fs[0].Type, i.fs[0].How, i.fs[0].Options, i.nodes = "overlay", record.FSLayer, nil, nil
		i.fs[0].Layers = []record.FSLayerDir{{Option: "lowerdir", Path: "/d", Inside: true}}
	}, "in itself"},
	"an overlay of the host's": {func(i *image) {
		i.fs[1].Type, i.fs[1].How, i.fs[1].Options = "overlay", record.FSLayer, nil
		i.fs[1].Layers = []record.FSLayerDir{{Option: "lowerdir", Path: "/etc", Is: &record.FSIdentity{Ino: 1, Mode: unix.S_IFDIR, BtimeNS: 1}}}
	}, "not there any more"},
	"an overlay of a guess": {func(i *image) {
		overlay(i, record.FSLayerDir{Option: "lowerdir", Path: "/etc", Is: &record.FSIdentity{Ino: 1, Mode: unix.S_IFDIR}})
	}, "known by its number only"},
	"one of the system's": {func(i *image) {
		i.fs[1].Type, i.fs[1].How, i.fs[1].Options = "selinuxfs", record.FSView, nil
	}, "not found here"},
	"a folder of the host's": {func(i *image) {
		i.fs[1].Type, i.fs[1].How = "ext4", record.FSHost
		i.mounts[1].Is, i.mounts[1].HostPath = &record.FSIdentity{Ino: 1, Mode: unix.S_IFDIR}, "/etc"
	}, "not found here"},
}

// fsTypeOf returns the type of the file system that a path of ours is on.
func fsTypeOf(p string) string {
	all, _ := proc.Mounts(os.Getpid())
	root, err := arrange(parentsFirst(all))
	if err != nil {
		panic(err)
	}
	return root.lookup(p).src.FSType
}

// overlay makes an overlay of the second file system.
func overlay(i *image, layers ...record.FSLayerDir) {
	i.fs[1].Type, i.fs[1].How, i.fs[1].Options, i.fs[1].Layers = "overlay", record.FSLayer, nil, layers
}

func TestHostile(t *testing.T) {
	if err := newImage().try(t); err != nil {
		t.Fatalf("without a change: %v", err)
	}
	before := mountinfo(t, os.Getpid())
	for name, c := range hostile {
		i := newImage()
		c.change(i)
		if err := i.try(t); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		} else if len(err.Error()) > 1000 {
			t.Errorf("%s: a message of %d bytes", name, len(err.Error()))
		}
	}
	if now := mountinfo(t, os.Getpid()); now != before {
		t.Errorf("our own mounts changed: %s", now)
	}
}

// TestFillRefused: bytes go to files of the image only.
func TestFillRefused(t *testing.T) {
	r, i := trusting(t), newImage()
	t.Cleanup(func() { _ = r.Close() })
	for _, f := range i.fs {
		_ = r.Filesystem(f)
	}
	for _, n := range i.nodes {
		_ = r.Node(n)
	}
	for _, m := range i.mounts {
		_ = r.Mount(m)
	}
	if err := errors.Join(append(r.Check(), r.Make())...); err != nil {
		t.Fatal(err)
	}
	ref := record.InodeRef{Inode: 1}
	for _, d := range []record.FSData{{Node: 3, Offset: 1, Refs: ref}, {Node: 3, Offset: -1, Refs: ref}, {Node: 2, Refs: ref}, {Node: 4, Refs: ref}, {Node: 5, Refs: ref},
		{Node: 3, Refs: record.InodeRef{Inode: 2}}, {Node: 3, Refs: record.InodeRef{Inode: 3}}} {
		if err := r.Fill(&d, strings.NewReader("hello"), 5); !errors.Is(err, stream.ErrCorrupt) {
			t.Errorf("%+v: %v", d, err)
		}
	}
	if err := r.Fill(&record.FSData{Node: 3, Refs: ref}, strings.NewReader("hell"), 5); !errors.Is(err, stream.ErrTruncated) {
		t.Errorf("too few bytes: %v", err)
	}
	if err := r.Fill(&record.FSData{Node: 3, Refs: ref}, strings.NewReader("hello"), 5); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d/f", r.Made(9).Root().Fd())); string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
}

// FuzzRecords makes whatever any records describe that can be made, and sees that the host
// has nothing of it.
func FuzzRecords(f *testing.F) {
	good := newImage()
	f.Add(pack(f, good))
	for _, c := range hostile {
		i := newImage()
		c.change(i)
		f.Add(pack(f, i))
	}
	before := mountinfo(f, os.Getpid())
	f.Fuzz(func(t *testing.T, b []byte) {
		i := unpack(b)
		for _, fs := range i.fs {
			if fs.Type != "tmpfs" && fs.Type != "ramfs" && fs.Type != "devpts" && fs.How != record.FSHost && fs.How != record.FSOther {
				return // it would take a while, or need what is not here
			}
		}
		_ = i.try(t)
		if now := mountinfo(t, os.Getpid()); now != before {
			t.Fatalf("our own mounts changed: %s", now)
		}
	})
}

// pack makes bytes of an image: type, length and meta of each record.
func pack(t testing.TB, i *image) (b []byte) {
	put := func(kind byte, v any) {
		meta, err := stream.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		b = append(binary.LittleEndian.AppendUint16(append(b, kind), uint16(len(meta))), meta...)
	}
	for _, v := range i.fs {
		put(0, v)
	}
	for _, v := range i.nodes {
		put(1, v)
	}
	for _, v := range i.mounts {
		put(2, v)
	}
	return b
}

func unpack(b []byte) *image {
	i := &image{}
	for len(b) >= 3 {
		kind, n := b[0], int(binary.LittleEndian.Uint16(b[1:]))
		meta := b[3:min(len(b), 3+n)]
		b = b[3+len(meta):]
		switch kind {
		case 0:
			unpackTo(meta, &i.fs)
		case 1:
			unpackTo(meta, &i.nodes)
		case 2:
			unpackTo(meta, &i.mounts)
		}
	}
	return i
}

func unpackTo[T any](meta []byte, list *[]*T) {
	v := new(T)
	if stream.Unmarshal(meta, v) == nil {
		*list = append(*list, v)
	}
}

// dieSetting tells this program to restore a stream again and again until it is killed.
const dieSetting = "CKPT_TEST_DIE"

// restoreForever is that program.
func restoreForever(file string) {
	b, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	for {
		t := &testing.B{}
		r := &Restorer{SameBoot: true}
		s := &saved{Buffer: *bytes.NewBuffer(b)}
		load(t, s, r)
		if err := errors.Join(r.Finish(), r.Close()); err != nil {
			panic(err)
		}
	}
}

// TestDeath: whenever a restore is killed, no namespace, mount or file is left.
func TestDeath(t *testing.T) {
	dir := t.TempDir()
	tg := start(t, dir, `mkdir -p $D/t $D/src $D/b $D/d; mount -t tmpfs x $D/t; dd if=/dev/urandom of=$D/t/f bs=64k count=40 status=none; mount --bind $D/src $D/b; touch $D/t/x; mount --bind $D/t/x $D/t/x; mount --make-rshared $D/t
		mkdir $D/t/d; mount --bind $D/t/d $D/d; rmdir $D/t/d`)
	s := save(t, tg.pid)
	tg.kill()
	file := filepath.Join(t.TempDir(), "stream")
	if err := os.WriteFile(file, s.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	before, files := mountinfo(t, os.Getpid()), treeText(t, dir)
	for range 30 {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), dieSetting+"="+file)
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond) // whenever
		_ = cmd.Process.Kill()
		if err := cmd.Wait(); !strings.Contains(fmt.Sprint(err), "killed") {
			t.Fatalf("it ended by itself: %v", err)
		}
		if left := namespacesLeft(t, cmd.Process.Pid); left != "" {
			t.Errorf("left: %s", left)
		}
	}
	if now, nowFiles := mountinfo(t, os.Getpid()), treeText(t, dir); now != before || nowFiles != files {
		t.Errorf("the host has %s%s", now, nowFiles)
	}
}

// namespacesLeft tells of processes in whose table the yard is, which has the source "ckpt".
func namespacesLeft(t *testing.T, of int) (left string) {
	err := eachNamespace(func(pid int, _ uint64, mounts []proc.Mount) bool {
		for i := range mounts {
			if mounts[i].Source == "ckpt" {
				left += fmt.Sprintf("pid %d after %d", pid, of)
			}
		}
		return true
	})
	if err != nil {
		t.Error(err)
	}
	return left
}
