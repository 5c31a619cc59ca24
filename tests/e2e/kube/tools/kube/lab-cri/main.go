// lab-cri is the container runtime of the lab: it speaks CRI v1 to a kubelet and starts containers
// as plain processes of this machine, each in PID, mount and UTS namespaces of its own.
//
// It pulls no image. A JSON file says what an image's base name means here:
//
//	{"images": {"busybox": {"entrypoint": [], "path": ["/opt/x/bin"], "binds": ["/opt/x"]}}}
//
// entrypoint is put before the container's args unless the pod names a command, path comes first in
// PATH, binds are folders or files of the machine that the container sees read-only at the same
// path. An image that is not listed cannot be pulled (ErrImagePull).
//
// A container's root holds the machine's own system folders (changes go to memory and end with the
// container), an own /dev, /proc and /tmp, and the mounts that the kubelet asked for, nothing else
// of the machine. All pods share lab-cri's network namespace: hostNetwork semantics, one IP.
//
// Containers die with lab-cri (PR_SET_PDEATHSIG), and what it knew of them with it: after a restart
// the kubelet starts its pods anew. There are no cgroups, no seccomp, no masked paths and no TTYs.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The re-executed forms change the namespaces and credentials of their one thread.
func init() { runtime.LockOSThread() }

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "container": // lab-cri container SPEC: PID 1 of a container, becomes its command
			containerMain(os.Args[2])
			return
		case "exec": // lab-cri exec SPEC COMMAND...: runs a command in the container behind fd 3
			execMain(os.Args[2], os.Args[3:])
			return
		}
	}
	serve()
}

func serve() {
	endpoint := flag.String("endpoint", "unix:///run/lab-cri.sock", "unix:// address to serve")
	images := flag.String("images", "", "JSON `file` that says what each image means here (read anew at each use)")
	root := flag.String("root", "/run/lab-cri", "`folder` for the state of lab-cri")
	ip := flag.String("ip", "", "IP `address` of the Node and of every pod")
	flag.Parse()
	if *images == "" || *ip == "" {
		log.Fatal("--images and --ip are needed")
	}
	s, err := newServer(*root, *images, *ip)
	if err != nil {
		log.Fatal(err)
	}
	sock := strings.TrimPrefix(*endpoint, "unix://")
	if err := os.MkdirAll(filepath.Dir(sock), 0o755); err != nil {
		log.Fatal(err)
	}
	os.Remove(sock)
	listener, err := net.Listen("unix", sock)
	if err != nil {
		log.Fatal(err)
	}
	g := grpc.NewServer()
	runtimeapi.RegisterRuntimeServiceServer(g, s)
	runtimeapi.RegisterImageServiceServer(g, s.images)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() { <-stop; g.Stop() }()
	log.Printf("lab-cri on %s, images of %s", *endpoint, *images)
	if err := g.Serve(listener); err != nil {
		log.Fatal(err)
	}
}

// fail ends a re-executed form with an error for the one who waits for it.
func fail(to *os.File, err error) {
	fmt.Fprint(to, err)
	os.Exit(127)
}
