// Package roles is Sallyport's own policy language: the permission file. It
// hides the file's form, who has which permissions, and how they add up. What a
// single permission says is package rule's matter.
//
// Words: a permission is one allow or deny for some actions and topics, with
// conditions. A role is a named list of permissions, a group one with roles of
// its own. The permissions of a principal are those of everyone, of its user, of
// the groups that the file or its authenticator gives it, and of the roles that
// the file, its groups or its authenticator give it. Anonymous is no user.
//
// Invariants, whatever the order in the file:
//   - A matching deny beats every allow. Nothing matching is silence, which the
//     Gate takes as deny. A default is silence too, never a deny.
//   - A subscription is allowed only if allow rules cover all of it: every name
//     that its filter matches.
//   - To deny subscribing is to deny receiving. A deny that covers a filter
//     refuses the subscription; one that merely overlaps withholds messages at
//     delivery.
//   - An allow rule whose placeholder has no usable value does not match; a
//     deny rule in that case refuses the connection (Admit), and everything
//     that it could have denied. A condition that fails acts the same way.
//   - Rules that stand in no file (Compile) add up in the same way, and
//     their reasons name the role in the place of file and line.
//   - A Policy holds nothing per client: who shares a role shares its Set.
package roles
