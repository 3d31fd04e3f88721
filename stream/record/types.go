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
	TypeSignalFD    Type = 81 // SignalFD
	TypeTimerFD     Type = 82 // TimerFD
	TypePidFD       Type = 83 // PidFD
	TypeInotify     Type = 84 // Inotify
	TypeProcFile    Type = 85 // ProcFile
	TypePTMX        Type = 87 // PTMX
	TypeSockRights  Type = 88 // SockRights
	TypeIOUring     Type = 95 // IOUring

	TypeInotifyWatch Type = 86 // InotifyWatch
	TypeOPath        Type = 96 // OPath
	TypeMQueue       Type = 97 // MQueue
	TypeInetSock     Type = 89 // InetSock
	TypeNetlink      Type = 90 // Netlink
	TypeSockSent     Type = 91 // SockSent, with bytes that nobody has acknowledged

	TypeNamespace  Type = 93  // Namespace
	TypeFilesystem Type = 101 // Filesystem
	TypeMount      Type = 102 // Mount
	TypeFSNode     Type = 103 // FSNode
	TypeFSData     Type = 104 // FSData, with the bytes of a file

	TypeSemSet   Type = 105 // SemSet
	TypeMsgQueue Type = 106 // MsgQueue
	TypeMsg      Type = 107 // Msg, with its text

	TypeLink       Type = 110 // Link
	TypeNetAddress Type = 111 // NetAddress
	TypeRoute      Type = 112 // Route
	TypeNetRule    Type = 113 // NetRule
	TypeNeighbour  Type = 114 // Neighbour
	TypeNetSysctls Type = 115 // NetSysctls
)

// v01 is the version that has had a record from the beginning. A field that came
// later than its record says so by the tag since.
const v01 = "0.1"

// v02 is the next.
const v02 = "0.2"

var types = [...]TypeInfo{
	row[Header](v01, TypeHeader, "HEADER", Critical),
	row[End](v01, TypeEnd, "END", Critical),
	row[Abort](v01, TypeAbort, "ABORT", Critical),
	row[ObjrefUse](v01, TypeObjref, "OBJREF", Critical),

	row[Task](v01, TypeTask, "TASK", Critical),
	row[MM](v01, TypeMM, "MM", Critical|Shareable),
	row[FS](v01, TypeFS, "FS", Critical|Shareable),
	row[Creds](v01, TypeCreds, "CREDS", Critical),
	row[Limits](v01, TypeLimits, "LIMITS", Critical),
	row[Sched](v01, TypeSched, "SCHED", Critical),
	row[ProcAttr](v01, TypeProcAttr, "PROCATTR", Critical),
	row[Prctl](v01, TypePrctl, "PRCTL", Critical),
	row[Sigactions](v01, TypeSigactions, "SIGACTIONS", Critical|Shareable),
	row[Signals](v01, TypeSignals, "SIGNALS", Critical),
	row[Itimers](v01, TypeItimers, "ITIMERS", Critical),
	row[Regs](v01, TypeRegs, "REGS", Critical),
	row[Rseq](v01, TypeRseq, "RSEQ", Critical),
	row[UserPtrs](v01, TypeUserPtrs, "USERPTRS", Critical),
	row[Timers](v01, TypeTimers, "TIMERS", Critical),
	row[Seccomp](v01, TypeSeccomp, "SECCOMP", Critical),
	row[Cgroups](v01, TypeCgroups, "CGROUPS", Critical),
	row[LoginUID](v01, TypeLoginUID, "LOGINUID", Critical),
	row[Thread](v01, TypeThread, "THREAD", Critical),
	row[FDTable](v01, TypeFDTable, "FDTABLE", Critical|Shareable),
	row[IOCtx](v01, TypeIOCtx, "IOCTX", Critical|Shareable),
	row[SemUndo](v01, TypeSemUndo, "SEMUNDO", Critical|Shareable),

	row[VMA](v01, TypeVMA, "VMA", Critical),
	row[Pages](v01, TypePages, "PAGES", Critical|Bulk),
	row[Shmem](v01, TypeShmem, "SHMEM", Critical|Shareable),
	row[Inherit](v01, TypeInherit, "INHERIT", Critical|Bulk),
	row[SysVShm](v01, TypeSysVShm, "SYSVSHM", Critical|Shareable),

	row[FD](v01, TypeFD, "FD", Critical),
	row[File](v01, TypeFile, "FILE", Critical|Shareable),
	row[Reg](v01, TypeReg, "REG", Critical|Shareable),
	row[Dir](v01, TypeDir, "DIR", Critical|Shareable),
	row[Pipe](v01, TypePipe, "PIPE", Critical|Shareable),
	row[Fifo](v01, TypeFifo, "FIFO", Critical|Shareable),
	row[CharDev](v01, TypeCharDev, "CHARDEV", Critical|Shareable),
	row[TTY](v01, TypeTTY, "TTY", Critical|Shareable),
	row[Lock](v01, TypeLock, "LOCK", Critical),
	row[Content](v01, TypeContent, "CONTENT", Critical|Bulk),
	row[PipeData](v01, TypePipeData, "PIPEDATA", Critical|Bulk),

	row[EventFD](v01, TypeEventFD, "EVENTFD", Critical|Shareable),
	row[Epoll](v01, TypeEpoll, "EPOLL", Critical|Shareable),
	row[EpollTarget](v01, TypeEpollTarget, "EPOLLTARGET", Critical),
	row[UnixSock](v01, TypeUnixSock, "UNIXSOCK", Critical|Shareable),
	row[SockData](v01, TypeSockData, "SOCKDATA", Critical|Bulk),
	row[MemFD](v01, TypeMemFD, "MEMFD", Critical|Shareable),
	row[SignalFD](v02, TypeSignalFD, "SIGNALFD", Critical|Shareable),
	row[TimerFD](v02, TypeTimerFD, "TIMERFD", Critical|Shareable),
	row[PidFD](v02, TypePidFD, "PIDFD", Critical|Shareable),
	row[Inotify](v02, TypeInotify, "INOTIFY", Critical|Shareable),
	row[ProcFile](v01, TypeProcFile, "PROCFILE", Critical|Shareable),
	row[PTMX](v02, TypePTMX, "PTMX", Critical|Shareable),
	row[SockRights](v02, TypeSockRights, "SOCKRIGHTS", Critical),
	row[IOUring](v02, TypeIOUring, "IOURING", Critical|Shareable),
	row[InotifyWatch](v02, TypeInotifyWatch, "INOTIFYWATCH", Critical),
	row[InetSock](v02, TypeInetSock, "INETSOCK", Critical|Shareable),
	row[OPath](v02, TypeOPath, "OPATH", Critical|Shareable),
	row[Netlink](v02, TypeNetlink, "NETLINK", Critical|Shareable),
	row[SockSent](v02, TypeSockSent, "SOCKSENT", Critical|Bulk),
	row[MQueue](v02, TypeMQueue, "MQUEUE", Critical|Shareable),
	row[Namespace](v02, TypeNamespace, "NAMESPACE", Critical|Shareable),

	row[Filesystem](v02, TypeFilesystem, "FILESYSTEM", Critical|Shareable),
	row[Mount](v02, TypeMount, "MOUNT", Critical),
	row[FSNode](v02, TypeFSNode, "FSNODE", Critical),
	row[FSData](v02, TypeFSData, "FSDATA", Critical|Bulk),
	row[SemSet](v02, TypeSemSet, "SEMSET", Critical|Shareable),
	row[MsgQueue](v02, TypeMsgQueue, "MSGQUEUE", Critical|Shareable),
	row[Msg](v02, TypeMsg, "MSG", Critical|Bulk),
	row[Link](v02, TypeLink, "LINK", Critical),
	row[NetAddress](v02, TypeNetAddress, "NETADDRESS", Critical),
	row[Route](v02, TypeRoute, "ROUTE", Critical),
	row[NetRule](v02, TypeNetRule, "NETRULE", Critical),
	row[Neighbour](v02, TypeNeighbour, "NEIGHBOUR", Critical),
	row[NetSysctls](v02, TypeNetSysctls, "NETSYSCTLS", Critical),
}
