package cli

import (
	"fmt"
	"strings"
)

const (
	helpColumns = 80
	helpIndent  = 26 // where the descriptions begin
)

// help returns what --help prints.
func (c *Command) help(flags []Flag) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s - %s\n\nUsage: %s\n\nOptions:\n", c.Name, c.Summary, strings.TrimSpace(c.Name+" [options] "+c.Args))
	for _, f := range flags {
		f.help(&b)
	}
	return b.String()
}

func (f *Flag) help(b *strings.Builder) {
	names := "    "
	if len(f.Aliases) > 0 {
		names = dashed(f.Aliases[0]) + ", "
	}
	names = "  " + names + dashed(f.Name)
	if _, isBool := f.Value.(*bool); !isBool {
		arg := f.Arg
		if arg == "" {
			arg = "VALUE"
		}
		names += " " + arg
	}
	text := f.Help
	if d := f.defaultText(); d != "" {
		text += " (default: " + d + ")"
	}
	if _, isList := f.Value.(*[]string); isList {
		text += "; can be repeated"
	}
	if len(names) > helpIndent-2 {
		fmt.Fprintln(b, names)
		names = ""
	}
	for _, line := range wrap(text, helpColumns-helpIndent) {
		fmt.Fprintf(b, "%-*s%s\n", helpIndent, names, line)
		names = ""
	}
}

// wrap breaks text into lines of at most width bytes, where words allow it.
func wrap(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}
