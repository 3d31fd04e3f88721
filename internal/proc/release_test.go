package proc

import "testing"

func TestCheckRelease(t *testing.T) {
	for release, old := range map[string]bool{
		"5.10.0-32-cloud-amd64": true, "5.12.19": true, "4.18.0-553.el8": true, "3.10": true,
		"5.13.0": false, "5.14.0-70.el9": false, "6.1.0-50-cloud-amd64": false, "6.18.44": false, "10.0": false, "what": false,
	} {
		if err := checkRelease(release); (err != nil) != old {
			t.Errorf("%s: %v", release, err)
		}
	}
}
