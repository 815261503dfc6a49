package control

import (
	"cmp"
	"slices"
	"strconv"

	"sallyport/security/authn/accounts"
)

// GroupPage is the answer of GET /groups.
type GroupPage struct {
	Groups []accounts.Group `json:"groups"`
	Next   string           `json:"next,omitempty"` // as in a UserPage
}

// RolePage is the answer of GET /roles.
type RolePage struct {
	Roles []accounts.Role `json:"roles"`
	Next  string          `json:"next,omitempty"` // as in a UserPage
}

// GroupChange is the body of PUT and PATCH of a group. In a PUT what is left out is
// empty; in a PATCH it stays.
type GroupChange struct {
	Version     *uint64   `json:"version,omitempty"`
	Roles       *[]string `json:"roles,omitempty"` // all of them
	AddRoles    []string  `json:"add_roles,omitempty"`
	RemoveRoles []string  `json:"remove_roles,omitempty"`
	Comment     *string   `json:"comment,omitempty"`
}

// RoleChange is the body of PUT and PATCH of a role, likewise.
type RoleChange struct {
	Version     *uint64                `json:"version,omitempty"`
	Permissions *[]accounts.Permission `json:"permissions,omitempty"` // all of them
	// Remove is numbers of permissions, from 1, as they are before the change, and
	// needs Version: they mean nothing once another change came in between.
	Remove  []int                 `json:"remove,omitempty"`
	Add     []accounts.Permission `json:"add,omitempty"` // behind those that are left
	Comment *string               `json:"comment,omitempty"`
}

// pageOf is the part of all records, which are in the order of their names, that the
// query of c asks for.
func pageOf[T any](c *call, all []T, name func(*T) string) (page []T, next string, err error) {
	q, err := query(c.http.URL, "after", "limit")
	if err != nil {
		return nil, "", err
	}
	limit, err := pageLimit(q)
	if err != nil {
		return nil, "", err
	}
	at, there := slices.BinarySearchFunc(all, q.Get("after"), func(x T, after string) int { return cmp.Compare(name(&x), after) })
	if there {
		at++
	}
	page = all[at:]
	if len(page) > limit {
		page = page[:limit]
		next = name(&page[limit-1])
	}
	return page, next, nil
}

// groups is GET /groups.
func (s *Server) groups(c *call) (any, error) {
	db, err := s.accounts()
	if err != nil {
		return nil, err
	}
	var out GroupPage
	out.Groups, out.Next, err = pageOf(c, db.Groups(), func(g *accounts.Group) string { return g.Name })
	return out, err
}

// group is GET /groups/{name}.
func (s *Server) group(c *call) (any, error) {
	db, err := s.accounts()
	if err != nil {
		return nil, err
	}
	g, ok := db.Group(c.http.PathValue("name"))
	if !ok {
		return nil, notThere("group")
	}
	return g, nil
}

// putGroup is PUT /groups/{name}.
func (s *Server) putGroup(c *call) (any, error) {
	var q GroupChange
	db, name, err := s.changing(c, &q, "group")
	if err != nil {
		return nil, err
	}
	anew := func(g *accounts.Group) error {
		*g = accounts.Group{Name: name}
		return q.apply(g)
	}
	add := func() (accounts.Group, error) {
		var g accounts.Group
		if err := anew(&g); err != nil {
			return g, err
		}
		return db.AddGroup(g, accounts.How{})
	}
	g, err := putAt(q.Version, add, func(how accounts.How) (accounts.Group, error) { return db.ChangeGroup(name, how, anew) })
	return changedSet(c, g, g.Version, err)
}

// patchGroup is PATCH /groups/{name}.
func (s *Server) patchGroup(c *call) (any, error) {
	var q GroupChange
	db, name, err := s.changing(c, &q, "group")
	if err != nil {
		return nil, err
	}
	how, err := at(q.Version)
	if err != nil {
		c.unchanged = true
		return nil, err
	}
	g, err := db.ChangeGroup(name, how, q.apply)
	return changedSet(c, g, g.Version, err)
}

func (q *GroupChange) apply(g *accounts.Group) error {
	set(&g.Roles, q.Roles)
	g.Roles = altered(g.Roles, q.AddRoles, q.RemoveRoles)
	set(&g.Comment, q.Comment)
	return nil
}

// changedSet is the answer to a change of a group or role.
func changedSet(c *call, v any, version uint64, err error) (any, error) {
	if err != nil {
		return nil, accountError(err)
	}
	c.result = "version " + strconv.FormatUint(version, 10)
	return v, nil
}

// deleteGroup is DELETE /groups/{name}.
func (s *Server) deleteGroup(c *call) (any, error) {
	return s.remove(c, "group", (*accounts.Database).DeleteGroup)
}

// roles is GET /roles.
func (s *Server) roles(c *call) (any, error) {
	db, err := s.accounts()
	if err != nil {
		return nil, err
	}
	var out RolePage
	out.Roles, out.Next, err = pageOf(c, db.Roles(), func(r *accounts.Role) string { return r.Name })
	return out, err
}

// role is GET /roles/{name}.
func (s *Server) role(c *call) (any, error) {
	db, err := s.accounts()
	if err != nil {
		return nil, err
	}
	r, ok := db.Role(c.http.PathValue("name"))
	if !ok {
		return nil, notThere("role")
	}
	return r, nil
}

// putRole is PUT /roles/{name}.
func (s *Server) putRole(c *call) (any, error) {
	var q RoleChange
	db, name, err := s.changing(c, &q, "role")
	if err != nil {
		return nil, err
	}
	anew := func(r *accounts.Role) error {
		*r = accounts.Role{Name: name}
		return q.apply(r)
	}
	add := func() (accounts.Role, error) {
		var r accounts.Role
		if err := anew(&r); err != nil {
			return r, err
		}
		return db.AddRole(r, accounts.How{})
	}
	r, err := putAt(q.Version, add, func(how accounts.How) (accounts.Role, error) { return db.ChangeRole(name, how, anew) })
	return changedSet(c, r, r.Version, err)
}

// patchRole is PATCH /roles/{name}.
func (s *Server) patchRole(c *call) (any, error) {
	var q RoleChange
	db, name, err := s.changing(c, &q, "role")
	if err != nil {
		return nil, err
	}
	how, err := at(q.Version)
	if err == nil && len(q.Remove) > 0 && q.Version == nil {
		err = bad("remove needs version")
	}
	if err != nil {
		c.unchanged = true
		return nil, err
	}
	r, err := db.ChangeRole(name, how, q.apply)
	return changedSet(c, r, r.Version, err)
}

func (q *RoleChange) apply(r *accounts.Role) error {
	set(&r.Permissions, q.Permissions)
	for _, n := range q.Remove {
		if n < 1 || n > len(r.Permissions) {
			return bad("there is no permission %d: the role has %d", n, len(r.Permissions))
		}
	}
	kept := make([]accounts.Permission, 0, len(r.Permissions)+len(q.Add))
	for i, p := range r.Permissions {
		if !slices.Contains(q.Remove, i+1) {
			kept = append(kept, p)
		}
	}
	r.Permissions = append(kept, q.Add...)
	set(&r.Comment, q.Comment)
	return nil
}

// deleteRole is DELETE /roles/{name}.
func (s *Server) deleteRole(c *call) (any, error) {
	return s.remove(c, "role", (*accounts.Database).DeleteRole)
}

// GroupPath is the path of a group's endpoint.
func GroupPath(name string) string { return "/groups/" + escape(name) }

// RolePath is the path of a role's endpoint.
func RolePath(name string) string { return "/roles/" + escape(name) }
