package apply

import (
	"reflect"
	"strings"
	"testing"

	"ckpt/internal/judge"
	"ckpt/internal/proc"
)

func TestFirstFree(t *testing.T) {
	most, err := proc.ReadSysctl("kernel/pid_max")
	if err != nil {
		t.Fatal(err)
	}
	end := int(most)
	for _, c := range []struct {
		name   string
		needed []int
		want   int
	}{
		{"none", nil, judge.ReservedPIDs},
		{"low", []int{2, 5, 9}, judge.ReservedPIDs},
		{"above all", []int{2, 4000, 4711}, 4712},
		{"the widest gap", []int{1000, 1001, end - 1}, 1002},
		{"below all", []int{end - 1, end - 2}, judge.ReservedPIDs},
		{"more than there are here", []int{4000, end, end + 7}, 4001},
	} {
		t.Run(c.name, func(t *testing.T) {
			needed := map[int]bool{}
			for _, id := range c.needed {
				needed[id] = true
			}
			if got, err := firstFree(needed); got != c.want || err != nil {
				t.Errorf("%d, %v; want %d", got, err, c.want)
			}
		})
	}
}

func TestInitSetting(t *testing.T) {
	for _, s := range []initSetting{{line: 3, head: 4, first: 5}, {line: 7, head: 8, beside: true}, {line: 3, head: 4, user: true, groups: []uint32{0, 27, 1<<32 - 1}}} {
		_, text, _ := strings.Cut(s.String(), "=")
		if got, err := parseSetting(text); err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("%q is %+v, %v; want %+v", text, got, err, s)
		}
	}
	for _, text := range []string{"", "1,2,3", "1,2,3,true", "1,2,x,true,false", "1,2,3,true,false,-1", "1,2,3,true,false,"} {
		if _, err := parseSetting(text); err != errNotForUsers {
			t.Errorf("%q: %v", text, err)
		}
	}
}
