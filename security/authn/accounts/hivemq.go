package accounts

import (
	"strings"

	"sallyport/security/authn"
)

// fileRealm reads an ese-file-realm document, version 1: the users and roles of its
// part mqtt. Passwords are plain there. Those of the control center and the REST API
// are of other things than MQTT.
func (p *parsing) fileRealm(data []byte) {
	root := p.root(data, "ese-file-realm")
	if root == nil {
		return
	}
	if v := root.attribute("version"); v != "" && v != "1" {
		p.wrong(root.line, "version must be 1")
		return
	}
	for _, part := range root.in {
		switch part.name {
		case "mqtt":
			p.hivemqParts(part, func(e *element) { p.realmUser(e) })
		case "control-center", "rest-api":
			p.warn(part.line, "the users of %s are not imported: they are not of MQTT", part.name)
		default:
			p.warn(part.line, "<%.60s> is not known, and not imported", part.name)
		}
	}
	p.knownRoles()
}

// fileRBAC reads the credentials.xml of the File RBAC extension; plain says that its
// password-type is PLAIN, not HASHED.
func (p *parsing) fileRBAC(data []byte, plain bool) {
	root := p.root(data, "file-rbac")
	if root == nil {
		return
	}
	p.hivemqParts(root, func(e *element) { p.rbacUser(e, plain) })
	p.knownRoles()
}

func (p *parsing) root(data []byte, name string) *element {
	root, err := parseXML(data)
	if err != nil {
		p.mistakes = append(p.mistakes, err)
		return nil
	}
	if root.name != name {
		p.wrong(root.line, "begins with <%.60s>, not with <%s>", root.name, name)
		return nil
	}
	return root
}

// hivemqParts reads <users> and <roles>.
func (p *parsing) hivemqParts(e *element, user func(*element)) {
	for _, part := range e.in {
		switch part.name {
		case "users":
			p.each(part, "user", user)
		case "roles":
			p.each(part, "role", p.hivemqRole)
		default:
			p.warn(part.line, "<%.60s> is not known, and not imported", part.name)
		}
	}
}

// each reads the elements of a list, which all have one name.
func (p *parsing) each(list *element, name string, read func(*element)) {
	for _, e := range list.in {
		if p.lost() {
			return
		}
		if e.name != name {
			p.wrong(e.line, "<%.60s> is not known in <%s>", e.name, list.name)
			continue
		}
		read(e)
	}
}

// parts is the elements in e by name, each known and at most once.
func (p *parsing) parts(e *element, known ...string) (map[string]*element, bool) {
	out := map[string]*element{}
	for _, part := range e.in {
		found := false
		for _, name := range known {
			found = found || name == part.name
		}
		switch {
		case !found: // it could be a restriction
			p.wrong(part.line, "<%.60s> is not known in <%s>", part.name, e.name)
			return nil, false
		case out[part.name] != nil:
			p.wrong(part.line, "<%s> is there twice in <%s>", part.name, e.name)
			return nil, false
		}
		out[part.name] = part
	}
	return out, true
}

func valueOf(e *element) string {
	if e == nil {
		return ""
	}
	return e.value()
}

func (p *parsing) hivemqRole(e *element) {
	parts, ok := p.parts(e, "id", "permissions")
	if !ok {
		return
	}
	if permissions, ok := p.permissions(parts["permissions"]); ok {
		p.addRole(e.line, Role{Name: valueOf(parts["id"]), Permissions: permissions}, setPermissions)
	}
}

// roleNames reads the roles of a user, each <name>.
func (p *parsing) roleNames(list *element, name string) (roles []string) {
	if list == nil {
		return nil
	}
	p.each(list, name, func(e *element) { roles = append(roles, e.value()) })
	return roles
}

// realmUser reads a user of a file realm. Permissions of its own become a role.
func (p *parsing) realmUser(e *element) {
	parts, ok := p.parts(e, "name", "password", "roles", "permissions")
	if !ok {
		return
	}
	u := User{Name: valueOf(parts["name"]), Roles: p.roleNames(parts["roles"], "role")}
	if own := parts["permissions"]; own != nil {
		permissions, ok := p.permissions(own)
		if !ok {
			return
		}
		role := "user." + u.Name
		p.addRole(own.line, Role{Name: role, Permissions: permissions, Comment: "the permissions that the user had"}, setPermissions|setComment)
		u.Roles = append(u.Roles, role)
	}
	x := entry{user: u, sets: setRoles, line: e.line}
	p.realmPassword(&x, parts["password"])
	p.add(x)
}

// realmPassword takes a plain password. What looks like a hash is none: to take it for
// a password would make the hash one that logs in.
func (p *parsing) realmPassword(x *entry, e *element) {
	secret := ""
	if e != nil {
		secret = string(e.text)
	}
	if secret == "" {
		p.warn(x.line, "user %.80q has no password: none will be right", x.user.Name)
		return
	}
	if _, err := authn.ParseStored(strings.TrimSpace(secret), anyLimits()); err == nil {
		p.warn(x.line, "user %.80q: the password looks like a hash, and is not imported: set it anew", x.user.Name)
		return
	}
	x.plain, x.sets = []byte(secret), x.sets|setPassword
}

// rbacUser reads a user of the File RBAC extension.
func (p *parsing) rbacUser(e *element, plain bool) {
	parts, ok := p.parts(e, "name", "password", "roles")
	if !ok {
		return
	}
	x := entry{line: e.line, sets: setRoles | setPassword}
	x.user = User{Name: valueOf(parts["name"]), Roles: p.roleNames(parts["roles"], "id")}
	switch password := parts["password"]; {
	case valueOf(password) == "":
		p.wrong(e.line, "user %.80q has no password", x.user.Name)
		return
	case plain:
		if _, err := encoded(password.value()); err == nil { // taken for a password, the hash would log in
			p.wrong(password.line, "user %.80q: the password looks like a hash: is its password-type HASHED?", x.user.Name)
			return
		}
		x.plain = password.text
	default:
		var err error
		if x.user.Password, err = encoded(password.value()); err != nil {
			p.wrong(password.line, "user %.80q: the password is no hash of the extension: is its password-type PLAIN?", x.user.Name)
			return
		}
	}
	p.add(x)
}

// knownRoles refuses users whose roles are not in the document.
func (p *parsing) knownRoles() {
	for _, x := range p.batch.users {
		for _, role := range x.user.Roles {
			if !p.roles[role] {
				p.wrong(x.line, "user %.80q has the role %.80q, which is not in the document", x.user.Name, role)
			}
		}
	}
}

// permissions reads a list of them; ok is false if one is wrong.
func (p *parsing) permissions(list *element) (out []Permission, ok bool) {
	if list == nil {
		return nil, true
	}
	before := len(p.mistakes)
	p.each(list, "permission", func(e *element) {
		if permission, ok := p.permission(e); ok {
			out = append(out, permission)
		}
	})
	return out, len(p.mistakes) == before
}

// permission reads one of HiveMQ's permissions, which all allow. What it says of
// retained messages counts for publishing there, and of shared subscriptions for
// subscribing.
func (p *parsing) permission(e *element) (out Permission, ok bool) {
	parts, ok := p.parts(e, "topic", "qos", "activity", "retain", "shared-subscription", "shared-group")
	if !ok {
		return out, false
	}
	word := func(name string, words map[string]string) string {
		part := parts[name]
		if part == nil {
			return ""
		}
		meant, known := words[part.value()]
		if !known {
			ok = false
			p.wrong(part.line, "<%s> %.40q is not known", name, part.value())
		}
		return meant
	}
	out = Permission{
		Topic:  placeholders(valueOf(parts["topic"])),
		Action: word("activity", map[string]string{"ALL": "", "PUBLISH": "publish", "SUBSCRIBE": "subscribe"}),
		Retain: word("retain", map[string]string{"ALL": "", "RETAINED": "retained", "NOT_RETAINED": "not_retained"}),
		Shared: word("shared-subscription", map[string]string{"ALL": "all", "SHARED": "shared", "NOT_SHARED": "not_shared"}),
	}
	for _, digit := range word("qos", map[string]string{
		"ALL": "", "ZERO": "0", "ONE": "1", "TWO": "2", "ZERO_ONE": "01", "ONE_TWO": "12", "ZERO_TWO": "02",
	}) {
		out.QoS = append(out.QoS, int(digit-'0'))
	}
	if group := valueOf(parts["shared-group"]); group != "#" && out.Shared != "not_shared" {
		out.Group = group
		if out.Shared == "" {
			out.Shared = "all" // beside a group, absent would be: shared
		}
	}
	if out.Group == "" && out.Shared == "all" {
		out.Shared = ""
	}
	switch out.Action {
	case "publish":
		out.Shared, out.Group = "", ""
	case "subscribe":
		out.Retain = ""
	}
	if !ok {
		return out, false
	}
	if _, err := out.Rule(); err != nil {
		p.wrong(e.line, "permission for %.80q: %v", out.Topic, err)
		return out, false
	}
	return out, true
}

// placeholders writes HiveMQ's placeholders as ours.
func placeholders(topic string) string {
	return strings.NewReplacer("${{clientid}}", "${clientid}", "${{username}}", "${username}",
		"${mqtt-clientid}", "${clientid}", "${mqtt-username}", "${username}").Replace(topic)
}
