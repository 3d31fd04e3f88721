package proc

import "fmt"

// SignalMask returns the signals that a signalfd takes, bit 0 for signal 1
// (fs/signalfd.c).
func (f *FDInfo) SignalMask() (mask uint64, err error) {
	text, ok := f.Get("sigmask")
	if !ok || !setUint(&mask, text, 16) {
		return 0, fmt.Errorf("fdinfo of a signalfd, mask %q: %w", text, ErrFormat)
	}
	return mask, nil
}
