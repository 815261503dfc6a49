package attack_test

import (
	"strings"
	"testing"

	"sallyport/packet"
)

func TestARetainedMessageOfOneWhoMayLeaveItNoMoreIsWithheld(t *testing.T) {
	const narrower = `{allow: both, topic: "bob/#"}`
	for language, x := range map[string]struct{ configuration, file, before, after string }{
		"permissions": {plain("", ""), "permissions.yaml", guarded, strings.ReplaceAll(guarded, narrower, `{allow: subscribe, topic: "bob/#"}`)},
		"a right to publish without retain": {plain("", ""), "permissions.yaml", guarded,
			strings.ReplaceAll(guarded, narrower, narrower+"\n      - {deny: retain, topic: \"bob/#\"}")},
		"acl": {byACL(), "acl", "user alice\ntopic #\nuser bob\ntopic bob/#\n", "user alice\ntopic #\nuser bob\ntopic read bob/#\n"},
	} {
		t.Run(language, func(t *testing.T) {
			s := prepare(t, x.configuration, guarded)
			s.write(x.file, x.before)
			s = s.begin()
			alice := s.as(packet.V5, "alice")
			if code := s.as(packet.V5, "bob").publish("bob/x", "left behind", 1, true); code != 0 {
				t.Fatalf("retained: 0x%02x", byte(code))
			}
			alice.publish("bob/y", "hers", 1, true)
			look := func() (found []string) {
				p := s.as(packet.V5, "alice", id("new"))
				p.allowed(1, "bob/#")
				p.ping()
				for _, m := range p.inbox {
					found = append(found, m.payload)
				}
				p.send(packet.AppendDisconnect(nil, packet.V5, &packet.Disconnect{}))
				return found
			}
			if got := look(); len(got) != 2 {
				t.Fatalf("before: %q", got)
			}
			s.write(x.file, x.after)
			s.reload()
			for range 2 { // the second time with what is remembered
				if got := look(); len(got) != 1 || got[0] != "hers" {
					t.Errorf("after its publisher lost the right: %q", got)
				}
			}
			s.write(x.file, x.before)
			s.reload()
			if got := look(); len(got) != 2 {
				t.Errorf("with the right restored: %q", got)
			}
		})
	}
}
