package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// tree is a detached copy of mounts: made while the Node's mounts can be seen, attached to the
// container's root when they no longer can.
type tree struct {
	fd     int
	target string
}

// manner says how mounts are copied.
type manner struct {
	recursive     bool   // with all that is mounted below
	propagation   uint64 // MS_SLAVE or MS_PRIVATE; 0: in the peer groups of the original
	readonly      bool
	readonlyBelow bool
}

// clone copies what is mounted at source, for target.
func clone(source, target string, how manner) (*tree, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if how.recursive {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, source, flags)
	if err != nil {
		return nil, fmt.Errorf("mount %s at %s: open_tree: %w", source, target, err)
	}
	change := func(flags uint, attr unix.MountAttr) {
		if err == nil {
			err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|flags, &attr)
		}
	}
	if how.propagation != 0 {
		change(unix.AT_RECURSIVE, unix.MountAttr{Propagation: how.propagation})
	}
	if how.readonlyBelow {
		change(unix.AT_RECURSIVE, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	} else if how.readonly {
		change(0, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	}
	if err != nil {
		return nil, fmt.Errorf("mount %s at %s: mount_setattr: %w", source, target, err)
	}
	return &tree{fd, target}, nil
}

// attach makes the mount point if needed, a folder or a file like the source, and mounts.
func (t *tree) attach() error {
	var st unix.Stat_t
	if err := unix.Fstat(t.fd, &st); err != nil {
		return err
	}
	if err := makeMountPoint(t.target, st.Mode&unix.S_IFMT == unix.S_IFDIR); err != nil {
		return fmt.Errorf("mount point: %w", err)
	}
	flags := unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_SYMLINKS
	if err := unix.MoveMount(t.fd, "", unix.AT_FDCWD, t.target, flags); err != nil {
		return fmt.Errorf("mount at %s: move_mount: %w", t.target, err)
	}
	return unix.Close(t.fd)
}

func makeMountPoint(path string, folder bool) error {
	if folder {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return file.Close()
}

// cloneAsked copies a mount that the kubelet asked for, with the propagation asked for. A host path
// that is not there becomes a folder, as with the common runtimes.
func cloneAsked(m *runtimeapi.Mount) (*tree, error) {
	if m.Image != nil {
		return nil, fmt.Errorf("mount at %s: lab-cri has no image volumes", m.ContainerPath)
	}
	if _, err := os.Stat(m.HostPath); os.IsNotExist(err) {
		if err := os.MkdirAll(m.HostPath, 0o755); err != nil {
			return nil, err
		}
	}
	how := manner{recursive: true, propagation: unix.MS_PRIVATE, readonly: m.Readonly, readonlyBelow: m.RecursiveReadOnly}
	switch m.Propagation {
	case runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL:
		if err := needShared(m.HostPath); err != nil {
			return nil, err
		}
		how.propagation = 0
	case runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER:
		how.propagation = unix.MS_SLAVE
	}
	return clone(m.HostPath, m.ContainerPath, how)
}

// needShared fails unless path lies on a shared mount: what a container mounts there would stay unseen.
func needShared(path string) error {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_MNT_ID, &st); err != nil {
		return fmt.Errorf("%s: statx: %w", path, err)
	}
	entries, err := mountInfo()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.id == st.Mnt_id && !e.shared {
			return fmt.Errorf("%s: bidirectional propagation wanted, but its mount %s is not shared (mount --make-shared)", path, e.path)
		}
	}
	return nil
}

type mountEntry struct {
	id     uint64
	path   string
	shared bool
}

// mountInfo lists this process's mounts, parents first; proc_pid_mountinfo(5).
func mountInfo() ([]mountEntry, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var entries []mountEntry
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		id, err := strconv.ParseUint(fields[0], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("mountinfo: %q: %w", line, err)
		}
		optional, _, _ := strings.Cut(strings.Join(fields[6:], " "), "- ")
		entries = append(entries, mountEntry{id, unescape.Replace(fields[4]), strings.Contains(optional, "shared:")})
	}
	return entries, nil
}
