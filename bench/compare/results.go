package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"sallyport/bench"
)

// results is everything that was measured: what -json writes and -from reads.
type results struct {
	Machine  machine           `json:"machine"`
	Date     string            `json:"date"`
	Command  string            `json:"command"`
	Runs     int               `json:"runs"`
	Duration time.Duration     `json:"duration"`
	Brokers  []string          `json:"brokers"`  // in the order of the columns
	Versions map[string]string `json:"versions"` // by broker
	Missing  map[string]string `json:"missing"`  // why a broker is not there
	Samples  []sample          `json:"samples"`
}

// machine is what it was measured on.
type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory int    `json:"memory_mib"`
	System string `json:"system"`
	Go     string `json:"go"`
	Files  uint64 `json:"files"` // descriptors a process may have
}

// sample is one run.
type sample struct {
	Row    string        `json:"row"`
	Broker string        `json:"broker"`
	Pinned bool          `json:"pinned"`
	Run    int           `json:"run"`
	Report *bench.Report `json:"report,omitempty"`
	Error  string        `json:"error,omitempty"`
}

// figure is the sample's value of f; false if the run has none.
func (v sample) figure(f figure) (float64, bool) {
	if v.Report == nil {
		return 0, false
	}
	value, ok := v.Report.Measures[f.measure]
	return value - v.Report.Measures[f.less], ok
}

func readResults(path string) (*results, error) {
	r := &results{Versions: make(map[string]string), Missing: make(map[string]string)}
	if path == "" {
		return r, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// save writes all of it; "" is nowhere.
func (r *results) save(path string) error {
	if path == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

// drop forgets a row that is measured again.
func (r *results) drop(id string) {
	r.Samples = slices.DeleteFunc(r.Samples, func(v sample) bool { return v.Row == id })
}

// describe notes where and how it is measured.
func (r *results) describe(w *workbench, chosen []broker, o options) {
	r.Machine = thisMachine()
	r.Date = time.Now().UTC().Format(time.DateOnly)
	r.Command = o.command()
	r.Runs, r.Duration = o.runs, o.duration
	for _, b := range chosen {
		if !slices.Contains(r.Brokers, b.id) {
			r.Brokers = append(r.Brokers, b.id)
		}
		r.Versions[b.id] = w.versions[b.id]
	}
	order := brokerIDs()
	slices.SortFunc(r.Brokers, func(a, b string) int { return cmp.Compare(slices.Index(order, a), slices.Index(order, b)) })
	for id, why := range w.missing {
		r.Missing[id] = why
	}
}

func thisMachine() machine {
	m := machine{Cores: runtime.NumCPU(), Go: runtime.Version(), System: release(field("/proc/version", 3)), Files: descriptorLimit()}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				m.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	var kib int
	if _, err := fmt.Sscan(field("/proc/meminfo", 2), &kib); err == nil {
		m.Memory = kib / 1024
	}
	return m
}

// release is a version without what a distribution adds to it: 6.1 of 6.1.0-13-amd64.
func release(s string) string {
	return regexp.MustCompile(`^\d*\.?\d*`).FindString(s)
}

// field is the n-th word of a file's first line.
func field(path string, n int) string {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if words := strings.Fields(string(text)); len(words) >= n {
		return words[n-1]
	}
	return ""
}

// stat is the middle and the spread of the runs of one cell.
type stat struct {
	n              int
	median, spread float64 // spread: from the median to the farthest run, as a part of the median
}

func newStat(values []float64) stat {
	if len(values) == 0 {
		return stat{}
	}
	values = slices.Sorted(slices.Values(values))
	n := len(values)
	s := stat{n: n, median: (values[(n-1)/2] + values[n/2]) / 2}
	if s.median != 0 {
		s.spread = max(values[n-1]-s.median, s.median-values[0]) / math.Abs(s.median)
	}
	return s
}

// of gathers the runs of one cell.
func (r *results) of(row, broker string, pinned bool) (samples []sample) {
	for _, v := range r.Samples {
		if v.Row == row && v.Broker == broker && v.Pinned == pinned {
			samples = append(samples, v)
		}
	}
	return samples
}

// stat is about one value of a cell.
func (r *results) stat(row, broker string, pinned bool, value func(sample) (float64, bool)) stat {
	var values []float64
	for _, v := range r.of(row, broker, pinned) {
		if x, ok := value(v); ok {
			values = append(values, x)
		}
	}
	return newStat(values)
}

// mishaps says what was wrong with the deliveries of a run.
func mishaps(r *bench.Report) string {
	var parts []string
	for _, m := range []struct {
		n    uint64
		what string
	}{
		{r.Lost, "lost"}, {r.Duplicated, "doubled"}, {r.Misordered, "out of order"},
		{r.Refused, "refused"}, {r.Foreign, "foreign"}, {r.Invalid, "invalid"},
	} {
		if m.n > 0 {
			parts = append(parts, thousands(float64(m.n))+" "+m.what)
		}
	}
	return strings.Join(parts, ", ")
}
