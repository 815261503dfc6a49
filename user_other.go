//go:build !unix

package sallyport

// noFollow is nothing here.
const noFollow = 0

// ids are those of a user, which this system does not have.
type ids struct{ uid, gid int }

// changesUser is false: becomeUser does nothing.
func changesUser(string) bool { return false }

// nextUser knows no user.
func nextUser(string) (ids, error) { return ids{}, nil }

// becomeUser does nothing: this system has no such user to become.
func becomeUser(string) error { return nil }

// giveDir does nothing: a folder belongs to who made it.
func giveDir(string, ids) error { return nil }

// writable knows nothing: permissions are not told by a mode here.
func writable(string) error { return nil }
