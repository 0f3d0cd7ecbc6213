package containers

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/importer/images/imagetest"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
)

const arch = "x86_64"

// program returns a static program that prints what the file /etc/message says, and how
// many arguments it has. With the argument "pause" it waits.
func program(t testing.TB) []byte {
	t.Helper()
	p, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var compiled = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "hello-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	const source = `package main

import (
	"os"
	"strconv"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "pause" {
		time.Sleep(time.Hour)
	}
	b, err := os.ReadFile("/etc/message")
	if err != nil {
		panic(err)
	}
	os.Stdout.WriteString("hello from the container: " + string(b) + " " + strconv.Itoa(len(os.Args)) + "\n")
}
`
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o644), os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module hello\n"), 0o644)); err != nil {
		return nil, err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", "hello", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	return os.ReadFile(filepath.Join(dir, "hello"))
})

// layerOf makes a layer of files by name.
func layerOf(t testing.TB, files ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range files {
		contents := h.Linkname
		if h.Typeflag == 0 {
			h.Typeflag, h.Linkname, h.Size = tar.TypeReg, "", int64(len(contents))
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		h.ModTime = time.Unix(stagetest.Epoch, 0)
		err := w.WriteHeader(&h)
		if h.Typeflag == tar.TypeReg {
			_, werr := io.WriteString(w, contents)
			err = errors.Join(err, werr)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// rooted returns a root with the programs, which do nothing.
func rooted(t testing.TB, c *stages.Cache, programs ...string) rootfs.Root {
	t.Helper()
	entries := []tree.Entry{stagetest.Link("bin", "usr/bin"), stagetest.Link("sbin", "usr/sbin"), stagetest.Dir("usr/sbin"), stagetest.Dir("etc")}
	for _, p := range programs {
		entries = append(entries, stagetest.Mode(stagetest.File(t, c.Store, p, "#!/bin/sh\n"), 0o755))
	}
	return rootfs.Root{Tree: stagetest.Save(t, c.Store, stagetest.Tree(t, entries...))}
}

// pull resolves sources and pulls them.
func pull(t testing.TB, c *stages.Cache, sources ...Source) []Image {
	t.Helper()
	var found []Image
	for _, s := range sources {
		i, err := pullOne(t, c, s, PullOptions{Downloads: c.Downloads()})
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, i)
	}
	return found
}

func pullOne(t testing.TB, c *stages.Cache, s Source, o PullOptions) (Image, error) {
	t.Helper()
	pinned, err := Resolve(t.Context(), s, false)
	if err != nil {
		return Image{}, err
	}
	i, _, err := stagetest.Run(t, c, func(ctx context.Context, run *stages.Run) (Image, error) {
		return Pull(ctx, run, s, pinned, o)
	})
	return i, err
}

// place runs the stage.
func place(t testing.TB, c *stages.Cache, root rootfs.Root, placed []Image) (*tree.Tree, error) {
	t.Helper()
	got, _, err := stagetest.Run(t, c, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
		return Run(ctx, run, root, placed, Options{Epoch: stagetest.Epoch})
	})
	if err != nil {
		return nil, err
	}
	return stagetest.Load(t, c.Store, got.Tree), nil
}

// extract writes what is below a path of the tree into dir. Root alone can.
func extract(t testing.TB, st *store.Store, value *tree.Tree, below, dir string) {
	t.Helper()
	links := map[uint32]string{}
	for _, e := range value.Subtree(below) {
		name := filepath.Join(dir, e.Path)
		err := os.MkdirAll(filepath.Dir(name), 0o755)
		first, linked := links[e.Link]
		switch {
		case e.Link != 0 && linked:
			if err := errors.Join(err, os.Link(first, name)); err != nil {
				t.Fatal(err)
			}
			continue
		case e.Type == tree.Directory:
			err = errors.Join(err, os.MkdirAll(name, 0o755))
		case e.Type == tree.Regular:
			err = errors.Join(err, os.WriteFile(name, []byte(stagetest.Contents(t, st, e)), 0o600))
		case e.Type == tree.Symlink:
			err = errors.Join(err, os.Symlink(e.Target, name))
		case e.Type == tree.CharDevice:
			err = errors.Join(err, unix.Mknod(name, unix.S_IFCHR|e.Mode, int(unix.Mkdev(e.Major, e.Minor))))
		default:
			t.Fatalf("%s is a %s", e.Path, e.Type)
		}
		links[e.Link] = name
		err = errors.Join(err, os.Lchown(name, int(e.UID), int(e.GID)))
		for _, x := range e.Xattrs {
			err = errors.Join(err, unix.Lsetxattr(name, x.Name, x.Value, 0))
		}
		if e.Type != tree.Symlink {
			err = errors.Join(err, os.Chmod(name, os.FileMode(e.Mode&0o777)))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// daemon is containerd over an extracted tree.
type daemon struct {
	testing.TB
	dir     string
	cmd     *exec.Cmd
	address string
	sandbox string // image of the CRI service's sandboxes; empty: its own
}

// log is what containerd has said. It goes to a file because the programs that containerd
// starts, which live longer, would keep a pipe open.
func (d *daemon) log() string {
	p, err := os.ReadFile(filepath.Join(d.dir, "log"))
	return fmt.Sprint(string(p), err)
}

func (d *daemon) start() {
	d.Helper()
	config := filepath.Join(d.dir, "config.toml")
	text := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\n[grpc]\naddress = %q\n[plugins.\"io.containerd.gc.v1.scheduler\"]\nstartup_delay = \"1ms\"\n", filepath.Join(d.dir, "var/lib/containerd"), filepath.Join(d.dir, "run"), d.address)
	if d.sandbox != "" {
		text += fmt.Sprintf("[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = %q\nrestrict_oom_score_adj = true\n", d.sandbox)
	}
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		d.Fatal(err)
	}
	log, err := os.Create(filepath.Join(d.dir, "log"))
	if err != nil {
		d.Fatal(err)
	}
	defer log.Close()
	d.cmd = exec.Command("containerd", "--config", config)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	if err := d.cmd.Start(); err != nil {
		d.Fatal(err)
	}
	for range 200 {
		if exec.Command("ctr", "--address", d.address, "version").Run() == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	d.stop()
	d.Fatalf("containerd does not start:\n%s", d.log())
}

func (d *daemon) stop() {
	d.Helper()
	d.cmd.Process.Signal(os.Interrupt) // it may have ended
	d.cmd.Wait()                       // it says how in its log
}

// ctr runs the client, which has to succeed.
func (d *daemon) ctr(args ...string) string {
	d.Helper()
	out, err := exec.Command("ctr", append([]string{"--address", d.address, "--namespace", "k8s.io"}, args...)...).CombinedOutput()
	if err != nil {
		d.Fatalf("ctr %s: %v\n%s\n%s", strings.Join(args, " "), err, out, d.log())
	}
	return string(out)
}

func TestContainerd(t *testing.T) {
	for _, program := range []string{"containerd", "ctr"} {
		imagetest.Need(t, program, "containerd")
	}
	hello := program(t) // before HOME is another one, and Go's cache with it
	imagetest.Policy(t, imagetest.Anything)
	c, s, l := stagetest.Cache(t), imagetest.Serve(t), imagetest.NewLayout(t)
	first := layerOf(t, tar.Header{Name: "hello", Linkname: string(hello)})
	greeting := layerOf(t, tar.Header{Name: "etc/", Typeflag: tar.TypeDir}, tar.Header{Name: "etc/message", Linkname: "good morning", Mode: 0o644})
	config := map[string]any{"Entrypoint": []string{"/hello", "a", "b"}}
	one := l.ImageOf("amd64", config, first, greeting)
	list := l.List(map[string]imagetest.Descriptor{"amd64": one, "arm64": l.Image("arm64", imagetest.Members(t, "arm"))})
	tagged := s.Push(t, l.Tag(list), "base/hello:1")
	two := l.ImageOf("amd64", config, first)
	s.Push(t, l.Tag(two), "base/plain:2")
	name := strings.TrimPrefix(tagged, "docker://")
	plain := s.Host + "/base/plain@" + two.Digest

	root := rooted(t, c, "usr/bin/containerd")
	placed := pull(t, c, Source{Reference: name, Arch: arch, Runtime: Containerd}, Source{Reference: plain, Arch: arch, Runtime: Containerd})
	placedTree, err := place(t, c, root, placed)
	if err != nil {
		t.Fatal(err)
	}
	// The layer that both have was asked for once: 2 layers, and 2 configurations when they
	// were pinned and when they were pulled.
	if n := s.Blobs.Load(); n != 6 {
		t.Errorf("%d blobs were asked for", n)
	}

	d := &daemon{TB: t, dir: t.TempDir()}
	d.address = filepath.Join(d.dir, "c.sock")
	extract(t, c.Store, placedTree, "var/lib/containerd", d.dir)
	s.Close() // no network
	d.start()
	defer func() { d.stop() }()
	listed := d.ctr("images", "ls")
	for _, want := range []string{name + " ", s.Host + "/base/hello@" + list.Digest + " ", plain + " ", "io.cri-containerd.image=managed"} {
		if !strings.Contains(listed, want) {
			t.Errorf("ctr images ls does not list %q:\n%s", want, listed)
		}
	}
	complete := func() {
		t.Helper()
		checked := d.ctr("images", "check")
		if strings.Count(checked, "complete (3/3)") != 3 || strings.Count(checked, "complete (2/2)") != 2 {
			t.Errorf("ctr images check:\n%s", checked)
		}
	}
	complete()
	// The CRI service, which the kubelet asks, knows them by all their names.
	cri, err := d.cri("ImageService/ListImages", nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, d.log())
	}
	for _, want := range []string{name, s.Host + "/base/hello@" + list.Digest, plain} {
		if !strings.Contains(cri, want) {
			t.Errorf("CRI does not list %q: %q", want, cri)
		}
	}
	// Run unpacks what is not unpacked yet.
	if out := d.ctr("run", "--rm", "--snapshotter", "native", "--runc-binary", "runc", name, "one"); !strings.Contains(out, "good morning 3") {
		t.Errorf("%q", out)
	}
	if os.Getenv("IMAGEFACTORY_TEST") != "full" {
		return
	}
	// Garbage is collected when containerd starts and when something is removed: what
	// only that image had goes, and nothing else.
	d.stop()
	d.start()
	complete()
	d.ctr("images", "rm", "--sync", plain, placed[1].Config.Digest.String())
	d.stop()
	d.start()
	if checked := d.ctr("images", "check"); strings.Count(checked, "complete (3/3)") != 3 || strings.Contains(checked, "2/2") {
		t.Errorf("after a collection:\n%s", checked)
	}
	if there := d.ctr("content", "ls", "-q"); strings.Contains(there, two.Digest) || strings.Count(there, "sha256:") != 5 {
		t.Errorf("after a collection there are\n%s", there)
	}
}

// cri calls a method of the CRI services of containerd. Messages are those of Protocol
// Buffers; without their descriptions, names in an answer are themselves.
func (d *daemon) cri(method string, message []byte) (string, error) {
	d.Helper()
	client := http.Client{Transport: &http2.Transport{
		AllowHTTP: true,
		DialTLSContext: func(ctx context.Context, _, _ string, _ *tls.Config) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", d.address)
		},
	}}
	defer client.CloseIdleConnections()
	framed := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
	for try := 0; ; try++ {
		request, err := http.NewRequestWithContext(d.Context(), http.MethodPost, "http://containerd/runtime.v1."+method, bytes.NewReader(framed))
		if err != nil {
			d.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/grpc")
		request.Header.Set("TE", "trailers")
		answer, err := client.Do(request)
		if err != nil {
			return "", err
		}
		p, err := io.ReadAll(answer.Body)
		answer.Body.Close() // it was read
		status, text := answer.Trailer.Get("Grpc-Status"), answer.Trailer.Get("Grpc-Message")
		if status == "" {
			status, text = answer.Header.Get("Grpc-Status"), answer.Header.Get("Grpc-Message")
		}
		switch {
		case err == nil && status == "0" && len(p) >= 5:
			return string(p[5:]), nil
		case try < 100 && (strings.Contains(text, "not initialized") || status == "12"): // the service starts after containerd itself
			time.Sleep(50 * time.Millisecond)
		default:
			return "", fmt.Errorf("%s: status %s, %s, %v", method, status, text, err)
		}
	}
}

// text and message are fields of a message: strings, and messages in it.
func text(field int, value string) []byte { return message(field, []byte(value)) }

func message(field int, parts ...[]byte) []byte {
	value := bytes.Join(parts, nil)
	p := binary.AppendUvarint(nil, uint64(field<<3|2))
	return append(binary.AppendUvarint(p, uint64(len(value))), value...)
}

// TestCRI runs a pod as the kubelet does, of images that are not unpacked yet: the
// sandbox's own and a container's.
func TestCRI(t *testing.T) {
	imagetest.Need(t, "containerd", "containerd")
	imagetest.Need(t, "runc", "runc")
	hello := program(t) // before HOME is another one, and Go's cache with it
	imagetest.Policy(t, imagetest.Anything)
	c, l := stagetest.Cache(t), imagetest.NewLayout(t)
	layer := layerOf(t, tar.Header{Name: "hello", Linkname: string(hello)})
	greeting := layerOf(t, tar.Header{Name: "etc/", Typeflag: tar.TypeDir}, tar.Header{Name: "etc/message", Linkname: "good morning", Mode: 0o644})
	pause := pull(t, c, Source{Reference: l.Tag(l.ImageOf("amd64", map[string]any{"Entrypoint": []string{"/hello", "pause"}}, layer)), Name: "registry.example.com/pause:1", Arch: arch, Runtime: Containerd})
	image := pull(t, c, Source{Reference: l.Tag(l.ImageOf("amd64", map[string]any{"Entrypoint": []string{"/hello"}}, layer, greeting)), Name: "registry.example.com/hello:1", Arch: arch, Runtime: Containerd})
	placed, err := place(t, c, rooted(t, c, "usr/bin/containerd"), append(pause, image...))
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{TB: t, dir: t.TempDir(), sandbox: "registry.example.com/pause:1"}
	d.address = filepath.Join(d.dir, "c.sock")
	extract(t, c.Store, placed, "var/lib/containerd", d.dir)
	d.start()
	defer func() { d.stop() }()
	call := func(method string, fields ...[]byte) string {
		t.Helper()
		got, err := d.cri(method, bytes.Join(fields, nil))
		if err != nil {
			t.Fatalf("%v\n%s", err, d.log())
		}
		return got
	}
	// The namespaces of network, processes and IPC are the host's: there is no CNI.
	const node = "\x08\x02\x10\x02\x18\x02"
	pod := [][]byte{message(1, text(1, "pod"), text(2, "uid"), text(3, "default")), text(3, filepath.Join(d.dir, "logs")), message(8, message(2, text(1, node)))}
	id := call("RuntimeService/RunPodSandbox", message(1, pod...))
	id = id[2:] // after the field's head
	defer func() {
		call("RuntimeService/StopPodSandbox", text(1, id))
		call("RuntimeService/RemovePodSandbox", text(1, id))
	}()
	container := call("RuntimeService/CreateContainer", text(1, id), message(2, message(1, text(1, "hello")), message(2, text(1, image[0].digested())), text(4, "one"), text(11, "hello.log"), message(15, message(2, message(3, []byte(node))))), message(3, pod...))[2:]
	call("RuntimeService/StartContainer", text(1, container))
	var log []byte
	for range 100 {
		if log, err = os.ReadFile(filepath.Join(d.dir, "logs/hello.log")); len(log) > 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if !strings.Contains(string(log), "good morning 2") {
		t.Errorf("%q, %v", log, err)
	}
}
