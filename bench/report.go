package bench

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"time"
)

// Report is the outcome of a run. Fields that a scenario has no use for are absent.
type Report struct {
	Scenario    string  `json:"scenario"`
	QoS         byte    `json:"qos"`
	Payload     int     `json:"payload_bytes,omitempty"`
	Window      int     `json:"window,omitempty"`
	Rate        float64 `json:"rate,omitempty"` // wanted, per second in all; absent in a closed loop
	Connections int     `json:"connections,omitempty"`
	Concurrency int     `json:"concurrency,omitempty"` // connections being opened at a time

	Seconds       float64 `json:"seconds"`         // measured
	SentPerSecond float64 `json:"sent_per_second"` // messages
	PerSecond     float64 `json:"per_second"`      // deliveries; connections, subscriptions in their scenarios

	Sent       uint64 `json:"sent"`       // messages, warm-up included
	Expected   uint64 `json:"expected"`   // deliveries of them
	Delivered  uint64 `json:"delivered"`  // deliveries, each counted once
	Lost       uint64 `json:"lost"`       // deliveries that never came
	Duplicated uint64 `json:"duplicated"` // deliveries that came again
	Misordered uint64 `json:"misordered"` // deliveries that came after a later one
	Refused    uint64 `json:"refused"`    // messages acknowledged with a code of failure
	Foreign    uint64 `json:"foreign"`    // messages that are not of this run
	Invalid    uint64 `json:"invalid"`    // deliveries with the wrong QoS or size, or to the wrong subscriber

	// Latency is from sending (closed loop) or from when the message was due
	// (Corrected) to its delivery; of a connection, from dialling to CONNACK.
	Latency   *Latency `json:"latency_us,omitempty"`
	Corrected bool     `json:"corrected_for_coordinated_omission"`

	// Generator is how the generator served its connections: by event loops or by
	// goroutines.
	Generator string `json:"generator,omitempty"`

	// TLS is what the connections negotiated; "" without TLS.
	TLS string `json:"tls,omitempty"`

	// Measures holds what only some scenarios have, and what the processes used;
	// docs/bench.md explains the names.
	Measures map[string]float64 `json:"measures,omitempty"`

	// Warnings say what a reader should know before he trusts the figures.
	Warnings []string `json:"warnings,omitempty"`
}

// Latency holds percentiles in microseconds.
type Latency struct {
	Count uint64  `json:"count"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p99.9"`
	Max   float64 `json:"max"`
}

// OK reports whether everything arrived once and in order.
func (r *Report) OK() bool {
	return r.Lost+r.Duplicated+r.Misordered+r.Refused+r.Foreign+r.Invalid == 0
}

// set records a measure.
func (r *Report) set(name string, v float64) {
	if r.Measures == nil {
		r.Measures = make(map[string]float64)
	}
	r.Measures[name] = v
}

// saturated is the share of its cores from which on the generator may be what
// limits a rate.
const saturated = 0.9

// addCPU records the CPU time of the broker and of the generator for each of n
// things, and how many cores each kept busy.
func (r *Report) addCPU(thing string, from, to cost, n uint64) {
	seconds := to.at.Sub(from.at).Seconds()
	if n == 0 || seconds <= 0 {
		return
	}
	each := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) / float64(n) }
	if total, user, system, known := to.broker.since(from.broker); known {
		r.set("broker_cpu_us_per_"+thing, each(total))
		r.set("broker_cpu_user_us_per_"+thing, each(user))
		r.set("broker_cpu_system_us_per_"+thing, each(system))
		r.set("broker_cpu_cores", total.Seconds()/seconds)
		r.set("broker_rss_bytes", float64(to.broker.rss))
	}
	if total, _, _, known := to.self.since(from.self); known {
		cores, most := total.Seconds()/seconds, float64(runtime.GOMAXPROCS(0))
		r.set("generator_cpu_us_per_"+thing, each(total))
		r.set("generator_cpu_cores", cores)
		if cores > saturated*most {
			r.Warnings = append(r.Warnings, fmt.Sprintf(
				"the generator used %.2f of its %.0f cores for each %s: the rate is its own, the broker might do more", cores, most, thing))
		}
	}
}

// addMemory records by how much the broker's memory grew for each of n things.
func (r *Report) addMemory(name string, from, to cost, n int) {
	if from.broker.known && to.broker.known && n > 0 {
		r.set("broker_"+name, float64(to.broker.rss-from.broker.rss)/float64(n))
	}
}

// WriteText writes r for people.
func (r *Report) WriteText(out io.Writer) error {
	w := new(bytes.Buffer)
	fmt.Fprint(w, r.Scenario)
	if r.Payload > 0 {
		fmt.Fprintf(w, ", QoS %d, %d bytes", r.QoS, r.Payload)
	}
	if r.Connections > 0 {
		fmt.Fprintf(w, ", %d connections", r.Connections)
	}
	if r.Rate > 0 {
		fmt.Fprintf(w, ", %.0f/s wanted\n", r.Rate)
	} else if r.Window > 0 {
		fmt.Fprintf(w, ", window %d\n", r.Window)
	} else {
		fmt.Fprintf(w, ", %d at a time\n", r.Concurrency)
	}
	fmt.Fprintf(w, "  rate      %.0f/s over %.2f s", r.PerSecond, r.Seconds)
	if r.SentPerSecond > 0 {
		fmt.Fprintf(w, " (sent %.0f/s)", r.SentPerSecond)
	}
	fmt.Fprintln(w)
	if l := r.Latency; l != nil {
		kind := "closed loop: says nothing about a given rate"
		if r.Corrected {
			kind = "corrected for coordinated omission"
		}
		fmt.Fprintf(w, "  latency   p50 %s  p90 %s  p99 %s  p99.9 %s  max %s (%s)\n",
			us(l.P50), us(l.P90), us(l.P99), us(l.P999), us(l.Max), kind)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Measures)) {
		fmt.Fprintf(w, "  measured  %s %.4g\n", name, r.Measures[name])
	}
	if r.Generator != "" {
		fmt.Fprintf(w, "  generator %s\n", r.Generator)
	}
	if r.TLS != "" {
		fmt.Fprintf(w, "  tls       %s\n", r.TLS)
	}
	for _, s := range r.Warnings {
		fmt.Fprintf(w, "  warning   %s\n", s)
	}
	if r.Scenario == Idle {
		fmt.Fprintf(w, "  verified  %d of %d connections answered\n", r.Delivered, r.Expected)
	} else if r.Sent > 0 {
		fmt.Fprintf(w, "  verified  %d sent, %d of %d delivered, %d lost, %d doubled, %d out of order",
			r.Sent, r.Delivered, r.Expected, r.Lost, r.Duplicated, r.Misordered)
		if r.Refused+r.Foreign+r.Invalid > 0 {
			fmt.Fprintf(w, ", %d refused, %d foreign, %d invalid", r.Refused, r.Foreign, r.Invalid)
		}
		fmt.Fprintln(w)
	}
	_, err := w.WriteTo(out)
	return err
}

func us(v float64) string {
	return (time.Duration(v * float64(time.Microsecond))).Round(100 * time.Nanosecond).String()
}
