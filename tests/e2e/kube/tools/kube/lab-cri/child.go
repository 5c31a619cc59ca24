package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// containerMain is PID 1 of a new container: it makes the root, takes the credentials and becomes
// the command. Errors go to fd 3, which a successful exec closes.
func containerMain(specFile string) {
	report := os.NewFile(3, "report")
	unix.CloseOnExec(3)
	s, err := readSpec(specFile)
	if err == nil {
		err = becomeContainer(s, report)
	}
	fail(report, err)
}

func becomeContainer(s *spec, report *os.File) error {
	if err := dieWithParent(report); err != nil {
		return err
	}
	unix.Umask(0o022)
	if err := enterRoot(s); err != nil {
		return err
	}
	if s.Hostname != "" {
		if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
			return fmt.Errorf("hostname %q: %w", s.Hostname, err)
		}
	}
	if err := os.Chdir(s.Cwd); err != nil {
		return fmt.Errorf("working folder: %w", err)
	}
	path, err := lookPath(s, s.Argv[0])
	if err != nil {
		return err
	}
	if err := confine(s); err != nil {
		return err
	}
	// These three act on all threads of the process.
	if err := syscall.Setgroups(s.Groups); err != nil {
		return fmt.Errorf("groups %v: %w", s.Groups, err)
	}
	if err := syscall.Setgid(s.GID); err != nil {
		return fmt.Errorf("group %d: %w", s.GID, err)
	}
	if err := syscall.Setuid(s.UID); err != nil {
		return fmt.Errorf("user %d: %w", s.UID, err)
	}
	if err := dieWithParent(report); err != nil { // a change of user has cleared it
		return err
	}
	return fmt.Errorf("exec %s: %w", path, syscall.Exec(path, s.Argv, s.Env))
}

// dieWithParent binds this process to lab-cri, whose end of report closes before the signal is sent.
func dieWithParent(report *os.File) error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("PR_SET_PDEATHSIG: %w", err)
	}
	end := []unix.PollFd{{Fd: int32(report.Fd())}}
	if _, err := unix.Poll(end, 0); err == nil && end[0].Revents&unix.POLLERR != 0 {
		return errors.New("lab-cri is gone already")
	}
	return nil
}

// confine limits this thread, and what it executes, as the security context says.
func confine(s *spec) error {
	if err := dropCapabilities(s.Capabilities); err != nil {
		return err
	}
	if s.NoNewPrivs {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("PR_SET_NO_NEW_PRIVS: %w", err)
		}
	}
	return nil
}

// lookPath finds a command through the container's own PATH.
func lookPath(s *spec, name string) (string, error) {
	os.Clearenv()
	for _, e := range s.Env {
		if value, ok := strings.CutPrefix(e, "PATH="); ok {
			os.Setenv("PATH", value)
		}
	}
	return exec.LookPath(name)
}
