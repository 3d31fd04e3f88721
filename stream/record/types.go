package record

// The record types. Numbers are part of the format and never reused.
const (
	TypeHeader Type = 1 // Header: what this stream is, always first
	TypeEnd    Type = 2 // End: the stream is whole, always last
	TypeAbort  Type = 3 // Abort: the stream failed, in place of END
	TypeObjref Type = 4 // ObjrefUse: an object again that was defined before

	TypeTask       Type = 16 // Task
	TypeMM         Type = 17 // MM
	TypeFS         Type = 18 // FS
	TypeCreds      Type = 19 // Creds
	TypeLimits     Type = 20 // Limits
	TypeSched      Type = 21 // Sched
	TypeProcAttr   Type = 22 // ProcAttr
	TypePrctl      Type = 23 // Prctl
	TypeSigactions Type = 24 // Sigactions
	TypeSignals    Type = 25 // Signals
	TypeItimers    Type = 26 // Itimers
	TypeRegs       Type = 27 // Regs
	TypeRseq       Type = 28 // Rseq
	TypeUserPtrs   Type = 29 // UserPtrs
	TypeTimers     Type = 30 // Timers
	TypeSeccomp    Type = 31 // Seccomp
	TypeCgroups    Type = 32 // Cgroups
	TypeLoginUID   Type = 33 // LoginUID
	TypeThread     Type = 34 // Thread
	TypeFDTable    Type = 35 // FDTable
	TypeIOCtx      Type = 36 // IOCtx
	TypeSemUndo    Type = 37 // SemUndo

	TypeVMA     Type = 48 // VMA
	TypePages   Type = 49 // Pages, with their contents
	TypeShmem   Type = 50 // Shmem
	TypeInherit Type = 51 // Inherit
	TypeSysVShm Type = 52 // SysVShm

	TypeFD       Type = 64 // FD
	TypeFile     Type = 65 // File
	TypeReg      Type = 66 // Reg
	TypeDir      Type = 67 // Dir
	TypePipe     Type = 68 // Pipe
	TypeFifo     Type = 69 // Fifo
	TypeCharDev  Type = 70 // CharDev
	TypeTTY      Type = 71 // TTY
	TypeLock     Type = 72 // Lock
	TypeContent  Type = 73 // Content, with the bytes of a file
	TypePipeData Type = 74 // PipeData, with the bytes in a pipe or FIFO

	TypeEventFD     Type = 75 // EventFD
	TypeEpoll       Type = 76 // Epoll
	TypeEpollTarget Type = 77 // EpollTarget
	TypeUnixSock    Type = 78 // UnixSock
	TypeSockData    Type = 79 // SockData, with the bytes that wait in a socket
	TypeMemFD       Type = 80 // MemFD
	TypeProcFile    Type = 85 // ProcFile
)

var types = [...]TypeInfo{
	row[Header](TypeHeader, "HEADER", Critical),
	row[End](TypeEnd, "END", Critical),
	row[Abort](TypeAbort, "ABORT", Critical),
	row[ObjrefUse](TypeObjref, "OBJREF", Critical),

	row[Task](TypeTask, "TASK", Critical),
	row[MM](TypeMM, "MM", Critical|Shareable),
	row[FS](TypeFS, "FS", Critical|Shareable),
	row[Creds](TypeCreds, "CREDS", Critical),
	row[Limits](TypeLimits, "LIMITS", Critical),
	row[Sched](TypeSched, "SCHED", Critical),
	row[ProcAttr](TypeProcAttr, "PROCATTR", Critical),
	row[Prctl](TypePrctl, "PRCTL", Critical),
	row[Sigactions](TypeSigactions, "SIGACTIONS", Critical|Shareable),
	row[Signals](TypeSignals, "SIGNALS", Critical),
	row[Itimers](TypeItimers, "ITIMERS", Critical),
	row[Regs](TypeRegs, "REGS", Critical),
	row[Rseq](TypeRseq, "RSEQ", Critical),
	row[UserPtrs](TypeUserPtrs, "USERPTRS", Critical),
	row[Timers](TypeTimers, "TIMERS", Critical),
	row[Seccomp](TypeSeccomp, "SECCOMP", Critical),
	row[Cgroups](TypeCgroups, "CGROUPS", Critical),
	row[LoginUID](TypeLoginUID, "LOGINUID", Critical),
	row[Thread](TypeThread, "THREAD", Critical),
	row[FDTable](TypeFDTable, "FDTABLE", Critical|Shareable),
	row[IOCtx](TypeIOCtx, "IOCTX", Critical|Shareable),
	row[SemUndo](TypeSemUndo, "SEMUNDO", Critical|Shareable),

	row[VMA](TypeVMA, "VMA", Critical),
	row[Pages](TypePages, "PAGES", Critical|Bulk),
	row[Shmem](TypeShmem, "SHMEM", Critical|Shareable),
	row[Inherit](TypeInherit, "INHERIT", Critical|Bulk),
	row[SysVShm](TypeSysVShm, "SYSVSHM", Critical|Shareable),

	row[FD](TypeFD, "FD", Critical),
	row[File](TypeFile, "FILE", Critical|Shareable),
	row[Reg](TypeReg, "REG", Critical|Shareable),
	row[Dir](TypeDir, "DIR", Critical|Shareable),
	row[Pipe](TypePipe, "PIPE", Critical|Shareable),
	row[Fifo](TypeFifo, "FIFO", Critical|Shareable),
	row[CharDev](TypeCharDev, "CHARDEV", Critical|Shareable),
	row[TTY](TypeTTY, "TTY", Critical|Shareable),
	row[Lock](TypeLock, "LOCK", Critical),
	row[Content](TypeContent, "CONTENT", Critical|Bulk),
	row[PipeData](TypePipeData, "PIPEDATA", Critical|Bulk),

	row[EventFD](TypeEventFD, "EVENTFD", Critical|Shareable),
	row[Epoll](TypeEpoll, "EPOLL", Critical|Shareable),
	row[EpollTarget](TypeEpollTarget, "EPOLLTARGET", Critical),
	row[UnixSock](TypeUnixSock, "UNIXSOCK", Critical|Shareable),
	row[SockData](TypeSockData, "SOCKDATA", Critical|Bulk),
	row[MemFD](TypeMemFD, "MEMFD", Critical|Shareable),
	row[ProcFile](TypeProcFile, "PROCFILE", Critical|Shareable),
}
