package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ExecSync runs a command in a container: exec probes and lifecycle hooks.
func (s *server) ExecSync(ctx context.Context, r *runtimeapi.ExecSyncRequest) (*runtimeapi.ExecSyncResponse, error) {
	c, err := s.find(r.ContainerId)
	if err != nil {
		return nil, err
	}
	if r.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(r.Timeout)*time.Second)
		defer cancel()
	}
	cmd, err := s.execCommand(ctx, c, r.Cmd)
	if err != nil {
		return nil, err
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	closeExtraFiles(cmd)
	if ctx.Err() != nil {
		return nil, status.Errorf(codes.DeadlineExceeded, "exec %q: not done after %d s: killed", r.Cmd, r.Timeout)
	}
	return &runtimeapi.ExecSyncResponse{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), ExitCode: exitCode(err)}, nil
}

// execCommand is the re-executed form that enters the container; cancelling ctx kills it and its
// children. The caller closes its extra files.
func (s *server) execCommand(ctx context.Context, c *container, argv []string) (*exec.Cmd, error) {
	s.mu.Lock()
	running := c.state == runtimeapi.ContainerState_CONTAINER_RUNNING
	s.mu.Unlock()
	pidfd, err := -1, error(nil)
	if running {
		err = c.process.cmd.Process.WithHandle(func(handle uintptr) {
			pidfd, _ = unix.FcntlInt(handle, unix.F_DUPFD_CLOEXEC, 0)
		})
	}
	if err != nil || pidfd < 0 {
		return nil, status.Errorf(codes.FailedPrecondition, "container %s: not running", c.id)
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", append([]string{"exec", specFile(s.dir(c))}, argv...)...)
	cmd.Env = []string{}
	cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(pidfd), "pidfd")} // fd 3
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	return cmd, nil
}

func closeExtraFiles(cmd *exec.Cmd) {
	for _, f := range cmd.ExtraFiles {
		f.Close()
	}
}

// execMain runs a command in the container whose pidfd is fd 3, as the container's user, and ends
// with its exit code.
func execMain(specFile string, argv []string) {
	s, err := readSpec(specFile)
	if err == nil {
		err = enter(3)
	}
	if err == nil {
		err = run(s, argv)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fail(os.Stderr, err)
	}
	os.Exit(int(exitCode(err)))
}

// enter moves this thread into the namespaces of a container; for PIDs, the children of the thread.
func enter(pidfd int) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // setns(2): no mount namespace for threads that share a root
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Setns(pidfd, unix.CLONE_NEWNS|unix.CLONE_NEWPID|unix.CLONE_NEWUTS); err != nil {
		return fmt.Errorf("setns: %w", err)
	}
	unix.CloseOnExec(pidfd)
	return nil
}

func run(s *spec, argv []string) error {
	path, err := lookPath(s, argv[0])
	if err != nil {
		return err
	}
	if err := confine(s); err != nil {
		return err
	}
	groups := make([]uint32, len(s.Groups))
	for i, group := range s.Groups {
		groups[i] = uint32(group)
	}
	cmd := &exec.Cmd{Path: path, Args: argv, Env: s.Env, Dir: s.Cwd, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		SysProcAttr: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(s.UID), Gid: uint32(s.GID), Groups: groups}}}
	return cmd.Run()
}
