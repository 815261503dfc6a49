//go:build !unix

package sallyport

// becomeUser does nothing: this system has no such user to become.
func becomeUser(string) error { return nil }
