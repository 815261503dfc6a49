package rule

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the tests' zones are there on every machine
)

// onTheWall is the plain reading of a window: what the clock on the wall shows.
func onTheWall(t *testing.T, spec WindowSpec) func(time.Time) bool {
	t.Helper()
	moment := func(s string, without time.Time) time.Time {
		if s == "" {
			return without
		}
		m, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	clock := func(s string, without int) int {
		if s == "" {
			return without
		}
		var hour, minute int
		if _, err := fmt.Sscanf(s, "%d:%d", &hour, &minute); err != nil {
			t.Fatal(err)
		}
		return hour*60 + minute
	}
	first, last := moment(spec.NotBefore, time.Unix(0, 0)), moment(spec.NotAfter, time.Unix(1<<32, 0))
	from, to := clock(spec.From, 0), clock(spec.To, 24*60)
	zone, err := time.LoadLocation(spec.Zone) // "" is UTC
	if err != nil {
		t.Fatal(err)
	}
	var listed [7]bool // Sunday first
	for _, entry := range spec.Days {
		begin, end, isRange := strings.Cut(entry, "-")
		inRange := false
		for day := 1; day <= 14; day++ { // from Monday, around twice
			name := strings.ToLower(time.Weekday(day % 7).String()[:3])
			inRange = inRange || name == begin
			if inRange {
				listed[day%7] = true
			}
			if name == end || !isRange {
				inRange = false
			}
		}
	}
	if len(spec.Days) == 0 {
		listed = [7]bool{true, true, true, true, true, true, true}
	}
	return func(at time.Time) bool {
		if at.Before(first) || !at.Before(last) {
			return false
		}
		local := at.In(zone)
		day, now := int(local.Weekday()), local.Hour()*60+local.Minute()
		if from < to {
			return listed[day] && from <= now && now < to
		}
		return listed[day] && from <= now || listed[(day+6)%7] && now < to
	}
}

// In the zones there are changes of the clock by an hour, by half an hour, at
// midnight, and to another side of the date line.
func TestWindowsFollowTheClockOnTheWall(t *testing.T) {
	for _, spec := range []WindowSpec{
		{Days: []string{"mon-fri"}, From: "08:00", To: "18:00", Zone: "Europe/Vienna"},
		{Days: []string{"sat", "sun"}, Zone: "America/New_York"},
		{From: "02:15", To: "02:45", Zone: "Europe/Vienna"},
		{From: "01:30", To: "03:00", Zone: "America/New_York"},
		{From: "22:00", To: "06:00", Zone: "Europe/London"},
		{Days: []string{"sun"}, From: "22:00", To: "02:30", Zone: "Australia/Lord_Howe"},
		{Days: []string{"sun"}, To: "01:00", Zone: "Africa/Cairo"},
		{From: "00:30", To: "24:00", Zone: "America/Santiago"},
		{Days: []string{"fri"}, From: "12:00", To: "00:00", Zone: "Pacific/Apia"},
		{Days: []string{"mon", "wed-fri"}, From: "09:00"},
		{From: "00:00", To: "24:00"},
		{NotBefore: "2011-05-01T10:00:00+02:00", NotAfter: "2011-11-01T00:00:00Z"},
		{Days: []string{"tue"}, From: "23:00", To: "01:00", Zone: "Asia/Tehran", NotBefore: "2011-03-01T19:45:00Z", NotAfter: "2011-09-13T20:00:00Z"},
	} {
		w, err := NewWindow(spec)
		if err != nil {
			t.Errorf("%+v: %v", spec, err)
			continue
		}
		// 2011 is the year in which Samoa skipped a Friday.
		at := time.Date(2011, 1, 1, 0, 0, 0, 0, time.UTC)
		end := at.AddDate(1, 0, 7)
		shows := onTheWall(t, spec)
		before := shows(at)
		open, until := w.Open(at)
		if open != before {
			t.Errorf("%s is open at %v: %v", w.Text(), at, open)
		}
		for changes := 0; at.Before(end) && changes < 3000; at = at.Add(time.Minute) {
			now := shows(at)
			if now != before {
				changes++
				if until != at.UnixNano() {
					t.Fatalf("%s changes at %v, not at %v", w.Text(), at, time.Unix(0, until).UTC())
				}
				if open, until = w.Open(at); open != now {
					t.Fatalf("%s is open at %v: %v", w.Text(), at, open)
				}
				before = now
			}
		}
		if until != 0 && until < at.UnixNano() && before == shows(at) {
			t.Errorf("%s did not change at %v", w.Text(), time.Unix(0, until).UTC())
		}
	}
}

// Between two changes the answer is the same, wherever it is asked.
func TestWindowsAnswerTheSameUntilTheyChange(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	zones := []string{"", "Europe/Vienna", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia", "America/Sao_Paulo"}
	clock := func() string { return time.Unix(int64(rng.IntN(96))*900, 0).UTC().Format("15:04") }
	for range 300 {
		spec := WindowSpec{From: clock(), To: clock(), Zone: zones[rng.IntN(len(zones))]}
		if rng.IntN(2) == 0 {
			spec.Days = []string{dayNames[rng.IntN(7)], dayNames[rng.IntN(7)]}
		}
		w, err := NewWindow(spec)
		if err != nil {
			continue // from is to
		}
		at := time.Unix(rng.Int64N(2_000_000_000), rng.Int64N(1e9))
		open, until := w.Open(at)
		if until <= at.UnixNano() {
			t.Fatalf("%s at %v: changes at %d", w.Text(), at, until)
		}
		for range 20 {
			between := time.Unix(0, at.UnixNano()+rng.Int64N(until-at.UnixNano()))
			if o, u := w.Open(between); o != open || u != until {
				t.Fatalf("%s at %v: %v until %d; at %v: %v until %d", w.Text(), at, open, until, between, o, u)
			}
		}
		if o, _ := w.Open(time.Unix(0, until)); o == open {
			t.Fatalf("%s does not change at %v", w.Text(), time.Unix(0, until))
		}
	}
}

func TestWindowsByName(t *testing.T) {
	for _, c := range []struct {
		name  string
		spec  WindowSpec
		at    string
		open  bool
		until string // empty: never changes
		text  string
	}{
		{"opens on Monday", WindowSpec{Days: []string{"mon-fri"}, From: "08:00", To: "18:00", Zone: "Europe/Vienna"},
			"2026-11-21T12:00:00Z", false, "2026-11-23T07:00:00Z", "mon-fri 08:00-18:00 Europe/Vienna"},
		{"what is skipped in spring is not open", WindowSpec{From: "02:00", To: "03:00", Zone: "Europe/Vienna"},
			"2026-03-29T00:30:00Z", false, "2026-03-30T00:00:00Z", "02:00-03:00 Europe/Vienna"},
		{"what closes within the skipped hour closes at its beginning", WindowSpec{From: "01:00", To: "02:30", Zone: "Europe/Vienna"},
			"2026-03-29T00:30:00Z", true, "2026-03-29T01:00:00Z", "01:00-02:30 Europe/Vienna"},
		{"what comes twice in autumn is open twice", WindowSpec{From: "02:00", To: "02:30", Zone: "Europe/Vienna"},
			"2026-10-25T00:40:00Z", false, "2026-10-25T01:00:00Z", "02:00-02:30 Europe/Vienna"},
		{"the night belongs to the day on which it begins", WindowSpec{Days: []string{"fri"}, From: "22:00", To: "06:00"},
			"2026-11-28T05:59:59Z", true, "2026-11-28T06:00:00Z", "fri 22:00-06:00 UTC"},
		{"and not to the one on which it ends", WindowSpec{Days: []string{"fri"}, From: "22:00", To: "06:00"},
			"2026-11-27T05:00:00Z", false, "2026-11-27T22:00:00Z", "fri 22:00-06:00 UTC"},
		{"days that follow each other are one span", WindowSpec{Days: []string{"sat-mon"}},
			"2026-11-22T10:00:00Z", true, "2026-11-24T00:00:00Z", "mon,sat-sun 00:00-24:00 UTC"},
		{"every day all day never changes", WindowSpec{From: "00:00", To: "24:00"},
			"2026-11-22T10:00:00Z", true, "", "every day"},
		{"once, before", WindowSpec{NotBefore: "2027-01-01T00:00:00Z", NotAfter: "2027-02-01T00:00:00Z"},
			"2026-11-22T10:00:00Z", false, "2027-01-01T00:00:00Z", "from 2027-01-01T00:00:00Z until 2027-02-01T00:00:00Z"},
		{"once, within", WindowSpec{NotBefore: "2027-01-01T00:00:00Z", NotAfter: "2027-02-01T00:00:00Z"},
			"2027-01-01T00:00:00Z", true, "2027-02-01T00:00:00Z", "from 2027-01-01T00:00:00Z until 2027-02-01T00:00:00Z"},
		{"once, after", WindowSpec{NotAfter: "2027-02-01T00:00:00Z"},
			"2027-02-01T00:00:00Z", false, "", "until 2027-02-01T00:00:00Z"},
		{"weekly from a day on, before it", WindowSpec{Days: []string{"wed"}, NotBefore: "2027-01-01T00:00:00Z"},
			"2026-11-25T10:00:00Z", false, "2027-01-06T00:00:00Z", "wed 00:00-24:00 UTC from 2027-01-01T00:00:00Z"},
		{"weekly until a day, the last time", WindowSpec{Days: []string{"wed"}, NotAfter: "2026-11-25T12:00:00Z"},
			"2026-11-25T10:00:00Z", true, "2026-11-25T12:00:00Z", "wed 00:00-24:00 UTC until 2026-11-25T12:00:00Z"},
		{"weekly until a day, after the last time", WindowSpec{Days: []string{"wed"}, NotAfter: "2026-11-30T12:00:00Z"},
			"2026-11-27T10:00:00Z", false, "", "wed 00:00-24:00 UTC until 2026-11-30T12:00:00Z"},
	} {
		w, err := NewWindow(c.spec)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		at, _ := time.Parse(time.RFC3339, c.at)
		open, until := w.Open(at)
		said := ""
		if until != 0 {
			said = time.Unix(0, until).UTC().Format(time.RFC3339)
		}
		if open != c.open || said != c.until {
			t.Errorf("%s: open %v until %q, want %v until %q", c.name, open, said, c.open, c.until)
		}
		if w.Text() != c.text {
			t.Errorf("%s: %q, want %q", c.name, w.Text(), c.text)
		}
	}
}

func TestWindowsThatAreRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		spec WindowSpec
		want string
	}{
		{"nothing at all", WindowSpec{}, "no day, no time"},
		{"only a zone", WindowSpec{Zone: "UTC"}, "no day, no time"},
		{"a day that is none", WindowSpec{Days: []string{"mo"}}, `day "mo"`},
		{"a day in capitals", WindowSpec{Days: []string{"Mon"}}, `day "Mon"`},
		{"a range without an end", WindowSpec{Days: []string{"mon-"}}, `day "mon-"`},
		{"a range of three", WindowSpec{Days: []string{"mon-wed-fri"}}, `day "mon-wed-fri"`},
		{"too many days", WindowSpec{Days: make([]string, daysLimit+1)}, "at most 32"},
		{"from 24:00", WindowSpec{From: "24:00"}, "from \"24:00\""},
		{"a time without a zero", WindowSpec{From: "8:00"}, "from \"8:00\""},
		{"a time with a sign", WindowSpec{From: "+8:00"}, "from \"+8:00\""},
		{"a time with seconds", WindowSpec{To: "08:00:00"}, "to \"08:00:00\""},
		{"minute 60", WindowSpec{To: "08:60"}, "to \"08:60\""},
		{"hour 25", WindowSpec{To: "25:00"}, "to \"25:00\""},
		{"after 24:00", WindowSpec{To: "24:01"}, "to \"24:01\""},
		{"no time between", WindowSpec{From: "08:00", To: "08:00"}, "both 08:00"},
		{"a zone that is none", WindowSpec{From: "08:00", Zone: "Mars/Olympus"}, "zone \"Mars/Olympus\""},
		{"the machine's zone", WindowSpec{From: "08:00", Zone: "Local"}, "zone \"Local\""},
		{"a path for a zone", WindowSpec{From: "08:00", Zone: "../../etc/passwd"}, "zone"},
		{"a moment without a zone", WindowSpec{NotBefore: "2030-01-01T00:00:00"}, "not before"},
		{"a day for a moment", WindowSpec{NotAfter: "2030-01-01"}, "not after"},
		{"a moment too far away", WindowSpec{NotAfter: "2300-01-01T00:00:00Z"}, "not between 1971 and 2261"},
		{"a moment long ago", WindowSpec{NotBefore: "1970-01-01T00:00:00Z"}, "not between 1971 and 2261"},
		{"an end before the beginning", WindowSpec{NotBefore: "2030-01-02T00:00:00Z", NotAfter: "2030-01-01T00:00:00Z"}, "no later than"},
	} {
		w, err := NewWindow(c.spec)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
		if open, until := w.Open(time.Now()); open || until != 0 {
			t.Errorf("%s: what was refused is open", c.name)
		}
	}
}

func FuzzWindow(f *testing.F) {
	f.Add("mon-fri", "08:00", "18:00", "Europe/Vienna", "", "", int64(1_800_000_000))
	f.Add("", "22:00", "06:00", "Pacific/Apia", "2011-01-01T00:00:00Z", "2012-01-01T00:00:00+13:00", int64(1_325_239_200))
	f.Add("sun,wed-tue", "", "24:00", "America/Sao_Paulo", "", "", int64(-5))
	f.Fuzz(func(t *testing.T, days, from, to, zone, notBefore, notAfter string, second int64) {
		spec := WindowSpec{From: from, To: to, Zone: zone, NotBefore: notBefore, NotAfter: notAfter}
		if days != "" {
			spec.Days = strings.Split(days, ",")
		}
		w, err := NewWindow(spec)
		if err != nil {
			return
		}
		if w.Text() == "" {
			t.Errorf("%+v has no text", spec)
		}
		second %= 9_000_000_000 // of those that fit into nanoseconds
		if second < 0 {
			second = -second
		}
		at := time.Unix(second, 0)
		open, until := w.Open(at)
		if until < 0 || until != 0 && until <= at.UnixNano() {
			t.Fatalf("%s at %v changes at %d", w.Text(), at, until)
		}
		if until == 0 {
			return
		}
		if o, u := w.Open(time.Unix(0, until-1)); o != open || u != until {
			t.Errorf("%s at %v: %v until %d; just before: %v until %d", w.Text(), at, open, until, o, u)
		}
		if o, _ := w.Open(time.Unix(0, until)); o == open {
			t.Errorf("%s does not change at %d", w.Text(), until)
		}
	})
}
