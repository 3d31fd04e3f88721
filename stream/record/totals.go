package record

// Totals count what a stream holds before its END record.
type Totals struct {
	Records   int64 `cbor:"records"`
	MetaBytes int64 `cbor:"meta_bytes"`
	DataBytes int64 `cbor:"data_bytes"`
}
