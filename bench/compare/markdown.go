package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
)

// marks are lines of a document, between which a generated part of it lies.
type marks struct{ begin, end string }

// marksOf are those of what is written for -rows. The rows over TLS have a part of
// their own, since they are measured by themselves when TLS has changed.
func marksOf(rows string) marks {
	if rows == overTLS {
		return marks{"<!-- written by go run ./bench/compare -rows tls -write -->", "<!-- end of what bench/compare -rows tls wrote -->"}
	}
	return marks{"<!-- written by go run ./bench/compare -write -->", "<!-- end of what bench/compare wrote -->"}
}

// replaceBetween puts text between the marks of the document.
func replaceBetween(path, text string, m marks) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, found := bytes.Cut(old, []byte(m.begin))
	_, tail, ended := bytes.Cut(rest, []byte(m.end))
	if !found || !ended {
		return fmt.Errorf("%s has no lines %q and %q", path, m.begin, m.end)
	}
	return os.WriteFile(path, slices.Concat(head, []byte(m.begin+"\n\n"+text+"\n"+m.end), tail), 0o644)
}

// table is a Markdown table in the making.
type table struct {
	b       strings.Builder
	columns int
	rows    int
}

func newTable(columns ...string) *table {
	t := &table{columns: len(columns)}
	t.line(columns)
	t.b.WriteString("|---|" + strings.Repeat("---:|", len(columns)-1) + "\n")
	t.rows = 0
	return t
}

func (t *table) line(cells []string) {
	fmt.Fprintf(&t.b, "| %s |\n", strings.Join(cells, " | "))
	t.rows++
}

// markdown is all tables.
func (r *results) markdown() string {
	var b strings.Builder
	b.WriteString(r.heading())
	section := func(title, words string, t *table) {
		if t != nil && t.rows > 0 {
			fmt.Fprintf(&b, "\n### %s\n\n%s\n\n%s", title, words, t.b.String())
		}
	}
	all := r // r is a part of it from here on
	r = all.only(func(b broker) bool { return b.storage == "" }, func(w row) bool { return !w.kept })
	section("Broker CPU", "Microseconds for each delivered message, or for what the row names: the median, and how far the farthest run was from it.",
		r.figures(cpu))
	section("Beside Mosquitto", "The same as a ratio to Mosquitto in the same rows; below 1 is less CPU. The last four columns are ratios of figures that were taken "+
		"with the same load elsewhere, to Mosquitto 2.1 there, and are only quoted: FlashMQ 1.26, mochi-mqtt 2.7.9, nats-server 2.15, and what Sallyport aims at.",
		r.ratios(cpu))
	section("Over TLS", "Messages, or handshakes with what else a connection does, for each second of the broker's CPU, and what was negotiated.",
		r.perSecond())
	section("Memory", "Bytes of resident memory.", r.figures(memory))
	section("Memory beside Mosquitto", "As above; Mosquitto's small buffers win where connections are idle.", r.ratios(memory))
	section("Rates", "Deliveries (or connections) per second. With \\* the load's core was the limit, and the broker might do more.",
		r.cells(func(w row) bool { return !w.traced }, true, (*results).rate))
	section("Latency", "From sending to delivery, or from when a message was due where the rate is given: p50 / p99 / p99.9 in microseconds, medians of the runs.",
		r.cells(func(w row) bool { return w.latency }, true, (*results).latency))
	section("User and system", "Broker CPU, user + system, in microseconds a message. The last column is what the load used for a message to and from Sallyport.",
		r.split())
	section("Not pinned", "Both sides wherever the system puts them: broker CPU in microseconds a message, and deliveries per second.",
		r.cells(func(w row) bool { return w.unpinned }, false, (*results).cpuAndRate))
	section("System calls", "Of the broker, for each delivered message, counted by `strace -c -f -p PID`, which slows it down.", r.figures(calls))
	section("With a store on a disk", "Broker CPU as above, and what a store on a disk (durability always) makes of it: nothing is kept of what these rows do, "+
		"but where messages are retained or wait for a session that is away. The aim is 1.05 at most where nothing is kept.",
		all.only(func(b broker) bool { return b.rows != durable }, func(w row) bool { return !w.kept }).beside("guarded", "disk"))
	r = all.only(func(b broker) bool { return b.rows != volatile }, func(w row) bool { return w.kept })
	section("What is kept", "Broker CPU in microseconds for each message, what the store does meanwhile included. The aim is 6 at most for queue and drain. "+
		"Sallyport without a disk and Mosquitto acknowledge what a crash takes.", r.figures(cpu))
	section("Acknowledgements of what is kept", "From sending to PUBACK (QoS 2: PUBCOMP): p50 / p99 in microseconds, medians of the runs; with a window above 1 mostly the queue that it makes.",
		r.cells(func(row) bool { return true }, true, (*results).acks))
	section("Rates of what is kept", "Messages a second: deliveries; where there are two, queued (or retained) and drained (or read).",
		r.cells(func(row) bool { return true }, true, (*results).twoRates))
	b.WriteString(all.notes())
	return b.String()
}

// only is the results of some brokers and rows.
func (r *results) only(which func(broker) bool, rowed func(row) bool) *results {
	part, known := *r, make(map[string]bool)
	for _, w := range rows() {
		known[w.id] = rowed(w)
	}
	for _, b := range brokers() {
		known["broker "+b.id] = which(b)
	}
	part.Brokers = slices.DeleteFunc(slices.Clone(r.Brokers), func(id string) bool { return !known["broker "+id] })
	part.Samples = slices.DeleteFunc(slices.Clone(r.Samples), func(v sample) bool { return !known[v.Row] || !known["broker "+v.Broker] })
	return &part
}

// beside is a table of CPU figures of two brokers, and how many times the first's
// the second's is.
func (r *results) beside(a, b string) *table {
	if !slices.Contains(r.Brokers, a) || !slices.Contains(r.Brokers, b) {
		return nil
	}
	t := newTable("case", title(a), title(b), "ratio")
	r.each(cpu, func(w row, g figure, title string) {
		x, y := r.statOf(w, g, a), r.statOf(w, g, b)
		if x.n > 0 && y.n > 0 {
			t.line([]string{title, cpu.write(x.median), cpu.write(y.median), ratio(y.median, x.median)})
		}
	})
	return t
}

// acks is how long acknowledgements took.
func (r *results) acks(w row, broker string, _ bool) string {
	p50, p99 := r.statOf(w, figure{measure: "acknowledged_p50_us"}, broker), r.statOf(w, figure{measure: "acknowledged_p99_us"}, broker)
	if p50.n == 0 {
		return "-"
	}
	return thousands(p50.median) + " / " + thousands(p99.median)
}

// twoRates is the rate of the first phase, if there is one, and of deliveries.
func (r *results) twoRates(w row, broker string, pinned bool) string {
	for _, measure := range []string{"queued_per_second", "stored_per_second"} {
		if s := r.statOf(w, figure{measure: measure}, broker); s.n > 0 {
			return thousands(s.median) + " / " + r.rate(w, broker, pinned)
		}
	}
	return r.rate(w, broker, pinned)
}

func (r *results) heading() string {
	m := r.Machine
	var versions []string
	for _, id := range r.Brokers {
		if !slices.Contains([]string{"open", "goroutine", "disk", "interval", "os", "persistence"}, id) { // the same program
			versions = append(versions, r.name(id))
		}
	}
	return fmt.Sprintf("%s: %d cores (%s), %s MiB of memory, Linux %s, %s, %s descriptors a process; %s. %d runs of %v a cell, by `%s`.\n",
		r.Date, m.Cores, m.CPU, thousands(float64(m.Memory)), m.System, m.Go, thousands(float64(m.Files)),
		strings.Join(versions, ", "), r.Runs, r.Duration, r.Command)
}

// name is a broker's title with its version.
func (r *results) name(id string) string {
	return strings.TrimSpace(title(id) + " " + strings.TrimPrefix(r.Versions[id], "v"))
}

func title(id string) string {
	for _, b := range brokers() {
		if b.id == id {
			return b.title
		}
	}
	return id
}

// columns are the titles of the brokers.
func (r *results) columns(first string) []string {
	titles := []string{first}
	for _, id := range r.Brokers {
		titles = append(titles, title(id))
	}
	return titles
}

// measured reports whether a row was run.
func (r *results) measured(w row, pinned bool) bool {
	return slices.ContainsFunc(r.Samples, func(v sample) bool { return v.Row == w.id && v.Pinned == pinned })
}

// pinned says which runs the main tables show: where nothing can be pinned, the others.
func (r *results) pinned() bool {
	return slices.ContainsFunc(r.Samples, func(v sample) bool { return v.Pinned })
}

// each calls f for each figure of a unit that was measured.
func (r *results) each(u unit, f func(w row, g figure, title string)) {
	for _, w := range rows() {
		for _, g := range w.figures {
			if g.unit != u || !r.measured(w, r.pinned()) {
				continue
			}
			title := w.title
			if g.title != "" {
				title += ": " + g.title
			}
			f(w, g, title)
		}
	}
}

// figures is a table of medians and spreads.
func (r *results) figures(u unit) *table {
	t := newTable(r.columns("case")...)
	r.each(u, func(w row, g figure, title string) {
		cells := []string{title}
		for _, id := range r.Brokers {
			cells = append(cells, r.cell(w, g, id, func(s stat) string {
				if s.n == 1 {
					return u.write(s.median)
				}
				return fmt.Sprintf("%s ±%.0f %%", u.write(s.median), 100*s.spread)
			}))
		}
		t.line(cells)
	})
	return t
}

// cell is what a figure says of a broker, or why there is none.
func (r *results) cell(w row, g figure, broker string, write func(stat) string) string {
	if s := r.statOf(w, g, broker); s.n > 0 {
		return write(s)
	}
	for _, v := range r.of(w.id, broker, r.pinned()) {
		if strings.HasPrefix(v.Error, errNoResumption.Error()) {
			return errNoResumption.Error()
		}
	}
	return "-"
}

func (r *results) statOf(w row, g figure, broker string) stat {
	return r.stat(w.id, broker, r.pinned(), func(v sample) (float64, bool) { return v.figure(g) })
}

// ratios is a table of figures as parts of Mosquitto's.
func (r *results) ratios(u unit) *table {
	const base = "mosquitto"
	if !slices.Contains(r.Brokers, base) {
		return nil
	}
	columns := []string{"case"}
	for _, id := range r.Brokers {
		if id != base {
			columns = append(columns, title(id))
		}
	}
	t := newTable(append(columns, "*FlashMQ*", "*mochi*", "*nats*", "*aim*")...)
	r.each(u, func(w row, g figure, title string) {
		here := r.statOf(w, g, base).median
		if here == 0 {
			return
		}
		cells := []string{title}
		for _, id := range r.Brokers {
			if id != base {
				cells = append(cells, ratio(r.statOf(w, g, id).median, here))
			}
		}
		k := g.known
		for _, v := range []float64{k.flashmq, k.mochi, k.nats, k.goal} {
			cells = append(cells, ratio(v, k.mosquitto))
		}
		t.line(cells)
	})
	return t
}

func ratio(v, base float64) string {
	if v <= 0 || base <= 0 {
		return "-"
	}
	return cpu.write(v / base)
}

// cells is a table with one cell for each chosen row and broker.
func (r *results) cells(choose func(row) bool, main bool, cell func(r *results, w row, broker string, pinned bool) string) *table {
	pinned := main && r.pinned()
	if !main && !r.pinned() {
		return nil // the main tables are not pinned already
	}
	t := newTable(r.columns("case")...)
	for _, w := range rows() {
		if !choose(w) || !r.measured(w, pinned) {
			continue
		}
		cells := []string{w.title}
		for _, id := range r.Brokers {
			cells = append(cells, cell(r, w, id, pinned))
		}
		t.line(cells)
	}
	return t
}

func (r *results) rate(w row, broker string, pinned bool) string {
	s := r.stat(w.id, broker, pinned, func(v sample) (float64, bool) {
		return v.number(func() float64 { return v.Report.PerSecond })
	})
	if s.n == 0 {
		return "-"
	}
	return thousands(s.median) + r.limited(w, broker, pinned)
}

// limited marks a cell whose rate the load has limited, by what it said itself.
func (r *results) limited(w row, broker string, pinned bool) string {
	for _, v := range r.of(w.id, broker, pinned) {
		if v.Report != nil && len(v.Report.Warnings) > 0 {
			return "\\*"
		}
	}
	return ""
}

// number is a value of the report, if there is one.
func (v sample) number(f func() float64) (float64, bool) {
	if v.Report == nil {
		return 0, false
	}
	return f(), true
}

func (r *results) latency(w row, broker string, pinned bool) string {
	var parts []string
	for i := range 3 {
		s := r.stat(w.id, broker, pinned, func(v sample) (float64, bool) {
			if v.Report == nil || v.Report.Latency == nil {
				return 0, false
			}
			l := v.Report.Latency
			return [...]float64{l.P50, l.P99, l.P999}[i], true
		})
		if s.n == 0 {
			return "-"
		}
		parts = append(parts, thousands(s.median))
	}
	return strings.Join(parts, " / ")
}

func (r *results) cpuAndRate(w row, broker string, pinned bool) string {
	s := r.stat(w.id, broker, pinned, func(v sample) (float64, bool) { return v.figure(w.figures[0]) })
	if s.n == 0 {
		return "-"
	}
	return fmt.Sprintf("%s (%s)", cpu.write(s.median), r.rate(w, broker, pinned))
}

// split is the table of user and system time.
func (r *results) split() *table {
	t := newTable(append(r.columns("case"), "load")...)
	for _, w := range rows() {
		if w.traced || len(w.figures) != 1 || w.figures[0].measure != perMessage || !r.measured(w, r.pinned()) {
			continue
		}
		part := func(id, measure string) stat {
			return r.statOf(w, figure{measure: measure}, id)
		}
		cells := []string{w.title}
		for _, id := range r.Brokers {
			user, system := part(id, "broker_cpu_user_us_per_message"), part(id, "broker_cpu_system_us_per_message")
			if user.n == 0 {
				cells = append(cells, "-")
				continue
			}
			cells = append(cells, cpu.write(user.median)+" + "+cpu.write(system.median))
		}
		own := part(r.Brokers[0], "generator_cpu_us_per_message")
		if own.n == 0 {
			t.line(append(cells, "-"))
			continue
		}
		t.line(append(cells, cpu.write(own.median)))
	}
	return t
}

// notes says what is missing and what went wrong.
func (r *results) notes() string {
	var lines []string
	for _, b := range brokers() {
		if why := r.Missing[b.id]; why != "" && !slices.Contains(r.Brokers, b.id) {
			lines = append(lines, fmt.Sprintf("%s: %s", b.title, why))
		}
	}
	for _, w := range rows() {
		for _, id := range r.Brokers {
			if why := w.without[id]; why != "" && r.measured(w, r.pinned()) {
				lines = append(lines, fmt.Sprintf("%s, %s: %s", w.title, title(id), why))
			}
			if less := w.fewer[id]; less.n > 0 && r.measured(w, r.pinned()) {
				lines = append(lines, fmt.Sprintf("%s, %s: with %s, since it %s", w.title, title(id), thousands(float64(less.n)), less.why))
			}
		}
	}
	what, lossless := r.troubles()
	var b strings.Builder
	b.WriteString("\n### What is missing, and what went wrong\n\n")
	if lossless {
		fmt.Fprintf(&b, "In none of the %s runs was a message lost, doubled or out of order.\n\n", thousands(float64(len(r.Samples))))
	}
	for _, l := range append(lines, what...) {
		fmt.Fprintf(&b, "- %s\n", strings.ReplaceAll(l, "|", "\\|"))
	}
	return b.String()
}

// troubles says which runs failed, and in which messages were lost, doubled or
// out of order. Runs with the same trouble share a line.
func (r *results) troubles() (lines []string, lossless bool) {
	lossless = true
	runs := make(map[string]int)
	for _, v := range r.Samples {
		what := firstLine(v.Error)
		if v.Report != nil && !v.Report.OK() {
			what, lossless = mishaps(v.Report), false
		}
		if what == "" {
			continue
		}
		line := fmt.Sprintf("%s, %s: %s", rowTitle(v.Row), title(v.Broker), what)
		if runs[line]++; runs[line] == 1 {
			lines = append(lines, line)
		}
	}
	for i, line := range lines {
		if n := runs[line]; n > 1 {
			lines[i] = fmt.Sprintf("%s (%d runs)", line, n)
		}
	}
	return lines, lossless
}

func rowTitle(id string) string {
	for _, w := range rows() {
		if w.id == id {
			return w.title
		}
	}
	return id
}

// write prints a value with three digits that count.
func (u unit) write(v float64) string {
	switch {
	case u == memory || v >= 100:
		return thousands(v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}
