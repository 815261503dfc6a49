package expect

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/security"
)

// way is a variant without its QoS.
type way struct {
	retain, will bool
	group        string
	other        bool
}

// spell says which variants a finding is about in as few differences as it takes
// to say it by lists: of QoS, retain, will and subscriptions.
func (s *survey) spell(f *finding) []Difference {
	qos := map[way]uint8{}
	all := map[way]bool{}
	var ways []way // in order
	for i, v := range s.variants {
		w := way{v.retain, v.will, v.group, v.other}
		if !all[w] {
			all[w] = true
			ways = append(ways, w)
		}
		if f.variants[i] {
			qos[w] |= 1 << v.qos
		}
	}
	var out []Difference
	for mask := uint8(1); mask < 8; mask++ {
		var at []way
		for _, w := range ways {
			if qos[w] == mask {
				at = append(at, w)
			}
		}
		for _, product := range products(at) {
			d := Difference{Action: s.action.String(), Old: f.old, New: f.new}
			for q := range byte(3) {
				if mask&(1<<q) != 0 {
					d.QoS = append(d.QoS, q)
				}
			}
			s.limit(&d, product)
			out = append(out, d)
		}
	}
	return out
}

// limit says in d what ways have in common and others have not.
func (s *survey) limit(d *Difference, ways []way) {
	if s.action == security.Publish || s.action == security.Receive {
		d.Retain = only(ways, func(w way) bool { return w.retain })
	}
	if s.action == security.Publish {
		d.Will = only(ways, func(w way) bool { return w.will })
		return
	}
	shares := 0
	for _, v := range s.variants {
		if v.qos == 0 && !v.retain {
			shares++
		}
	}
	by := distinct(ways, func(w way) string {
		switch {
		case w.group == "":
			return Ordinary
		case w.other:
			return OtherGroups
		}
		return "$share/" + w.group
	})
	if len(by) < shares {
		d.By = by
	}
}

// only is the value that all ways have, nil if they differ.
func only(ways []way, value func(way) bool) *bool {
	v := value(ways[0])
	for _, w := range ways {
		if value(w) != v {
			return nil
		}
	}
	return &v
}

func distinct[T comparable](ways []way, value func(way) T) []T {
	var out []T
	for _, w := range ways {
		if v := value(w); !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// products splits ways into sets each of which is all combinations of its values.
func products(ways []way) [][]way {
	if len(ways) == 0 {
		return nil
	}
	group := func(w way) string { return w.group }
	will := func(w way) bool { return w.will }
	retain := func(w way) bool { return w.retain }
	g, x, r := distinct(ways, group), distinct(ways, will), distinct(ways, retain)
	if len(ways) == len(g)*len(x)*len(r) {
		return [][]way{ways}
	}
	switch {
	case len(g) > 1:
		return split(ways, g, group)
	case len(x) > 1:
		return split(ways, x, will)
	}
	return split(ways, r, retain)
}

func split[T comparable](ways []way, values []T, value func(way) T) (out [][]way) {
	for _, v := range values {
		var part []way
		for _, w := range ways {
			if value(w) == v {
				part = append(part, w)
			}
		}
		out = append(out, products(part)...)
	}
	return out
}

// DifferenceText is a difference in one line, but for its identity: "publish
// site/1/+ at QoS 0-2: allowed by old.yaml:3 (rule) -> refused by new.yaml:9 (rule)".
func DifferenceText(d *Difference) string {
	var b strings.Builder
	b.WriteString(d.Action)
	if d.Topic != "" {
		b.WriteString(" " + d.Topic + " at QoS " + qosText(d.QoS))
	}
	if d.Retain != nil {
		b.WriteString(pick(*d.Retain, ", retained", ", not retained"))
	}
	if d.Will != nil {
		b.WriteString(pick(*d.Will, ", as a will", ", not as a will"))
	}
	if d.By != nil {
		b.WriteString(", by " + strings.Join(d.By, " or "))
	}
	return b.String() + ": " + answerText(&d.Old) + " -> " + answerText(&d.New)
}

func pick(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}

func qosText(qos []byte) string {
	switch {
	case len(qos) == 3:
		return "0-2"
	case len(qos) == 2:
		return fmt.Sprintf("%d and %d", qos[0], qos[1])
	}
	return fmt.Sprint(qos[0])
}

func answerText(a *Answer) string {
	s := pick(a.Allowed, "allowed", "refused")
	if a.QoS != nil {
		s += fmt.Sprintf(" at QoS %d", *a.QoS)
	}
	place := a.Verdict.Place()
	if place == "" {
		return s + " (" + a.Verdict.Rule + ")"
	}
	return s + " by " + place + " (" + a.Verdict.Rule + ")"
}
