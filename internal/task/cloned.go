package task

import (
	"golang.org/x/sys/unix"

	"ckpt/internal/kcmp"
	"ckpt/stream/record"
)

// Cloned lists what clone(2) shares or copies: the objects that THREAD records
// refer to. Describing, planning and restoring them goes by this table.
var Cloned = [...]struct {
	Type     record.Type
	Kcmp     kcmp.Type // its type for kcmp(2)
	Ref      func(*record.ThreadRefs) *uint64
	Flag     uint64 // the flag of clone(2) by which it is shared
	What     string // for messages
	Optional bool   // not every task has one
}{
	{record.TypeMM, kcmp.VM, func(r *record.ThreadRefs) *uint64 { return &r.MM }, unix.CLONE_VM, "memory", false},
	{record.TypeSigactions, kcmp.Sighand, func(r *record.ThreadRefs) *uint64 { return &r.Sighand }, unix.CLONE_SIGHAND, "signal actions", false},
	{record.TypeFS, kcmp.FS, func(r *record.ThreadRefs) *uint64 { return &r.FS }, unix.CLONE_FS, "working folder", false},
	{record.TypeFDTable, kcmp.Files, func(r *record.ThreadRefs) *uint64 { return &r.Files }, unix.CLONE_FILES, "descriptor table", false},
	{record.TypeIOCtx, kcmp.IO, func(r *record.ThreadRefs) *uint64 { return &r.IO }, unix.CLONE_IO, "I/O context", true},
	{record.TypeSemUndo, kcmp.SysVSem, func(r *record.ThreadRefs) *uint64 { return &r.SysVSem }, unix.CLONE_SYSVSEM, "semaphore undo list", true},
}
