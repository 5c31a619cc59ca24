package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// The machine's folders that make up a container's system; those that are links stay links.
var systemFolders = []string{"bin", "etc", "lib", "lib32", "lib64", "libx32", "sbin", "usr"}

// enterRoot gives this process, alone in a new mount namespace, the container's root.
//
// The old root is unmounted at the end, so the namespace holds the mounts that were asked for and no
// others: a container pins no file system that the Node unmounts.
func enterRoot(s *spec) error {
	trees, err := cloneTrees(s)
	if err != nil {
		return err
	}
	devices, err := findDevices(s)
	if err != nil {
		return err
	}
	// From here on nothing that is mounted or unmounted at the inherited paths reaches the Node.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make / a slave: %w", err)
	}
	layers, err := makeRoot(s.Stage)
	if err != nil {
		return err
	}
	if err := pivot(filepath.Join(s.Stage, "root")); err != nil {
		return err
	}
	if err := mountKernelFolders(devices); err != nil {
		return err
	}
	for _, t := range trees {
		if err := t.attach(); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(s.Cwd, 0o755); err != nil {
		return err
	}
	if !s.ReadonlyRoot {
		return nil
	}
	for _, layer := range layers {
		if err := unix.MountSetattr(unix.AT_FDCWD, layer, 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
			return fmt.Errorf("read-only %s: %w", layer, err)
		}
	}
	return nil
}

// cloneTrees copies, in the order in which they are to be attached, the Node's /sys and what it has
// mounted over files of /proc, the image's folders and the mounts asked for.
func cloneTrees(s *spec) ([]*tree, error) {
	entries, err := mountInfo()
	if err != nil {
		return nil, err
	}
	var trees []*tree
	add := func(t *tree, failed error) {
		trees = append(trees, t)
		if err == nil {
			err = failed
		}
	}
	add(clone("/sys", "/sys", manner{recursive: true, propagation: unix.MS_SLAVE, readonlyBelow: !s.Privileged}))
	for _, e := range entries {
		if strings.HasPrefix(e.path, "/proc/") {
			add(clone(e.path, e.path, manner{propagation: unix.MS_PRIVATE}))
		}
	}
	for _, path := range s.Binds {
		add(clone(path, path, manner{recursive: true, propagation: unix.MS_SLAVE, readonlyBelow: true}))
	}
	for _, m := range s.Mounts {
		add(cloneAsked(m))
	}
	return trees, err
}

// makeRoot makes stage/root: a folder in memory, with the system's folders as overlays whose upper
// layers are in memory too. Returns the paths, in the container, of all that a read-only root covers.
func makeRoot(stage string) ([]string, error) {
	if err := unix.Mount("tmpfs", stage, "tmpfs", 0, "mode=0755"); err != nil {
		return nil, fmt.Errorf("tmpfs on %s: %w", stage, err)
	}
	root := filepath.Join(stage, "root")
	// /root can be passed through by all users: an image's folders may lie below it.
	for path, mode := range map[string]fs.FileMode{
		"dev": 0o755, "proc": 0o555, "root": 0o711, "run": 0o755, "sys": 0o555, "tmp": 0o777 | fs.ModeSticky,
		"var/cache": 0o755, "var/lib": 0o755, "var/log": 0o755, "var/tmp": 0o777 | fs.ModeSticky,
	} {
		if err := errors.Join(os.MkdirAll(filepath.Join(root, path), 0o755), os.Chmod(filepath.Join(root, path), mode)); err != nil {
			return nil, err
		}
	}
	if err := os.Symlink("/run", filepath.Join(root, "var/run")); err != nil {
		return nil, err
	}
	layers := []string{"/"}
	for _, name := range systemFolders {
		overlay, err := addSystemFolder(stage, name)
		if err != nil {
			return nil, fmt.Errorf("/%s: %w", name, err)
		}
		if overlay {
			layers = append(layers, "/"+name)
		}
	}
	return layers, nil
}

func addSystemFolder(stage, name string) (overlay bool, err error) {
	source, target := "/"+name, filepath.Join(stage, "root", name)
	info, err := os.Lstat(source)
	switch {
	case os.IsNotExist(err):
		return false, nil
	case err != nil:
		return false, err
	case info.Mode()&fs.ModeSymlink != 0:
		link, err := os.Readlink(source)
		if err != nil {
			return false, err
		}
		return false, os.Symlink(link, target)
	}
	upper, work := filepath.Join(stage, "upper", name), filepath.Join(stage, "work", name)
	if err := errors.Join(os.MkdirAll(upper, 0o755), os.MkdirAll(work, 0o755), os.Mkdir(target, 0o755)); err != nil {
		return false, err
	}
	return true, unix.Mount("overlay", target, "overlay", 0, "lowerdir="+source+",upperdir="+upper+",workdir="+work)
}

// pivot makes root "/" and lets go of everything else.
func pivot(root string) error {
	if err := unix.Mount(root, root, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s: %w", root, err)
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil { // the old root is now mounted over the new one
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the old root: %w", err)
	}
	return os.Chdir("/")
}
