package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Flag is one option of a command. Value is a pointer to a bool, string, int,
// []string or time.Duration that holds the default and gets the user's value.
// A list begins anew with the first value the user gives.
type Flag struct {
	Name    string
	Aliases []string
	Value   any
	Help    string
	Arg     string   // what to call the value in the help: FILE, N, …
	OneOf   []string // the values allowed, for strings
}

// value is a flag as the library has it: a flag.Value.
type value struct {
	flag Flag
	seen bool
	bad  *error // gets the first error of Set, as the user is told it
}

// IsBoolFlag tells package flag that no value follows.
func (v *value) IsBoolFlag() bool {
	_, ok := v.flag.Value.(*bool)
	return ok
}

// String is not used for anything the user sees.
func (v *value) String() string { return "" }

// Set stores a value that the user gave.
func (v *value) Set(s string) error {
	err := v.set(s)
	if err != nil && *v.bad == nil {
		*v.bad = fmt.Errorf("--%s %q: it takes %w", v.flag.Name, s, err)
	}
	v.seen = true
	return err
}

// expected is an error that says what would have been right.
type expected string

func (e expected) Error() string { return string(e) }

func (v *value) set(s string) (err error) {
	switch p := v.flag.Value.(type) {
	case *bool:
		if *p, err = strconv.ParseBool(s); err != nil {
			return expected("no value")
		}
	case *string:
		if len(v.flag.OneOf) > 0 && !slices.Contains(v.flag.OneOf, s) {
			return expected(alternatives(v.flag.OneOf))
		}
		*p = s
	case *int:
		if *p, err = strconv.Atoi(s); err != nil {
			return expected("a whole number")
		}
	case *time.Duration:
		if *p, err = time.ParseDuration(s); err != nil || *p < 0 {
			return expected("a time such as 500ms or 10s")
		}
	case *[]string:
		if !v.seen {
			*p = nil
		}
		*p = append(*p, s)
	default:
		panic(fmt.Sprintf("flag --%s has a value of type %T", v.flag.Name, p))
	}
	return nil
}

// alternatives joins a list as a sentence does.
func alternatives(list []string) string {
	last := len(list) - 1
	if last < 1 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:last], ", ") + " or " + list[last]
}

// defaultText returns the default as the help tells it, or "".
func (f *Flag) defaultText() string {
	switch p := f.Value.(type) {
	case *string:
		return *p
	case *int:
		return strconv.Itoa(*p)
	case *time.Duration:
		return p.String()
	case *[]string:
		return strings.Join(*p, " ")
	}
	return ""
}
