package main

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// setupTime is far above what a set-up takes (50 ms), and below the kubelet's patience (2 min).
const setupTime = time.Minute

// process is a started container: PID 1 of its PID namespace, so that when it ends, the kernel ends
// all of it.
type process struct {
	cmd      *exec.Cmd
	done     chan struct{} // closed when it and its children are gone and the log is complete
	exitCode int32         // valid then
}

// startProcess returns once the container executes its command; the error is that of the set-up.
func startProcess(specFile string, out *logFile) (*process, error) {
	if err := out.open(); err != nil {
		return nil, err
	}
	report, tell, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer report.Close()
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{"lab-cri", "container", specFile}, Env: []string{},
		ExtraFiles: []*os.File{tell}, // fd 3: an error of the set-up, or closed by exec
		SysProcAttr: &syscall.SysProcAttr{Setsid: true,
			Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS},
	}
	logged := &sync.WaitGroup{}
	ours, theirs, err := pipes(cmd, out, logged)
	if err != nil {
		return nil, errors.Join(err, tell.Close())
	}
	p, started := &process{cmd: cmd, done: make(chan struct{})}, make(chan error)
	go func() {
		// The parent of PR_SET_PDEATHSIG is a thread: it has to stay until the container ends.
		runtime.LockOSThread()
		err := cmd.Start()
		for _, f := range append(theirs, tell) {
			f.Close()
		}
		started <- err
		if err == nil {
			p.exitCode = exitCode(cmd.Wait())
		}
		logged.Wait()
		for _, f := range append(ours, out) {
			f.Close()
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	report.SetReadDeadline(time.Now().Add(setupTime))
	said, err := io.ReadAll(report)
	switch {
	case len(said) > 0:
		<-p.done
		return nil, errors.New(string(said))
	case err != nil:
		p.signal(syscall.SIGKILL)
		return nil, fmt.Errorf("the set-up hangs, in a mount perhaps: %w", err)
	}
	return p, nil
}

// pipes gives cmd two pipes as stdout and stderr, which end in the log.
func pipes(cmd *exec.Cmd, out *logFile, logged *sync.WaitGroup) (ours, theirs []io.Closer, err error) {
	for _, stream := range []string{"stdout", "stderr"} {
		r, w, err := os.Pipe()
		if err != nil {
			return ours, theirs, err
		}
		ours, theirs = append(ours, r), append(theirs, w)
		if stream == "stdout" {
			cmd.Stdout = w
		} else {
			cmd.Stderr = w
		}
		logged.Go(func() {
			if err := out.copy(stream, r); err != nil {
				log.Printf("%s: %v", out.path, err)
			}
		})
	}
	return ours, theirs, nil
}

// exitCode is the shell's convention for the end of a process: 128 and the number of the signal.
func exitCode(err error) int32 {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		return 255
	}
	if st, ok := exit.Sys().(syscall.WaitStatus); ok && st.Signaled() {
		return 128 + int32(st.Signal())
	}
	return int32(exit.ExitCode())
}

func (p *process) signal(sig syscall.Signal) {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		log.Printf("signal %v: %v", sig, err)
	}
}
