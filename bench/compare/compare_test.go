package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"

	"sallyport/bench"
)

var update = flag.Bool("update", false, "write the golden files")

// TestMain works where the tool does: in the folder of the module.
func TestMain(m *testing.M) {
	if err := os.Chdir("../.."); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func TestRowsAreWellFormed(t *testing.T) {
	seen := make(map[string]bool)
	for _, r := range rows() {
		if seen[r.id] || r.id == "" || r.title == "" || len(r.args) == 0 || len(r.figures) == 0 {
			t.Errorf("row %q is not whole, or there are two", r.id)
		}
		seen[r.id] = true
		for id := range r.without {
			if !slices.Contains(brokerIDs(), id) {
				t.Errorf("row %s leaves out %q, which is no broker", r.id, id)
			}
		}
		for id := range r.fewer {
			if !slices.Contains(brokerIDs(), id) || !slices.Contains(r.args, "--count") {
				t.Errorf("row %s counts less for %q", r.id, id)
			}
		}
		if i := slices.Index(r.args, "-V"); i < 0 || i == len(r.args)-1 {
			t.Errorf("row %s names no version of MQTT", r.id)
		}
	}
}

func TestUnknownRowsAndBrokersAreRefused(t *testing.T) {
	if _, err := chooseRows("p2p0,nosuch", false, false); err == nil {
		t.Error("an unknown row was taken")
	}
	if _, err := new(workbench).prepare(t.Context(), "nosuch"); err == nil {
		t.Error("an unknown broker was taken")
	}
}

func TestQuickIsAPart(t *testing.T) {
	all, _ := chooseRows("", false, false)
	quick, _ := chooseRows("", true, false)
	if len(quick) == 0 || len(quick) >= len(all) {
		t.Errorf("quick has %d of %d rows", len(quick), len(all))
	}
}

func TestRowsAboutWhatIsKeptNeedADisk(t *testing.T) {
	isKept := func(r row) bool { return r.kept }
	without, _ := chooseRows("", false, false)
	with, _ := chooseRows("", false, true)
	if slices.ContainsFunc(without, isKept) || !slices.ContainsFunc(with, isKept) {
		t.Error("-disk does not choose them")
	}
	if named, err := chooseRows("lone", false, false); err != nil || len(named) != 1 {
		t.Errorf("by name: %v, %v", named, err)
	}
	if _, err := new(workbench).prepare(t.Context(), "disk"); err == nil || !strings.Contains(err.Error(), "-disk") {
		t.Errorf("a broker with a disk that nobody named: %v", err)
	}
}

func TestWhoTakesPart(t *testing.T) {
	rows := map[string]row{"plain": {}, "kept": {kept: true}, "not for nats": {without: map[string]string{"nats": noV5}}}
	want := map[string]string{
		"plain":        "guarded disk goroutine open mosquitto mochi nats",
		"kept":         "guarded disk interval os persistence",
		"not for nats": "guarded disk goroutine open mosquitto mochi",
	}
	for name, r := range rows {
		var got []string
		for _, b := range brokers() {
			if b.takes(r) {
				got = append(got, b.id)
			}
		}
		if strings.Join(got, " ") != want[name] {
			t.Errorf("%s: %v, want %s", name, got, want[name])
		}
	}
}

func TestConfigurationsAreFilledIn(t *testing.T) {
	for _, b := range brokers() {
		for _, s := range []settings{{Port: 4711, Dir: "d", Users: "u"}, {Port: 4711, Users: "u", TLS: true, Deep: true, Cert: "c.pem", Key: "k.pem", Dir: "d"},
			{Port: 4711, Dir: "d", Users: "u", Store: "s.store", Durability: "always"}} {
			text, err := b.template()
			if err != nil {
				t.Errorf("%s: %v", b.id, err)
			}
			if text == nil {
				continue
			}
			made := rendered(t, text, s)
			if b.rows != volatile && (s.Store != "") != strings.Contains(made, "s.store") {
				t.Errorf("%s with %+v:\n%s", b.id, s, made)
			}
			if strings.Contains(made, "{{") || !strings.Contains(made, "4711") || s.TLS != strings.Contains(made, "k.pem") {
				t.Errorf("%s with %+v:\n%s", b.id, s, made)
			}
		}
	}
}

func rendered(t *testing.T, text *template.Template, s settings) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config")
	if err := render(text, s, path); err != nil {
		t.Fatal(err)
	}
	made, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(made)
}

func TestThePermissionFileHasAThousandRules(t *testing.T) {
	if n := strings.Count(string(permissions()), "  - {"); n != 1000 {
		t.Errorf("%d rules", n)
	}
}

func TestMedianAndSpread(t *testing.T) {
	for _, c := range []struct {
		values         []float64
		median, spread float64
	}{
		{nil, 0, 0},
		{[]float64{2}, 2, 0},
		{[]float64{3, 1, 2}, 2, .5},
		{[]float64{4, 2, 2, 4}, 3, 1. / 3},
	} {
		if s := newStat(c.values); s.median != c.median || s.spread != c.spread || s.n != len(c.values) {
			t.Errorf("newStat(%v) = %+v, want %v and %v", c.values, s, c.median, c.spread)
		}
	}
}

func TestIdleSizesFollowTheDescriptors(t *testing.T) {
	for _, c := range []struct {
		limit     uint64
		low, high int
	}{{1 << 20, 5000, 19_000}, {20_000, 5000, 19_000}, {4096, 814, 3096}, {256, 105, 400}} {
		if low, high := idleSizes(c.limit); low != c.low || high != c.high {
			t.Errorf("idleSizes(%d) = %d, %d, want %d, %d", c.limit, low, high, c.low, c.high)
		}
	}
}

func TestOnlyTheTextBetweenTheMarksIsReplaced(t *testing.T) {
	path, m := filepath.Join(t.TempDir(), "doc.md"), marksOf("")
	os.WriteFile(path, []byte("before\n"+m.begin+"\nold\n"+m.end+"\nafter\n"), 0o600)
	for range 2 {
		if err := replaceBetween(path, "new\n", m); err != nil {
			t.Fatal(err)
		}
	}
	got, _ := os.ReadFile(path)
	if want := "before\n" + m.begin + "\n\nnew\n\n" + m.end + "\nafter\n"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
	os.WriteFile(path, []byte("no marks"), 0o600)
	if err := replaceBetween(path, "new", m); err == nil {
		t.Error("a document without marks was written")
	}
}

func TestTheDocumentHasTheMarks(t *testing.T) {
	text, err := os.ReadFile("docs/performance.md")
	for _, m := range []marks{marksOf(""), marksOf(overTLS)} {
		if err != nil || strings.Count(string(text), m.begin) != 1 || strings.Count(string(text), m.end) != 1 {
			t.Errorf("docs/performance.md has no pair of %q (%v)", m, err)
		}
	}
}

// TestMarkdown holds the tables that a few runs make.
func TestMarkdown(t *testing.T) {
	r := &results{
		Machine: machine{CPU: "a CPU", Cores: 2, Memory: 2048, System: "6.1", Go: "go1.26", Files: 20_000},
		Date:    "2001-02-03", Command: "go run ./bench/compare", Runs: 3, Duration: 2e9,
		Brokers:  []string{"guarded", "mosquitto", "nats"},
		Versions: map[string]string{"guarded": "abc", "mosquitto": "2.0.11", "nats": "v2.15.2"},
		Missing:  map[string]string{"mochi": "not here"},
	}
	for i := range 3 {
		for b, id := range r.Brokers {
			report := &bench.Report{Scenario: bench.P2P, PerSecond: float64(100_000 * (b + 1)), Latency: &bench.Latency{P50: 71, P99: 120, P999: 1300},
				Measures: map[string]float64{perMessage: float64(i+10) * float64(b+1), "broker_cpu_user_us_per_message": 1, "broker_cpu_system_us_per_message": 2}}
			r.Samples = append(r.Samples, sample{Row: "p2p0", Broker: id, Pinned: true, Run: i + 1, Report: report},
				sample{Row: "w1q0", Broker: id, Pinned: true, Run: i + 1, Report: report}, sample{Row: "p2p0", Broker: id, Run: i + 1, Report: report})
			if id != "nats" {
				r.Samples = append(r.Samples, sample{Row: "p2p1v5", Broker: id, Pinned: true, Run: i + 1, Report: report})
			}
		}
	}
	r.Brokers = append(r.Brokers, "disk", "persistence")
	for i := range 3 {
		for b, id := range []string{"guarded", "disk", "persistence"} {
			report := &bench.Report{Scenario: bench.Queues, PerSecond: float64(100_000 * (b + 1)), Measures: map[string]float64{
				"broker_cpu_us_per_queued_and_drained_message": float64(b + i + 3), "broker_cpu_us_per_queued_message": 1, perMessage: 2,
				"queued_per_second": 70_000, "acknowledged_p50_us": 900, "acknowledged_p99_us": 2100}}
			r.Samples = append(r.Samples, sample{Row: "queues64", Broker: id, Pinned: true, Run: i + 1, Report: report})
		}
		plain := &bench.Report{Scenario: bench.P2P, Measures: map[string]float64{perMessage: 11.5}}
		r.Samples = append(r.Samples, sample{Row: "w1q0", Broker: "disk", Pinned: true, Run: i + 1, Report: plain})
	}
	for i, id := range []string{"guarded", "nats"} {
		report := &bench.Report{Scenario: bench.Connect, TLS: tls13, Measures: map[string]float64{perConnection: float64(500 * (i + 1)), "tls_resumed_share": 1}}
		r.Samples = append(r.Samples, sample{Row: "tlsresumed", Broker: id, Pinned: true, Run: 1, Report: report})
	}
	_, full := row{resumes: true}.accept(new(bench.Report))
	r.Samples = append(r.Samples, sample{Row: "tlsresumed", Broker: "mosquitto", Pinned: true, Run: 1, Error: full.Error()})
	r.Samples[1].Report.Warnings = []string{"the generator used all of its core"}
	r.Samples[0].Report = &bench.Report{Scenario: bench.P2P, Lost: 1234, Misordered: 2}
	r.Samples = append(r.Samples, sample{Row: "tls0", Broker: "mosquitto", Pinned: true, Run: 1, Error: "ended at once\nand more"})
	const golden = "bench/compare/testdata/tables.md"
	if *update {
		if err := os.WriteFile(golden, []byte(r.markdown()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if got := r.markdown(); err != nil || got != string(want) {
		t.Errorf("the tables are not those of %s (%v); look and run with -update:\n%s", golden, err, got)
	}
}

func TestResultsSurviveTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "runs.json")
	r := &results{Runs: 3, Samples: []sample{{Row: "p2p0", Broker: "open", Run: 1, Report: &bench.Report{Lost: 1}}, {Row: "p2p1"}}}
	if err := r.save(path); err != nil {
		t.Fatal(err)
	}
	again, err := readResults(path)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(r.Samples)
	b, _ := json.Marshal(again.Samples)
	if string(a) != string(b) {
		t.Errorf("wrote %s, read %s", a, b)
	}
	again.drop("p2p0")
	if len(again.Samples) != 1 || again.Samples[0].Row != "p2p1" {
		t.Errorf("after drop: %+v", again.Samples)
	}
}

func TestAChildEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cmd := child(ctx, []string{os.Args[0], "-test.run=^TestChildThatWaits$"})
	cmd.Env = append(os.Environ(), "COMPARE_CHILD=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := cmd.Wait(); !errors.Is(err, context.Canceled) && err == nil {
		t.Error("the child ended by itself")
	}
}

// TestChildThatWaits is the child of the test above, and by itself nothing.
func TestChildThatWaits(*testing.T) {
	if os.Getenv("COMPARE_CHILD") != "" {
		select {}
	}
}

const straceSummary = `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 71.37    0.054771           1     33000           write
 28.63    0.021971           2     10241        12 read
------ ----------- ----------- --------- --------- ----------------
100.00    0.076742           1     43241        12 total
`

func TestSystemCallsAreRead(t *testing.T) {
	if n, err := totalCalls(straceSummary); n != 43_241 || err != nil {
		t.Errorf("totalCalls = %d, %v", n, err)
	}
	if _, err := totalCalls("strace: nothing"); err == nil {
		t.Error("a summary without a total was read")
	}
}

func FuzzTotalCalls(f *testing.F) {
	f.Add(straceSummary)
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := totalCalls(s); err == nil && n > 0 && !strings.Contains(s, "total") {
			t.Errorf("%d calls from %q", n, s)
		}
	})
}
