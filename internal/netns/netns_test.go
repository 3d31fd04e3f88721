package netns

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"ckpt/stream/record"
)

// enter puts the test into a new network namespace.
func enter(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // for good: the thread is of no use to others
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("no network namespace: %v", err)
	}
}

// shell runs commands where the test is.
func shell(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.Command("bash", "-ec", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

func here(t *testing.T) uint64 {
	t.Helper()
	ino, err := Here()
	if err != nil {
		t.Fatal(err)
	}
	return ino
}

func read(t *testing.T) *Network {
	t.Helper()
	n, blockers, err := Read()
	if err != nil || len(blockers) > 0 {
		t.Fatal(err, blockers)
	}
	return n
}

// listing is what ip(8) and bridge(8) list, without what changes by itself.
const listing = `ip -d -o link | sed 's/ \(hello_timer\|forward_delay_timer\|hold_timer\|message_age_timer\|gc_timer\|tcn_timer\|topology_change_timer\) *[0-9.]*//g; s/ state [A-Z]*//g'
ip -o addr | sed 's/\(valid\|preferred\)_lft [0-9]*sec//g'
for v in -4 -6; do ip -d $v route show table all | sed 's/expires [0-9]*sec//g' | sort; ip $v rule; done; ip neigh show nud permanent; ip neigh show proxy`

// remade makes a network in a new namespace and returns what is there then.
func remade(t *testing.T, n *Network, d *Decisions) *Network {
	t.Helper()
	host := here(t)
	enter(t)
	c, err := DialNew(host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if errs := append(n.Check(), d.Check(n)...); len(errs) > 0 {
		t.Fatal(errs)
	}
	if _, err := c.Make(n, d); err != nil {
		t.Fatal(err)
	}
	return read(t)
}

var networks = map[string]string{
	"new":                 ``,
	"loopback":            `ip link set lo up`,
	"addresses":           `ip link set lo up; ip addr add 10.1.2.3/8 dev lo; ip addr add 10.1.2.4/8 dev lo label lo:x; ip addr add 10.1.2.9 peer 10.7.0.1/24 dev lo scope link metric 7; ip addr add fd00::5/64 dev lo; ip addr add fd00::6/64 dev lo preferred_lft 0; ip addr add fd00::7/64 dev lo valid_lft 1000 preferred_lft 900; ip addr add fd00::8/64 dev lo noprefixroute; ip addr add 10.9.9.9/32 dev lo valid_lft 5000 preferred_lft 5000`,
	"nothing on loopback": `ip link set lo up; ip addr del 127.0.0.1/8 dev lo; ip addr del ::1/128 dev lo`,
	"loopback with settings": `ip link set lo up mtu 1400 txqueuelen 77 alias "odd
name" group 5; ip link property add dev lo altname another altname one-that-is-longer-than-fifteen`,
	"sysctls":      `ip link set lo up; s() { echo "$2" > /proc/sys/net/$1; }; s ipv4/ip_local_port_range "20000 30000"; s ipv4/ip_forward 1; s ipv4/conf/lo/forwarding 0; s core/somaxconn 77; s unix/max_dgram_qlen 99; s ipv4/tcp_rmem "4096 100000 200000"; s ipv4/ping_group_range "5 10"; s ipv6/conf/default/forwarding 1; s ipv6/conf/lo/use_tempaddr 1; s ipv4/neigh/lo/gc_stale_time 33; s ipv4/tcp_fastopen_key 01020304-05060708-090a0b0c-0d0e0f00`,
	"without IPv6": `echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; ip link set lo up; ip link add name va type veth peer name vb; ip link set va up; ip addr add 10.0.0.1/24 dev va`,
	"veth":         `ip link set lo up; ip link add va index 7 address 02:00:00:00:00:0a mtu 9000 type veth peer name vb index 5; ip link set va up; ip link set vb up; ip addr add 10.0.0.1/24 brd + dev va; ip addr add 10.0.0.2/24 dev vb; ip addr add fd00::1/64 dev va; ip addr del $(ip -o -6 addr show dev vb scope link | awk '{print $4}') dev vb`,
	"veth down":    `ip link add name va type veth peer name vb; ip link set va up promisc on allmulticast on arp off; ip addr add fd00::1/64 dev va; ip addr add 10.0.0.1/24 dev vb; ip link set vb multicast off addrgenmode none`,
	"bridge":       `ip link set lo up; ip link add name br type bridge forward_delay 400 ageing_time 5000 priority 100 mcast_snooping 0 mcast_query_interval 777 no_linklocal_learn 1; ip link add name va type veth peer name vb; ip link add name vc type veth peer name vd; ip link set va master br; ip link set vc master br; bridge link set dev va cost 77 hairpin on learning off flood off; bridge link set dev vc isolated on priority 5; for l in br va vb vc vd; do ip link set dev $l up; done; ip addr add 192.168.7.1/24 dev br; ip addr add 192.168.7.2/24 dev vb`,
	"bridge down":  `ip link add name br type bridge stp_state 1 hello_time 300 max_age 1800; ip link add name va type veth peer name vb; ip link set va master br; ip addr add 192.168.7.1/24 dev br`,
	"plain":        `ip link add i type ifb; ip link set i up; ip addr add 10.0.0.1/24 dev i`,
	"tun":          `ip tuntap add dev t mode tun user 5 group 7; ip tuntap add dev tt mode tap pi vnet_hdr multi_queue; ip link set dev t up; ip addr add 10.0.0.1/24 dev t; ip link set dev tt address 02:00:00:00:00:0b mtu 1400`,
	"routes": `ip link set lo up; ip link add name va type veth peer name vb; ip link set va up; ip link set vb up; ip addr add 10.0.0.1/24 dev va; ip addr add fd00::1/64 dev va nodad; ip addr add fd01::1/64 dev vb nodad
ip route add default via 10.0.0.254; ip route add 10.5.0.0/16 via 10.0.0.7 metric 50 mtu 1300 advmss 1200 rto_min 300ms src 10.0.0.1; ip route add 10.5.0.0/16 via 10.0.0.8 metric 60; ip route add blackhole 10.6.0.0/16; ip route add unreachable 10.6.5.0/24 metric 9; ip route add local 0.0.0.0/0 dev lo table 100; ip route add 10.7.0.0/16 via 1.2.3.4 dev va onlink; ip route add 10.8.0.0/16 nexthop via 10.0.0.7 weight 3 nexthop via 10.0.0.9; ip route add 10.9.0.0/16 via inet6 fd00::9 dev va; ip route add 10.10.0.0/16 tos 8 via 10.0.0.7 table 70000 congctl reno proto 77; ip route append 10.10.0.0/16 tos 8 via 10.0.0.8 table 70000
ip route del 10.0.0.0/24 dev va proto kernel; ip route add 10.0.0.0/25 dev va scope link
ip -6 route add default via fd00::254; ip -6 route add fd05::/64 via fd00::7 metric 50 pref high; ip -6 route add blackhole fd06::/64; ip -6 route add fd07::/64 nexthop via fd00::7 weight 2 nexthop via fd01::8; ip -6 route add fd08::/64 via fd00::7 expires 1000; ip -6 route add local default dev lo table 100; ip -6 route add fd09::/64 dev vb metric 3`,
	"rules":      `ip link set lo up; ip rule add from 10.0.0.0/8 table 100; ip rule add fwmark 0x5/0xff table 70000 priority 50; ip rule add iif lo ipproto tcp dport 80-90 uidrange 5-10 table 7; ip rule add not to 10.1.0.0/16 oif gone blackhole; ip rule add table main suppress_prefixlength 0; ip rule add from all goto 32766 priority 5; ip rule del priority 32767; ip -6 rule add from fd00::/8 table 100; ip -6 rule add sport 7 prohibit`,
	"neighbours": `ip link add name va type veth peer name vb; ip link set va up; ip link set vb up; ip addr add 10.0.0.1/24 dev va; ip neigh add 10.0.0.7 lladdr 02:00:00:00:00:01 dev va; ip neigh add fd00::7 lladdr 02:00:00:00:00:02 dev va nud permanent router; ip neigh add proxy 10.0.0.9 dev va; ip neigh add proxy fd00::9 dev va; ip neigh add 10.0.0.8 lladdr 02:00:00:00:00:03 dev va nud stale`,
	"odd names":  "ip link add $'\\x01\"\\'' type veth peer name '-$(x)'; ip link set $'\\x01\"\\'' up",
}

// TestAgain makes networks again: all is as it was.
func TestAgain(t *testing.T) {
	for name, script := range networks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			enter(t)
			shell(t, script)
			settled(t)
			want, wantList := read(t), shell(t, listing)
			got := remade(t, want, nil)
			settled(t)
			if diff := cmp.Diff(comparable(want), comparable(got)); diff != "" {
				t.Errorf("is not as it was:\n%s", diff)
			}
			if diff := cmp.Diff(strings.Split(wantList, "\n"), strings.Split(shell(t, listing), "\n")); diff != "" {
				t.Errorf("ip lists other things:\n%s", diff)
			}
		})
	}
}

// settled waits until no address is asked for on its link any more.
func settled(t *testing.T) {
	t.Helper()
	shell(t, `for i in {1..600}; do ip -o -6 addr show up tentative | grep -q LOWER_UP || [ -z "$(ip -o -6 addr show tentative | while read i dev rest; do ip -o link show up dev $dev 2>/dev/null | grep LOWER_UP; done)" ] && exit; sleep 0.01; done; exit 1`)
}

// comparable is a network without what changes by itself and without an order where that
// has no meaning.
func comparable(n *Network) *Network {
	c := *n
	c.Addresses, c.Routes = slices.Clone(n.Addresses), slices.Clone(n.Routes)
	for i := range c.Addresses {
		a := &c.Addresses[i]
		a.Valid, a.Preferred = a.Valid/100, a.Preferred/100
	}
	for i := range c.Routes {
		c.Routes[i].Expires /= 100
	}
	slices.SortStableFunc(c.Routes, func(a, b record.Route) int {
		return strings.Compare(fmt.Sprint(a.Dst, a.Type), fmt.Sprint(b.Dst, b.Type))
	})
	c.Sysctls = slices.Clone(n.Sysctls)
	for i := range c.Sysctls { // the kernel makes one by itself for an interface without an address
		s := &c.Sysctls[i]
		s.Values = slices.DeleteFunc(slices.Clone(s.Values), func(v record.NetSysctl) bool {
			return v.Name == "stable_secret" && strings.HasPrefix(s.Folder, "ipv6/conf/t")
		})
	}
	slices.SortStableFunc(c.Neighbours, func(a, b record.Neighbour) int { return strings.Compare(neighbourKey(&a), neighbourKey(&b)) })
	return &c
}

// TestSysctlsAreOwn: no value that can be written here is one of another namespace, too.
func TestSysctlsAreOwn(t *testing.T) {
	enter(t)
	first, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	before := read(t)
	enter(t)
	changed, w := 0, &sysctlWriter{lacks: map[string]bool{}}
	for _, s := range before.Sysctls {
		for _, v := range s.Values {
			n, err := strconv.Atoi(v.Value)
			if err != nil {
				continue
			}
			for _, other := range []int{n + 1, n - 1, 1 - n} {
				other := record.NetSysctls{Folder: s.Folder, Values: []record.NetSysctl{{Name: v.Name, Value: strconv.Itoa(other)}}}
				if c, err := w.folder(&other); c && err == nil {
					changed++
					break
				}
			}
		}
	}
	if changed < 100 {
		t.Errorf("only %d values could be changed", changed)
	}
	if err := unix.Setns(int(first.Fd()), unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before.Sysctls, read(t).Sysctls); diff != "" {
		t.Errorf("changed in another namespace:\n%s", diff)
	}
}
