package proc

import "testing"

const rawText = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
    1: 00000000:0001 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 00000000b34c7c03 0
    1: 0100007F:0001 0100007F:0000 01 00000000:00000000 00:00000000 00000000     0        0 4712 2 00000000b34c7c04 0
`

func TestIsConnectedRaw(t *testing.T) {
	if isConnected(rawText, "4711") || !isConnected(rawText, "4712") || isConnected(rawText, "5") {
		t.Error(isConnected(rawText, "4711"), isConnected(rawText, "4712"))
	}
}
