package files

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Stdio says what replaces descriptors 0, 1 and 2 if they were terminals or pipes
// to processes outside the checkpoint.
type Stdio struct {
	inherit bool
	files   map[int]string
}

// ParseStdio parses values of --stdio: "inherit", "null" or N=FILE.
func ParseStdio(values []string) (Stdio, error) {
	s := Stdio{files: map[int]string{}}
	for _, v := range values {
		n, file, named := strings.Cut(v, "=")
		fd, err := strconv.Atoi(n)
		switch {
		case v == "inherit":
			s.inherit = true
		case v == "null":
			for fd := range 3 {
				s.files[fd] = os.DevNull
			}
		case named && err == nil && fd >= 0 && fd <= 2 && file != "":
			s.files[fd] = file
		default:
			return s, fmt.Errorf("--stdio %s: it takes inherit, null, or 0=FILE, 1=FILE, 2=FILE", v)
		}
	}
	return s, nil
}
