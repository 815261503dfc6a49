// Package config is Sallyport's configuration as data: the structs that
// sallyport.yaml is read into, their defaults, and the judgement of what is
// wrong (Problems) and what is dangerous (Risks). It opens no listener, reads
// no key (but for Secret.Read, which whoever needs a secret calls) and knows no
// other part; package sallyport translates.
//
// Every mistake of a file is reported at once, each with file, line, column
// and key. What YAML can do beyond mappings, lists and scalars is refused, so
// that nothing in a file can expand.
package config
