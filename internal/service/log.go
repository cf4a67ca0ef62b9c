package service

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// The bounds of a log: what comes from the network may cause lines, and must not fill the
// disk.
const (
	maxLog         = 1 << 20 // bytes; then the older half goes
	logBurst       = 200     // lines
	linesPerSecond = 5.0
	maxLogLine     = 1024
)

// boundedLog is a file that stays small.
type boundedLog struct {
	mu      sync.Mutex
	path    string
	file    *os.File
	size    int64
	tokens  float64
	at      time.Time
	dropped int
}

func openLog(path string) (*boundedLog, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &boundedLog{path: path, file: f, tokens: logBurst, at: time.Now()}, nil
}

// say writes a line of the supervisor's own.
func (l *boundedLog) say(format string, args ...any) {
	l.write("supervisor: " + fmt.Sprintf(format, args...))
}

// follow writes what a server says until it ends.
func (l *boundedLog) follow(from *os.File) {
	defer from.Close()
	in := bufio.NewReaderSize(from, maxLogLine)
	for {
		line, tooLong, err := in.ReadLine()
		if len(line) > 0 {
			l.write(string(line))
		}
		for tooLong && err == nil {
			_, tooLong, err = in.ReadLine()
		}
		if err != nil {
			return
		}
	}
}

func (l *boundedLog) write(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.tokens = min(logBurst, l.tokens+now.Sub(l.at).Seconds()*linesPerSecond)
	l.at = now
	if l.tokens < 1 {
		l.dropped++
		return
	}
	l.tokens--
	if l.dropped > 0 {
		line = fmt.Sprintf("(%d lines were left out)\n%s", l.dropped, line)
		l.dropped = 0
	}
	if l.size > maxLog {
		l.halve()
	}
	n, _ := fmt.Fprintf(l.file, "%s %s\n", now.Format(time.DateTime), line) // a full disk: then there is no log
	l.size += int64(n)
}

// halve keeps the newer half.
func (l *boundedLog) halve() {
	l.size = 0
	in, err := os.Open(l.path)
	if err != nil {
		return
	}
	defer in.Close()
	keep := make([]byte, maxLog/2)
	if _, err := in.Seek(-int64(len(keep)), io.SeekEnd); err != nil {
		return
	}
	n, _ := io.ReadFull(in, keep)
	if l.file.Truncate(0) == nil {
		n, _ = l.file.Write(keep[:n])
		l.size = int64(n)
	}
}
