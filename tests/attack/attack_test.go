package attack_test

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"
)

// TestMain shows that the attacks leave nothing behind: when every broker has
// stopped, goroutines and open files are what they were before.
func TestMain(m *testing.M) {
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		_ = l.Close() // the runtime opens its own files with the first socket
	}
	goroutines, files := runtime.NumGoroutine(), openFiles()
	code := m.Run()
	end := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > goroutines || openFiles() > files {
		if time.Now().After(end) {
			fmt.Fprintf(os.Stderr, "%d goroutines and %d open files are left, at the beginning they were %d and %d\n",
				runtime.NumGoroutine(), openFiles(), goroutines, files)
			_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1) // it fails anyway
			code = 1
			break
		}
		runtime.GC() // nobody announces the end of a goroutine
		<-time.After(10 * time.Millisecond)
	}
	os.Exit(code)
}

// openFiles is the number of this process's descriptors, 0 where that can't be told.
func openFiles() int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(list)
}
