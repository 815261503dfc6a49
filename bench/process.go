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
	known  bool
	cpu    time.Duration // user and system, all threads
	user   time.Duration // these two are counted in units of userHz
	system time.Duration
	rss    int64 // bytes resident
}

// since is what was used between from and u, and false when it isn't known. The
// kernel counts user and system time coarsely, so that only their proportion is
// taken from them.
func (u usage) since(from usage) (total, user, system time.Duration, known bool) {
	if !u.known || !from.known {
		return 0, 0, 0, false
	}
	total = u.cpu - from.cpu
	user, system = u.user-from.user, u.system-from.system
	if sum := user + system; sum > 0 {
		system = time.Duration(float64(total) * float64(system) / float64(sum))
	}
	return total, total - system, system, true
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
	if cpu, ok := processCPU(p.pid); ok {
		u.cpu = cpu // to the nanosecond
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
	const tick = time.Second / userHz
	u := usage{known: true, user: time.Duration(n[0]) * tick, system: time.Duration(n[1]) * tick, rss: n[2] * int64(pageSize)}
	u.cpu = u.user + u.system
	return u, nil
}

// cost is what the broker's process and this one have used.
type cost struct {
	at           time.Time
	broker, self usage
}

// sample reads both processes. What a broker inside this process uses can't be
// told from what the run does.
func (r *run) sample() cost {
	c := cost{at: time.Now(), broker: r.proc.sample()}
	if !r.Self {
		c.self = ownUsage()
	}
	return c
}

// CPU is what all threads of a process of this machine have used, ended ones included.
// It is known on Linux alone.
func CPU(pid int) (time.Duration, error) {
	p, err := openProcess(pid)
	if err != nil {
		return 0, err
	}
	return p.sample().cpu, nil
}
