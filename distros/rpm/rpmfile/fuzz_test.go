package rpmfile

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/imagefactory/imagefactory/distros/openpgp"
	"github.com/imagefactory/imagefactory/stages/tree"
)

func FuzzCpio(f *testing.F) {
	for _, p := range []testPackage{{files: manyFiles()}, {files: manyFiles(), crc: true}, {files: manyFiles(), stripped: true}} {
		f.Add(p.cpio())
	}
	sizes := manyFiles()
	f.Fuzz(func(t *testing.T, p []byte) {
		in := &cpioReader{r: bytes.NewReader(p), files: len(sizes)}
		for range 1000 {
			e, err := in.Next()
			if err != nil {
				return
			}
			if e.Index >= 0 {
				in.Expect(int64(len(sizes[e.Index].contents)))
			}
			n, err := io.Copy(io.Discard, in)
			if n > int64(len(p)) || err == nil && n != e.Size {
				t.Fatalf("%d bytes of %d are read from %d", n, e.Size, len(p))
			}
			if err != nil {
				return
			}
		}
	})
}

// Whatever a package file says, verifying fails unless it is what was signed, and
// unpacking gives a tree or an error and never more than the package has.
func FuzzPackage(f *testing.F) {
	key := newKey(f, packet.Config{})
	keys := keyring(f, key)
	files := manyFiles()
	files[5].caps = "cap_net_raw=ep"
	files[6].caps = files[5].caps
	seed := func(p testPackage) []byte {
		p.files = files
		return p.bytes(f)
	}
	good := seed(testPackage{signHeader: key, signAll: key})
	f.Add(good)
	f.Add(seed(testPackage{signNew: key, stripped: true}))
	f.Add(seed(testPackage{crc: true}))
	want := openFile(f, writePackage(f, good))
	st := newStore(f)
	f.Fuzz(func(t *testing.T, p []byte) {
		r, err := Read(bytes.NewReader(p), int64(len(p)), "fuzz.rpm")
		if err != nil {
			return
		}
		if _, err := r.Verify(context.Background(), keys, openpgp.Options{Now: testNow}); err == nil && r.Header.NEVRA() != want.Header.NEVRA() {
			t.Errorf("a changed package verifies: %s", r.Header.NEVRA())
		}
		LeftOut(r.Header, false, []string{"de"})
		batch, err := st.NewBatch()
		if err != nil {
			t.Fatal(err)
		}
		defer batch.Abort()
		u, err := newUnpacker(r.Header, batch)
		if err != nil || r.readPayload(context.Background(), u.read) != nil {
			return
		}
		unpacked, err := u.tree()
		if err != nil {
			return
		}
		if _, err := tree.Decode(unpacked.Encode()); err != nil {
			t.Errorf("the tree is invalid: %v", err)
		}
		for _, file := range r.Header.Files() {
			if _, ok := unpacked.Lookup(relative(file.Path)); !ok && !file.IsGhost() {
				t.Errorf("%s is not there", file.Path)
			}
		}
	})
}

func FuzzCapabilities(f *testing.F) {
	f.Add("cap_net_admin,cap_net_raw=ep")
	f.Add("= cap_setgid+ep cap_kill-i")
	f.Fuzz(func(t *testing.T, text string) {
		if p, err := parseCapabilities(text); err == nil && p != nil && len(p) != 20 {
			t.Errorf("%q has %d bytes", text, len(p))
		}
	})
}
