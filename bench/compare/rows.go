package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// row is one case of the comparison.
type row struct {
	id, title  string
	args       []string // of sallyport bench: scenario and load
	figures    []figure
	tls        bool              // over TLS
	rsa        bool              // the server's key is of RSA, 2048 bits; else ECDSA P-256
	mutual     bool              // clients show a certificate
	crl        bool              // which is held against a revocation list
	resumes    bool              // every connection that is measured resumes a session
	negotiates string            // what every connection has to negotiate, as in the report; "": anything
	deep       bool              // brokers get room for long queues
	traced     bool              // under strace
	fresh      bool              // a new process for each run, because memory is measured or nothing may be known
	devices    bool              // guarded: only device secrets, since the memory that hashing a password leaves would hide by how much it grows
	kept       bool              // about what brokers keep: part of -disk alone
	latency    bool              // the time it takes is worth a table
	quick      bool              // part of -quick
	unpinned   bool              // repeated with nothing pinned
	longer     int               // measures this many times as long; 0: once
	without    map[string]string // brokers that can't, and why
	fewer      map[string]count  // brokers that can't do all of --count
}

// count is another --count for a broker, and why.
type count struct {
	n   int
	why string
}

// figure is one number that a row yields for each broker.
type figure struct {
	title   string // added to the row's; may be empty
	measure string // name in the report of sallyport bench
	less    string // another, to be taken off; may be empty
	unit    unit
	known   yardstick
}

// unit says in which table a figure stands, and how it is written.
type unit string

const (
	cpu    unit = "CPU us"
	memory unit = "bytes"
	calls  unit = "calls"
)

// yardstick holds what others have measured for a figure with the same load on
// another machine: Mosquitto 2.1, FlashMQ 1.26, mochi-mqtt 2.7.9, nats-server
// 2.15, and what Sallyport wants to reach there. Only ratios to Mosquitto can be
// compared. 0 is unknown.
type yardstick struct{ mosquitto, flashmq, mochi, nats, goal float64 }

const (
	perMessage    = "broker_cpu_us_per_message"
	perConnection = "broker_cpu_us_per_connection"
)

// The reasons why a broker is left out of a row.
const (
	noV5     = "speaks MQTT 3.1.1 only"
	noLogins = "lets everybody in"
	noCRL    = "reads no revocation list"
)

// load splits the arguments of a row; MQTT 3.1.1 unless they say otherwise.
func load(format string, a ...any) []string {
	args := strings.Fields(fmt.Sprintf(format, a...))
	if !slices.Contains(args, "-V") {
		args = append(args, "-V", "mqttv311")
	}
	return args
}

func perMessageOf(y yardstick) []figure { return []figure{{measure: perMessage, unit: cpu, known: y}} }

// rows lists every case, in the order of the tables.
func rows() []row {
	return slices.Concat(pairs(), fans(), encrypted(), connections(), stored(), kept(), traced())
}

func pairs() []row {
	const p2p = "p2p --pairs 100 --window "
	v5 := map[string]string{"nats": noV5}
	return []row{
		{id: "p2p0", title: "100 pairs, QoS 0, window 100", args: load(p2p + "100 -q 0"), quick: true, unpinned: true,
			figures: perMessageOf(yardstick{5.86, .63, 4.65, 1.05, .5})},
		{id: "p2p1", title: "100 pairs, QoS 1, window 100", args: load(p2p + "100 -q 1"), quick: true, unpinned: true,
			figures: perMessageOf(yardstick{11, .74, 14.6, 28.9, .65})},
		{id: "p2p1v5", title: "100 pairs, QoS 1, MQTT 5", args: load(p2p + "100 -q 1 -V mqttv5"), without: v5,
			figures: perMessageOf(yardstick{11.4, .85, 21.6, 0, .7})},
		{id: "p2p2", title: "100 pairs, QoS 2, window 100", args: load(p2p + "100 -q 2"), quick: true,
			figures: perMessageOf(yardstick{22.3, 1.39, 27.7, 79, 1.2})},
		{id: "p2p0-1k", title: "100 pairs, QoS 0, 1 KiB", args: load(p2p + "100 -q 0 --payload 1024"),
			figures: perMessageOf(yardstick{8.5, 1.03, 11.1, 1.96, .9})},
		{id: "p2p0-16k", title: "32 pairs, QoS 0, 16 KiB, window 8", args: load("p2p --pairs 32 --window 8 -q 0 --payload 16384"),
			figures: perMessageOf(yardstick{13.4, 5.8, 42, 21, 5})},
		{id: "w1q0", title: "100 pairs, QoS 0, window 1", args: load(p2p + "1 -q 0"), quick: true, unpinned: true, latency: true,
			figures: perMessageOf(yardstick{8.1, 9.5, 15.8, 13.3, 6.8})},
		{id: "w1q1", title: "100 pairs, QoS 1, window 1", args: load(p2p + "1 -q 1"), quick: true, latency: true,
			figures: perMessageOf(yardstick{12.6, 15.1, 25, 99, 12})},
		{id: "open20k", title: "100 pairs, QoS 0, 20,000 a second", args: load(p2p + "1000 -q 0 --rate 20000"), quick: true, unpinned: true, latency: true,
			figures: perMessageOf(yardstick{21.8, 25, 35, 31, 20})},
		{id: "low1k", title: "100 pairs, QoS 0, 1,000 a second", args: load(p2p + "1000 -q 0 --rate 1000"), latency: true, unpinned: true, longer: 2,
			figures: perMessageOf(yardstick{50, 50, 97, 87, 35})},
		{id: "topics", title: "100 pairs, QoS 0, 1,000 topics a publisher, one in ten new", args: load(p2p + "100 -q 0 --topics 1000 --fresh 10"),
			figures: perMessageOf(yardstick{goal: 1})},
		{id: "churn", title: "100 pairs, QoS 0, beside 100 subscribes and unsubscribes a second", args: load(p2p + "100 -q 0 --churn 100"),
			figures: perMessageOf(yardstick{goal: .6})},
	}
}

// A window of 80 in fan-in keeps what waits for the one subscriber below 8,192
// messages, where mochi begins to drop, and below 1 MiB, where Sallyport does.
func fans() []row {
	return []row{
		{id: "fanin0", title: "100 to 1, QoS 0, window 80", args: load("fan-in --publishers 100 --window 80 -q 0"), quick: true,
			figures: perMessageOf(yardstick{5.6, .54, 5.7, 1.57, .45})},
		{id: "fanout0", title: "1 to 500, QoS 0", args: load("fan-out --subscribers 500 --window 100 -q 0"), quick: true,
			figures: perMessageOf(yardstick{5, 1.09, 4.3, 1.31, .8})},
		{id: "fanout1", title: "1 to 500, QoS 1", args: load("fan-out --subscribers 500 --window 100 -q 1"),
			figures: perMessageOf(yardstick{5.5, 1.61, 7.4, 150, 1.3})},
	}
}

func connections() []row {
	slope := func(y yardstick) []figure {
		return []figure{{measure: "broker_rss_bytes_per_connection", unit: memory, known: y}}
	}
	const idle = "idle --connections %d --slope-from %d --duration 100ms --settle 1s"
	low, high := idleSizes(descriptorLimit())
	size := fmt.Sprintf(", slope from %s to %s", thousands(float64(low)), thousands(float64(high)))
	return []row{
		{id: "connect", title: "connect, CONNACK, disconnect of known clients", args: load("connect --connections 10000 --clients 200 --concurrency 32"), quick: true,
			figures: []figure{{measure: perConnection, unit: cpu, known: yardstick{40, 51, 85, 150, 44}}}},
		{id: "logins", title: "first logins (argon2id, 19 MiB)", args: load("connect --connections 200 --concurrency 32"), fresh: true,
			without: map[string]string{"open": noLogins, "mosquitto": noLogins, "mochi": noLogins, "nats": noLogins},
			figures: []figure{
				{measure: perConnection, unit: cpu},
				{title: "memory meanwhile, in all", measure: "broker_rss_bytes_peak_growth", unit: memory},
			}},
		{id: "idle", title: "idle connection" + size, args: load(idle, high, low), fresh: true, devices: true,
			figures: slope(yardstick{5080, 4310, 27_800, 38_500, 1500})},
		{id: "idletls", title: "idle TLS connection" + size, args: load(idle+speak13, high, low), fresh: true, devices: true, tls: true, negotiates: tls13,
			figures: slope(yardstick{19_150, 34_300, 49_100, 47_600, 11_000})},
		{id: "idletls12", title: "idle TLS 1.2 connection" + size, args: load(idle+speak12, high, low), fresh: true, devices: true, tls: true, negotiates: tls12,
			figures: slope(yardstick{})},
		{id: "idlemutual", title: "idle TLS connection with client certificate" + size, args: load(idle+speak13, high, low), fresh: true, devices: true, tls: true, mutual: true, negotiates: tls13,
			figures: slope(yardstick{})},
	}
}

func stored() []row {
	return []row{
		// As many messages under way as with 100 pairs, so that each client has some to come at once.
		{id: "filters", title: "100,000 filters of 100 clients", args: load("subscriptions --subscribers 100 --count 100000 --window 10000 --settle 1s"), fresh: true, devices: true,
			figures: []figure{
				{title: "each", measure: "broker_rss_bytes_per_subscription", unit: memory, known: yardstick{951, 960, 2506, 2009, 500}},
				{title: "publish to them", measure: perMessage, unit: cpu, known: yardstick{7.4, 1.52, 8.4, 3.5, 1}},
			}},
		{id: "retained", title: "200,000 retained messages", args: load("retained --count 200000 -q 1 --window 100 --settle 1s"), fresh: true, deep: true, devices: true,
			fewer: map[string]count{"mochi": {60_000, "lets 65,535 messages wait for a client"}},
			figures: []figure{
				{title: "publish, QoS 1", measure: "broker_cpu_us_per_stored_message", unit: cpu, known: yardstick{8.5, 2.2, 19.8, 25.7, 1.8}},
				{title: "read by a wildcard", measure: perMessage, unit: cpu, known: yardstick{5.7, 1.1, 11.5, 32, .9}},
				{title: "each, beyond topic and payload", measure: "broker_rss_bytes_per_retained_message", less: "topic_and_payload_bytes", unit: memory, known: yardstick{513, 706, 3790, 1086, 480}},
			}},
		{id: "offline", title: "50,000 messages for a session that is away", args: load("offline --count 50000 -q 1 --window 100"), fresh: true, deep: true, devices: true,
			figures: []figure{
				{title: "queue", measure: "broker_cpu_us_per_queued_message", unit: cpu, known: yardstick{6.8, 1.2, 19.7, 6.3, 1.1}},
				{title: "drain", measure: perMessage, unit: cpu, known: yardstick{6, 1, 18, 6.7, .9}},
			}},
	}
}

// kept are rows in which everything outlives the broker, where it keeps anything.
func kept() []row {
	together := []figure{
		{title: "queue and drain", measure: "broker_cpu_us_per_queued_and_drained_message", unit: cpu, known: yardstick{goal: 6}},
		{title: "queue", measure: "broker_cpu_us_per_queued_message", unit: cpu},
		{title: "drain", measure: perMessage, unit: cpu},
	}
	const queues = "queues --publishers 64 -q 1 --window 100 --count 200000 --subscribers "
	rows := []row{
		{id: "queues64", title: "64 publishers, 64 sessions that are away", args: load(queues + "64"), figures: together},
		{id: "queues1000", title: "64 publishers, 1,000 sessions that are away", args: load(queues + "1000"), figures: together},
		{id: "lone", title: "1 pair, QoS 1, window 1, kept session", args: load("p2p --pairs 1 --window 1 -q 1 --kept"), figures: perMessageOf(yardstick{})},
		{id: "kept1", title: "100 pairs, QoS 1, window 100, kept sessions", args: load("p2p --pairs 100 --window 100 -q 1 --kept"), figures: perMessageOf(yardstick{})},
		{id: "kept2", title: "100 pairs, QoS 2, window 100, kept sessions", args: load("p2p --pairs 100 --window 100 -q 2 --kept"), figures: perMessageOf(yardstick{})},
		{id: "keptretained", title: "100,000 retained messages, QoS 1", args: load("retained --count 100000 -q 1 --window 100 --settle 1s"),
			figures: []figure{{title: "publish", measure: "broker_cpu_us_per_stored_message", unit: cpu}}},
	}
	for i := range rows {
		r := &rows[i]
		r.kept, r.fresh, r.deep, r.devices = true, true, true, true
	}
	return rows
}

// traced rows count system calls; strace slows a broker down, so that nothing
// else is measured in them.
func traced() []row {
	count := []figure{{measure: callsPerMessage, unit: calls}}
	return []row{
		{id: "calls0", title: "100 pairs, QoS 0, window 100", args: load("p2p --pairs 100 --window 100 -q 0"), traced: true, quick: true, figures: count},
		{id: "calls1", title: "100 pairs, QoS 0, window 1", args: load("p2p --pairs 100 --window 1 -q 0"), traced: true, quick: true, figures: count},
	}
}

// idleSizes are the numbers of connections between which memory is compared:
// 5,000 and 19,000, or as many as descriptors allow.
func idleSizes(limit uint64) (low, high int) {
	const spare = 1000
	high = 19_000
	if limit < uint64(high+spare) {
		high = max(400, int(limit)-spare)
	}
	return high * 5 / 19, high
}

// overTLS chooses all rows over TLS, and the one that has a connection without.
const overTLS = "tls"

// chooseRows finds rows by their ids; "" is all of them (or those of -quick), those
// about what is kept only with -disk.
func chooseRows(ids string, quick, disk bool) ([]row, error) {
	all := rows()
	switch {
	case ids == "none":
		return nil, nil
	case ids == overTLS:
		return slices.DeleteFunc(all, func(r row) bool { return !r.tls && r.id != "connect" }), nil
	case ids == "":
		return slices.DeleteFunc(all, func(r row) bool {
			if r.kept {
				return !disk
			}
			return quick && !r.quick
		}), nil
	}
	var chosen []row
	for id := range strings.SplitSeq(ids, ",") {
		i := slices.IndexFunc(all, func(r row) bool { return r.id == id })
		if i < 0 {
			return nil, fmt.Errorf("there is no row %q; -list shows them", id)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// thousands writes n with separators: 19,000.
func thousands(n float64) string {
	s := strconv.FormatFloat(n, 'f', 0, 64)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
