package task

import (
	"golang.org/x/sys/unix"

	"ckpt/internal/kcmp"
	"ckpt/stream"
)

// Cloned are what clone(2) shares or copies: the objects that THREAD records refer
// to. They are described, planned and restored by this table.
var Cloned = [...]struct {
	Type     stream.Type
	Kcmp     kcmp.Type // what kcmp(2) calls it
	Ref      func(*stream.ThreadRefs) *uint64
	Flag     uint64 // of clone(2): it is shared
	What     string // in words
	Optional bool   // not every task has one
}{
	{stream.TypeMM, kcmp.VM, func(r *stream.ThreadRefs) *uint64 { return &r.MM }, unix.CLONE_VM, "memory", false},
	{stream.TypeSigactions, kcmp.Sighand, func(r *stream.ThreadRefs) *uint64 { return &r.Sighand }, unix.CLONE_SIGHAND, "signal actions", false},
	{stream.TypeFS, kcmp.FS, func(r *stream.ThreadRefs) *uint64 { return &r.FS }, unix.CLONE_FS, "working folder", false},
	{stream.TypeFDTable, kcmp.Files, func(r *stream.ThreadRefs) *uint64 { return &r.Files }, unix.CLONE_FILES, "descriptor table", false},
	{stream.TypeIOCtx, kcmp.IO, func(r *stream.ThreadRefs) *uint64 { return &r.IO }, unix.CLONE_IO, "I/O context", true},
	{stream.TypeSemUndo, kcmp.SysVSem, func(r *stream.ThreadRefs) *uint64 { return &r.SysVSem }, unix.CLONE_SYSVSEM, "semaphore undo list", true},
}
