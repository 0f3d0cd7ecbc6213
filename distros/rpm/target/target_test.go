package target

import (
	"bytes"
	"encoding/gob"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/distros/rpm/transaction"
)

func TestEncodeDecode(t *testing.T) {
	steps := []transaction.Step{{Package: "a-1-1.noarch", Kind: transaction.PostIn, Interpreter: []string{"/bin/sh"}, Script: ":", HasScript: true, Args: []int{1}}}
	p, err := Encode(steps)
	if err != nil {
		t.Fatal(err)
	}
	var got []transaction.Step
	if err := gob.NewDecoder(bytes.NewReader(p)).Decode(&got); err != nil || len(got) != 1 || got[0].Name() != "%post(a-1-1.noarch)" {
		t.Errorf("%+v, %v", got, err)
	}

	want := []Event{{0, Printed, "line"}, {0, Warned, ""}, {7, Failed, "why"}}
	var b bytes.Buffer
	encoder := gob.NewEncoder(&b)
	for _, e := range want {
		if err := encoder.Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	stream := b.Bytes()
	var events []Event
	if err := Decode(&b, func(e Event) { events = append(events, e) }); err != nil || !slices.Equal(events, want) {
		t.Errorf("%v, %v", events, err)
	}
	err = Decode(bytes.NewReader(stream[:len(stream)-2]), func(Event) {})
	if err == nil || !strings.HasPrefix(err.Error(), "the program that runs scriptlets in the root: ") {
		t.Errorf("a short stream: %v", err)
	}
}

// FuzzDecode feeds what a scriptlet might write in place of the program that runs it.
func FuzzDecode(f *testing.F) {
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(Event{1, Failed, "text"}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, p []byte) {
		_ = Decode(bytes.NewReader(p), func(Event) {})
	})
}

// TestExecutable is about the copy that stands in for a program whose path is gone.
func TestExecutable(t *testing.T) {
	path, release, err := Executable(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	release()
	copied, err := copySelf(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, copied} {
		if out, err := exec.Command(p, "-test.run=^$").CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", p, err, out)
		}
	}
}
