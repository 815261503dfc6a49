package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// userHz is the unit of CPU times in /proc: a hundredth of a second on every
// architecture of Linux (USER_HZ).
const userHz = 100

// process is the broker's, read from /proc. A nil process measures nothing.
type process struct{ pid int }

// usage is what a process has used; the zero value when it isn't measured.
type usage struct {
	known bool
	cpu   time.Duration // user and system, all threads
	rss   int64         // bytes resident
}

func openProcess(pid int) (*process, error) {
	p := &process{pid}
	if u := p.sample(); !u.known {
		return nil, fmt.Errorf("process %d: nothing to read in /proc (it needs Linux and a living process)", pid)
	}
	return p, nil
}

func (p *process) sample() usage {
	if p == nil {
		return usage{}
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		return usage{}
	}
	u, err := parseStat(stat, os.Getpagesize())
	if err != nil {
		return usage{}
	}
	return u
}

// parseStat reads the fields utime, stime and rss of proc_pid_stat(5). The
// command's name, in parentheses, may hold anything.
func parseStat(stat []byte, pageSize int) (usage, error) {
	end := bytes.LastIndexByte(stat, ')')
	fields := bytes.Fields(stat[end+1:])
	const utime, stime, rss = 11, 12, 21 // counted from field 3, the state
	if end < 0 || len(fields) <= rss {
		return usage{}, errors.New("short stat")
	}
	var n [3]int64
	for i, at := range []int{utime, stime, rss} {
		v, err := strconv.ParseInt(string(fields[at]), 10, 64)
		if err != nil || v < 0 {
			return usage{}, errors.New("malformed stat")
		}
		n[i] = v
	}
	return usage{known: true, cpu: time.Duration(n[0]+n[1]) * (time.Second / userHz), rss: n[2] * int64(pageSize)}, nil
}
