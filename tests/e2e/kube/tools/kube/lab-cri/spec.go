package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// spec is all that the re-executed forms need to know of a container: a file in its state folder.
type spec struct {
	Stage    string // empty folder on which the root is put together
	Hostname string
	Argv     []string
	Env      []string
	Cwd      string

	UID, GID     int
	Groups       []int
	Capabilities uint64 // bounding set, one bit each
	Privileged   bool
	ReadonlyRoot bool
	NoNewPrivs   bool

	Binds   []string
	Mounts  []*runtimeapi.Mount
	Devices []*runtimeapi.Device
}

func newSpec(pod *runtimeapi.PodSandboxConfig, c *runtimeapi.ContainerConfig, img *image) (*spec, error) {
	sc := c.GetLinux().GetSecurityContext()
	if sc.GetRunAsUsername() != "" {
		return nil, fmt.Errorf("container %q: user %q: name users by number here", c.GetMetadata().GetName(), sc.RunAsUsername)
	}
	argv, err := img.argv(c)
	if err != nil {
		return nil, err
	}
	s := &spec{
		Hostname: pod.GetHostname(), Argv: argv, Cwd: c.WorkingDir,
		UID: int(sc.GetRunAsUser().GetValue()), GID: int(sc.GetRunAsGroup().GetValue()),
		Privileged: sc.GetPrivileged(), ReadonlyRoot: sc.GetReadonlyRootfs(), NoNewPrivs: sc.GetNoNewPrivs(),
		Binds: img.Binds, Mounts: slices.Clone(c.Mounts), Devices: c.Devices,
	}
	for _, group := range sc.GetSupplementalGroups() {
		s.Groups = append(s.Groups, int(group))
	}
	if s.Capabilities, err = boundingSet(sc); err != nil {
		return nil, err
	}
	if s.Cwd == "" {
		s.Cwd = "/"
	}
	// parents before what is mounted inside them
	slices.SortStableFunc(s.Mounts, func(a, b *runtimeapi.Mount) int {
		return strings.Count(filepath.Clean(a.ContainerPath), "/") - strings.Count(filepath.Clean(b.ContainerPath), "/")
	})
	s.Env = environment(s, c.Envs, img)
	return s, nil
}

// environment is the image's, then the pod's: of a name given twice, the last value counts.
func environment(s *spec, pod []*runtimeapi.KeyValue, img *image) []string {
	home := "/"
	if s.UID == 0 {
		home = "/root"
	}
	values := map[string]string{
		"PATH": strings.Join(append(slices.Clone(img.Path), systemPath), ":"), "HOME": home, "HOSTNAME": s.Hostname}
	for _, e := range pod {
		values[e.Key] = string(e.Value)
	}
	var env []string
	for k, v := range values {
		env = append(env, k+"="+v)
	}
	slices.Sort(env)
	return env
}

func specFile(dir string) string { return filepath.Join(dir, "spec.json") }

// write puts the spec into a new folder; only root may read it, since the environment may hold secrets.
func (s *spec) write(dir string) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(specFile(dir), data, 0o600)
}

func readSpec(file string) (*spec, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	s := &spec{}
	return s, json.Unmarshal(data, s)
}

func (s *spec) wireUser() *runtimeapi.ContainerUser {
	user := &runtimeapi.LinuxContainerUser{Uid: int64(s.UID), Gid: int64(s.GID)}
	for _, group := range s.Groups {
		user.SupplementalGroups = append(user.SupplementalGroups, int64(group))
	}
	return &runtimeapi.ContainerUser{Linux: user}
}

// Capabilities in the order of their numbers, linux/capability.h.
var capabilities = strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP
	LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
	SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE
	AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`)

// What a container of the common runtimes has when it asks for nothing.
var defaultCapabilities = strings.Fields(`CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP
	NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE`)

func boundingSet(sc *runtimeapi.LinuxContainerSecurityContext) (uint64, error) {
	all := uint64(1)<<len(capabilities) - 1
	if sc.GetPrivileged() {
		return all, nil
	}
	set := uint64(0)
	change := func(names []string, keep bool) error {
		for _, name := range names {
			mask := all
			if name = strings.TrimPrefix(strings.ToUpper(name), "CAP_"); name != "ALL" {
				number := slices.Index(capabilities, name)
				if number < 0 {
					return fmt.Errorf("unknown capability %q", name)
				}
				mask = 1 << number
			}
			if keep {
				set |= mask
			} else {
				set &^= mask
			}
		}
		return nil
	}
	add, drop := sc.GetCapabilities().GetAddCapabilities(), sc.GetCapabilities().GetDropCapabilities()
	dropAll := slices.ContainsFunc(drop, func(n string) bool { return strings.EqualFold(n, "ALL") })
	if !dropAll {
		if err := change(defaultCapabilities, true); err != nil {
			return 0, err
		}
	}
	if err := change(add, true); err != nil {
		return 0, err
	}
	if dropAll { // what is added comes back after "drop all"
		return set, nil
	}
	return set, change(drop, false)
}

// dropCapabilities takes from this thread's bounding set, and so from what it executes, all but set.
func dropCapabilities(set uint64) error {
	for number, name := range capabilities {
		if set&(1<<number) != 0 {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(number), 0, 0, 0); err != nil && err != unix.EINVAL { // EINVAL: newer than the kernel
			return fmt.Errorf("drop capability %s: %w", name, err)
		}
	}
	return nil
}
