//go:build !unix

package bench

// ownUsage isn't measured here.
func ownUsage() usage { return usage{} }
