package config

// SCRAM is which methods of SCRAM are offered, and what strangers are told.
type SCRAM struct {
	// The methods that clients may choose; by default all four. Those with PLUS are bound to the TLS connection, so that nobody in between can pass them on, and are offered on TLS only; a listener without TLS needs another one.
	Methods []SCRAMMechanism `yaml:"methods"`
	// How many iterations somebody is told who does not exist: as many as the verifiers have, so that it can't be told from a user's.
	Iterations int `yaml:"iterations"`
}

// SetDefaults sets the defaults of a scram section.
func (s *SCRAM) SetDefaults() { *s = SCRAM{Iterations: 600_000} }

// SCRAMSettings is the scram section, with the defaults where there is none.
func (a *Authenticator) SCRAMSettings() SCRAM {
	var s SCRAM
	s.SetDefaults()
	if a.SCRAM != nil {
		s = *a.SCRAM
	}
	return s
}

// SCRAMMechanism is a method of SCRAM, as clients name it.
type SCRAMMechanism string

// Choices lists the methods.
func (SCRAMMechanism) Choices() []string {
	return []string{"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512", "SCRAM-SHA-512-PLUS"}
}
