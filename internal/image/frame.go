package image

// frameStage is what the next step of a frameWalk looks at.
type frameStage int

const (
	stageDescriptor frameStage = iota
	stageContent
	stageBlock
	stageChecksum
	stageDone
)

// Bits of Frame_Header_Descriptor (RFC 8878 section 3.1.1.1.1). The format allows one combination only,
// besides the size of the content size field in the top two bits.
const (
	descriptorFixed  = 0x3F
	descriptorWanted = 0x20 | 0x04 // single segment, content checksum
)

// Block types (RFC 8878 section 3.1.1.2.2).
const (
	blockRaw = iota
	blockRLE
	blockCompressed
)

// frameWalk finds the end of a data frame by its headers, without decompressing. A caller provides the first
// need bytes of the frame, calls step, and repeats until done. need grows up to maxFrameBytes.
type frameWalk struct {
	need    int // bytes of the frame step looks at next; the frame's size when done
	content int // Frame_Content_Size, 1 to chunkBytes
	sum     uint32
	stage   frameStage
	plain   int // content in the raw and RLE blocks so far
}

func newFrameWalk() frameWalk { return frameWalk{need: 4 + 1} }

func (w *frameWalk) done() bool { return w.stage == stageDone }

// step looks at b, which holds the first w.need bytes of the frame. Its errors wrap ErrCorrupt.
func (w *frameWalk) step(b []byte) error {
	switch w.stage {
	case stageDescriptor:
		return w.descriptor(b)
	case stageContent:
		return w.contentSize(b)
	case stageBlock:
		return w.block(b)
	case stageChecksum:
		w.sum = le.Uint32(b[w.need-4:])
		w.stage = stageDone
	}
	return nil
}

func (w *frameWalk) descriptor(b []byte) error {
	if le.Uint32(b) != frameMagic {
		return corrupt("there is no frame where one must begin")
	}
	if b[4]&descriptorFixed != descriptorWanted {
		return corrupt("a frame has a header that no image has")
	}
	w.need += 1 << (b[4] >> 6)
	w.stage = stageContent
	return nil
}

func (w *frameWalk) contentSize(b []byte) error {
	var size uint64
	switch field := b[5:w.need]; len(field) {
	case 1:
		size = uint64(field[0])
	case 2:
		size = uint64(le.Uint16(field)) + 256
	case 4:
		size = uint64(le.Uint32(field))
	case 8:
		size = le.Uint64(field)
	}
	if size == 0 || size > chunkBytes {
		return corrupt("a frame has a content size that no image has")
	}
	w.content = int(size)
	w.need += 3
	w.stage = stageBlock
	return nil
}

func (w *frameWalk) block(b []byte) error {
	head := uint(b[w.need-3]) | uint(b[w.need-2])<<8 | uint(b[w.need-1])<<16
	last, kind, size := head&1 != 0, head>>1&3, int(head>>3)
	if size > min(w.content, blockBytes) {
		return corrupt("a block is larger than its frame allows")
	}
	switch kind {
	case blockRaw:
		w.plain += size
	case blockRLE:
		w.plain += size
		size = 1
	case blockCompressed:
	default:
		return corrupt("a block has a type that does not exist")
	}
	if w.plain > w.content {
		return corrupt("the blocks of a frame hold more than its content")
	}
	w.need += size
	if last {
		w.need += 4
		w.stage = stageChecksum
	} else {
		w.need += 3
	}
	if w.need > maxFrameBytes {
		return corrupt("a frame is larger than any image has")
	}
	return nil
}

// walkFrame checks that b is one whole data frame and nothing more, and returns its content size and
// checksum.
func walkFrame(b []byte) (content int, sum uint32, err error) {
	w := newFrameWalk()
	for !w.done() {
		if w.need > len(b) {
			return 0, 0, corrupt("a frame is larger than the seek table says")
		}
		if err := w.step(b); err != nil {
			return 0, 0, err
		}
	}
	if w.need != len(b) {
		return 0, 0, corrupt("a frame is smaller than the seek table says")
	}
	return w.content, w.sum, nil
}
