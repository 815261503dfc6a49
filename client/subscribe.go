package client

import (
	"context"
	"fmt"

	"sallyport/packet"
)

// Subscribe sends a SUBSCRIBE (its packet identifier is chosen here) and
// returns the SUBACK. A filter that was refused is no error: see the codes, one
// for each filter in order.
func (c *Client) Subscribe(ctx context.Context, s packet.Subscribe) (*packet.SubAck, error) {
	return c.request(ctx, packet.SUBSCRIBE, packet.SUBACK, len(s.Filters), func(b []byte, id uint16) []byte {
		s.PacketID = id
		return packet.AppendSubscribe(b, c.version, &s)
	})
}

// Unsubscribe sends an UNSUBSCRIBE and returns the UNSUBACK, which has codes
// only in MQTT 5.0.
func (c *Client) Unsubscribe(ctx context.Context, u packet.Unsubscribe) (*packet.SubAck, error) {
	return c.request(ctx, packet.UNSUBSCRIBE, packet.UNSUBACK, len(u.Filters), func(b []byte, id uint16) []byte {
		u.PacketID = id
		return packet.AppendUnsubscribe(b, c.version, &u)
	})
}

// request sends one packet that is answered under its identifier. It isn't
// repeated on another connection.
func (c *Client) request(ctx context.Context, t, want packet.Type, n int, encode func([]byte, uint16) []byte) (*packet.SubAck, error) {
	c.mu.Lock()
	if err := c.liveLocked(); err != nil {
		c.mu.Unlock()
		return nil, err
	}
	cn, id := c.conn, c.takeIDLocked()
	answer := make(chan reply, 1)
	c.requests[id] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.requests, id)
		c.mu.Unlock()
	}()
	if err := cn.send(t, func(b []byte) []byte { return encode(b, id) }); err != nil {
		return nil, ErrNotConnected
	}
	select {
	case r := <-answer:
		if r.t != want || len(r.ack.Codes) != n && (want == packet.SUBACK || c.version == packet.V5) {
			err := malformed(packet.ProtocolError, fmt.Sprintf("%s does not answer %s", r.t, t))
			cn.fail(err)
			return nil, err
		}
		return r.ack, nil
	case <-cn.done:
		return nil, fmt.Errorf("%w: %w", ErrNotConnected, orClosed(cn.failure()))
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func orClosed(err error) error {
	if err == nil {
		return ErrClosed
	}
	return err
}
