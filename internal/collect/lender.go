package collect

import (
	"errors"

	"ckpt/internal/loan"
	"ckpt/internal/tracee"
)

// lender takes threads of the target on loan, one at a time, and makes sure that each is
// given back.
type lender struct {
	loan  *loan.Loan // the current one
	place *loan.Place
}

// borrow takes a thread on loan in place of the current one. If that belongs to the same
// process, the new loan takes over its memory there.
func (l *lender) borrow(t *tracee.Tracee, place *loan.Place) (borrowed *loan.Loan, err error) {
	if l.loan != nil && l.place == place {
		before := l.loan
		l.loan, l.place = nil, nil
		borrowed, err = before.Pass(t)
	} else if err = l.giveBack(); err == nil {
		borrowed, err = loan.Borrow(t, place)
	}
	if err != nil {
		return nil, err
	}
	l.loan, l.place = borrowed, place
	return borrowed, nil
}

// giveBack gives back the thread that is on loan, if any.
func (l *lender) giveBack() error {
	loan := l.loan
	if loan == nil {
		return nil
	}
	l.loan, l.place = nil, nil
	return loan.Return()
}

// lend calls do with a thread on loan, which is then given back, whatever happens.
func (l *lender) lend(t *tracee.Tracee, place *loan.Place, do func(*loan.Loan) error) error {
	loan, err := l.borrow(t, place)
	if err != nil {
		return err
	}
	return errors.Join(do(loan), l.giveBack())
}
