package judge

import (
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/files"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// users are, by the objref of a descriptor table, FS, MM or inode, the tasks that use
// it; of several, the one with the fewest rights, because a file is opened for all of
// them only if that one may open it, see files.User.
type users map[uint64]*files.User

// users finds the users of all inodes.
func (m *Model) users() users {
	shared, inodes := users{}, users{}
	for _, t := range m.Tasks {
		for _, th := range t.Living() {
			if u := userOf(t, th); u != nil {
				for _, ref := range []uint64{th.Refs.Files, th.Refs.FS, th.Refs.MM} {
					shared.add(ref, u, false, false)
				}
			}
		}
	}
	for _, ref := range slices.Sorted(maps.Keys(shared)) {
		u, rec := shared[ref], m.Defined[ref]
		switch rec.Type {
		case record.TypeFDTable:
			inodes.table(m, u, m.Tables[ref].FDs)
		case record.TypeFS:
			var fs record.FS
			if rec.Decode(&fs) == nil {
				inodes.add(fs.Refs.Cwd, u, false, false)
				inodes.add(fs.Refs.Root, u, false, false)
			}
		case record.TypeMM:
			var mm record.MM
			if rec.Decode(&mm) == nil {
				inodes.add(mm.Refs.Exe, u, true, false)
			}
			for _, v := range m.Spaces[ref].VMAs {
				inodes.add(v.Refs.Inode, u, true, v.RW)
			}
		}
	}
	return inodes
}

// userOf returns a thread as a user; nil if its credentials are not valid.
func userOf(t *Task, th *Thread) *files.User {
	rec := th.Resources[record.TypeCreds]
	c := new(record.Creds)
	if rec == nil || rec.Decode(c) != nil || len(c.UID) != 4 || len(c.GID) != 4 {
		return nil
	}
	return &files.User{PID: th.PID, Comm: t.Comm, Creds: c}
}

func (us users) table(m *Model, u *files.User, fds []record.FD) {
	for i := range fds {
		rec := m.Defined[fds[i].Refs.File]
		if rec == nil {
			continue
		}
		f, err := stream.Decoded[record.File](rec)
		if err != nil {
			continue
		}
		how, path := f.Flags&unix.O_ACCMODE, f.Flags&unix.O_PATH != 0
		us.add(f.Refs.Inode, u, !path && how != unix.O_WRONLY, !path && how != unix.O_RDONLY)
	}
}

// add notes that u uses an object. A user other than root has fewer rights than root.
func (us users) add(ref uint64, u *files.User, read, write bool) {
	if ref == 0 {
		return
	}
	now := us[ref]
	if now == nil {
		now = &files.User{PID: u.PID, Comm: u.Comm, Creds: u.Creds}
		us[ref] = now
	}
	root := func(c *record.Creds) bool { return c.UID[3] == 0 }
	if a, b := u.Creds, now.Creds; root(b) && !root(a) || root(a) == root(b) && a.Eff&^b.Eff == 0 && a.Eff != b.Eff ||
		root(a) == root(b) && a.Eff == b.Eff && u.PID < now.PID {
		now.PID, now.Comm, now.Creds = u.PID, u.Comm, u.Creds
	}
	now.Read, now.Write = now.Read || read, now.Write || write
}

// Owns reports whether every thread of the image has these user and group ids, or is
// root's, which may take on any.
func (m *Model) Owns(uid, gid uint32) bool {
	for _, t := range m.Tasks {
		for _, th := range t.Living() {
			rec := th.Resources[record.TypeCreds]
			var c record.Creds
			if rec == nil || rec.Decode(&c) != nil {
				return false
			}
			if slices.Contains(c.UID, 0) {
				continue
			}
			if !slices.Contains(c.UID, uid) || !slices.Contains(c.GID, gid) && !slices.Contains(c.Groups, gid) {
				return false
			}
		}
	}
	return true
}

// Ordinary returns the users of an image in which no thread is root's or may administer the
// system; nil if one is. Of what is no user nothing is believed.
func (m *Model) Ordinary() (list []*sys.FSIdentity) {
	for _, t := range m.Tasks {
		if t.Zombie { // which does nothing any more
			continue
		}
		for _, th := range t.Threads {
			u := userOf(t, th)
			if u == nil {
				u = &files.User{Creds: &record.Creds{UID: []uint32{nobody, nobody, nobody, nobody}, GID: []uint32{nobody, nobody, nobody, nobody}}}
			}
			if slices.Contains(u.Creds.UID, 0) || caps.Set(u.Creds.Prm).Has(caps.Of(unix.CAP_SYS_ADMIN)) {
				return nil
			}
			id := &sys.FSIdentity{UID: u.Creds.UID[3], GID: u.Creds.GID[3], Groups: u.Creds.Groups}
			if !slices.ContainsFunc(list, func(o *sys.FSIdentity) bool {
				return o.UID == id.UID && o.GID == id.GID && slices.Equal(o.Groups, id.Groups)
			}) {
				list = append(list, id)
			}
		}
	}
	return list
}

const nobody = 65534
