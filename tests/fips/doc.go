// Package fips builds Sallyport as docs/fips.md says and meets it with peers that are
// within FIPS 140-3 and outside it. The test process itself is in no such mode, so that
// it can offer what is to be refused.
package fips
