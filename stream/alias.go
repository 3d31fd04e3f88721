package stream

import "ckpt/stream/record"

// Names that moved to package record, until all that use them say so.
type (
	Abort         = record.Abort
	AltStack      = record.AltStack
	Cgroup        = record.Cgroup
	Cgroups       = record.Cgroups
	CharDev       = record.CharDev
	Clocks        = record.Clocks
	Content       = record.Content
	Creds         = record.Creds
	Dir           = record.Dir
	End           = record.End
	Epoll         = record.Epoll
	EpollFileRef  = record.EpollFileRef
	EpollTarget   = record.EpollTarget
	EventFD       = record.EventFD
	ExeRef        = record.ExeRef
	Extent        = record.Extent
	FD            = record.FD
	FDRefs        = record.FDRefs
	FDTable       = record.FDTable
	FS            = record.FS
	FSRefs        = record.FSRefs
	Fifo          = record.Fifo
	File          = record.File
	Flags         = record.Flags
	Handle        = record.Handle
	Header        = record.Header
	Hold          = record.Hold
	IOCtx         = record.IOCtx
	Inherit       = record.Inherit
	InodeRef      = record.InodeRef
	Itimer        = record.Itimer
	Itimers       = record.Itimers
	Kcmp          = record.Kcmp
	Limit         = record.Limit
	Limits        = record.Limits
	Linger        = record.Linger
	Lock          = record.Lock
	LoginUID      = record.LoginUID
	MM            = record.MM
	MemFD         = record.MemFD
	MemPolicy     = record.MemPolicy
	Object        = record.Object
	ObjrefUse     = record.ObjrefUse
	Owner         = record.Owner
	Pages         = record.Pages
	PartOf        = record.PartOf
	PeerCred      = record.PeerCred
	Pipe          = record.Pipe
	PipeData      = record.PipeData
	Prctl         = record.Prctl
	PrctlValue    = record.PrctlValue
	ProcAttr      = record.ProcAttr
	ProcFile      = record.ProcFile
	Reg           = record.Reg
	Regs          = record.Regs
	Rseq          = record.Rseq
	Sched         = record.Sched
	Seccomp       = record.Seccomp
	SeccompFilter = record.SeccompFilter
	SemAdjust     = record.SemAdjust
	SemUndo       = record.SemUndo
	Shmem         = record.Shmem
	Sigaction     = record.Sigaction
	Sigactions    = record.Sigactions
	Signals       = record.Signals
	SockCreds     = record.SockCreds
	SockData      = record.SockData
	SockOption    = record.SockOption
	Stat          = record.Stat
	SysVShm       = record.SysVShm
	TTY           = record.TTY
	Task          = record.Task
	Thread        = record.Thread
	ThreadCgroups = record.ThreadCgroups
	ThreadRefs    = record.ThreadRefs
	Timer         = record.Timer
	Timers        = record.Timers
	Totals        = record.Totals
	Type          = record.Type
	TypeInfo      = record.TypeInfo
	UnixSock      = record.UnixSock
	UserPtrs      = record.UserPtrs
	VMA           = record.VMA
	VMARefs       = record.VMARefs
	Xattr         = record.Xattr
)

const (
	Bulk            = record.Bulk
	Critical        = record.Critical
	FirstCustom     = record.FirstCustom
	LeaveKilled     = record.LeaveKilled
	LeaveRunning    = record.LeaveRunning
	LeaveStopped    = record.LeaveStopped
	LockFlock       = record.LockFlock
	LockOFD         = record.LockOFD
	LockPosix       = record.LockPosix
	Shareable       = record.Shareable
	StageRaw        = record.StageRaw
	StageShared     = record.StageShared
	TypeAbort       = record.TypeAbort
	TypeCgroups     = record.TypeCgroups
	TypeCharDev     = record.TypeCharDev
	TypeContent     = record.TypeContent
	TypeCreds       = record.TypeCreds
	TypeDir         = record.TypeDir
	TypeEnd         = record.TypeEnd
	TypeEpoll       = record.TypeEpoll
	TypeEpollTarget = record.TypeEpollTarget
	TypeEventFD     = record.TypeEventFD
	TypeFD          = record.TypeFD
	TypeFDTable     = record.TypeFDTable
	TypeFS          = record.TypeFS
	TypeFifo        = record.TypeFifo
	TypeFile        = record.TypeFile
	TypeHeader      = record.TypeHeader
	TypeIOCtx       = record.TypeIOCtx
	TypeInherit     = record.TypeInherit
	TypeItimers     = record.TypeItimers
	TypeLimits      = record.TypeLimits
	TypeLock        = record.TypeLock
	TypeLoginUID    = record.TypeLoginUID
	TypeMM          = record.TypeMM
	TypeMemFD       = record.TypeMemFD
	TypeObjref      = record.TypeObjref
	TypePages       = record.TypePages
	TypePipe        = record.TypePipe
	TypePipeData    = record.TypePipeData
	TypePrctl       = record.TypePrctl
	TypeProcAttr    = record.TypeProcAttr
	TypeProcFile    = record.TypeProcFile
	TypeReg         = record.TypeReg
	TypeRegs        = record.TypeRegs
	TypeRseq        = record.TypeRseq
	TypeSched       = record.TypeSched
	TypeSeccomp     = record.TypeSeccomp
	TypeSemUndo     = record.TypeSemUndo
	TypeShmem       = record.TypeShmem
	TypeSigactions  = record.TypeSigactions
	TypeSignals     = record.TypeSignals
	TypeSockData    = record.TypeSockData
	TypeSysVShm     = record.TypeSysVShm
	TypeTTY         = record.TypeTTY
	TypeTask        = record.TypeTask
	TypeThread      = record.TypeThread
	TypeTimers      = record.TypeTimers
	TypeUnixSock    = record.TypeUnixSock
	TypeUserPtrs    = record.TypeUserPtrs
	TypeVMA         = record.TypeVMA
	VMAAnon         = record.VMAAnon
	VMADev          = record.VMADev
	VMAFile         = record.VMAFile
	VMAHuge         = record.VMAHuge
	VMAShmem        = record.VMAShmem
	VMASysVShm      = record.VMASysVShm
	VMAVDSO         = record.VMAVDSO
	VMAVVar         = record.VMAVVar
	VMAVsyscall     = record.VMAVsyscall
)

func Lookup(t Type) *TypeInfo             { return record.Lookup(t) }
func Types() []TypeInfo                   { return record.Types() }
func TypeByName(name string) (Type, bool) { return record.TypeByName(name) }

// Fail is w.Abort.
func Fail(w *Writer, tool string, err error) { w.Abort(tool, err) }
