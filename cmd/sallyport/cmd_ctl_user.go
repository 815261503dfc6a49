package main

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/control"
	"sallyport/security/authn/accounts"
)

// ctlUserCmd is "sallyport ctl user".
type ctlUserCmd struct {
	Add     ctlUserAddCmd     `cmd:"" help:"Add an account for a user or a device."`
	Show    ctlUserShowCmd    `cmd:"" help:"Tell everything about an account but its password."`
	List    ctlUserListCmd    `cmd:"" help:"List accounts."`
	Set     ctlUserSetCmd     `cmd:"" help:"Change groups, roles and whatever else add sets."`
	Passwd  ctlUserPasswdCmd  `cmd:"" help:"Set another password, or have one made; its connections end."`
	Disable ctlUserDisableCmd `cmd:"" help:"Refuse an account for good; its connections end."`
	Enable  ctlUserEnableCmd  `cmd:"" help:"Undo disable."`
	Lock    ctlUserLockCmd    `cmd:"" help:"Refuse an account for a while, or until unlock; its connections end."`
	Unlock  ctlUserUnlockCmd  `cmd:"" help:"Undo lock."`
	Delete  ctlUserDeleteCmd  `cmd:"" help:"Delete an account; its connections end."`
	Import  ctlUserImportCmd  `cmd:"" help:"Add or change many accounts, groups and roles from a file."`
	Export  ctlUserExportCmd  `cmd:"" help:"Write all accounts, groups and roles into a file."`
}

// Help shows examples.
func (*ctlUserCmd) Help() string {
	return `The accounts of the database in the broker's store. What a command changed is in force when it returns: clients that may not be connected any more are gone.

Examples:

    sallyport ctl -c sallyport.yaml user add alice --group operators
    sallyport ctl -c sallyport.yaml user add meter-17 --device --role meter --generate
    sallyport ctl -c sallyport.yaml user list --state locked
    sallyport ctl -c sallyport.yaml user disable alice
    sallyport ctl -c sallyport.yaml user import fleet.csv --dry-run`
}

// secretFlags say where a new password comes from.
type secretFlags struct {
	PasswordFile string `name:"password-file" xor:"secret" placeholder:"FILE" help:"Read the password from a file (first line); - is standard input."`
	PasswordEnv  string `name:"password-env" xor:"secret" placeholder:"NAME" help:"Read the password from an environment variable."`
	Generate     bool   `xor:"secret" help:"Make a secret of 128 random bits and print it, this once."`
}

// password reads the password from where the flags say, else from the terminal, twice.
func (f *secretFlags) password(e *env) (string, error) {
	if f.Generate {
		return "", nil
	}
	password, err := (&passwdCmd{PasswordFile: f.PasswordFile, PasswordEnv: f.PasswordEnv}).read(e)
	return string(password), err
}

// aboutFlags is what add and set say about an account.
type aboutFlags struct {
	ValidFrom  *string           `name:"valid-from" placeholder:"TIME" help:"From when the account may connect, such as 2026-03-01T08:30:00Z."`
	ValidUntil *string           `name:"valid-until" placeholder:"TIME" help:"Until when; its connections end then."`
	Address    []string          `sep:"none" placeholder:"NETWORK" help:"An address or network that it may come from; may be repeated. Without any: from anywhere."`
	ClientID   []string          `name:"client-id" sep:"none" placeholder:"ID" help:"A client identifier that it may use, or the beginning of one with * behind it; may be repeated. Without any: every one."`
	Attribute  map[string]string `mapsep:"none" placeholder:"NAME=VALUE" help:"An attribute, for rules; may be repeated."`
	Comment    *string           `placeholder:"TEXT" help:"A note for people."`
}

func (f *aboutFlags) change() control.UserChange {
	q := control.UserChange{ValidFrom: f.ValidFrom, ValidUntil: f.ValidUntil, Comment: f.Comment}
	if len(f.Address) > 0 {
		q.Addresses = &f.Address
	}
	if len(f.ClientID) > 0 {
		q.ClientIDs = &f.ClientID
	}
	for name, value := range f.Attribute {
		if q.Attributes == nil {
			q.Attributes = map[string]*string{}
		}
		q.Attributes[name] = &value
	}
	return q
}

// ctlUserAddCmd is "sallyport ctl user add".
type ctlUserAddCmd struct {
	Name       string   `arg:"" help:"The user name."`
	Device     bool     `help:"The account is a device's."`
	Group      []string `sep:"none" placeholder:"NAME" help:"A group that it is in; may be repeated."`
	Role       []string `sep:"none" placeholder:"NAME" help:"A role that it has; may be repeated."`
	Disabled   bool     `help:"It may not connect yet."`
	NoPassword bool     `name:"no-password" xor:"secret" help:"No password is right: it comes with a certificate or a token."`
	secretFlags
	aboutFlags
}

// Help shows examples.
func (*ctlUserAddCmd) Help() string {
	return `Asks for the password, twice, unless a flag says otherwise.

Examples:

    sallyport ctl -c sallyport.yaml user add alice --group operators
    sallyport ctl -c sallyport.yaml user add ci --role publisher --password-env CI_PASSWORD --valid-until 2027-01-01T00:00:00Z
    sallyport ctl -c sallyport.yaml user add meter-17 --device --role meter --client-id meter-17 --generate`
}

// Run adds the account.
func (x *ctlUserAddCmd) Run(e *env, c *ctlCmd) (err error) {
	q := x.change()
	if !x.NoPassword {
		if q.Password, err = x.password(e); err != nil {
			return err
		}
	}
	none, kind := uint64(0), accounts.Person
	if x.Device {
		kind = accounts.Device
	}
	q.Version, q.Kind, q.Disabled, q.Generate = &none, &kind, &x.Disabled, x.Generate
	q.Groups, q.Roles = &x.Group, &x.Role
	return c.changeUser(e, "add user", "PUT", control.UserPath(x.Name), q, "added "+x.Name)
}

// changeUser makes a change and says what was done, or, where a secret was made, that.
func (c *ctlCmd) changeUser(e *env, what, method, path string, body any, done string) error {
	var r control.UserResult
	if printed, err := c.call(e, what, method, path, body, &r); printed || err != nil {
		return err
	}
	var p page
	if r.Secret != "" {
		p.line("%s", r.Secret) // alone, for a script that takes it
	} else {
		p.line("%s", done)
	}
	return p.print(e)
}

// ctlUserSetCmd is "sallyport ctl user set".
type ctlUserSetCmd struct {
	Name            string   `arg:"" help:"The user name."`
	AddGroup        []string `name:"add-group" sep:"none" placeholder:"NAME" help:"Put it into a group; may be repeated."`
	RemoveGroup     []string `name:"remove-group" sep:"none" placeholder:"NAME" help:"Take it out of a group; may be repeated."`
	AddRole         []string `name:"add-role" sep:"none" placeholder:"NAME" help:"Give it a role; may be repeated."`
	RemoveRole      []string `name:"remove-role" sep:"none" placeholder:"NAME" help:"Take a role away; may be repeated."`
	RemoveAttribute []string `name:"remove-attribute" sep:"none" placeholder:"NAME" help:"Take an attribute away; may be repeated."`
	AnyAddress      bool     `name:"any-address" help:"It may come from anywhere."`
	AnyClientID     bool     `name:"any-client-id" help:"It may use every client identifier."`
	aboutFlags
}

// Help shows examples.
func (*ctlUserSetCmd) Help() string {
	return `What no flag names stays as it is. An empty time takes a bound away: --valid-until=.

Examples:

    sallyport ctl -c sallyport.yaml user set alice --add-group night-shift --remove-group day-shift
    sallyport ctl -c sallyport.yaml user set meter-17 --attribute site=north --client-id 'meter-17-*'`
}

// Run changes the account.
func (x *ctlUserSetCmd) Run(e *env, c *ctlCmd) error {
	switch {
	case x.AnyAddress && len(x.Address) > 0:
		return usageError("", "--any-address and --address contradict each other")
	case x.AnyClientID && len(x.ClientID) > 0:
		return usageError("", "--any-client-id and --client-id contradict each other")
	}
	q := x.change()
	q.AddGroups, q.RemoveGroups, q.AddRoles, q.RemoveRoles = x.AddGroup, x.RemoveGroup, x.AddRole, x.RemoveRole
	if x.AnyAddress {
		q.Addresses = &[]string{}
	}
	if x.AnyClientID {
		q.ClientIDs = &[]string{}
	}
	for _, name := range x.RemoveAttribute {
		if q.Attributes == nil {
			q.Attributes = map[string]*string{}
		}
		q.Attributes[name] = nil
	}
	return c.changeUser(e, "change user", "PATCH", control.UserPath(x.Name), q, "changed "+x.Name)
}

// ctlUserPasswdCmd is "sallyport ctl user passwd".
type ctlUserPasswdCmd struct {
	Name string `arg:"" help:"The user name."`
	secretFlags
}

// Run sets the password.
func (x *ctlUserPasswdCmd) Run(e *env, c *ctlCmd) error {
	password, err := x.password(e)
	if err != nil {
		return err
	}
	q := control.PasswordChange{Password: password, Generate: x.Generate}
	return c.changeUser(e, "set the password", "POST", control.UserPath(x.Name)+"/password", q, x.Name+" has the new password; connections under the old one have ended")
}

// userName is the account that a command is about.
type userName struct {
	Name string `arg:"" help:"The user name."`
}

// ctlUserDisableCmd is "sallyport ctl user disable".
type ctlUserDisableCmd struct{ userName }

// Run disables the account.
func (x *ctlUserDisableCmd) Run(e *env, c *ctlCmd) error {
	return c.changeUser(e, "disable user", "POST", control.UserPath(x.Name)+"/disable", nil, x.Name+" is disabled, and its connections have ended")
}

// ctlUserEnableCmd is "sallyport ctl user enable".
type ctlUserEnableCmd struct{ userName }

// Run enables the account.
func (x *ctlUserEnableCmd) Run(e *env, c *ctlCmd) error {
	return c.changeUser(e, "enable user", "POST", control.UserPath(x.Name)+"/enable", nil, x.Name+" is enabled")
}

// ctlUserLockCmd is "sallyport ctl user lock".
type ctlUserLockCmd struct {
	userName
	Until string        `xor:"end" placeholder:"TIME" help:"When it ends by itself, such as 2026-03-01T08:30:00Z."`
	For   time.Duration `xor:"end" placeholder:"DURATION" help:"After how long, such as 30m."`
}

// Run locks the account.
func (x *ctlUserLockCmd) Run(e *env, c *ctlCmd) error {
	q := control.LockRequest{Until: x.Until}
	switch {
	case x.For < 0:
		return usageError("", "--for is negative")
	case x.For > 0:
		q.Until = time.Now().Add(x.For).UTC().Format(time.RFC3339)
	}
	done := x.Name + " is locked, and its connections have ended"
	if q.Until != "" {
		done = x.Name + " is locked until " + q.Until + ", and its connections have ended"
	}
	return c.changeUser(e, "lock user", "POST", control.UserPath(x.Name)+"/lock", q, done)
}

// ctlUserUnlockCmd is "sallyport ctl user unlock".
type ctlUserUnlockCmd struct{ userName }

// Run unlocks the account.
func (x *ctlUserUnlockCmd) Run(e *env, c *ctlCmd) error {
	return c.changeUser(e, "unlock user", "POST", control.UserPath(x.Name)+"/unlock", nil, x.Name+" is unlocked")
}

// ctlUserDeleteCmd is "sallyport ctl user delete".
type ctlUserDeleteCmd struct{ userName }

// Run deletes the account.
func (x *ctlUserDeleteCmd) Run(e *env, c *ctlCmd) error {
	return c.remove(e, "delete user", control.UserPath(x.Name), nil, "deleted "+x.Name+", and its connections have ended")
}

// remove deletes a record and says so.
func (c *ctlCmd) remove(e *env, what, path string, body any, done string) error {
	var r struct{}
	if printed, err := c.call(e, what, "DELETE", path, body, &r); printed || err != nil {
		return err
	}
	var p page
	p.line("%s", done)
	return p.print(e)
}

// ctlUserShowCmd is "sallyport ctl user show".
type ctlUserShowCmd struct{ userName }

// Run prints the account.
func (x *ctlUserShowCmd) Run(e *env, c *ctlCmd) error {
	var u control.AccountUser
	if printed, err := c.call(e, "user "+x.Name, "GET", control.UserPath(x.Name), nil, &u); printed || err != nil {
		return err
	}
	var p page
	p.line("%s %s, %s%s", string(u.Kind), u.Name, stateText(u.State), until(u.LockedUntil))
	p.line("password %s", passwordText(&u))
	p.line("groups %s", listOr(u.Groups, "none"))
	p.line("roles %s", listOr(u.Roles, "none"))
	for _, name := range slices.Sorted(maps.Keys(u.Attributes)) {
		p.line("attribute %s: %s", name, u.Attributes[name])
	}
	if u.ValidFrom != nil || u.ValidUntil != nil {
		p.line("valid from %s until %s", timeText(u.ValidFrom), timeText(u.ValidUntil))
	}
	if len(u.Addresses) > 0 {
		p.line("comes from %s", strings.Join(u.Addresses, " "))
	}
	if len(u.ClientIDs) > 0 {
		p.line("client identifiers %s", strings.Join(u.ClientIDs, " "))
	}
	if u.Comment != "" {
		p.line("%s", u.Comment)
	}
	p.line("created %s, changed %s, version %s", timeText(u.Created), timeText(u.Changed), strconv.FormatUint(u.Version, 10))
	return p.print(e)
}

func stateText(state string) string { return strings.ReplaceAll(state, "_", " ") }

func until(t *time.Time) string {
	if t == nil {
		return ""
	}
	return " until " + t.Format(time.RFC3339)
}

func timeText(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.Format(time.RFC3339)
}

// passwordText says how a password is kept.
func passwordText(u *control.AccountUser) string {
	text := u.Password
	if text == "" {
		text = "none"
	}
	return strings.Join(append([]string{text}, u.SCRAM...), ", ")
}

// ctlUserListCmd is "sallyport ctl user list".
type ctlUserListCmd struct {
	Group string `placeholder:"NAME" help:"Only those in this group."`
	Role  string `placeholder:"NAME" help:"Only those that have this role themselves."`
	State string `default:"" enum:",active,disabled,locked,not_yet_valid,expired" placeholder:"STATE" help:"Only those that are active, disabled, locked, not_yet_valid or expired."`
}

// Run prints a line for each account: name, kind, state, password, groups, roles.
func (x *ctlUserListCmd) Run(e *env, c *ctlCmd) error {
	q := url.Values{"limit": {"500"}}
	for key, value := range map[string]string{"group": x.Group, "role": x.Role, "state": x.State} {
		if value != "" {
			q.Set(key, value)
		}
	}
	return pages(e, c, "/users", q, func(r *control.UserPage) (string, []control.AccountUser) { return r.Next, r.Users },
		"users", func(p *page, u *control.AccountUser) {
			p.line("%s\t%s\t%s\t%s\t%s\t%s", u.Name, string(u.Kind), stateText(u.State), passwordText(u), joinOr(u.Groups), joinOr(u.Roles))
		})
}

func joinOr(list []string) string {
	return listOr([]string{strings.Join(list, ",")}[:min(1, len(list))], "-")
}

// pages asks for one page after the other and prints a line for each record, or with
// --json one document with all of them under key.
func pages[P, T any](e *env, c *ctlCmd, path string, q url.Values, take func(*P) (next string, list []T), key string, line func(*page, *T)) error {
	all := []T{}
	quiet := *c
	quiet.JSON = false
	for {
		var r P
		if _, err := quiet.call(e, "list "+key, "GET", path+"?"+q.Encode(), nil, &r); err != nil {
			return err
		}
		next, list := take(&r)
		all = append(all, list...)
		if next == "" {
			break
		}
		q.Set("after", next)
	}
	if c.JSON {
		if err := printJSON(e.stdout, map[string]any{key: all}); err != nil {
			return &failure{what: "print the answer", why: err}
		}
		return nil
	}
	var p page
	for i := range all {
		line(&p, &all[i])
	}
	return p.print(e)
}
