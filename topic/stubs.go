// Package topic is the words of MQTT topics.
package topic

// Signatures agreed on; the bodies follow.

// Limits bounds names and filters.
type Limits struct {
	Bytes  int // at most; 0 is 65535
	Levels int // at most; 0 is no limit
}

// CheckName reports why name may not be published to, nil if it may.
func CheckName(name string, lim Limits) error { panic("todo") }

// CheckFilter reports why filter (without $share) is not a topic filter.
func CheckFilter(filter string, lim Limits) error { panic("todo") }

// SplitShare splits "$share/group/filter". shared is false for an ordinary filter (rest is then filter itself).
func SplitShare(filter string) (group, rest string, shared bool, err error) { panic("todo") }

// Match reports whether filter matches name (MQTT 5.0, 4.7); wildcards at the first level never match a name that begins with $.
func Match(filter, name string) bool { panic("todo") }

// Covers reports whether every name that filter b matches is matched by filter a.
func Covers(a, b string) bool { panic("todo") }

// CoveredBy reports whether every name that filter matches is matched by at least one of rules.
func CoveredBy(filter string, rules []string) bool { panic("todo") }

// Overlaps reports whether some name is matched by both a and b.
func Overlaps(a, b string) bool { panic("todo") }

// Pattern is a topic filter with placeholders.
type Pattern struct{ _ int }

// Syntax says how placeholders are spelled.
type Syntax uint8

// The spellings: ${clientid}; %c and %u as a whole level.
const (
	Dollar  Syntax = iota // ${clientid}, ${username}
	Percent               // %c, %u (mosquitto.conf, acl_file)
)

// ParsePattern compiles s.
func ParsePattern(s string, syn Syntax) (Pattern, error) { panic("todo") }

// Names returns the placeholder names used ("clientid", "username"); nil for a plain filter.
func (p Pattern) Names() []string { panic("todo") }

// Expand inserts the values. The error names the placeholder and why its value can't stand there.
func (p Pattern) Expand(value func(name string) (string, bool)) (filter string, err error) {
	panic("todo")
}

// Tree maps topic filters to subscribers.
type Tree[K comparable, V any] struct{ _ int }

// NewTree makes an empty tree.
func NewTree[K comparable, V any]() *Tree[K, V] { panic("todo") }

// Set stores v for key k under filter and reports whether k was already there (its value is replaced).
func (t *Tree[K, V]) Set(filter string, k K, v V) (replaced bool) { panic("todo") }

// Remove takes k away from filter and reports whether it was there.
func (t *Tree[K, V]) Remove(filter string, k K) bool { panic("todo") }

// Match calls yield for each subscriber of each filter that matches name, until yield returns false. It takes no lock.
func (t *Tree[K, V]) Match(name string, yield func(k K, v V) bool) { panic("todo") }

// Len is the number of (filter, key) pairs.
func (t *Tree[K, V]) Len() int { panic("todo") }

// Names is an ordered map from topic names to values, scanned by filter with a cursor.
type Names[V any] struct{ _ int }

// NewNames makes an empty map.
func NewNames[V any]() *Names[V] { panic("todo") }

func (n *Names[V]) Set(name string, v V) (old V, replaced bool) { panic("todo") }
func (n *Names[V]) Get(name string) (V, bool)                   { panic("todo") }
func (n *Names[V]) Delete(name string) (old V, had bool)        { panic("todo") }
func (n *Names[V]) Len() int                                    { panic("todo") }

// Scan yields names after cursor ("" begins) that filter matches, in order, until yield returns false or work
// entries were looked at; it returns the cursor to go on from and whether the scan is complete.
func (n *Names[V]) Scan(filter, after string, work int, yield func(name string, v V) bool) (cursor string, complete bool) {
	panic("todo")
}
