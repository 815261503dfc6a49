package broker

import (
	"testing"

	"sallyport/packet"
)

func TestMessagesReachSubscribers(t *testing.T) {
	everyWay(t, nil, func(x *bed) {
		for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
			sub := x.connect(v, "sub")
			if codes := sub.subscribe(filter("a/+", 2)); codes[0] != 2 {
				t.Fatalf("granted %v, want 2", codes)
			}
			pub := x.connect(v, "pub")
			for qos := range byte(3) {
				if code := pub.publishes("a/b", "hello", qos, false); code != 0 {
					t.Fatalf("QoS %d: code 0x%02x", qos, byte(code))
				}
				m := sub.message()
				if m.topic != "a/b" || m.payload != "hello" || m.qos != qos || m.dup || m.retain {
					t.Fatalf("QoS %d: got %+v", qos, m)
				}
				sub.finish(m)
			}
			pub.publishes("a/r", "kept", 1, true)
			sub.gets("kept")
			late := x.connect(v, "late")
			late.subscribe(filter("a/r", 0))
			if m := late.message(); m.payload != "kept" || !m.retain || m.qos != 0 {
				t.Fatalf("retained: %+v", m)
			}
			pub.publishes("a/r", "", 1, true)
			sub.gets("")
			late.gets("")
			dying := x.connect(v, "dying", willOf("a/will", "gone", 0))
			dying.drop()
			sub.gets("gone")
			for _, p := range []*peer{sub, pub, late} {
				p.disconnect(0)
			}
		}
	})
}
