package stream

import "fmt"

// Version numbers of the format that this package writes. A new minor version
// adds record types and fields; CHANGELOG.md says which. What can't be told by
// those alone takes a new major version, or, as long as that is 0, a new
// oldestMinor.
const (
	VersionMajor = 0
	VersionMinor = 2
)

// oldestMinor is the oldest minor version whose streams are read still.
const oldestMinor = 1

// Version is the version of the format that a stream is of.
type Version struct{ Major, Minor uint16 }

var current = Version{VersionMajor, VersionMinor}

func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// check is an error for a version that this package does not read. Of a later
// minor version it reads what it knows.
func (v Version) check() error {
	if v.Major != VersionMajor || v.Minor < oldestMinor {
		return fmt.Errorf("%w: it has version %v, this program reads %d.%d and later ones of %d", ErrVersion, v, VersionMajor, oldestMinor, VersionMajor)
	}
	return nil
}
