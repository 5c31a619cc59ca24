package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// image is what one image base name means here.
type image struct {
	Entrypoint []string `json:"entrypoint"`
	Path       []string `json:"path"`
	Binds      []string `json:"binds"`
}

// imageService serves the images of a file as if they had been pulled already. An image's id is the
// reference it was asked for with, so the kubelet sees a new image when a tag changes.
type imageService struct {
	runtimeapi.UnimplementedImageServiceServer
	file, root string

	mu   sync.Mutex
	seen map[string]bool // references that were asked for and exist
}

// baseName is "csi-provisioner" of "registry.example/sig-storage/csi-provisioner:v6@sha256:...".
func baseName(ref string) string {
	ref, _, _ = strings.Cut(ref, "@")
	name, _, _ := strings.Cut(path.Base(ref), ":")
	return name
}

func (s *imageService) find(ref string) (*image, error) {
	data, err := os.ReadFile(s.file)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "images file: %v", err)
	}
	var doc struct {
		Images map[string]*image `json:"images"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, status.Errorf(codes.Internal, "images file %s: %v", s.file, err)
	}
	found := doc.Images[baseName(ref)]
	if found == nil {
		return nil, status.Errorf(codes.NotFound, "image %q: the lab pulls nothing and %s has no image %q",
			ref, s.file, baseName(ref))
	}
	s.mu.Lock()
	s.seen[ref] = true
	s.mu.Unlock()
	return found, nil
}

func wireImage(ref string) *runtimeapi.Image {
	return &runtimeapi.Image{Id: ref, RepoTags: []string{ref}, Size: 1, Uid: &runtimeapi.Int64Value{},
		Spec: &runtimeapi.ImageSpec{Image: ref}}
}

func (s *imageService) ListImages(context.Context, *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	resp := &runtimeapi.ListImagesResponse{}
	for ref := range s.seen {
		resp.Images = append(resp.Images, wireImage(ref))
	}
	slices.SortFunc(resp.Images, func(a, b *runtimeapi.Image) int { return strings.Compare(a.Id, b.Id) })
	return resp, nil
}

// ImageStatus answers without an image for one that is not there: then the kubelet pulls.
func (s *imageService) ImageStatus(_ context.Context, r *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	ref := r.GetImage().GetImage()
	if _, err := s.find(ref); err != nil {
		if status.Code(err) == codes.NotFound {
			return &runtimeapi.ImageStatusResponse{}, nil
		}
		return nil, err
	}
	return &runtimeapi.ImageStatusResponse{Image: wireImage(ref)}, nil
}

func (s *imageService) PullImage(_ context.Context, r *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	ref := r.GetImage().GetImage()
	if _, err := s.find(ref); err != nil {
		return nil, err
	}
	return &runtimeapi.PullImageResponse{ImageRef: ref}, nil
}

func (s *imageService) RemoveImage(_ context.Context, r *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.seen, r.GetImage().GetImage())
	return &runtimeapi.RemoveImageResponse{}, nil
}

func (s *imageService) ImageFsInfo(context.Context, *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	usage := []*runtimeapi.FilesystemUsage{{
		Timestamp: time.Now().UnixNano(), FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: s.root},
		UsedBytes: &runtimeapi.UInt64Value{}, InodesUsed: &runtimeapi.UInt64Value{}}}
	return &runtimeapi.ImageFsInfoResponse{ImageFilesystems: usage, ContainerFilesystems: usage}, nil
}

// argv is the command of a container: as in an image, a command of the pod replaces the entrypoint.
func (i *image) argv(c *runtimeapi.ContainerConfig) ([]string, error) {
	command := c.Command
	if len(command) == 0 {
		command = i.Entrypoint
	}
	argv := append(slices.Clone(command), c.Args...)
	if len(argv) == 0 {
		return nil, fmt.Errorf("image %q has no entrypoint and container %q names no command",
			c.GetImage().GetImage(), c.GetMetadata().GetName())
	}
	return argv, nil
}
