package rule

import (
	"slices"
	"unsafe"

	"sallyport/security"
	"sallyport/topic"
)

// filterBytes is the length of filter that is expanded without allocating.
const filterBytes = 256

// filters is the topic filters that a rule stands for with one principal, one
// after the other. A list that is empty makes none.
type filters struct {
	pattern topic.Pattern
	values  [topic.MaxNames]string
	several []string // what stands for the placeholder many in turn; nil: no list
	many    int
	left    int // how many are still to come
	// err is why the rule, or one of its filters, can't be told.
	err error
}

// start begins with the filters of r for p.
func (f *filters) start(r *Rule, p *security.Principal) {
	f.pattern, f.left = r.Topic, 1
	for i, name := range r.Topic.Names() {
		one, several, ok := lookup(p, name)
		switch {
		case !ok && r.Optional, ok && several != nil && len(several) == 0:
			f.left, f.err = 0, nil
			return
		case !ok:
			f.refuse(name, topic.Absent)
		case several == nil:
			f.values[i] = one
		case len(several) == 1:
			f.values[i] = several[0]
		case f.several != nil:
			f.refuse(name, topic.TooMany)
		default:
			f.several, f.many = several, i
		}
	}
	if f.err != nil {
		f.left = 0
	} else if f.several != nil {
		f.left = len(f.several)
	}
}

func (f *filters) refuse(name string, why topic.Unfit) {
	if f.err == nil {
		f.err = &topic.PlaceholderError{Name: name, Why: why}
	}
}

// next is the next filter, which may be a view of dst's array; ok is false after
// the last one. Values that don't fit are passed over and leave err.
func (f *filters) next(dst []byte) (filter string, ok bool) {
	names := len(f.pattern.Names())
	for f.left > 0 {
		if f.several != nil {
			f.values[f.many] = f.several[len(f.several)-f.left]
		}
		f.left--
		b, err := f.pattern.Append(dst, f.values[:names])
		if err == nil {
			return unsafe.String(unsafe.SliceData(b), len(b)), true
		}
		if f.err == nil {
			f.err = err
		}
	}
	return "", false
}

// lookup is Lookup, for nobody too.
func lookup(p *security.Principal, name string) (one string, several []string, ok bool) {
	if p == nil {
		return "", nil, false
	}
	return Lookup(p, name)
}

// Filters is the topic filters that the rule stands for with p, each once. Those
// that can't be told are not among them.
func (r *Rule) Filters(p *security.Principal) []string {
	var (
		out []string
		f   filters
	)
	f.start(r, p)
	for {
		filter, ok := f.next(nil)
		if !ok {
			return out
		}
		if !slices.Contains(out, filter) {
			out = append(out, filter)
		}
	}
}
