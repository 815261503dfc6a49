package main

import (
	"net/url"
	"strconv"
	"strings"

	"sallyport/control"
	"sallyport/security/authn/accounts"
)

// ctlGroupCmd is "sallyport ctl group".
type ctlGroupCmd struct {
	Add    ctlGroupAddCmd    `cmd:"" help:"Add a group."`
	Show   ctlGroupShowCmd   `cmd:"" help:"Tell a group's roles and who is in it."`
	List   ctlGroupListCmd   `cmd:"" help:"List groups."`
	Set    ctlGroupSetCmd    `cmd:"" help:"Give roles to a group, or take them away."`
	Delete ctlGroupDeleteCmd `cmd:"" help:"Delete a group."`
}

// Help shows examples.
func (*ctlGroupCmd) Help() string {
	return `Groups of the account database: who is in one has its roles. A client whose groups come from elsewhere, such as a token, has the roles of the groups with these names too, where a listener's policies are of type accounts.

Examples:

    sallyport ctl -c sallyport.yaml group add operators --role operator --role reader
    sallyport ctl -c sallyport.yaml group set operators --remove-role reader
    sallyport ctl -c sallyport.yaml user set alice --add-group operators`
}

// ctlGroupAddCmd is "sallyport ctl group add".
type ctlGroupAddCmd struct {
	Name    string   `arg:"" help:"The group."`
	Role    []string `sep:"none" placeholder:"NAME" help:"A role that it has; may be repeated."`
	Comment *string  `placeholder:"TEXT" help:"A note for people."`
}

// Run adds the group.
func (x *ctlGroupAddCmd) Run(e *env, c *ctlCmd) error {
	none := uint64(0)
	return changeSet[accounts.Group](e, c, "add group", "PUT", control.GroupPath(x.Name), control.GroupChange{Version: &none, Roles: &x.Role, Comment: x.Comment}, "added "+x.Name)
}

// changeSet changes a group or role and says so.
func changeSet[T any](e *env, c *ctlCmd, what, method, path string, body any, done string) error {
	var r T
	if printed, err := c.call(e, what, method, path, body, &r); printed || err != nil {
		return err
	}
	var p page
	p.line("%s", done)
	return p.print(e)
}

// ctlGroupSetCmd is "sallyport ctl group set".
type ctlGroupSetCmd struct {
	Name       string   `arg:"" help:"The group."`
	AddRole    []string `name:"add-role" sep:"none" placeholder:"NAME" help:"Give it a role; may be repeated."`
	RemoveRole []string `name:"remove-role" sep:"none" placeholder:"NAME" help:"Take a role away; may be repeated."`
	Comment    *string  `placeholder:"TEXT" help:"A note for people."`
}

// Run changes the group.
func (x *ctlGroupSetCmd) Run(e *env, c *ctlCmd) error {
	q := control.GroupChange{AddRoles: x.AddRole, RemoveRoles: x.RemoveRole, Comment: x.Comment}
	return changeSet[accounts.Group](e, c, "change group", "PATCH", control.GroupPath(x.Name), q, "changed "+x.Name)
}

// ctlGroupListCmd is "sallyport ctl group list".
type ctlGroupListCmd struct{}

// Run prints a line for each group: name, roles, comment.
func (*ctlGroupListCmd) Run(e *env, c *ctlCmd) error {
	return pages(e, c, "/groups", url.Values{"limit": {"500"}}, func(r *control.GroupPage) (string, []accounts.Group) { return r.Next, r.Groups },
		"groups", func(p *page, g *accounts.Group) { p.line("%s\t%s\t%s", g.Name, joinOr(g.Roles), g.Comment) })
}

// ctlGroupShowCmd is "sallyport ctl group show".
type ctlGroupShowCmd struct {
	Name string `arg:"" help:"The group."`
}

// shownMembers bounds how many members of a group are told.
const shownMembers = 100

// Run prints the group.
func (x *ctlGroupShowCmd) Run(e *env, c *ctlCmd) error {
	var g accounts.Group
	if printed, err := c.call(e, "group "+x.Name, "GET", control.GroupPath(x.Name), nil, &g); printed || err != nil {
		return err
	}
	q := url.Values{"group": {x.Name}, "limit": {strconv.Itoa(shownMembers)}}
	var members control.UserPage
	if _, err := c.call(e, "members of "+x.Name, "GET", "/users?"+q.Encode(), nil, &members); err != nil {
		return err
	}
	var p page
	p.line("group %s, version %s", g.Name, strconv.FormatUint(g.Version, 10))
	p.line("roles %s", listOr(g.Roles, "none"))
	if g.Comment != "" {
		p.line("%s", g.Comment)
	}
	names := make([]string, 0, len(members.Users))
	for i := range members.Users {
		names = append(names, members.Users[i].Name)
	}
	p.line("members %s", listOr(names, "none"))
	if members.Next != "" {
		p.line("and more: sallyport ctl user list --group %s", x.Name)
	}
	return p.print(e)
}

// ctlGroupDeleteCmd is "sallyport ctl group delete".
type ctlGroupDeleteCmd struct {
	Name  string `arg:"" help:"The group."`
	Force bool   `help:"Also if somebody is in it."`
}

// Run deletes the group.
func (x *ctlGroupDeleteCmd) Run(e *env, c *ctlCmd) error {
	return c.remove(e, "delete group", control.GroupPath(x.Name), control.DeleteRequest{Force: x.Force}, "deleted "+x.Name)
}

// ctlRoleCmd is "sallyport ctl role".
type ctlRoleCmd struct {
	Add              ctlRoleAddCmd    `cmd:"" help:"Add a role, without permissions."`
	Allow            ctlRoleAllowCmd  `cmd:"" help:"Add a permission to a role."`
	Deny             ctlRoleDenyCmd   `cmd:"" help:"Add a permission that denies, which beats every other."`
	RemovePermission ctlRoleRemoveCmd `cmd:"" name:"remove-permission" help:"Take a permission away from a role."`
	Show             ctlRoleShowCmd   `cmd:"" help:"Tell a role's permissions, with their numbers."`
	List             ctlRoleListCmd   `cmd:"" help:"List roles."`
	Set              ctlRoleSetCmd    `cmd:"" help:"Change the note of a role."`
	Delete           ctlRoleDeleteCmd `cmd:"" help:"Delete a role."`
}

// Help shows examples.
func (*ctlRoleCmd) Help() string {
	return `Roles of the account database: permissions with a name, for listeners with a policy of type accounts. Topics may have the placeholders of permission files.

Examples:

    sallyport ctl -c sallyport.yaml role add meter
    sallyport ctl -c sallyport.yaml role allow meter publish 'meters/${username}/#' --qos 1
    sallyport ctl -c sallyport.yaml role deny meter publish 'meters/${username}/config'
    sallyport ctl -c sallyport.yaml role show meter
    sallyport ctl -c sallyport.yaml role remove-permission meter 2`
}

// ctlRoleAddCmd is "sallyport ctl role add".
type ctlRoleAddCmd struct {
	Name    string  `arg:"" help:"The role."`
	Comment *string `placeholder:"TEXT" help:"A note for people."`
}

// Run adds the role.
func (x *ctlRoleAddCmd) Run(e *env, c *ctlCmd) error {
	none := uint64(0)
	return changeSet[accounts.Role](e, c, "add role", "PUT", control.RolePath(x.Name), control.RoleChange{Version: &none, Comment: x.Comment}, "added "+x.Name)
}

// permissionFlags describe one permission.
type permissionFlags struct {
	Name   string `arg:"" help:"The role."`
	Action string `arg:"" enum:"publish,subscribe,all" help:"One of ${enum}; to subscribe includes to receive."`
	Topic  string `arg:"" help:"Topic filter, with placeholders such as $${username}."`
	QoS    []int  `name:"qos" short:"q" placeholder:"QOS" help:"Only at this quality of service; may be repeated."`
	Retain string `default:"" enum:",all,retained,not_retained" placeholder:"WHICH" help:"Which published messages: retained, not_retained or all (default)."`
	Shared string `default:"" enum:",all,shared,not_shared" placeholder:"WHICH" help:"Which subscriptions: shared, not_shared or all (default)."`
	Share  string `name:"share-name" placeholder:"NAME" help:"Only shared subscriptions with this share name, unless --shared all."`
}

func (f *permissionFlags) add(e *env, c *ctlCmd, deny bool) error {
	p := accounts.Permission{Deny: deny, Topic: f.Topic, Action: f.Action, QoS: f.QoS, Retain: f.Retain, Shared: f.Shared, Group: f.Share}
	if p.Action == "all" {
		p.Action = ""
	}
	return changeSet[accounts.Role](e, c, "change role", "PATCH", control.RolePath(f.Name), control.RoleChange{Add: []accounts.Permission{p}},
		"role "+f.Name+": "+p.String())
}

// ctlRoleAllowCmd is "sallyport ctl role allow".
type ctlRoleAllowCmd struct{ permissionFlags }

// Run adds the permission.
func (x *ctlRoleAllowCmd) Run(e *env, c *ctlCmd) error { return x.add(e, c, false) }

// ctlRoleDenyCmd is "sallyport ctl role deny".
type ctlRoleDenyCmd struct{ permissionFlags }

// Run adds the permission.
func (x *ctlRoleDenyCmd) Run(e *env, c *ctlCmd) error { return x.add(e, c, true) }

// ctlRoleRemoveCmd is "sallyport ctl role remove-permission".
type ctlRoleRemoveCmd struct {
	Name   string `arg:"" help:"The role."`
	Number int    `arg:"" help:"The permission's number, as show tells it."`
}

// Run takes the permission away from the role that it looks at, or fails.
func (x *ctlRoleRemoveCmd) Run(e *env, c *ctlCmd) error {
	var r accounts.Role
	quiet := *c
	quiet.JSON = false
	if _, err := quiet.call(e, "role "+x.Name, "GET", control.RolePath(x.Name), nil, &r); err != nil {
		return err
	}
	if x.Number < 1 || x.Number > len(r.Permissions) {
		return usageError("sallyport ctl role show tells them with their numbers", "role %s has %d permissions, and no number %d", x.Name, len(r.Permissions), x.Number)
	}
	return changeSet[accounts.Role](e, c, "change role", "PATCH", control.RolePath(x.Name), control.RoleChange{Version: &r.Version, Remove: []int{x.Number}},
		"role "+x.Name+" without: "+r.Permissions[x.Number-1].String())
}

// ctlRoleShowCmd is "sallyport ctl role show".
type ctlRoleShowCmd struct {
	Name string `arg:"" help:"The role."`
}

// Run prints the role.
func (x *ctlRoleShowCmd) Run(e *env, c *ctlCmd) error {
	var r accounts.Role
	if printed, err := c.call(e, "role "+x.Name, "GET", control.RolePath(x.Name), nil, &r); printed || err != nil {
		return err
	}
	var p page
	p.line("role %s, version %s", r.Name, strconv.FormatUint(r.Version, 10))
	if r.Comment != "" {
		p.line("%s", r.Comment)
	}
	for i, perm := range r.Permissions {
		p.line("%s  %s", strconv.Itoa(i+1), perm.String())
	}
	if len(r.Permissions) == 0 {
		p.line("no permissions: it allows nothing")
	}
	return p.print(e)
}

// ctlRoleListCmd is "sallyport ctl role list".
type ctlRoleListCmd struct{}

// Run prints a line for each role: name, permissions, comment.
func (*ctlRoleListCmd) Run(e *env, c *ctlCmd) error {
	return pages(e, c, "/roles", url.Values{"limit": {"500"}}, func(r *control.RolePage) (string, []accounts.Role) { return r.Next, r.Roles },
		"roles", func(p *page, r *accounts.Role) {
			list := make([]string, 0, len(r.Permissions))
			for _, perm := range r.Permissions {
				list = append(list, perm.String())
			}
			p.line("%s\t%s\t%s", r.Name, listOr([]string{strings.Join(list, "; ")}[:min(1, len(list))], "-"), r.Comment)
		})
}

// ctlRoleSetCmd is "sallyport ctl role set".
type ctlRoleSetCmd struct {
	Name    string `arg:"" help:"The role."`
	Comment string `required:"" placeholder:"TEXT" help:"A note for people."`
}

// Run changes the role.
func (x *ctlRoleSetCmd) Run(e *env, c *ctlCmd) error {
	return changeSet[accounts.Role](e, c, "change role", "PATCH", control.RolePath(x.Name), control.RoleChange{Comment: &x.Comment}, "changed "+x.Name)
}

// ctlRoleDeleteCmd is "sallyport ctl role delete".
type ctlRoleDeleteCmd struct {
	Name  string `arg:"" help:"The role."`
	Force bool   `help:"Also if somebody has it."`
}

// Run deletes the role.
func (x *ctlRoleDeleteCmd) Run(e *env, c *ctlCmd) error {
	return c.remove(e, "delete role", control.RolePath(x.Name), control.DeleteRequest{Force: x.Force}, "deleted "+x.Name)
}
