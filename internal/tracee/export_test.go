//go:build amd64

package tracee

// What the tests, which need puppets and loans and so stand outside, use of the inside.

const (
	RestartBlock   = erestartRestartblock
	XStateHeader   = xstateHeader
	FutexWait      = futexWait
	MaxWaitSeconds = maxWaitSeconds
)

var (
	WaitAt     = waitAt
	LeadVDSOTo = leadVDSO
)

// SeizeOnly attaches a thread as Group.Seize does, and no more.
func SeizeOnly(tid int) error { return seize(tid, groupOptions) }

func (g *Group) SetAsked(tid int) { g.asked[tid] = true }

func (g *Group) Forget(t *Tracee) { g.forget(t) }

func (t *Tracee) NumberBefore(ip uint64) int { return t.numberBefore(ip) }
