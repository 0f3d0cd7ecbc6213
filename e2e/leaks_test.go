package e2e

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/imagefactory/imagefactory/inspect"
)

// checkLeaks searches every file of an image, names and contents, for what
// only the build host knows.
func checkLeaks(t *testing.T, b *builder, path string) {
	secrets := map[string]string{"the build user": b.Name, "the build user's home": b.Home, "the cache": b.cache}
	if name, err := os.Hostname(); err != nil {
		t.Fatal(err)
	} else if len(name) >= 6 { // a shorter one may be a word
		secrets["the host name"] = name
	}
	image, err := inspect.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	searched := 0
	for _, root := range []string{"/", "ESP:/"} {
		top, err := image.File(root)
		if err != nil {
			t.Fatal(err)
		}
		err = top.Walk(func(f *inspect.File) error {
			text := []byte(f.Path + "\n" + f.Target + "\n")
			if f.IsRegular() {
				r, err := f.Open()
				if err != nil {
					return err
				}
				contents, err := io.ReadAll(r)
				if err != nil {
					return err
				}
				if strings.HasPrefix(f.Path, "/boot/initrd.img-") || strings.HasPrefix(f.Path, "/boot/initramfs-") {
					contents = append(contents, unpackInitramfs(t, contents)...)
				}
				text = append(text, contents...)
			}
			for what, secret := range secrets {
				if bytes.Contains(text, []byte(secret)) {
					t.Errorf("%s holds %s (%s)", f.Path, what, secret)
				}
			}
			searched++
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if searched < 1000 {
		t.Errorf("only %d files were searched", searched)
	}
	for _, gone := range []string{"/etc/resolv.conf.bak", "/etc/ssh/ssh_host_ed25519_key", "/var/log/dpkg.log", "/var/lib/rpm/.rpm.lock", "/var/lib/dbus/machine-id", "/.imagefactory", "/run/imagefactory"} {
		if _, err := image.File(gone); err == nil {
			t.Errorf("%s belongs to the build, not to the image", gone)
		}
	}
	id, err := image.File("/etc/machine-id")
	if err != nil {
		t.Fatal(err)
	}
	if id.Size != 0 {
		t.Errorf("/etc/machine-id has %d bytes", id.Size)
	}
}

// unpackInitramfs returns the compressed part of an initramfs.
func unpackInitramfs(t *testing.T, data []byte) []byte {
	t.Helper()
	start := bytes.Index(data, []byte{0x28, 0xb5, 0x2f, 0xfd}) // RFC 8878, 3.1.1
	if start < 0 {
		t.Error("the initramfs is not compressed with zstd")
		return nil
	}
	r, err := zstd.NewReader(bytes.NewReader(data[start:]))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	return text
}
