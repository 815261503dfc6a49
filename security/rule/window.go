package rule

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// WindowSpec is a window as it is written.
type WindowSpec struct {
	// Days on which it opens: mon, tue, wed, thu, fri, sat, sun, or ranges of them
	// (mon-fri, sat-mon); none: every day.
	Days []string
	// From and To are the clock's times between which it is open, From included and
	// To not: HH:MM. Without From 00:00, without To 24:00. Where To is before From
	// the window reaches over midnight and belongs to the day on which it opens.
	From, To string
	// Zone is where the clock hangs: a name of the IANA time zone database; UTC if empty.
	Zone string
	// NotBefore and NotAfter, in RFC 3339, are when it opens for the first time and
	// when it is closed for good.
	NotBefore, NotAfter string
}

// Window is a span of time that comes again each week, or once. It is immutable;
// the zero Window is never open.
//
// It is open while the clock on the wall in its zone shows a time within it: what
// the clock shows twice in autumn is open twice, what it skips in spring not at all.
type Window struct {
	text   string
	zone   *time.Location
	weekly week
	// from and until bound all weeks, in nanoseconds since 1970; 0 is no bound.
	from, until int64
}

// NewWindow compiles a window. The error names the part that is wrong.
func NewWindow(spec WindowSpec) (Window, error) {
	w := Window{zone: time.UTC}
	if len(spec.Days) == 0 && spec.From == "" && spec.To == "" && spec.NotBefore == "" && spec.NotAfter == "" {
		return Window{}, errors.New("window says no day, no time of day, no beginning and no end")
	}
	days, err := parseDays(spec.Days)
	if err != nil {
		return Window{}, err
	}
	from, to := 0, daySeconds
	if spec.From != "" {
		if from, err = parseClock(spec.From); err != nil || from == daySeconds {
			return Window{}, fmt.Errorf("from %.20q is not a time of day from 00:00 to 23:59", spec.From)
		}
	}
	if spec.To != "" {
		if to, err = parseClock(spec.To); err != nil {
			return Window{}, fmt.Errorf("to %.20q is not a time of day from 00:00 to 24:00", spec.To)
		}
	}
	if from == to {
		return Window{}, fmt.Errorf("from and to are both %s: a whole day is from 00:00 to 24:00", spec.To)
	}
	if spec.Zone != "" {
		if w.zone, err = parseZone(spec.Zone); err != nil {
			return Window{}, err
		}
	}
	if w.from, err = parseMoment("not before", spec.NotBefore); err != nil {
		return Window{}, err
	}
	if w.until, err = parseMoment("not after", spec.NotAfter); err != nil {
		return Window{}, err
	}
	if w.until != 0 && w.until <= w.from {
		return Window{}, fmt.Errorf("not after %s is no later than not before %s", spec.NotAfter, spec.NotBefore)
	}
	w.weekly = newWeek(days, from, to)
	w.text = windowText(spec, days, from, to)
	return w, nil
}

// Text is the window in words.
func (w Window) Text() string { return w.text }

// Open reports whether the window is open at t, and the next moment at which that
// changes, in nanoseconds since 1970; 0 if it never does.
func (w Window) Open(t time.Time) (open bool, until int64) {
	if w.zone == nil {
		return false, 0
	}
	now := t.UnixNano()
	if w.until != 0 && now >= w.until {
		return false, 0
	}
	early := w.from != 0 && now < w.from
	if early {
		t = time.Unix(0, w.from)
	}
	open, until = w.weekly.at(t.In(w.zone))
	if early && open {
		return false, w.from
	}
	if w.until != 0 && (until == 0 || until >= w.until) {
		until = 0
		if open {
			until = w.until
		}
	}
	return open, until
}

// opens says when a closed window opens, for people; empty if never.
func (w Window) opens(until int64) string {
	if until == 0 {
		return "never opens again"
	}
	return "opens " + time.Unix(0, until).In(w.zone).Format(momentFormat)
}

const (
	daySeconds   = 24 * 60 * 60
	weekSeconds  = 7 * daySeconds
	momentFormat = "2006-01-02T15:04Z07:00"
	zoneSteps    = 64
)

// week is what repeats: the seconds since Monday's 00:00 at which it opens or closes.
type week struct {
	changes   []int // ascending
	openFirst bool  // at second 0
}

// newWeek makes the week of a span that begins on days; to is before from where
// it reaches over midnight.
func newWeek(days daySet, from, to int) week {
	open := func(second int) bool {
		second = (second + weekSeconds) % weekSeconds
		day, clock := second/daySeconds, second%daySeconds
		if from < to {
			return days.has(day) && from <= clock && clock < to
		}
		return days.has(day) && from <= clock || days.has((day+6)%7) && clock < to
	}
	w := week{openFirst: open(0)}
	for day := range 7 {
		for _, clock := range []int{from, to % daySeconds} {
			second := day*daySeconds + clock
			if open(second) != open(second-1) && !slices.Contains(w.changes, second) {
				w.changes = append(w.changes, second)
			}
		}
	}
	slices.Sort(w.changes)
	// A change at second 0 is the step from the week before.
	return w
}

// shows says whether the week is open at a second of it, and in how many seconds
// that changes while the clock is not adjusted; 0 if never.
func (w week) shows(second int) (open bool, change int) {
	if len(w.changes) == 0 {
		return w.openFirst, 0
	}
	passed, next := 0, w.changes[0]+weekSeconds
	for _, c := range w.changes {
		if c > second {
			next = c
			break
		}
		passed++
	}
	if w.changes[0] == 0 {
		passed-- // openFirst is after it
	}
	return w.openFirst == (passed%2 == 0), next - second
}

// at says whether the week is open at t, in t's zone, and when that changes.
func (w week) at(t time.Time) (open bool, until int64) {
	unix := t.Unix()
	open, change := w.shows(secondOfWeek(t))
	if change == 0 {
		return open, 0
	}
	for range zoneSteps {
		_, end := t.ZoneBounds()
		if end.IsZero() || unix+int64(change) < end.Unix() {
			return open, nanos(unix + int64(change))
		}
		// The clock is adjusted before: what does it show then?
		t, unix = end, end.Unix()
		var then bool
		if then, change = w.shows(secondOfWeek(t)); then != open {
			return open, nanos(unix)
		}
	}
	// No zone is like that. To be asked again too early is never wrong.
	return open, nanos(unix)
}

func secondOfWeek(t time.Time) int {
	_, offset := t.Zone()
	const thursday = 3 * daySeconds // on which 1970 began
	second := (t.Unix() + int64(offset) + thursday) % weekSeconds
	return int(second+weekSeconds) % weekSeconds
}

// nanos turns seconds since 1970 into nanoseconds, as far as they reach.
func nanos(unix int64) int64 {
	const last = math.MaxInt64 / int64(time.Second)
	return max(min(unix, last)*int64(time.Second), 1)
}

// daySet has a bit for each day of the week, Monday's first.
type daySet uint8

func (d daySet) has(day int) bool { return d>>day&1 != 0 }

const (
	everyDay  = daySet(1<<7 - 1)
	daysLimit = 32 // bounds the list that people write
)

var dayNames = [7]string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}

func parseDays(list []string) (daySet, error) {
	if len(list) == 0 {
		return everyDay, nil
	}
	if len(list) > daysLimit {
		return 0, fmt.Errorf("%d entries under days: at most %d", len(list), daysLimit)
	}
	var days daySet
	for _, entry := range list {
		first, last, isRange := strings.Cut(entry, "-")
		if !isRange {
			last = first
		}
		from, to := slices.Index(dayNames[:], first), slices.Index(dayNames[:], last)
		if from < 0 || to < 0 {
			return 0, fmt.Errorf("day %.20q is none of %s, nor a range of them such as mon-fri", entry, strings.Join(dayNames[:], ", "))
		}
		for day := from; ; day = (day + 1) % 7 {
			days |= 1 << day
			if day == to {
				break
			}
		}
	}
	return days, nil
}

var errClock = errors.New("not a time of day")

// parseClock reads HH:MM as seconds since 00:00.
func parseClock(s string) (int, error) {
	if len(s) != len("00:00") || s[2] != ':' {
		return 0, errClock
	}
	hour, err := strconv.ParseUint(s[:2], 10, 8)
	if err != nil {
		return 0, errClock
	}
	minute, err := strconv.ParseUint(s[3:], 10, 8)
	if err != nil || minute > 59 || hour > 24 || hour == 24 && minute > 0 {
		return 0, errClock
	}
	return int(hour)*3600 + int(minute)*60, nil
}

const zoneBytes = 64

func parseZone(name string) (*time.Location, error) {
	// "Local" would be another zone on another machine.
	if len(name) <= zoneBytes && name != "Local" {
		if zone, err := time.LoadLocation(name); err == nil {
			return zone, nil
		}
	}
	return nil, fmt.Errorf("zone %.64q is not in the IANA time zone database", name)
}

// parseMoment reads a moment that fits into nanoseconds since 1970; 0 if s is empty.
func parseMoment(what, s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return 0, fmt.Errorf("%s %.40q is not a moment such as 2030-01-31T18:00:00Z (RFC 3339)", what, s)
	}
	if year := t.UTC().Year(); year <= 1970 || year >= 2262 {
		return 0, fmt.Errorf("%s %.40q is not between 1971 and 2261", what, s)
	}
	return t.UnixNano(), nil
}

func windowText(spec WindowSpec, days daySet, from, to int) string {
	var parts []string
	if days != everyDay {
		parts = append(parts, days.String())
	}
	if from != 0 || to != daySeconds || days != everyDay {
		parts = append(parts, clockText(from)+"-"+clockText(to))
		parts = append(parts, zoneText(spec.Zone))
	}
	if spec.NotBefore != "" {
		parts = append(parts, "from "+spec.NotBefore)
	}
	if spec.NotAfter != "" {
		parts = append(parts, "until "+spec.NotAfter)
	}
	if len(parts) == 0 {
		return "every day" // written out as 00:00 to 24:00
	}
	return strings.Join(parts, " ")
}

func zoneText(name string) string {
	if name == "" {
		return "UTC"
	}
	return name
}

func clockText(second int) string {
	return fmt.Sprintf("%02d:%02d", second/3600, second/60%60)
}

// String is the days, neighbours as a range: "mon-wed,sat".
func (d daySet) String() string {
	var parts []string
	for day := 0; day < 7; day++ {
		if !d.has(day) {
			continue
		}
		first := day
		for day < 6 && d.has(day+1) {
			day++
		}
		switch {
		case first == day:
			parts = append(parts, dayNames[first])
		default:
			parts = append(parts, dayNames[first]+"-"+dayNames[day])
		}
	}
	return strings.Join(parts, ",")
}
