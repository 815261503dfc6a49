package accounts

import (
	"errors"
	"fmt"

	"sallyport/security/authn"
)

// MaxDocument bounds a document that is imported, in bytes.
const MaxDocument = 64 << 20

// Format is a form in which accounts are written.
type Format string

// The formats.
const (
	JSON      Format = "json"                   // ours: everything, with or without secrets
	CSV       Format = "csv"                    // a table of users
	Mosquitto Format = "mosquitto"              // Mosquitto's password file, as 2.0 reads it
	Mosq21    Format = "mosquitto-2.1"          // the same, as 2.1 reads it: also argon2id
	FileRealm Format = "hivemq-file-realm"      // of HiveMQ's Enterprise Security Extension; only read
	FileRBAC  Format = "hivemq-file-rbac"       // HiveMQ's File RBAC extension, hashed passwords; only read
	PlainRBAC Format = "hivemq-file-rbac-plain" // the same with plain passwords; only read
)

// Formats is all that are read.
func Formats() []Format {
	return []Format{JSON, CSV, Mosquitto, Mosq21, FileRealm, FileRBAC, PlainRBAC}
}

// Warning is what an operator should know about a document that was read or written.
type Warning struct {
	Line int // from 1; 0: none
	Text string
}

// String is "line N: text".
func (w Warning) String() string {
	if w.Line == 0 {
		return w.Text
	}
	return fmt.Sprintf("line %d: %s", w.Line, w.Text)
}

// DocumentError is a mistake in a document, with its place. It holds no secret.
type DocumentError struct {
	Line int // from 1; 0 for the whole
	Text string
}

// Error is "line N: text".
func (e *DocumentError) Error() string { return Warning{e.Line, e.Text}.String() }

// maxMistakes bounds how many mistakes of one document are told.
const maxMistakes = 100

// Bounds of what one document holds, whatever its size.
const (
	maxBatch      = 250_000 // users
	maxBatchRoles = 10_000  // roles, and groups
)

// maxWarnings bounds how many warnings are.
const maxWarnings = 1000

// Batch is what a document holds, to be imported. It holds secrets.
type Batch struct {
	users  []entry
	groups []groupEntry
	roles  []roleEntry
}

// entry is one user of a document.
type entry struct {
	user  User
	sets  field  // what the document says of the user; the rest stays as it is
	plain []byte // a password that is still to be hashed; nil: user.Password
	line  int
}

// groupEntry and roleEntry are one group and one role of a document, as entry is a user.
type groupEntry struct {
	group Group
	sets  field
}

type roleEntry struct {
	role Role
	sets field
}

// field is a set of fields of a User, Group or Role.
type field uint16

const (
	setKind field = 1 << iota
	setPassword
	setSCRAM
	setGroups
	setRoles
	setAttributes
	setDisabled
	setLocked
	setLockedUntil
	setValidFrom
	setValidUntil
	setAddresses
	setClientIDs
	setComment
	setPermissions
)

// Counts is how many there are of each.
func (b *Batch) Counts() Counts { return Counts{len(b.users), len(b.groups), len(b.roles)} }

// Wipe forgets the plain passwords.
func (b *Batch) Wipe() {
	for i := range b.users {
		clear(b.users[i].plain)
		b.users[i].plain = nil
	}
}

// String says how much there is, and no secret.
func (b *Batch) String() string {
	return fmt.Sprintf("%d users, %d groups, %d roles", len(b.users), len(b.groups), len(b.roles))
}

// GoString is String.
func (b *Batch) GoString() string { return b.String() }

// Parse reads a document of at most MaxDocument bytes. Its error joins a
// *DocumentError for each mistake. A document with a mistake is none.
func Parse(f Format, data []byte) (*Batch, []Warning, error) {
	if len(data) > MaxDocument {
		return nil, nil, &DocumentError{0, fmt.Sprintf("is larger than %d MiB", MaxDocument>>20)}
	}
	p := &parsing{users: map[string]int{}}
	switch f {
	case JSON:
		p.json(data)
	case CSV:
		p.csv(data)
	case Mosquitto, Mosq21:
		p.mosquitto(data)
	case FileRealm:
		p.fileRealm(data)
	case FileRBAC, PlainRBAC:
		p.fileRBAC(data, f == PlainRBAC)
	default:
		return nil, nil, fmt.Errorf("accounts: there is no format %.40q to read", string(f))
	}
	if len(p.mistakes) > 0 {
		p.batch.Wipe()
		return nil, p.warnings, errors.Join(p.mistakes...)
	}
	return &p.batch, p.warnings, nil
}

// parsing is a document that is being read.
type parsing struct {
	batch    Batch
	warnings []Warning
	mistakes []error
	overfull bool
	users    map[string]int // the lines of users
	groups   map[string]bool
	roles    map[string]bool
}

// wrong notes a mistake; the text holds no secret.
func (p *parsing) wrong(line int, format string, args ...any) {
	switch n := len(p.mistakes); {
	case n < maxMistakes:
		p.mistakes = append(p.mistakes, &DocumentError{line, fmt.Sprintf(format, args...)})
	case n == maxMistakes:
		p.mistakes = append(p.mistakes, &DocumentError{line, "is wrong too, and maybe more is"})
	}
}

func (p *parsing) warn(line int, format string, args ...any) {
	switch n := len(p.warnings); {
	case n < maxWarnings:
		p.warnings = append(p.warnings, Warning{line, fmt.Sprintf(format, args...)})
	case n == maxWarnings:
		p.warnings = append(p.warnings, Warning{0, "there are more warnings, which are not shown"})
	}
}

// full notes that a document holds too much, after which nothing more is read.
func (p *parsing) full(line int, what string, most int) {
	p.wrong(line, "has more than %d %s: import it in parts", most, what)
	p.overfull = true
}

// lost reports whether there is no use in reading on.
func (p *parsing) lost() bool { return p.overfull || len(p.mistakes) > maxMistakes }

// add takes a user in, once it is checked.
func (p *parsing) add(e entry) {
	if first, twice := p.users[e.user.Name]; twice {
		p.wrong(e.line, "user %q is already on line %d", e.user.Name, first)
		return
	}
	if err := checkUser(&e.user); err != nil {
		p.wrong(e.line, "user %.80q: %s", e.user.Name, reasonOf(err))
		return
	}
	if len(e.plain) > maxPlain {
		p.wrong(e.line, "user %.80q: password is longer than %d bytes", e.user.Name, maxPlain)
		return
	}
	if len(p.batch.users) == maxBatch {
		p.full(e.line, "users", maxBatch)
		return
	}
	p.users[e.user.Name] = e.line
	p.batch.users = append(p.batch.users, e)
}

func (p *parsing) addGroup(line int, g Group, sets field) {
	if err := checkGroup(&g); err != nil {
		p.wrong(line, "group %.80q: %s", g.Name, reasonOf(err))
		return
	}
	if p.groups[g.Name] {
		p.wrong(line, "group %q is there twice", g.Name)
		return
	}
	if len(p.batch.groups) == maxBatchRoles {
		p.full(line, "groups", maxBatchRoles)
		return
	}
	if p.groups == nil {
		p.groups = map[string]bool{}
	}
	p.groups[g.Name] = true
	p.batch.groups = append(p.batch.groups, groupEntry{g, sets})
}

func (p *parsing) addRole(line int, r Role, sets field) {
	if err := checkRole(&r); err != nil {
		p.wrong(line, "role %.80q: %s", r.Name, reasonOf(err))
		return
	}
	if p.roles[r.Name] {
		p.wrong(line, "role %q is there twice", r.Name)
		return
	}
	if len(p.batch.roles) == maxBatchRoles {
		p.full(line, "roles", maxBatchRoles)
		return
	}
	if p.roles == nil {
		p.roles = map[string]bool{}
	}
	p.roles[r.Name] = true
	p.batch.roles = append(p.batch.roles, roleEntry{r, sets})
}

// reasonOf is an error of a record without the name of the package.
func reasonOf(err error) string {
	if invalid, ok := errors.AsType[*InvalidError](err); ok {
		if invalid.Field == "" {
			return invalid.Text
		}
		return invalid.Field + ": " + invalid.Text
	}
	return err.Error()
}

// encoded reads a stored password into our form.
func encoded(s string) (string, error) {
	stored, err := authn.ParseStored(s, anyLimits())
	if err != nil {
		return "", err
	}
	return stored.Encode(), nil
}
