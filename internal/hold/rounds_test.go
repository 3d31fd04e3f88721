package hold

import "testing"

// TestRounds: one holder that lives does not stand in for another that is silent.
func TestRounds(t *testing.T) {
	var l ledger
	last := 0
	for _, step := range []struct {
		lines string
		moves bool
	}{
		{"dedup hold description 7\n", true},
		{"dedup alive\n", true},
		{"write hold data 8\n", true},
		{"dedup alive\n", false},
		{"dedup alive\ndedup alive\n", false},
		{"write alive\n", true},
		{"write alive\n", false},
		{"dedup alive\n", true},
		{"dedup ok\n", true},
		{"write alive\n", true},
		{"write alive\n", true},
		{"write committed 5 shared\n", true},
	} {
		l.add([]byte(step.lines))
		if moves := l.rounds != last; moves != step.moves {
			t.Errorf("%q: all live: %v", step.lines, moves)
		}
		last = l.rounds
	}
}
