package cli

import (
	"errors"

	"ckpt/stream"
)

// StreamError gives an error from reading a stream its exit status. What an earlier
// filter has told the user is not repeated.
func StreamError(err error) error {
	var abort *stream.AbortError
	if errors.As(err, &abort) {
		return Exit(StatusInput, nil)
	}
	for _, kind := range []error{stream.ErrForeign, stream.ErrVersion, stream.ErrCorrupt, stream.ErrTruncated, stream.ErrTrailing} {
		if errors.Is(err, kind) {
			return Exit(StatusInput, err)
		}
	}
	return err
}
