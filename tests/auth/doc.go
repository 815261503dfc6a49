// Package auth shows who gets in: a table of every kind of chain, credential and
// account, which docs/authentication.md has, and how long refusals take.
package auth
