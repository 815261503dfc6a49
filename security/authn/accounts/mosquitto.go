package accounts

import (
	"fmt"
	"io"

	"sallyport/security/authn"
)

// mosquitto reads a password file: names and passwords.
func (p *parsing) mosquitto(data []byte) {
	authn.EachPassword(data, anyLimits(), func(line int, name string, s authn.Stored, err error) bool {
		if err != nil {
			p.wrong(line, "%v", err)
			return !p.lost()
		}
		p.add(entry{user: User{Name: name, Password: s.Encode()}, sets: setPassword, line: line})
		return !p.lost()
	})
}

// ExportMosquitto writes a password file that Mosquitto reads: as 2.0 does, or for the
// format Mosq21 as 2.1 does. Accounts that it can't hold are left out, and each is a
// warning: those whose password is stored in a way that Mosquitto doesn't know, and those
// that may not connect, since Mosquitto would let them. What else restricts an account
// is lost, which is a warning too.
func (db *Database) ExportMosquitto(w io.Writer, f Format) ([]Warning, error) {
	out := &parsing{} // its warnings are bounded
	now := db.opts.Now()
	for after, more := "", true; more; {
		var page []User
		page, more = db.Users(after, exportPage, nil)
		for _, u := range page {
			after = u.Name
			why := notForMosquitto(&u, f)
			if refused := refusal(&u, now); refused != "" {
				why = refused
			}
			if why != "" {
				out.warn(0, "user %q is left out: %s", u.Name, why)
				continue
			}
			if len(u.Addresses) > 0 || len(u.ClientIDs) > 0 || !u.ValidUntil.IsZero() {
				out.warn(0, "user %q: Mosquitto knows no addresses, client ids and ends of accounts: that restriction is lost", u.Name)
			}
			if _, err := fmt.Fprintf(w, "%s:%s\n", u.Name, u.Password); err != nil {
				return out.warnings, err
			}
		}
	}
	return out.warnings, nil
}

// saltOf20 is the longest salt that Mosquitto 2.0 reads, in bytes.
const saltOf20 = 12

// notForMosquitto is why Mosquitto can't check the account's password.
func notForMosquitto(u *User, f Format) string {
	if u.Password == "" {
		return "it has no password"
	}
	s, err := authn.ParseStored(u.Password, anyLimits())
	if err != nil {
		return "its password can't be read"
	}
	switch a := s.Algorithm(); a {
	case authn.SHA512, authn.PBKDF2SHA512:
		if f != Mosq21 && s.Salt() > saltOf20 {
			return fmt.Sprintf("its password has a salt of %d bytes, which Mosquitto reads from 2.1 on", s.Salt())
		}
		return ""
	case authn.Argon2id:
		if f == Mosq21 {
			return ""
		}
		return "its password is stored by argon2id, which Mosquitto reads from 2.1 on"
	default:
		return fmt.Sprintf("its password is stored by %s, which Mosquitto doesn't read", a)
	}
}
