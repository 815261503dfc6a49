package disk

import (
	"errors"
	"slices"

	"sallyport/store"
)

// Items implements store.Store.
func (s *Store) Items(table string, yield func(store.Item) error) error {
	if !s.enter() {
		return store.ErrClosed
	}
	defer s.leave()
	from := s.itemsKey(table)
	to := slices.Clone(from)
	for i := len(to) - 1; i >= 0; i-- { // the next key that does not begin with from
		if to[i]++; to[i] != 0 {
			break
		}
	}
	var over error
	err := s.within(from, to, func(_ []byte, r *reader) (bool, error) {
		in, name, value := r.item()
		if r.err != nil || string(in) != table {
			return false, errRecord
		}
		over = yield(store.Item{Table: table, Name: string(name), Value: slices.Clone(value)})
		return over == nil, nil
	})
	return errors.Join(err, over)
}
