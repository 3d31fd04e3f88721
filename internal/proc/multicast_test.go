package proc

import (
	"net/netip"
	"slices"
	"testing"
)

const igmpText = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n" +
	"2\teth0      :     2      V3\n\t\t\t\tFB0000E0     1 0:00000000\t\t0\n"

const igmp6Text = "1    lo              ff020000000000000000000000000001     1 0000000C 0\n2    eth0            ff0200000000000000000000000000fb     1 00000004 0\n"

func TestParseMulticast(t *testing.T) {
	at := func(index uint32, ip string) Multicast { return Multicast{index, netip.MustParseAddr(ip)} }
	if got, want := parseIGMP(igmpText), []Multicast{at(1, "224.0.0.1"), at(2, "224.0.0.251")}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if got, want := parseIGMP6(igmp6Text), []Multicast{at(1, "ff02::1"), at(2, "ff02::fb")}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if list, err := ReadMulticast(); err != nil {
		t.Errorf("%v %v", list, err)
	}
}

func FuzzParseMulticast(f *testing.F) {
	f.Add(igmpText)
	f.Add(igmp6Text)
	f.Fuzz(func(_ *testing.T, text string) { parseIGMP(text); parseIGMP6(text) })
}
