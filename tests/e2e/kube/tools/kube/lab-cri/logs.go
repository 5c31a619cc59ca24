package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const longestLine = 16 << 10 // bytes; longer ones are cut into parts, tagged P

// logFile is a container's log in the format of CRI: "<RFC3339Nano> stdout F <line>".
type logFile struct {
	path string
	mu   sync.Mutex
	file *os.File
}

// open opens the file, or opens it anew after the kubelet has moved it away.
func (l *logFile) open() error {
	if err := os.MkdirAll(filepath.Dir(l.path), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	l.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.file = file
	return nil
}

func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// copy writes all lines of a stream. It reads on if the log cannot be written: a full disk must not
// stop the container.
func (l *logFile) copy(stream string, from io.Reader) error {
	r := bufio.NewReaderSize(from, longestLine)
	var failed error
	for {
		line, part, err := r.ReadLine()
		if err == io.EOF {
			return failed
		} else if err != nil {
			return errors.Join(failed, err)
		}
		tag := "F"
		if part {
			tag = "P"
		}
		l.mu.Lock()
		if l.file != nil {
			_, err = fmt.Fprintf(l.file, "%s %s %s %s\n", time.Now().Format(time.RFC3339Nano), stream, tag, line)
		}
		l.mu.Unlock()
		if err != nil {
			failed = err
		}
	}
}
