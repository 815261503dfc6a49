package config

// fips checks what of the configuration's own values fips: true rules out. What is in
// files is judged where they are read, and TLS with each listener.
func (k *checker) fips() {
	if k.c.FIPS && k.set("hashing.wrong_ttl") && k.c.Hashing.WrongTTL != 0 {
		k.wrong("hashing.wrong_ttl", "must be 0 with fips: true: every password is checked by its own hash")
	}
	if k.c.FIPS && k.set("hashing.cache_ttl") && k.c.Hashing.CacheTTL != 0 {
		k.wrong("hashing.cache_ttl", "must be 0 with fips: true: every right password is checked by its own hash")
	}
}

// warnFIPS says what works with fips: true and is no approved service.
func (k *checker) warnFIPS() {
	if k.c.FIPS && k.c.Storage.Encryption != nil {
		k.wrong("storage.encryption", "with fips: true the store is encrypted all the same, but not by an approved service: its nonces are counted outside the module (docs/fips.md)")
	}
}
