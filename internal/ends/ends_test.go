package ends

import "testing"

func TestParse(t *testing.T) {
	for _, good := range []string{"pid 7 fd 3=null", "pipe:[4711]=close", "unix:[1]=inherit:3", "/a=b=file:/c=null", "/dev/pts/3=file:x",
		"unix:/run/x.sock=connect", "unix:@x=close", "unix:*=close", "unix:[*]=close", "unix:/a=b=null"} {
		if _, err := Parse([]string{good}, nil); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "=null", "pid 7=null", "pid 7 fd 3", "pid 7 fd 3 =null", "pid 7 fd 3=", "unix:=null", "unix:[x]=null", "pid * fd 3=null", "pipe:[x]=null", "pipe:[1=null",
		"x=null", "/a=nul", "/a=file:", "/a=inherit:", "/a=inherit:-1", "shm:[1]=copy"} {
		if _, err := Parse([]string{bad}, nil); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	for _, bad := range []string{"x=null", "-1=null", "3", "3=x"} {
		if _, err := Parse(nil, []string{bad}); err == nil {
			t.Errorf("--fd %q is taken", bad)
		}
	}
}

func TestFind(t *testing.T) {
	d, err := Parse([]string{"/a=b=file:/c=d", "pid 7 fd 3=null", "pipe:[9]=close", "unix:[5]=null", "unix:*=close", "unix:[*]=null", "unix:*/y*.sock=connect", "unix:/x/y1.sock=inherit:3"}, []string{"1=inherit:5"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		pid, fd int
		name    string
		out     bool
		want    Action
	}{
		{7, 3, "pipe:[9]", true, Null}, {8, 3, "pipe:[9]", true, Close}, {7, 1, "", false, Inherit}, {8, 1, "", false, 0},
		{8, 4, "/a=b", false, File}, {8, 4, "/a", false, 0}, {8, 4, "unix:/run/x", true, Close}, {8, 4, "unix:/run/x", false, 0}, {8, 4, "unix:[77]", true, Null},
		{8, 4, "unix:/run/y2.sock", true, Connect}, {8, 4, "unix:/x/y1.sock", true, Inherit}, {8, 4, "unix:y1.sock", true, Close}, {8, 4, "pipe:[1]", true, 0},
	} {
		got := d.Find(7, c.pid, c.fd, c.name, c.out)
		if got == nil && c.want != 0 || got != nil && got.Action != c.want {
			t.Errorf("%+v: %+v", c, got)
		}
	}
	if d.named["/a=b"].Path != "/c=d" || d.root[1].FD != 5 {
		t.Error("a path or number was not taken over")
	}
	errs := d.Unused()
	if len(errs) != 1 || errs[0].Error() != "--end 'unix:[5]=null': no descriptor in the image has that name or leads there" {
		t.Errorf("%v", errs)
	}
}

func TestJoin(t *testing.T) {
	errs := Join([]*Undecided{{Name: "pipe:[1]", Reason: "a"}, {Name: "/it's", Reason: "b"}, {Name: "pipe:[1]", Reason: "c"}})
	want := `restore it with: --end 'pipe:[1]=null' --end '/it'\''s=null'; file:PATH, inherit:FD or close can stand in place of null`
	if len(errs) != 3 || errs[0].(*Undecided).Hint() != "" || errs[2].(*Undecided).Hint() != want {
		t.Errorf("%v %s", errs, errs[2].(*Undecided).Hint())
	}
}

// TestJoinAll: what one pattern decides for is proposed once.
func TestJoinAll(t *testing.T) {
	one := &Undecided{Name: "unix:[1]", How: "close", All: "unix:[*]"}
	for want, list := range map[string][]*Undecided{
		"--end 'unix:[1]=close'; file:PATH, inherit:FD or null can stand in place of close":                                           {one},
		"--end 'unix:[*]=close' --end 'unix:/x=connect'; file:PATH, inherit:FD, null or close can stand in place of what is proposed": {one, {Name: "unix:/x", How: "connect"}, {Name: "unix:[2]", How: "close", All: "unix:[*]"}},
	} {
		errs := Join(list)
		if got := errs[len(errs)-1].(*Undecided).Hint(); got != "restore it with: "+want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
