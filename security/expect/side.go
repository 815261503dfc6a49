package expect

import "sallyport/security"

// Side is what one of two policies says of a client.
type Side struct {
	Gate      *security.Gate
	Principal *security.Principal // nil: it can't get in
	Refused   security.Verdict    // why not, where Principal is nil
	Policies  []security.Policy   // of its listener, as the Gate has them
}
