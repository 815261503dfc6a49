package accounts

import (
	"fmt"
	"runtime"
	"testing"
)

// hundredThousand is a keeper with as many accounts, each with a password, two groups,
// an attribute and an end.
func hundredThousand(b *testing.B) *Memory {
	const n = 100_000
	batch := &Batch{groups: []groupEntry{{group: Group{Name: "meters"}}, {group: Group{Name: "north"}}}}
	secret := mustHash(b, "x")
	for i := range n {
		batch.users = append(batch.users, entry{user: User{
			Name: fmt.Sprintf("meter-%06d", i), Kind: Device, Password: secret, Groups: []string{"meters", "north"},
			Attributes: map[string]string{"site": fmt.Sprint(i % 100)}, ValidUntil: noon,
		}})
	}
	k := &Memory{}
	db, err := Open(Options{Keeper: k, Hashing: cheap})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Import(b.Context(), batch, ImportOptions{}); err != nil {
		b.Fatal(err)
	}
	return k
}

func BenchmarkOpen100k(b *testing.B) {
	k := hundredThousand(b)
	b.ReportAllocs()
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		db, err := Open(Options{Keeper: k, Hashing: cheap})
		if err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/100_000, "bytes/account")
		db.Close()
	}
}

func BenchmarkAccount100k(b *testing.B) {
	db, err := Open(Options{Keeper: hundredThousand(b), Hashing: cheap})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, ok := db.Account("meter-050000"); !ok {
				b.Fatal("nobody")
			}
		}
	})
}

func BenchmarkDisable100k(b *testing.B) {
	db, err := Open(Options{Keeper: hundredThousand(b), Hashing: cheap})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	for b.Loop() {
		if _, err := db.Disable("meter-050000", How{}); err != nil {
			b.Fatal(err)
		}
		if _, err := db.Enable("meter-050000", How{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAddAndDelete100k(b *testing.B) {
	db, err := Open(Options{Keeper: hundredThousand(b), Hashing: cheap})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	for b.Loop() {
		if _, err := db.AddUser(User{Name: "meter-050000a"}, How{}); err != nil {
			b.Fatal(err)
		}
		if err := db.DeleteUser("meter-050000a", How{}); err != nil {
			b.Fatal(err)
		}
	}
}
