package objhash

import (
	"errors"
	"testing"

	"ckpt/stream/record"
)

type counted struct{ closed *int }

func (c counted) Close() error { *c.closed++; return nil }

func TestHash(t *testing.T) {
	closed := 0
	h := New[counted]()
	obj := counted{&closed}
	if err := h.Add(1, record.TypePipe, obj); err != nil {
		t.Fatal(err)
	}
	if got, err := h.Get(1, record.TypeFifo, record.TypePipe); err != nil || got != obj {
		t.Errorf("Get: %v, %v", got, err)
	}
	if err := h.Add(1, record.TypePipe, obj); !errors.Is(err, ErrTwice) || closed != 1 {
		t.Errorf("second definition: %v, closed %d", err, closed)
	}
	if err := h.Add(0, record.TypePipe, obj); !errors.Is(err, ErrUndefined) {
		t.Errorf("objref 0: %v", err)
	}
	if _, err := h.Get(2, record.TypePipe); !errors.Is(err, ErrUndefined) {
		t.Errorf("undefined: %v", err)
	}
	if _, err := h.Get(1, record.TypeFile); !errors.Is(err, ErrType) {
		t.Errorf("wrong type: %v", err)
	}
	closed = 0
	if err := h.Close(); err != nil || closed != 1 || h.Len() != 0 {
		t.Errorf("Close: %v, closed %d, left %d", err, closed, h.Len())
	}
}
