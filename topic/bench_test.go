package topic

import (
	"fmt"
	"runtime"
	"strconv"
	"testing"
)

// Figures: go test -run '^$' -bench . -benchmem ./topic

// million fills a tree with n filters fleet/<region>/dev/<i>/cmd, one key each.
func million(n int) *Tree[int, *int] {
	tree, v := NewTree[int, *int](), new(int)
	for i := range n {
		tree.Set(deviceFilter(i), i, v)
	}
	return tree
}

func deviceFilter(i int) string {
	return "fleet/" + strconv.Itoa(i%100) + "/dev/" + strconv.Itoa(i) + "/cmd"
}

// some picks 1024 of n devices, far from each other.
func some(n int) []string {
	picked := make([]string, 1024)
	for i := range picked {
		picked[i] = deviceFilter(i * 7919 % n)
	}
	return picked
}

func BenchmarkTreeMatch1M(b *testing.B) {
	const n = 1_000_000
	tree, v := million(n), new(int)
	names := some(n)
	match := func(b *testing.B, want int) {
		b.ReportAllocs()
		found := 0
		yield := func(int, *int) bool { found++; return true }
		b.ResetTimer()
		for i := range b.N {
			tree.Match(names[i%len(names)], yield)
		}
		if found != b.N*want {
			b.Fatalf("found %d subscribers, want %d", found, b.N*want)
		}
	}
	b.Run("literal", func(b *testing.B) { match(b, 1) })
	tree.Set("fleet/+/dev/+/cmd", -1, v)
	tree.Set("+/+/dev/+/state", -2, v)
	b.Run("plus", func(b *testing.B) { match(b, 2) })
	tree.Set("fleet/#", -3, v)
	tree.Set("#", -4, v)
	b.Run("hash", func(b *testing.B) { match(b, 4) })
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				tree.Match(names[i%len(names)], func(int, *int) bool { return true })
			}
		})
	})
}

// Subscribing the millionth sibling costs under twice the thousandth.
func BenchmarkTreeSibling(b *testing.B) {
	for _, n := range []int{1_000, 1_000_000} {
		tree, v := NewTree[int, *int](), new(int)
		for i := range n {
			tree.Set("dev/"+strconv.Itoa(i), i, v)
		}
		filters := make([]string, 4096)
		for i := range filters {
			filters[i] = "dev/new" + strconv.Itoa(i)
		}
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				f := filters[i%len(filters)]
				tree.Set(f, i, v)
				tree.Remove(f, i)
			}
		})
		runtime.KeepAlive(tree)
	}
}

// The millionth subscriber of one filter likewise.
func BenchmarkTreeSubscriber(b *testing.B) {
	for _, n := range []int{1, 1_000, 1_000_000} {
		tree, v := NewTree[int, *int](), new(int)
		for i := range n {
			tree.Set("alarm", i, v)
		}
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				tree.Set("alarm", n+i%4096, v)
				tree.Remove("alarm", n+i%4096)
			}
		})
		runtime.KeepAlive(tree)
	}
}

func BenchmarkTreeFanOut(b *testing.B) {
	const n = 1_000
	tree, v := NewTree[int, *int](), new(int)
	for i := range n {
		tree.Set("alarm", i, v)
	}
	b.ReportAllocs()
	for range b.N {
		tree.Match("alarm", func(int, *int) bool { return true })
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/subscriber")
}

// heap returns the bytes that what build makes keeps alive.
func heap(build func() any) uint64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	kept := build()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(kept)
	return after.HeapAlloc - before.HeapAlloc
}

func BenchmarkTreeMemory(b *testing.B) {
	for _, n := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("filters-%d", n), func(b *testing.B) {
			for range b.N {
				b.ReportMetric(float64(heap(func() any { return million(n) }))/float64(n), "bytes/filter")
			}
		})
		b.Run(fmt.Sprintf("subscribers-%d", n), func(b *testing.B) {
			for range b.N {
				used := heap(func() any {
					tree, v := NewTree[int, *int](), new(int)
					for i := range n {
						tree.Set("alarm", i, v)
					}
					return tree
				})
				b.ReportMetric(float64(used)/float64(n), "bytes/subscriber")
			}
		})
	}
}

func BenchmarkNamesScan200k(b *testing.B) {
	const n = 200_000
	names, v := NewNames[*int](), new(int)
	for i := range n {
		names.Set(deviceFilter(i), v)
	}
	for _, bb := range []struct {
		filter string
		want   int
	}{
		{"#", n},
		{"fleet/7/#", n / 100},
		{"fleet/+/dev/4711/cmd", 1},
		{"fleet/11/dev/4711/cmd", 1},
	} {
		b.Run(bb.filter, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				found, cursor, complete := 0, "", false
				for !complete {
					cursor, complete = names.Scan(bb.filter, cursor, 256, func(string, *int) bool { found++; return true })
				}
				if found != bb.want {
					b.Fatalf("Scan(%q) finds %d, want %d", bb.filter, found, bb.want)
				}
			}
		})
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, filter := range []string{"fleet/7/dev/4711/cmd", "fleet/+/dev/+/cmd", "fleet/#"} {
		b.Run(filter, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				if !Match(filter, "fleet/7/dev/4711/cmd") {
					b.Fatal("no match")
				}
			}
		})
	}
}
