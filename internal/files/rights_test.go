package files

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/object"
	"ckpt/internal/proc"
	"ckpt/stream"
	"ckpt/stream/record"
)

// TestCapacityHere: a pipe or FIFO above the limit takes a capability.
func TestCapacityHere(t *testing.T) {
	limit, err := proc.ReadSysctl("fs/pipe-max-size")
	if err != nil {
		t.Fatal(err)
	}
	recordOf := func(typ record.Type, capacity int64) *stream.Record {
		meta := any(&record.Pipe{Ino: 7, Capacity: capacity})
		if typ == record.TypeFifo {
			meta = &record.Fifo{Stat: record.Stat{Path: "/f"}, Capacity: capacity}
		}
		rec, err := stream.New(typ, meta)
		if err != nil {
			t.Fatal(err)
		}
		return rec
	}
	for _, may := range []bool{false, true} {
		r := &Restorer{Restart: &object.Restart{Own: &caps.Process{}}}
		if may {
			r.Own.CapEff = 1 << unix.CAP_SYS_RESOURCE
		}
		kinds := object.NewSet(nil, r.Kinds())
		for typ, who := range map[record.Type]string{record.TypePipe: "pipe:[7]", record.TypeFifo: "/f"} {
			if errs := kinds.Here(recordOf(typ, limit)); errs != nil {
				t.Errorf("%v as large as the limit: %v", typ, errs)
			}
			errs := kinds.Here(recordOf(typ, 2*limit))
			if may != (len(errs) == 0) || !may && !strings.Contains(errs[0].Error(), "CAP_SYS_RESOURCE is missing, which is needed to give "+who+" its capacity") {
				t.Errorf("%v larger than the limit, and may be: %v: %v", typ, may, errs)
			}
		}
	}
}
