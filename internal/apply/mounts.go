package apply

import (
	"errors"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/files"
	"ckpt/internal/judge"
	"ckpt/internal/mounts"
	"ckpt/stream/record"
)

// makeMounts makes the mount namespace of the tree, before anything is judged that is found
// by its paths: nobody but us sees it, and nothing of it is left if the restore is refused.
func (b *builder) makeMounts() error {
	b.mounts.SameBoot = b.model.IsThisBoot()
	if err := b.model.MountsOf(b.mounts); err != nil {
		return err
	}
	if len(b.model.Mounts) == 0 {
		return nil
	}
	own := b.own
	if own == nil {
		var err error
		if own, err = caps.Own(); err != nil {
			return err
		}
	}
	if missing := b.model.MountsHere(own); len(missing) > 0 {
		return &judge.Refused{Reasons: missing}
	}
	if err := b.wantBelow(); err != nil {
		return err
	}
	if reasons := b.mounts.Check(); len(reasons) > 0 {
		return &judge.Refused{Reasons: reasons}
	}
	if err := b.mounts.Make(); err != nil {
		return err
	}
	if n := b.mountNamespace(); n != nil {
		files.UseMounts(n)
		b.step("in a mount namespace of the tree's own")
	}
	return nil
}

// mountNamespace is the one that all tasks are to be in, nil if it is ours.
func (b *builder) mountNamespace() *mounts.Namespace {
	if len(b.model.Tasks) == 0 || b.model.Tasks[0].Task.Refs == nil {
		return nil
	}
	return b.mounts.Made(b.model.Tasks[0].Task.Refs.Mnt)
}

// enterMounts brings the stub, from which all tasks are born, into the mount namespace.
func (b *builder) enterMounts() error {
	n := b.mountNamespace()
	if n == nil {
		if b.model.Namespace(record.NamespaceMnt) != nil {
			return errors.New("the mount namespace was not made")
		}
		return nil
	}
	v := b.stub.Vector()
	fd := b.stub.GiveIn(v, int(n.File.Fd()))
	v.Add("enter a mount namespace", unix.SYS_SETNS, 0, unix.CLONE_NEWNS).From(0, fd)
	v.Add("close", unix.SYS_CLOSE, 0).From(0, fd)
	return v.Run()
}

// wantBelow asks for all files that are below other mounts.
func (b *builder) wantBelow() error {
	if len(b.model.Tasks) == 0 || b.model.Tasks[0].Task.Refs == nil {
		return nil
	}
	for _, rec := range b.model.Objects {
		id, err := rec.Uint("mount")
		if err != nil || id == 0 {
			continue
		}
		var at struct {
			Path string `cbor:"path"`
		}
		if err := rec.Decode(&at); err != nil {
			return err
		}
		b.mounts.Want(b.model.Tasks[0].Task.Refs.Mnt, int(id), at.Path)
	}
	return nil
}
