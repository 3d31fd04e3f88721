package apply

import (
	"slices"

	"ckpt/stream"
)

// owns reports whether every thread of the image has a user id and a group id,
// or is root's, which may have any.
func (b *builder) owns(uid, gid uint32) bool {
	for _, t := range b.model.Tasks {
		for _, th := range t.Threads {
			rec := th.Resources[stream.TypeCreds]
			var c stream.Creds
			if rec == nil || rec.Decode(&c) != nil {
				return false
			}
			if slices.Contains(c.UID, 0) {
				continue
			}
			if !slices.Contains(c.UID, uid) || !slices.Contains(c.GID, gid) && !slices.Contains(c.Groups, gid) {
				return false
			}
		}
	}
	return true
}
