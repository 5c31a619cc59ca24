package main

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// sandbox is a pod's record; no process stands for it.
type sandbox struct {
	id      string
	config  *runtimeapi.PodSandboxConfig
	created time.Time
	state   runtimeapi.PodSandboxState
}

func (b *sandbox) namespaces() *runtimeapi.NamespaceOption {
	return b.config.GetLinux().GetSecurityContext().GetNamespaceOptions()
}

func (s *server) findSandbox(id string) (*sandbox, error) {
	if b := s.sandboxes[id]; b != nil {
		return b, nil
	}
	return nil, status.Errorf(codes.NotFound, "sandbox %s: not found", id)
}

func (s *server) RunPodSandbox(_ context.Context, r *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error) {
	b := &sandbox{id: newID(), config: r.Config, created: time.Now()}
	if b.namespaces().GetPid() != runtimeapi.NamespaceMode_CONTAINER {
		return nil, status.Errorf(codes.Unimplemented, "pod %s/%s wants hostPID or shareProcessNamespace: here a container has a PID namespace of its own",
			r.GetConfig().GetMetadata().GetNamespace(), r.GetConfig().GetMetadata().GetName())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sandboxes[b.id] = b
	return &runtimeapi.RunPodSandboxResponse{PodSandboxId: b.id}, nil
}

// StopPodSandbox kills what still runs in the pod: the kubelet has given it its grace before.
func (s *server) StopPodSandbox(ctx context.Context, r *runtimeapi.StopPodSandboxRequest) (*runtimeapi.StopPodSandboxResponse, error) {
	for _, c := range s.inSandbox(r.PodSandboxId) {
		if err := s.stop(ctx, c, 0); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.sandboxes[r.PodSandboxId]; b != nil {
		b.state = runtimeapi.PodSandboxState_SANDBOX_NOTREADY
	}
	return &runtimeapi.StopPodSandboxResponse{}, nil
}

func (s *server) RemovePodSandbox(ctx context.Context, r *runtimeapi.RemovePodSandboxRequest) (*runtimeapi.RemovePodSandboxResponse, error) {
	for _, c := range s.inSandbox(r.PodSandboxId) {
		if err := s.remove(ctx, c); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sandboxes, r.PodSandboxId)
	return &runtimeapi.RemovePodSandboxResponse{}, nil
}

func (s *server) inSandbox(id string) []*container {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*container
	for _, c := range s.containers {
		if c.sandbox.id == id {
			found = append(found, c)
		}
	}
	return found
}

func (s *server) PodSandboxStatus(_ context.Context, r *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, err := s.findSandbox(r.PodSandboxId)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.PodSandboxStatusResponse{Status: &runtimeapi.PodSandboxStatus{
		Id: b.id, Metadata: b.config.Metadata, State: b.state, CreatedAt: b.created.UnixNano(),
		Network: &runtimeapi.PodSandboxNetworkStatus{Ip: s.ip},
		Linux:   &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{Options: b.namespaces()}},
		Labels:  b.config.Labels, Annotations: b.config.Annotations,
	}}, nil
}

func (s *server) ListPodSandbox(_ context.Context, r *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, resp := r.GetFilter(), &runtimeapi.ListPodSandboxResponse{}
	for _, b := range s.sandboxes {
		if !strings.HasPrefix(b.id, f.GetId()) || f.GetState() != nil && f.State.State != b.state || !matches(b.config.Labels, f.GetLabelSelector()) {
			continue
		}
		resp.Items = append(resp.Items, &runtimeapi.PodSandbox{Id: b.id, Metadata: b.config.Metadata, State: b.state,
			CreatedAt: b.created.UnixNano(), Labels: b.config.Labels, Annotations: b.config.Annotations})
	}
	return resp, nil
}
