package stream_test

import (
	"io"
	"log"
	"os"
	"strings"

	"ckpt/stream"
	"ckpt/stream/record"
)

// A filter that moves the files of a saved program from one folder to another,
// to be put between ckpt-read and ckpt-apply.
func ExampleFilter() {
	err := stream.Filter("move-home", os.Stdin, os.Stdout, func(w *stream.Writer, rec *stream.Record, data io.Reader) error {
		var file record.Reg
		if rec.Type != record.TypeReg {
			return w.Write(rec, data)
		}
		if err := rec.Decode(&file); err != nil {
			return err
		}
		if rest, ok := strings.CutPrefix(file.Path, "/home/old/"); ok {
			if err := rec.Set(map[string]any{"path": "/home/new/" + rest}); err != nil {
				return err
			}
		}
		return w.Write(rec, data)
	})
	if err != nil {
		log.Fatal(err)
	}
}
