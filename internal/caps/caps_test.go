package caps

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

func TestNames(t *testing.T) {
	for want, set := range map[string]Set{
		"":                                    0,
		"CAP_CHOWN":                           Of(unix.CAP_CHOWN),
		"CAP_CHECKPOINT_RESTORE":              Of(unix.CAP_CHECKPOINT_RESTORE),
		"CAP_SYS_ADMIN and CAP_SYS_TIME":      Of(unix.CAP_SYS_TIME, unix.CAP_SYS_ADMIN),
		"CAP_KILL, CAP_SETGID and CAP_SETUID": Of(unix.CAP_KILL, unix.CAP_SETUID, unix.CAP_SETGID),
		"CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER and 37 more": 1<<41 - 1,
		"capability 63": 1 << 63,
	} {
		if got := set.String(); got != want {
			t.Errorf("%#x: %q, want %q", uint64(set), got, want)
		}
	}
	if n := len(names); n != unix.CAP_LAST_CAP+1 {
		t.Errorf("%d names, the last capability is %d", n, unix.CAP_LAST_CAP)
	}
}

func TestNeed(t *testing.T) {
	p := &Process{Status: proc.Status{CapEff: 1 << unix.CAP_KILL}}
	if errs := p.Need(Of(unix.CAP_KILL), "", "kill"); errs != nil {
		t.Error(errs)
	}
	errs := p.Need(Of(unix.CAP_KILL, unix.CAP_SETUID), "pid 7 (sh)", "set the user ids of %s")
	if len(errs) != 1 || errs[0].Error() != "CAP_SETUID is missing, which is needed to set the user ids of pid 7 (sh)" || !errors.Is(errs[0], os.ErrPermission) {
		t.Error(errs)
	}
}

func TestMerge(t *testing.T) {
	missing := func(who, to string) error { return &Missing{Set: Of(unix.CAP_SETUID), Who: who, To: to} }
	other := errors.New("other")
	got := Merge([]error{missing("a", "b %s"), other, missing("c", "b %s"), missing("a", "b %s"), missing("d", "e %s"), missing("f", "b %s"), other})
	want := []string{"CAP_SETUID is missing, which is needed to b a and 2 others", "other", "CAP_SETUID is missing, which is needed to e d", "other"}
	if len(got) != len(want) {
		t.Fatalf("%v", got)
	}
	for i := range want {
		if got[i].Error() != want[i] {
			t.Errorf("%v, want %s", got[i], want[i])
		}
	}
}
