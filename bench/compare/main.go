// Compare measures Sallyport beside other MQTT brokers on this machine and
// writes the tables of docs/performance.md.
//
//	go run ./bench/compare                    every row, three runs of each broker
//	go run ./bench/compare -quick             the rows that tell most
//	go run ./bench/compare -rows p2p0,tls0    these rows
//	go run ./bench/compare -rows tls          handshakes, messages and memory over TLS
//	go run ./bench/compare -disk DIR          also with what is kept in that folder
//	go run ./bench/compare -write             put the tables into docs/performance.md
//
// It builds Sallyport, mochi-mqtt and nats-server (the module in bench/peers
// pins the last two), takes Mosquitto as Debian installs it, starts each with
// the configuration in bench/peers, and loads one after the other with
// "sallyport bench" over loopback: A B C A B C, so that a machine that slows down
// slows down all. Brokers are pinned to the first core and the load to the
// second; some rows are repeated without. Linux only.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// options is the command line.
type options struct {
	rows, brokers string
	runs          int
	duration      time.Duration
	warmup        time.Duration
	quick         bool
	unpinned      bool
	disk          string
	json, from    string
	write         string
	keep          bool
}

func main() {
	var o options
	flag.StringVar(&o.rows, "rows", "", "comma-separated `ids` of rows (all; \"none\" for none, \"tls\" for those over TLS; -list shows them)")
	flag.StringVar(&o.brokers, "peers", "", "comma-separated `ids` of brokers: "+strings.Join(brokerIDs(), ",")+" (all but goroutine; of those that keep something on a disk none without -disk)")
	flag.IntVar(&o.runs, "runs", 3, "runs of each row and broker")
	flag.DurationVar(&o.duration, "duration", 1500*time.Millisecond, "how long one run measures")
	flag.DurationVar(&o.warmup, "warmup", 500*time.Millisecond, "how long one run loads before it measures")
	flag.BoolVar(&o.quick, "quick", false, "only the rows that tell most, one second a run, nothing unpinned")
	flag.BoolVar(&o.unpinned, "unpinned", true, "repeat some rows with nothing pinned to a core")
	flag.StringVar(&o.disk, "disk", "", "also measure brokers that keep their state on a disk, in this `folder`, and the rows about what is kept")
	flag.StringVar(&o.json, "json", "", "write all runs to this `file`, after each row")
	flag.StringVar(&o.from, "from", "", "begin with the rows in this `file` of -json; what runs now takes their place")
	flag.BoolFunc("write", "put the tables into docs/performance.md, not on standard output", func(string) error {
		o.write = "docs/performance.md"
		return nil
	})
	flag.BoolVar(&o.keep, "keep", false, "leave the folder with configurations and logs behind, and say where")
	list := flag.Bool("list", false, "list the rows and end")
	flag.Parse()
	if *list {
		for _, r := range rows() {
			fmt.Printf("%-12s %s\n%-12s   sallyport bench %s\n", r.id, r.title, "", strings.Join(r.args, " "))
		}
		return
	}
	// SIGHUP: a terminal that is closed must not leave brokers behind.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, o); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted; every broker has ended")
		}
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// command is how to measure the same again. Flags that only say where results
// go are left out.
func (o options) command() string {
	words := []string{"go run ./bench/compare"}
	if o.quick {
		words = append(words, "-quick")
	}
	if o.disk != "" {
		words = append(words, "-disk", "DIR")
	}
	if o.rows != "" {
		words = append(words, "-rows", o.rows)
	}
	if o.brokers != "" {
		words = append(words, "-peers", o.brokers)
	}
	return strings.Join(words, " ")
}

func run(ctx context.Context, o options) error {
	if o.quick {
		o.duration, o.warmup, o.unpinned = time.Second, 300*time.Millisecond, false
	}
	chosen, err := chooseRows(o.rows, o.quick, o.disk != "")
	if err != nil {
		return err
	}
	results, err := readResults(o.from)
	if err != nil {
		return err
	}
	if len(chosen) > 0 {
		if err := measure(ctx, o, chosen, results); err != nil {
			return err
		}
	}
	if o.write != "" {
		return replaceBetween(o.write, results.markdown(), marksOf(o.rows))
	}
	_, err = fmt.Print(results.markdown())
	return err
}

// measure runs the chosen rows and puts them into results.
func measure(ctx context.Context, o options, chosen []row, results *results) error {
	bench, err := newWorkbench(ctx, o.keep, o.disk)
	if err != nil {
		return err
	}
	defer bench.close()
	brokers, err := bench.prepare(ctx, o.brokers)
	if err != nil {
		return err
	}
	results.describe(bench, brokers, o)
	s := &schedule{options: o, bench: bench, brokers: brokers, results: results, began: time.Now()}
	return s.run(ctx, chosen)
}
