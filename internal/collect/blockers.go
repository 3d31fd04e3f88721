package collect

import (
	"fmt"
	"strings"
	"sync"

	"ckpt/internal/proc"
)

// Blocker is one thing that stands in the way of a checkpoint.
type Blocker struct {
	PID    int
	Comm   string
	Reason error
}

func (b *Blocker) Error() string { return fmt.Sprintf("pid %d (%s) %v", b.PID, b.Comm, b.Reason) }
func (b *Blocker) Unwrap() error { return b.Reason }

// Refused is why a target can't be saved: everything that stands in the way.
type Refused struct{ Blockers []*Blocker }

func (r *Refused) Error() string {
	lines := make([]string, len(r.Blockers))
	for i, b := range r.Blockers {
		lines[i] = b.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the blockers.
func (r *Refused) Unwrap() []error {
	errs := make([]error, len(r.Blockers))
	for i, b := range r.Blockers {
		errs[i] = b
	}
	return errs
}

// blockers gathers them.
type blockers struct {
	comms map[int]string
	list  []*Blocker
}

func (b *blockers) add(pid int, reason error) {
	if _, ok := b.comms[pid]; !ok {
		if b.comms == nil {
			b.comms = map[int]string{}
		}
		comm, err := proc.ReadComm(pid, pid)
		if err != nil {
			comm = "?"
		}
		b.comms[pid] = comm
	}
	b.list = append(b.list, &Blocker{PID: pid, Comm: b.comms[pid], Reason: reason})
}

func (b *blockers) err() error {
	if len(b.list) == 0 {
		return nil
	}
	return &Refused{b.list}
}

// preflight looks for what can be told from /proc alone.
func preflight(b *blockers, p *process, status *proc.Status) error {
	pid := p.pid
	return namespaces(b, pid)
}

// namespaceWords are what people call the kinds of namespace.
var namespaceWords = map[string]string{"mnt": "mount", "uts": "host name", "ipc": "IPC", "net": "network"}

var ownNamespaces = sync.OnceValues(func() (map[string]uint64, error) { return proc.Namespaces(ownPID()) })

// namespaces finds those the target does not share with us: paths and ids in
// the image would not mean the same where it is restored.
func namespaces(b *blockers, pid int) error {
	own, err := ownNamespaces()
	if err != nil {
		return err
	}
	its, err := proc.Namespaces(pid)
	if err != nil {
		return err
	}
	for _, kind := range []string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"} {
		if own[kind] == its[kind] {
			continue
		}
		word := namespaceWords[kind]
		if word == "" {
			word = kind
		}
		b.add(pid, fmt.Errorf("is in another %s namespace than ckpt-collect, which can't be saved", word))
	}
	return nil
}
