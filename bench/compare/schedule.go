package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"sallyport/bench"
)

// schedule runs rows in an order in which a machine that slows down slows down
// every broker: A B C A B C, never A A A B B B.
type schedule struct {
	options
	bench   *workbench
	brokers []broker
	results *results
	began   time.Time
	done    int // runs
	all     int
}

// runTimeout ends a run that hangs: the slowest here takes half a minute.
const runTimeout = 3 * time.Minute

func (s *schedule) run(ctx context.Context, chosen []row) error {
	for _, r := range chosen {
		for range s.settings(r) {
			s.all += s.runs * len(s.taking(r))
		}
	}
	for _, r := range chosen {
		s.results.drop(r.id)
		for _, pinned := range s.settings(r) {
			if err := s.row(ctx, r, pinned); err != nil {
				return err
			}
		}
		if err := s.results.save(s.json); err != nil {
			return err
		}
	}
	return nil
}

// settings says whether r runs pinned, or both ways.
func (s *schedule) settings(r row) []bool {
	switch {
	case !s.bench.pin:
		return []bool{false}
	case s.unpinned && r.unpinned:
		return []bool{true, false}
	default:
		return []bool{true}
	}
}

// taking is the brokers that can do the row.
func (s *schedule) taking(r row) (taking []broker) {
	for _, b := range s.brokers {
		if b.takes(r) {
			taking = append(taking, b)
		}
	}
	return taking
}

// row runs one row. Its brokers live as long as it does, each at rest while
// another is measured, or only for one run if the row says so.
func (s *schedule) row(ctx context.Context, r row, pinned bool) error {
	servers := make(map[string]*server)
	defer func() {
		for _, v := range servers {
			v.stop()
		}
	}()
	for n := 1; n <= s.runs; n++ {
		for _, b := range s.taking(r) {
			v, err := servers[b.id], error(nil)
			if v == nil {
				if v, err = s.bench.start(ctx, b, r, pinned); err == nil {
					servers[b.id] = v
				}
			}
			sample := sample{Row: r.id, Broker: b.id, Pinned: pinned, Run: n}
			if err == nil {
				sample.Report, err = s.measure(ctx, r, v, pinned)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				sample.Error = err.Error()
			}
			if v != nil && (r.fresh || err != nil) {
				v.stop()
				delete(servers, b.id)
			}
			s.results.Samples = append(s.results.Samples, sample)
			s.progress(r, b, sample)
		}
	}
	return nil
}

// measure is one run.
func (s *schedule) measure(ctx context.Context, r row, v *server, pinned bool) (*bench.Report, error) {
	if !r.traced {
		return s.load(ctx, r, v, pinned)
	}
	stop, err := s.bench.trace(ctx, v)
	if err != nil {
		return nil, err
	}
	report, err := s.load(ctx, r, v, pinned)
	n, traced := stop()
	if err = errors.Join(err, traced); err != nil {
		return nil, err
	}
	// Of the rest nothing holds without strace.
	report.Measures = map[string]float64{callsPerMessage: float64(n) / float64(max(1, report.Delivered))}
	return report, nil
}

// load runs sallyport bench once. A run in which messages were lost, doubled or
// out of order has a report that says so.
func (s *schedule) load(ctx context.Context, r row, v *server, pinned bool) (*bench.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	args := []string{s.bench.path("sallyport"), "bench"}
	if pinned {
		args = append([]string{"taskset", "-c", generatorCore}, args...)
	}
	args = append(args, s.arguments(r, v)...)
	cmd := child(ctx, args)
	var out, complaint strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("no end after %v", runTimeout)
	}
	report := new(bench.Report)
	if json.Unmarshal([]byte(out.String()), report) == nil && report.Scenario != "" {
		return r.accept(report)
	}
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return nil, errors.New(strings.TrimSpace(complaint.String()))
	}
	return nil, fmt.Errorf("sallyport bench printed no report (%w)", err)
}

// arguments of sallyport bench.
func (s *schedule) arguments(r row, v *server) []string {
	args := append(slices.Clone(r.args), "--json", "-h", "127.0.0.1", "-p", fmt.Sprint(v.port), "--pid", fmt.Sprint(v.cmd.Process.Pid))
	if !slices.Contains(args, "--duration") {
		args = append(args, "--duration", (s.duration * time.Duration(max(1, r.longer))).String(), "--warmup", s.warmup.String())
	}
	if less := r.fewer[v.broker.id]; less.n > 0 {
		args[slices.Index(args, "--count")+1] = fmt.Sprint(less.n)
	}
	if v.tls {
		args = append(args, "--cafile", s.bench.keys.ca)
	}
	if r.mutual {
		args = append(args, "--cert", s.bench.keys.client.cert, "--key", s.bench.keys.client.key)
	}
	if !slices.Contains(args, "--concurrency") {
		// First logins cost 20 ms each and aren't measured: no crowd of them.
		args = append(args, "--concurrency", "8")
	}
	if v.broker.guarded {
		user, count := "load-%d", peopleCount
		if r.devices {
			user, count = "device-%d", deviceCount
		}
		args = append(args, "-u", user, "--users", fmt.Sprint(count), "--password-file", s.bench.path("secret"))
	}
	return args
}

// progress tells of one run, and how long it will go on.
func (s *schedule) progress(r row, b broker, v sample) {
	s.done++
	took := time.Since(s.began)
	left := time.Duration(float64(took) / float64(s.done) * float64(s.all-s.done))
	said := "failed: " + firstLine(v.Error)
	if v.Report != nil {
		said = ""
		for _, f := range r.figures {
			if value, ok := v.figure(f); ok {
				said += fmt.Sprintf("  %s %s", f.unit.write(value), f.unit)
			}
		}
		said += fmt.Sprintf("  %s/s", thousands(v.Report.PerSecond))
		if !v.Report.OK() {
			said += "  " + mishaps(v.Report)
		}
	}
	how := ""
	if !v.Pinned && s.bench.pin {
		how = " unpinned"
	}
	s.bench.say("[%d/%d, %v left] %s %s%s, run %d:%s", s.done, s.all, left.Round(time.Second), r.id, b.id, how, v.Run, said)
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}
