package repair

import (
	"errors"

	"ckpt/internal/nft"
)

// Possible returns why this system can't hold packets, by holding none for a moment.
func Possible() error {
	tables, err := nft.Dial()
	if err != nil {
		return err
	}
	name := TableName()
	err = tables.Own(name, nil)
	if err == nil {
		err = tables.Delete(name)
	}
	return errors.Join(err, tables.Close())
}
