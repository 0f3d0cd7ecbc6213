package compress

import (
	"bytes"
	"io"
	"os/exec"
	"testing"
)

// compressors are the reference implementations.
var compressors = map[string]struct {
	program, pkg string
	args         []string
}{
	".xz":  {"xz", "xz-utils", []string{"-c", "--check=sha256"}},
	".gz":  {"gzip", "gzip", []string{"-c"}},
	".zst": {"zstd", "zstd", []string{"-c", "--long=27"}},
	".bz2": {"bzip2", "bzip2", []string{"-c"}},
}

// compressWith runs the reference implementation.
func compressWith(t testing.TB, suffix string, p []byte, more ...string) []byte {
	t.Helper()
	c := compressors[suffix]
	if _, err := exec.LookPath(c.program); err != nil {
		t.Fatalf("this test needs %s: install the package %s", c.program, c.pkg)
	}
	cmd := exec.Command(c.program, append(c.args, more...)...)
	cmd.Stdin = bytes.NewReader(p)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func decompressAll(suffix string, p []byte) ([]byte, error) {
	r, release, err := NewReader(suffix, bytes.NewReader(p))
	if err != nil {
		return nil, err
	}
	defer release()
	return io.ReadAll(io.LimitReader(r, 16<<20))
}

func TestDecompress(t *testing.T) {
	if got := Detect([]byte("text")); got != "" {
		t.Errorf("text is taken for %s", got)
	}
	text := bytes.Repeat([]byte("Some text that is worth compressing.\n"), 50_000)
	for suffix := range compressors {
		one := compressWith(t, suffix, text)
		if got := Detect(one[:MagicBytes]); got != suffix {
			t.Errorf("%s is taken for %q", suffix, got)
		}
		for name, test := range map[string]struct{ in, want []byte }{
			"one":        {one, text},
			"two frames": {append(bytes.Clone(one), one...), append(bytes.Clone(text), text...)},
			"empty":      {compressWith(t, suffix, nil), nil},
		} {
			// Decoders are used again, after errors, too.
			if _, err := decompressAll(suffix, test.in[:len(test.in)-2]); err == nil {
				t.Errorf("%s %s: a part of it is no error", suffix, name)
			}
			got, err := decompressAll(suffix, test.in)
			if err != nil || !bytes.Equal(got, test.want) {
				t.Errorf("%s %s: %d bytes, %v; want %d", suffix, name, len(got), err, len(test.want))
			}
		}
	}
}

// lzma has no checksum, so damage shows only where it breaks the stream.
func TestDecompressLZMA(t *testing.T) {
	text := bytes.Repeat([]byte("Some text that is worth compressing.\n"), 50_000)
	for name, want := range map[string][]byte{"text": text, "empty": nil} {
		p := compressWith(t, ".xz", want, "--format=lzma", "--check=none")
		if got, err := decompressAll(".lzma", p); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v; want %d", name, len(got), err, len(want))
		}
		if _, err := decompressAll(".lzma", p[:len(p)-2]); err == nil {
			t.Errorf("%s: a part of it is no error", name)
		}
	}
	if _, err := decompressAll(".lzma", compressWith(t, ".xz", text, "--format=lzma", "--check=none", "--lzma1=dict=128MiB")); err == nil {
		t.Error("a dictionary of 128 MiB is accepted")
	}
}

// Streams that ask for more memory than any archive's are refused, not served.
func TestDecompressMemory(t *testing.T) {
	for suffix, option := range map[string]string{".xz": "--lzma2=dict=128MiB", ".zst": "--long=30"} {
		p := compressWith(t, suffix, bytes.Repeat([]byte{1}, 1<<20), option)
		if suffix == ".zst" {
			// zstd lowers the window to what the input needs, when it knows: raise it in
			// the frame header (RFC 8878, 3.1.1.1.2) to 1 GiB.
			if single := p[4]&0x20 != 0; single {
				t.Fatal("the frame has no window descriptor")
			}
			p[5] = 20 << 3
		}
		if _, err := decompressAll(suffix, p); err == nil {
			t.Errorf("%s: no error", suffix)
		}
	}
}

func FuzzDecompress(f *testing.F) {
	for suffix := range compressors {
		f.Add(suffix, compressWith(f, suffix, []byte("text text text text text text text")))
	}
	f.Fuzz(func(t *testing.T, suffix string, p []byte) {
		decompressAll(suffix, p)
	})
}
