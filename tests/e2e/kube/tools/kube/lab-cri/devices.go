package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// device is a device node to be made in a container.
type device struct {
	path     string
	mode     uint32
	uid, gid int
	number   int
}

// findDevice looks up the node at source, to be made at path.
func findDevice(source, path string) (*device, error) {
	var st unix.Stat_t
	if err := unix.Stat(source, &st); err != nil {
		return nil, fmt.Errorf("device %s: %w", source, err)
	}
	if t := st.Mode & unix.S_IFMT; t != unix.S_IFBLK && t != unix.S_IFCHR {
		return nil, fmt.Errorf("device %s: neither a block nor a character device", source)
	}
	return &device{path, st.Mode, int(st.Uid), int(st.Gid), int(st.Rdev)}, nil
}

func (d *device) make() error {
	if err := os.MkdirAll(filepath.Dir(d.path), 0o755); err != nil {
		return err
	}
	if err := unix.Mknod(d.path, d.mode, d.number); err != nil {
		return fmt.Errorf("device %s: mknod: %w", d.path, err)
	}
	return errors.Join(os.Chmod(d.path, fs.FileMode(d.mode&0o777)), os.Chown(d.path, d.uid, d.gid))
}

// findDevices lists the nodes of a container's /dev: a few for all; every one that the Node has now
// for a privileged container, as with the common runtimes; and the raw block volumes.
func findDevices(s *spec) ([]*device, error) {
	var found []*device
	paths := []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"}
	if s.Privileged {
		var err error
		if paths, err = nodeDevices(); err != nil {
			return nil, err
		}
	}
	for _, path := range paths {
		d, err := findDevice(path, path)
		if errors.Is(err, fs.ErrNotExist) && s.Privileged {
			continue // gone in the meantime
		} else if err != nil {
			return nil, err
		}
		found = append(found, d)
	}
	for _, asked := range s.Devices {
		d, err := findDevice(asked.HostPath, asked.ContainerPath)
		if err != nil {
			return nil, err
		}
		found = append(found, d)
	}
	return found, nil
}

func nodeDevices() ([]string, error) {
	var paths []string
	err := filepath.WalkDir("/dev", func(path string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case e.IsDir() && (path == "/dev/pts" || path == "/dev/shm"): // the container has its own
			return fs.SkipDir
		case e.Type()&fs.ModeDevice != 0 && path != "/dev/ptmx":
			paths = append(paths, path)
		}
		return nil
	})
	return paths, err
}

// mountKernelFolders mounts the container's own /proc and /dev.
func mountKernelFolders(devices []*device) error {
	for _, m := range []struct {
		fstype, target, options string
		flags                   uintptr
	}{
		{"proc", "/proc", "", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{"tmpfs", "/dev", "mode=0755", unix.MS_NOSUID},
		{"devpts", "/dev/pts", "newinstance,ptmxmode=0666,mode=0620", unix.MS_NOSUID | unix.MS_NOEXEC},
		{"tmpfs", "/dev/shm", "mode=1777", unix.MS_NOSUID | unix.MS_NODEV},
	} {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.fstype, m.target, m.fstype, m.flags, m.options); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	for link, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
		"stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx"} {
		if err := os.Symlink(to, filepath.Join("/dev", link)); err != nil {
			return err
		}
	}
	for _, d := range devices {
		if err := d.make(); err != nil {
			return err
		}
	}
	return nil
}
