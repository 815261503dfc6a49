//go:build !unix

package sallyport

// noFollow is nothing here.
const noFollow = 0

// becomeUser does nothing: this system has no such user to become.
func becomeUser(string) error { return nil }
