package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

var errNoAttach = status.Error(codes.Unimplemented, "lab-cri has no attach: use kubectl logs")
var errNoPortForward = status.Error(codes.Unimplemented, "lab-cri has no port-forward: pods share the Node's network, connect to it")

// streams runs the commands of kubectl exec.
type streams struct{ *server }

// serveStreams starts the HTTP server to which the kubelet sends the streams of kubectl exec.
func (s *server) serveStreams() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	config := streaming.DefaultConfig
	config.BaseURL = &url.URL{Scheme: "http", Host: listener.Addr().String()}
	if s.streaming, err = streaming.NewServer(config, streams{s}); err != nil {
		return err
	}
	go http.Serve(listener, s.streaming)
	return nil
}

func (s *server) Exec(_ context.Context, r *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	if r.Tty {
		return nil, status.Error(codes.Unimplemented, "lab-cri has no TTYs: use kubectl exec without -t")
	}
	return s.streaming.GetExec(r)
}

func (s *server) Attach(context.Context, *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	return nil, errNoAttach
}

func (s *server) PortForward(context.Context, *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	return nil, errNoPortForward
}

func (s streams) Exec(ctx context.Context, containerID string, argv []string, in io.Reader, out, errOut io.WriteCloser,
	_ bool, _ <-chan remotecommand.TerminalSize) error {
	c, err := s.find(containerID)
	if err != nil {
		return err
	}
	cmd, err := s.execCommand(ctx, c, argv)
	if err != nil {
		return err
	}
	defer closeExtraFiles(cmd)
	if out != nil { // a nil of the interface is not a nil for exec
		cmd.Stdout = out
	}
	if errOut != nil {
		cmd.Stderr = errOut
	}
	if in != nil { // not cmd.Stdin: the end of the command would wait for the end of the input
		stdin, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		go func() {
			io.Copy(stdin, in)
			stdin.Close()
		}()
	}
	err = cmd.Run()
	if code := exitCode(err); code != 0 {
		return utilexec.CodeExitError{Err: errors.Join(err, fmt.Errorf("exit code %d", code)), Code: int(code)}
	}
	return nil
}

func (s streams) Attach(context.Context, string, io.Reader, io.WriteCloser, io.WriteCloser, bool, <-chan remotecommand.TerminalSize) error {
	return errNoAttach
}

func (s streams) PortForward(context.Context, string, int32, io.ReadWriteCloser) error {
	return errNoPortForward
}
