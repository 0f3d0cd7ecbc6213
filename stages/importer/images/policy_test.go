package images

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages/importer/images/imagetest"
	"github.com/imagefactory/imagefactory/stages/store"
)

func TestPolicy(t *testing.T) {
	s, l := imagetest.Serve(t), imagetest.NewLayout(t)
	image := l.Image("amd64", imagetest.Members(t, "a"))
	tagged := s.Push(t, l.Tag(image), "base/it:1")
	byDigest := "docker://" + s.Host + "/base/it@" + image.Digest
	local := l.Tag(image)
	scope := func(transport, name, requirement string) string {
		return fmt.Sprintf(`{"default": [{"type": "reject"}], "transports": {%q: {%q: [%s]}}}`, transport, name, requirement)
	}
	const ok = `{"type": "insecureAcceptAnything"}`
	for name, test := range map[string]struct {
		policy, reference, want string
	}{
		"imagetest.Anything":       {imagetest.Anything, tagged, ""},
		"rejected":                 {`{"default": [{"type": "reject"}]}`, byDigest, "rejects it"},
		"its transport":            {scope("docker", "", ok), tagged, ""},
		"another transport":        {scope("oci", "", ok), tagged, "rejects it"},
		"its registry":             {scope("docker", s.Host, ok), tagged, ""},
		"its name":                 {scope("docker", s.Host+"/base/it", ok), byDigest, ""},
		"its tag":                  {scope("docker", s.Host+"/base/it:1", ok), tagged, ""},
		"the narrowest":            {fmt.Sprintf(`{"default": [%[1]s], "transports": {"docker": {"": [%[1]s], %[2]q: [%[1]s], %[3]q: [{"type": "reject"}]}}}`, ok, s.Host, s.Host+"/base"), tagged, "rejects it"},
		"signed":                   {scope("docker", s.Host, `{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}`), byDigest, "demands a signature (signedBy)"},
		"both":                     {scope("docker", s.Host, ok+`, {"type": "sigstoreSigned", "keyPath": "/k"}`), tagged, "demands a signature (sigstoreSigned)"},
		"no default":               {`{"transports": {}}`, local, `no member "default"`},
		"an unknown member":        {`{"default": [{"type": "insecureAcceptAnything"}], "deny": {}}`, local, `"deny" is not known`},
		"nonsense":                 {`all your base`, local, "cannot be read"},
		"no requirements":          {fmt.Sprintf(`{"default": [%s], "transports": {"docker": {%q: []}}}`, ok, s.Host), tagged, "is empty"},
		"an unknown requirement":   {`{"default": [{"type": "new"}]}`, local, "demands a signature (new)"},
		"a layout's own directory": {scope("oci", l.Dir, ok), local, ""},
	} {
		imagetest.Policy(t, test.policy)
		_, err := Resolve(t.Context(), test.reference, Options{Arch: "x86_64", Form: form}, func(r Resolved) store.Digest { return r.Manifest.Digest })
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v; want %s", name, err, test.want)
		}
		var refused *PolicyError
		if err != nil && (!errors.As(err, &refused) || refused.ExitStatus() != 3) {
			t.Errorf("%s: %T", name, err)
		}
	}
	// Without any policy.
	none := &decision{}
	for reference, want := range map[string]string{tagged: "name it by digest, which today is image = \"" + byDigest + "\"", byDigest: "", local: ""} {
		ref, err := parseReference(reference)
		if err != nil {
			t.Fatal(err)
		}
		digest, err := store.ParseDigest(image.Digest)
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(none.check(ref), none.checkUnpinned(ref, digest, form))
		if want == "" && err != nil || want != "" && !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%s without a policy: %v; want %s", reference, err, want)
		}
	}
}

func form(reference string) string { return fmt.Sprintf("image = %q", reference) }

// FuzzPolicy reads any policy: what it accepts must be JSON that says so.
func FuzzPolicy(f *testing.F) {
	f.Add(imagetest.Anything)
	f.Add(`{"default": [{"type": "reject"}], "transports": {"docker": {"example.org": [{"type": "insecureAcceptAnything"}]}}}`)
	ref, err := parseReference("docker://example.org/a/b:1")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		requirements, err := parsePolicy([]byte(text), ref)
		if err != nil {
			return
		}
		d := &decision{path: "p", requirements: requirements}
		if len(requirements) == 0 || d.check(ref) == nil && !strings.Contains(text, "insecureAcceptAnything") && !strings.Contains(text, `\u`) {
			t.Errorf("accepted: %q", text)
		}
	})
}
