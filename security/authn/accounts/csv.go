package accounts

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// The columns of a table of users. attr.NAME is an attribute. password is only read:
// a plain password.
const (
	columnName     = "name"
	columnPassword = "password"
	columnHash     = "password_hash"
	columnSCRAM    = "scram"
	attributes     = "attr."
)

// column is how one column is written and read. The error of set shows no value.
type column struct {
	sets field
	get  func(*User) string
	set  func(*User, string) error
}

var errMoment = errors.New("must be a moment such as 2026-12-31T12:00:00Z")

func columns() map[string]column {
	list := func(sets field, at func(*User) *[]string) column {
		return column{sets, func(u *User) string { return joinList(*at(u)) }, func(u *User, s string) error {
			*at(u) = splitList(s)
			return nil
		}}
	}
	yes := func(sets field, at func(*User) *bool) column {
		return column{sets, func(u *User) string {
			if *at(u) {
				return "true"
			}
			return ""
		}, func(u *User, s string) (err error) {
			*at(u), err = parseBool(s)
			return err
		}}
	}
	moment := func(sets field, at func(*User) *time.Time) column {
		return column{sets, func(u *User) string {
			if at(u).IsZero() {
				return ""
			}
			return at(u).UTC().Format(time.RFC3339)
		}, func(u *User, s string) (err error) {
			if *at(u), err = parseMoment(s); err != nil {
				return errMoment
			}
			return nil
		}}
	}
	return map[string]column{
		columnName: {0, func(u *User) string { return u.Name }, func(u *User, s string) error { u.Name = s; return nil }},
		"kind":     {setKind, func(u *User) string { return string(u.Kind) }, func(u *User, s string) error { u.Kind = Kind(s); return nil }},
		columnHash: {setPassword, func(u *User) string { return u.Password }, func(u *User, s string) (err error) {
			if s != "" {
				u.Password, err = encoded(s)
			}
			return err
		}},
		columnSCRAM:    list(setSCRAM, func(u *User) *[]string { return &u.SCRAM }),
		"groups":       list(setGroups, func(u *User) *[]string { return &u.Groups }),
		"roles":        list(setRoles, func(u *User) *[]string { return &u.Roles }),
		"disabled":     yes(setDisabled, func(u *User) *bool { return &u.Disabled }),
		"locked":       yes(setLocked, func(u *User) *bool { return &u.Locked }),
		"locked_until": moment(setLockedUntil, func(u *User) *time.Time { return &u.LockedUntil }),
		"valid_from":   moment(setValidFrom, func(u *User) *time.Time { return &u.ValidFrom }),
		"valid_until":  moment(setValidUntil, func(u *User) *time.Time { return &u.ValidUntil }),
		"addresses":    {setAddresses, addressList, setAddressList},
		"client_ids":   list(setClientIDs, func(u *User) *[]string { return &u.ClientIDs }),
		"comment":      {setComment, func(u *User) string { return u.Comment }, func(u *User, s string) error { u.Comment = s; return nil }},
	}
}

// exported is the columns in the order in which they are written.
func exported(secrets bool) []string {
	out := []string{columnName, "kind", columnHash, columnSCRAM, "groups", "roles", "disabled", "locked", "locked_until",
		"valid_from", "valid_until", "addresses", "client_ids", "comment"}
	if !secrets {
		out = slices.Delete(out, 2, 4)
	}
	return out
}

// joinList writes several values into a cell: with ; between them, and \ before a ; or
// \ in one.
func joinList(values []string) string {
	escaped := make([]string, len(values))
	for i, v := range values {
		escaped[i] = strings.NewReplacer(`\`, `\\`, `;`, `\;`).Replace(v)
	}
	return strings.Join(escaped, ";")
}

// splitList undoes joinList; blanks around a value are not part of it.
func splitList(cell string) (values []string) {
	var b strings.Builder
	end := func() {
		if v := strings.TrimSpace(b.String()); v != "" {
			values = append(values, v)
		}
		b.Reset()
	}
	for i := 0; i < len(cell); i++ {
		switch c := cell[i]; {
		case c == '\\' && i+1 < len(cell):
			i++
			b.WriteByte(cell[i])
		case c == ';':
			end()
		default:
			b.WriteByte(c)
		}
	}
	end()
	return values
}

func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "", "false", "no", "0":
		return false, nil
	case "true", "yes", "1":
		return true, nil
	}
	return false, errors.New("must be true or false")
}

func parseMoment(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	return time.Parse(time.RFC3339, s)
}

func addressList(u *User) string {
	var values []string
	for _, p := range u.Addresses {
		values = append(values, p.String())
	}
	return joinList(values)
}

// setAddressList reads networks, and addresses that stand alone.
func setAddressList(u *User, s string) error {
	u.Addresses = nil
	for _, v := range splitList(s) {
		p, err := ParseNetwork(v)
		if err != nil {
			return err
		}
		u.Addresses = append(u.Addresses, p)
	}
	return nil
}

// ParseNetwork reads a network, or an address as the network of only itself.
func ParseNetwork(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		if a.Zone() != "" || a.Is4In6() {
			return netip.Prefix{}, errors.New("must be networks such as 192.0.2.0/24")
		}
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, errors.New("must be networks such as 192.0.2.0/24")
	}
	return p, nil
}

// formula is what makes a spreadsheet take a cell for a formula.
const formula = "=+-@"

// guard puts ' before a cell that a spreadsheet would compute, and before one that
// unguard would change. Spreadsheets take the ' for what it is; unguard takes it away.
func guard(cell string) string {
	if cell != "" && strings.Contains(formula+"'", cell[:1]) {
		return "'" + cell
	}
	return cell
}

func unguard(cell string) string {
	if len(cell) > 1 && cell[0] == '\'' && strings.Contains(formula+"'", cell[1:2]) {
		return cell[1:]
	}
	return cell
}

// ExportCSV writes the users as a table (RFC 4180): one column for each field, and one
// for each attribute that anybody has. Without secrets the columns of passwords and
// verifiers are left out. Groups and roles themselves are in ExportJSON only.
func (db *Database) ExportCSV(w io.Writer, secrets bool) error {
	header, known := exported(secrets), columns()
	names := db.attributeNames()
	out := csv.NewWriter(w)
	out.UseCRLF = true
	row := slices.Clone(header)
	for _, name := range names {
		row = append(row, guard(attributes+name))
	}
	if err := out.Write(row); err != nil {
		return err
	}
	for after, more := "", true; more; {
		var page []User
		page, more = db.Users(after, exportPage, nil)
		for _, u := range page {
			after = u.Name
			row = row[:0]
			for _, name := range header {
				row = append(row, guard(known[name].get(&u)))
			}
			for _, name := range names {
				row = append(row, guard(u.Attributes[name]))
			}
			if err := out.Write(row); err != nil {
				return err
			}
		}
	}
	out.Flush()
	return out.Error()
}

// attributeNames is the names of all attributes.
func (db *Database) attributeNames() []string {
	names := map[string]bool{}
	for after, more := "", true; more; {
		var page []User
		page, more = db.Users(after, exportPage, nil)
		for _, u := range page {
			after = u.Name
			for name := range u.Attributes {
				names[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// csv reads a table of users whose first row names the columns.
func (p *parsing) csv(data []byte) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // some spreadsheets begin with it
	in := csv.NewReader(bytes.NewReader(data))
	in.ReuseRecord = true
	header, err := in.Read()
	if err != nil {
		p.wrong(1, "has no row that names the columns")
		return
	}
	header = slices.Clone(header)
	if !p.csvHeader(header) {
		return
	}
	known := columns()
	for !p.lost() {
		row, err := in.Read()
		if err == io.EOF {
			return
		}
		if err != nil {
			p.csvError(err)
			if errors.Is(err, csv.ErrFieldCount) {
				continue
			}
			return
		}
		line, _ := in.FieldPos(0)
		p.csvRow(line, header, row, known)
	}
}

// csvError tells what is wrong without the cell.
func (p *parsing) csvError(err error) {
	line, why := 0, "can't be read"
	if e, ok := errors.AsType[*csv.ParseError](err); ok {
		line, why = e.Line, e.Err.Error()
	}
	p.wrong(line, "%s", why)
}

func (p *parsing) csvHeader(header []string) bool {
	known, seen := columns(), map[string]bool{}
	for i, name := range header {
		name = unguard(strings.TrimSpace(name))
		header[i] = name
		_, ok := known[name]
		switch {
		case seen[name]:
			p.wrong(1, "column %.60q is there twice", name)
		case !ok && name != columnPassword && (!strings.HasPrefix(name, attributes) || name == attributes):
			p.wrong(1, "column %.60q is not known", name)
		}
		seen[name] = true
	}
	switch {
	case !seen[columnName]:
		p.wrong(1, "there is no column name")
	case seen[columnPassword] && seen[columnHash]:
		p.wrong(1, "there is a column password, of plain ones, and a column password_hash: one of them is wanted")
	}
	return len(p.mistakes) == 0
}

func (p *parsing) csvRow(line int, header, row []string, known map[string]column) {
	e := entry{line: line}
	for i, name := range header {
		cell := row[i]
		if name == columnPassword { // as it is: no export writes it
			if cell != "" {
				e.plain, e.sets = []byte(cell), e.sets|setPassword
			}
			continue
		}
		cell = unguard(cell)
		if attribute, ok := strings.CutPrefix(name, attributes); ok {
			e.sets |= setAttributes
			if cell != "" {
				if e.user.Attributes == nil {
					e.user.Attributes = map[string]string{}
				}
				e.user.Attributes[attribute] = cell
			}
			continue
		}
		c := known[name]
		if err := c.set(&e.user, cell); err != nil {
			p.wrong(line, "column %s: %v", name, err)
			return
		}
		if cell != "" || c.sets&(setPassword|setSCRAM) == 0 { // an empty secret is none to set
			e.sets |= c.sets
		}
	}
	p.add(e)
}
