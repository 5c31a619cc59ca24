package main

import (
	"context"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// container is one container of a sandbox, listed until it is removed.
type container struct {
	id      string
	sandbox *sandbox
	config  *runtimeapi.ContainerConfig
	spec    *spec
	log     *logFile

	starting sync.Mutex // held while the process starts: nobody stops or removes it half-way
	process  *process   // nil until then

	state                      runtimeapi.ContainerState
	created, started, finished time.Time
	exitCode                   int32
	reason, message            string
}

func (s *server) dir(c *container) string { return filepath.Join(s.root, "containers", c.id) }

func (s *server) find(id string) (*container, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.containers[id]; c != nil {
		return c, nil
	}
	return nil, status.Errorf(codes.NotFound, "container %s: not found", id)
}

func (s *server) CreateContainer(_ context.Context, r *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error) {
	img, err := s.images.find(r.GetConfig().GetImage().GetImage())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.findSandbox(r.PodSandboxId)
	if err != nil {
		return nil, err
	}
	if b.config.GetLogDirectory() == "" || r.Config.GetLogPath() == "" { // of a container without one, the kubelet removes the wrong files
		return nil, status.Errorf(codes.InvalidArgument, "container %q has no log path", r.Config.GetMetadata().GetName())
	}
	c := &container{id: newID(), sandbox: b, config: r.Config, created: time.Now()}
	c.log = &logFile{path: filepath.Join(b.config.LogDirectory, r.Config.LogPath)}
	if c.spec, err = newSpec(b.config, r.Config, img); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	c.spec.Stage = filepath.Join(s.root, "stage")
	if err := c.spec.write(s.dir(c)); err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	s.containers[c.id] = c
	return &runtimeapi.CreateContainerResponse{ContainerId: c.id}, nil
}

func (s *server) StartContainer(_ context.Context, r *runtimeapi.StartContainerRequest) (*runtimeapi.StartContainerResponse, error) {
	c, err := s.find(r.ContainerId)
	if err != nil {
		return nil, err
	}
	c.starting.Lock()
	defer c.starting.Unlock()
	if c.state != runtimeapi.ContainerState_CONTAINER_CREATED { // only a start, and after it watch, changes it
		return nil, status.Errorf(codes.FailedPrecondition, "container %s: already started", c.id)
	}
	started := time.Now()
	p, err := startProcess(specFile(s.dir(c)), c.log)
	s.mu.Lock()
	defer s.mu.Unlock()
	c.started = started
	if err != nil {
		c.state, c.finished, c.exitCode = runtimeapi.ContainerState_CONTAINER_EXITED, time.Now(), 128
		c.reason, c.message = "StartError", err.Error()
		return nil, status.Errorf(codes.Unknown, "container %s: %v", c.config.GetMetadata().GetName(), err)
	}
	c.process, c.state = p, runtimeapi.ContainerState_CONTAINER_RUNNING
	go s.watch(c)
	return &runtimeapi.StartContainerResponse{}, nil
}

// watch writes down the end of a running container.
func (s *server) watch(c *container) {
	<-c.process.done
	s.mu.Lock()
	defer s.mu.Unlock()
	c.state, c.finished, c.exitCode = runtimeapi.ContainerState_CONTAINER_EXITED, time.Now(), c.process.exitCode
	c.reason = "Completed"
	if c.exitCode != 0 {
		c.reason = "Error"
	}
}

// stop ends a container: its stop signal, grace, then SIGKILL to all its processes.
func (s *server) stop(ctx context.Context, c *container, grace time.Duration) error {
	c.starting.Lock()
	p := c.process
	c.starting.Unlock()
	if p == nil {
		return nil
	}
	if grace > 0 {
		p.signal(c.stopSignal())
		select {
		case <-p.done:
			return nil
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-time.After(grace):
		}
	}
	p.signal(syscall.SIGKILL)
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return status.Errorf(codes.DeadlineExceeded, "container %s: killed, but not gone yet", c.id)
	}
}

// stopSignal is SIGTERM unless the pod names another one.
func (c *container) stopSignal() syscall.Signal {
	if sig := unix.SignalNum(strings.TrimPrefix(c.config.StopSignal.String(), "SIGNAL_")); sig != 0 {
		return sig
	}
	return syscall.SIGTERM
}

func (s *server) StopContainer(ctx context.Context, r *runtimeapi.StopContainerRequest) (*runtimeapi.StopContainerResponse, error) {
	c, err := s.find(r.ContainerId)
	if err != nil {
		return &runtimeapi.StopContainerResponse{}, nil // stopping what is gone succeeds
	}
	return &runtimeapi.StopContainerResponse{}, s.stop(ctx, c, time.Duration(r.Timeout)*time.Second)
}

func (s *server) remove(ctx context.Context, c *container) error {
	if err := s.stop(ctx, c, 0); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.containers, c.id)
	if err := os.RemoveAll(s.dir(c)); err != nil {
		log.Printf("container %s: %v", c.id, err)
	}
	return nil
}

func (s *server) RemoveContainer(ctx context.Context, r *runtimeapi.RemoveContainerRequest) (*runtimeapi.RemoveContainerResponse, error) {
	c, err := s.find(r.ContainerId)
	if err != nil {
		return &runtimeapi.RemoveContainerResponse{}, nil
	}
	return &runtimeapi.RemoveContainerResponse{}, s.remove(ctx, c)
}

func (s *server) ListContainers(_ context.Context, r *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, resp := r.GetFilter(), &runtimeapi.ListContainersResponse{}
	for _, c := range s.containers {
		if !strings.HasPrefix(c.id, f.GetId()) || !strings.HasPrefix(c.sandbox.id, f.GetPodSandboxId()) ||
			f.GetState() != nil && f.State.State != c.state || !matches(c.config.Labels, f.GetLabelSelector()) {
			continue
		}
		resp.Containers = append(resp.Containers, &runtimeapi.Container{
			Id: c.id, PodSandboxId: c.sandbox.id, Metadata: c.config.Metadata, Image: c.config.Image,
			ImageRef: c.config.Image.GetImage(), ImageId: c.config.Image.GetImage(), State: c.state,
			CreatedAt: c.created.UnixNano(), Labels: c.config.Labels, Annotations: c.config.Annotations})
	}
	return resp, nil
}

func (s *server) ContainerStatus(_ context.Context, r *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	c, err := s.find(r.ContainerId)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st := &runtimeapi.ContainerStatus{
		Id: c.id, Metadata: c.config.Metadata, State: c.state, CreatedAt: c.created.UnixNano(), ExitCode: c.exitCode,
		Image: c.config.Image, ImageRef: c.config.Image.GetImage(), ImageId: c.config.Image.GetImage(),
		Reason: c.reason, Message: c.message, Labels: c.config.Labels, Annotations: c.config.Annotations,
		Mounts: slices.Clone(c.config.Mounts), LogPath: c.log.path, User: c.spec.wireUser(), StopSignal: c.config.StopSignal,
	}
	if c.state != runtimeapi.ContainerState_CONTAINER_CREATED {
		st.StartedAt = c.started.UnixNano()
	}
	if c.state == runtimeapi.ContainerState_CONTAINER_EXITED {
		st.FinishedAt = c.finished.UnixNano()
	}
	return &runtimeapi.ContainerStatusResponse{Status: st}, nil
}

func (s *server) ReopenContainerLog(_ context.Context, r *runtimeapi.ReopenContainerLogRequest) (*runtimeapi.ReopenContainerLogResponse, error) {
	c, err := s.find(r.ContainerId)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ReopenContainerLogResponse{}, c.log.open()
}
