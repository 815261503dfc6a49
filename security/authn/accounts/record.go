package accounts

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// maxRecord bounds one record, in bytes.
const maxRecord = 64 << 10

var errRecord = errors.New("is not in the form of this version")

// named is what all tables hold.
type named interface {
	id() (name string, version uint64) // of nil: nothing
}

func (u *User) id() (string, uint64) {
	if u == nil {
		return "", 0
	}
	return u.Name, u.Version
}

func (g *Group) id() (string, uint64) {
	if g == nil {
		return "", 0
	}
	return g.Name, g.Version
}

func (r *Role) id() (string, uint64) {
	if r == nil {
		return "", 0
	}
	return r.Name, r.Version
}

// into decodes a record into its table and returns its version.
func into[T any](table map[string]*T, r Record, check func(*T) error) (uint64, error) {
	if len(r.Value) > maxRecord {
		return 0, fmt.Errorf("is larger than %d bytes", maxRecord)
	}
	v := new(T)
	if err := decodeStrict(r.Value, v); err != nil {
		return 0, err
	}
	name, version := any(v).(named).id()
	switch {
	case name != r.Name:
		return 0, errors.New("holds another name")
	case version == 0:
		return 0, errors.New("has no version")
	case table[name] != nil:
		return 0, errors.New("is there twice")
	}
	table[name] = v
	return version, check(v)
}

// decodeStrict reads one JSON value and nothing behind it. A field that is not known
// is an error: to ignore it could be to ignore a restriction that a newer version
// wrote. The error quotes nothing of the value.
func decodeStrict(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return errRecord
	}
	if _, err := d.Token(); err != io.EOF {
		return errRecord
	}
	return nil
}

func readCounter(r Record) (uint64, error) {
	n, err := strconv.ParseUint(string(r.Value), 10, 64)
	if err != nil || r.Name != CounterName {
		return 0, errRecord
	}
	return n, nil
}

// encode is a record of table; its size is checked.
func encode(table string, v named) (Record, error) {
	name, _ := v.id()
	data, err := json.Marshal(v)
	if err != nil {
		return Record{}, fmt.Errorf("accounts: encode %q of table %s: %w", name, table, err)
	}
	if len(data) > maxRecord {
		return Record{}, invalid("", "%q would be larger than %d bytes", name, maxRecord)
	}
	return Record{Table: table, Name: name, Value: data}, nil
}
