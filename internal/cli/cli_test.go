package cli

import (
	"os"
	"strings"
	"testing"
)

const usageHint = "hint: ckpt-try --help lists the options"

func TestExitStatusAndMessages(t *testing.T) {
	for _, c := range []struct {
		args   string
		status int
		own    int // of a command whose failures exit with 125
		stderr string
	}{
		{"done", 0, 0, ""},
		{"-v done", 0, 0, said("to try done")},
		{"--verbose done", 0, 0, said("to try done")},
		{"fail", 1, 125, said("error: fd 3 is lost")},
		{"refuse", 3, 125, said("error: fd 4 is odd", "hint: close fd 4", "error: fd 5 is odd", "hint: close fd 5", "hint: try later")},
		{"wrapped", 1, 125, said("error: pid 7: fd 4 is odd; fd 5 is odd", "hint: close fd 4", "hint: close fd 5")},
		{"input", 4, 125, said("error: the image: the stream ends before its END record")},
		{"aborted", 4, 125, ""},
		{"aborted-and", 4, 125, said("error: fd 3 is lost")},
		{"changed", 5, 125, said("error: the stream is corrupt", "error: fd 3 is lost")},
		{"name", 0, 0, said(`note: it is called a\nckpt-try: error: b\x1b[2J\u202e\xff`)},
		{"-n 77 program", 77, 77, ""},
		{"", 2, 2, said("error: WHAT [DETAIL] is missing", usageHint)},
		{"show a b", 2, 2, said(`error: there is no use for "b"`, usageHint)},
		{"--leave dead show", 2, 2, said(`error: --leave "dead": it takes running, stopped or killed`, usageHint)},
		{"-l dead show", 2, 2, said(`error: --leave "dead": it takes running, stopped or killed`, usageHint)},
		{"-n 0x1 show", 2, 2, said(`error: --number "0x1": it takes a whole number`, usageHint)},
		{"--wait 5 show", 2, 2, said(`error: --wait "5": it takes a time such as 500ms or 10s`, usageHint)},
		{"--wait -5s show", 2, 2, said(`error: --wait "-5s": it takes a time such as 500ms or 10s`, usageHint)},
		{"--dry-run=maybe show", 2, 2, said(`error: --dry-run "maybe": it takes no value`, usageHint)},
		{"--bogus show", 2, 2, said("error: there is no option --bogus", usageHint)},
		{"-x show", 2, 2, said("error: there is no option -x", usageHint)},
		{"--leav dead show", 2, 2, said("error: there is no option --leav; did you mean --leave", usageHint)},
		{"--leave", 2, 2, said("error: option --leave needs a value", usageHint)},
		{"--generate-bash-completion", 2, 2, said("error: there is no option --generate-bash-completion", usageHint)},
	} {
		t.Run(c.args, func(t *testing.T) {
			for kind, status := range map[string]int{"try": c.status, "own": c.own} {
				got := try(t, kind, strings.Fields(c.args)...)
				if got.status != status || got.out != "" || got.stderr != c.stderr {
					t.Errorf("%s: status %d, want %d\nstdout %q\nstderr\n%swant\n%s", kind, got.status, status, got.out, got.stderr, c.stderr)
				}
			}
		})
	}
}

// The ways in which the library surprises by default.
func TestLibraryTraps(t *testing.T) {
	for _, c := range []struct {
		what string
		args []string
		out  string // of "show"; "" for a usage error
	}{
		{"defaults", []string{"show"}, `running||3|1s|["default"]|false|[]`},
		{"all set", []string{"--leave", "killed", "--text=a b", "-n", "-7", "--wait", "1m", "--dry-run", "show", "x"}, `killed|a b|-7|1m0s|["default"]|true|["x"]`},
		{"commas and spaces stay", []string{"--list", " a,b ", "--list", "", "show"}, `running||3|1s|[" a,b " ""]|false|[]`},
		{"an alias does not set a list twice", []string{"-L", "a", "show"}, `running||3|1s|["a"]|false|[]`},
		{"alias and name make one list", []string{"-L", "a", "--list", "b", "show"}, `running||3|1s|["a" "b"]|false|[]`},
		{"any bytes", []string{"-L", "\xff\"", "--text", "\xfe", "show"}, "running|\xfe|3|1s|[\"\\xff\\\"\"]|false|[]"},
		{"the last of two counts", []string{"-l", "killed", "--leave", "stopped", "show"}, `stopped||3|1s|["default"]|false|[]`},
		{"decimal, not octal", []string{"-n", "010", "show"}, `running||10|1s|["default"]|false|[]`},
		{"operand help", []string{"show", "help"}, `running||3|1s|["default"]|false|["help"]`},
		{"operand h", []string{"show", "h"}, `running||3|1s|["default"]|false|["h"]`},
		{"an operand named as an option", []string{"-l", "killed", "show", "leave"}, `killed||3|1s|["default"]|false|["leave"]`},
		{"end of options", []string{"-n", "4", "--", "show"}, `running||4|1s|["default"]|false|[]`},
		{"options behind operands", []string{"show", "--leave"}, ""},
		{"options behind two operands", []string{"show", "x", "-v"}, ""},
		{"help behind operands", []string{"show", "--help"}, ""},
		{"operands with a dash", []string{"--", "-x"}, ""},
		{"nothing required is asked for", []string{"--dry-run"}, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			got := try(t, "try", c.args...)
			if got.out != c.out {
				t.Errorf("stdout %q, want %q", got.out, c.out)
			}
			if usage := c.out == ""; usage != (got.status == StatusUsage) || usage != (got.stderr != "") {
				t.Errorf("status %d, stderr %s", got.status, got.stderr)
			}
		})
	}
}

func TestOptionsBehindVerb(t *testing.T) {
	for args, out := range map[string]string{
		"show":                                   `running||3|1s|["default"]|false|[]`,
		"show --dry-run":                         `running||3|1s|["default"]|true|[]`,
		"--dry-run show -n 5 x":                  `running||5|1s|["default"]|true|["x"]`,
		"-n 4 -l killed show -n 5 --text=t -- x": `killed|t|5|1s|["default"]|false|["x"]`,
		"show x --dry-run":                       "",
		"show --bogus":                           "",
		"show -n":                                "",
		"show x y":                               "",
	} {
		got := try(t, "verb", strings.Fields(args)...)
		if usage := out == ""; got.out != out || usage != (got.status == StatusUsage) || usage != (got.stderr != "") {
			t.Errorf("%s: %+v", args, got)
		}
	}
	if got := try(t, "verb", "show", "--version"); got != (result{0, "ckpt-try " + Version() + "\n", ""}) {
		t.Errorf("%+v", got)
	}
}

// The options of a program that is to be run are its own.
func TestProgramOperands(t *testing.T) {
	for args, out := range map[string]string{
		"show":                                 `running||3|1s|["default"]|false|[]`,
		"-n 5 show -n 6 --bogus -- x --help -": `running||5|1s|["default"]|false|["-n" "6" "--bogus" "--" "x" "--help" "-"]`,
		"-- show --dry-run":                    `running||3|1s|["default"]|false|["--dry-run"]`,
		"":                                     "",
		"-- -x":                                "",
		"--bogus show":                         "",
	} {
		got := try(t, "program", strings.Fields(args)...)
		if usage := out == ""; got.out != out || usage != (got.status == StatusUsage) || usage != (got.stderr != "") {
			t.Errorf("%s: %+v", args, got)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	want := `ckpt-try - try out what commands share

Usage: ckpt-try [options] WHAT [DETAIL]

Options:
  -l, --leave STATE       one of three (default: running)
      --text TEXT         any text
  -n, --number N          a number (default: 3)
      --wait VALUE        a time (default: 1s)
  -L, --list VALUE        a list (default: default); can be repeated
      --dry-run           a switch
  -v, --verbose           say on stderr what is done
      --version           print the version and exit
  -h, --help              print this and exit
`
	for _, args := range []string{"--help", "-h", "-l killed --help", "--help whatever operands follow", "--help --version"} {
		if got := try(t, "try", strings.Fields(args)...); got != (result{0, want, ""}) {
			t.Errorf("%s: status %d\n%s%s", args, got.status, got.out, got.stderr)
		}
	}
	for _, args := range []string{"--version", "--version a b c"} {
		if got := try(t, "try", strings.Fields(args)...); got != (result{0, "ckpt-try " + Version() + "\n", ""}) {
			t.Errorf("%s: %+v", args, got)
		}
	}
	if got := try(t, "try", "--bogus", "--help"); got.status != StatusUsage || got.out != "" {
		t.Errorf("%+v", got)
	}
}

// That a full disk ate the help is not success.
func TestHelpToFullDevice(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	cmd := command("try", "--help")
	cmd.Stdout = full
	if status := exitOf(t, cmd.Run()); status != StatusFailed {
		t.Errorf("status %d", status)
	}
}
