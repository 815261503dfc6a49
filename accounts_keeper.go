package sallyport

import (
	"errors"
	"fmt"
	"slices"

	"sallyport/security/authn/accounts"
	"sallyport/store"
)

// accountTable begins the name of each table of the account database in the store.
const accountTable = "accounts."

// accountTables is what the account database keeps in the store.
func accountTables() []string {
	return []string{accounts.UsersTable, accounts.GroupsTable, accounts.RolesTable, accounts.MetaTable}
}

// Bounds of what is kept at once: an import of 250,000 accounts, and what a batch of
// the store may well take.
const (
	keptRecords = 250_000
	keptBytes   = 128 << 20
	// keptReserve is how many records are kept though the disk has less room than
	// storage.min_free: to lock somebody out must not fail because of queues.
	keptReserve = 16
)

var (
	errStoreFull = errors.New("the disk has less free space than storage.min_free")
	errNoStore   = errors.New("the store is not open")
)

// accountKeeper keeps accounts in the store of the broker, which is opened after it was
// made: until then there is nothing, and nothing is kept. It implements accounts.Keeper.
type accountKeeper struct{ store accountStore }

// accountStore is what it asks of a store.
type accountStore interface {
	store.Bounded
	Items(table string, yield func(store.Item) error) error
	Commit(b *store.Batch, done func(error))
}

// Load implements accounts.Keeper.
func (k *accountKeeper) Load(yield func(accounts.Record) error) error {
	if k.store == nil {
		return errNoStore
	}
	for _, table := range accountTables() {
		err := k.store.Items(accountTable+table, func(i store.Item) error {
			return yield(accounts.Record{Table: table, Name: i.Name, Value: i.Value})
		})
		if err != nil {
			return fmt.Errorf("read accounts: %w", err)
		}
	}
	return nil
}

// Keep implements accounts.Keeper: the changes are one batch.
func (k *accountKeeper) Keep(changes []accounts.Record) error {
	switch {
	case len(changes) == 0:
		return nil
	case k.store == nil:
		return errNoStore
	}
	batch, err := accountBatch(changes)
	if err != nil {
		return err
	}
	if len(changes) > keptReserve && k.store.Full() {
		return errStoreFull
	}
	done := make(chan error, 1)
	k.store.Commit(batch, func(err error) { done <- err })
	if err := <-done; err != nil {
		return fmt.Errorf("keep accounts: %w", err)
	}
	return nil
}

// accountBatch is changes for the store.
func accountBatch(changes []accounts.Record) (*store.Batch, error) {
	if len(changes) > keptRecords {
		return nil, fmt.Errorf("%d records are more than the %d that are kept at once", len(changes), keptRecords)
	}
	batch := &store.Batch{Ops: make([]store.Op, 0, len(changes))}
	size := 0
	for _, c := range changes {
		if !slices.Contains(accountTables(), c.Table) {
			return nil, fmt.Errorf("there is no table %q of accounts", c.Table)
		}
		if size += len(c.Name) + len(c.Value); size > keptBytes {
			return nil, fmt.Errorf("the records have more than the %d bytes that are kept at once", keptBytes)
		}
		op := store.Op{Kind: store.PutItem, Item: &store.Item{Table: accountTable + c.Table, Name: c.Name, Value: c.Value}}
		if c.Value == nil {
			op.Kind = store.DeleteItem
		}
		batch.Add(op)
	}
	return batch, nil
}
