package packet

// Signatures agreed on; the bodies follow.

// ReadHeader decodes the fixed header at the start of b. n is its length in
// bytes; n 0 with a nil error means that more bytes are needed.
func ReadHeader(b []byte) (h Header, n int, err error) { panic("todo") }

// AppendForward appends the properties that travel with the message (without
// the topic alias and subscription identifiers), byte for byte as they arrived,
// and returns the offset of the four expiry bytes in what it appended, -1 if there are none.
func (p *PublishProps) AppendForward(dst []byte) (props []byte, expiryAt int) { panic("todo") }

// Server-side decoders; body is the packet after the fixed header.
func DecodeConnect(body []byte, lim Limits) (*Connect, error)                        { panic("todo") }
func DecodePublish(v Version, flags byte, body []byte, lim Limits, p *Publish) error { panic("todo") }
func DecodeAck(v Version, t Type, flags byte, body []byte, lim Limits) (Ack, error)  { panic("todo") }
func DecodeSubscribe(v Version, flags byte, body []byte, lim Limits) (*Subscribe, error) {
	panic("todo")
}
func DecodeUnsubscribe(v Version, flags byte, body []byte, lim Limits) (*Unsubscribe, error) {
	panic("todo")
}
func DecodeDisconnect(v Version, flags byte, body []byte, lim Limits) (*Disconnect, error) {
	panic("todo")
}
func DecodeAuth(v Version, flags byte, body []byte, lim Limits) (*Auth, error) { panic("todo") }
func DecodePing(t Type, flags byte, body []byte) error                         { panic("todo") }

// Client-side decoders.
func DecodeConnack(v Version, flags byte, body []byte, lim Limits) (*Connack, error) { panic("todo") }
func DecodeSubAck(v Version, t Type, flags byte, body []byte, lim Limits) (*SubAck, error) {
	panic("todo")
}

// Encoders append one whole packet to dst.
func AppendConnect(dst []byte, c *Connect) []byte                    { panic("todo") }
func AppendConnack(dst []byte, v Version, c *Connack) []byte         { panic("todo") }
func AppendPublish(dst []byte, v Version, p *PublishOut) []byte      { panic("todo") }
func PublishSize(v Version, p *PublishOut) int                       { panic("todo") }
func AppendAck(dst []byte, v Version, t Type, a *Ack) []byte         { panic("todo") }
func AppendSubscribe(dst []byte, v Version, s *Subscribe) []byte     { panic("todo") }
func AppendSubAck(dst []byte, v Version, t Type, s *SubAck) []byte   { panic("todo") }
func AppendUnsubscribe(dst []byte, v Version, u *Unsubscribe) []byte { panic("todo") }
func AppendPing(dst []byte, t Type) []byte                           { panic("todo") }
func AppendDisconnect(dst []byte, v Version, d *Disconnect) []byte   { panic("todo") }
func AppendAuth(dst []byte, a *Auth) []byte                          { panic("todo") }

func (t Type) String() string { panic("todo") }
func (c Code) String() string { panic("todo") }
