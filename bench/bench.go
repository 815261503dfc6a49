// Package bench loads an MQTT broker, verifies what it delivers and measures.
package bench

// SelfBroker starts a broker inside the process and returns its address.
type SelfBroker func() (addr string, stop func(), err error)
