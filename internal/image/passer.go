package image

import (
	"bufio"
	"bytes"
	"io"
)

// passBytes is how much of an image is read at once when it is passed on.
const passBytes = 256 << 10

// Passer passes an image on byte for byte and looks whether it is whole. It compares every byte with the
// checksums of the index, and decompresses nothing but the first frame. The methods are for one goroutine.
type Passer struct {
	src  io.Reader
	scan *scanner
	head bytes.Buffer // what Begin has read
	all  bool         // that was all of it
}

// NewPasser returns a Passer of the image r, from which it reads nothing yet.
func NewPasser(r io.Reader) *Passer { return &Passer{src: r} }

// Begin returns the beginning of the stream in the image. It reads the first data frame and nothing behind it.
func (p *Passer) Begin() ([]byte, error) {
	p.scan = newScanner(io.TeeReader(p.src, &p.head))
	if err := p.scan.header(); err != nil {
		return nil, err
	}
	var first piece
	switch err := p.scan.next(&first); {
	case err == io.EOF:
		p.all = true
		return nil, nil
	case err != nil:
		return nil, err
	}
	dec, err := newDecoder(1)
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	b, err := decodeFrame(dec, first.frame, nil, first.content)
	if err != nil {
		return nil, &FrameError{Offset: first.offset, Frame: first.number, Err: err}
	}
	return b, nil
}

// WriteTo writes the whole image to w, after Begin. A nil error means that it was good to its end; if it
// was not, some of it is written all the same.
func (p *Passer) WriteTo(w io.Writer) (int64, error) {
	if n, err := p.head.WriteTo(w); err != nil || p.all {
		return n, err
	}
	p.head = bytes.Buffer{}
	p.scan.src = bufio.NewReaderSize(io.TeeReader(p.src, w), passBytes)
	for rest := new(piece); ; {
		switch err := p.scan.next(rest); {
		case err == io.EOF:
			return p.scan.offset, nil
		case err != nil:
			return p.scan.offset, err
		}
	}
}
