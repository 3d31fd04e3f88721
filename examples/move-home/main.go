// Command move-home is a filter for ckpt's streams, to be put between ckpt-read and
// ckpt-apply: what a saved program has open below one folder it gets below another
// when it is restored.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"ckpt/stream"
	"ckpt/stream/record"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: move-home OLD NEW")
		os.Exit(2)
	}
	err := stream.Filter("move-home", os.Stdin, os.Stdout, func(w *stream.Writer, rec *stream.Record, data io.Reader) error {
		if rec.Type == record.TypeReg || rec.Type == record.TypeDir {
			if err := move(rec, os.Args[1], os.Args[2]); err != nil {
				return err
			}
		}
		return w.Write(rec, data)
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "move-home: error:", err)
		os.Exit(1)
	}
}

// move changes the path of a file or folder below old.
func move(rec *stream.Record, old, new string) error {
	var file record.Stat
	if err := rec.Decode(&file); err != nil {
		return err
	}
	rest, below := strings.CutPrefix(file.Path, old+"/")
	if !below {
		return nil
	}
	return rec.Set(map[string]any{"path": new + "/" + rest})
}
