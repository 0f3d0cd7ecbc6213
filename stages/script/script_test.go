package script

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/stages"
	"github.com/imagefactory/imagefactory/stages/rootfs"
	"github.com/imagefactory/imagefactory/stages/sandbox"
	"github.com/imagefactory/imagefactory/stages/session"
	"github.com/imagefactory/imagefactory/stages/stagetest"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	os.Exit(m.Run())
}

func TestRun(t *testing.T) {
	cache := stagetest.Cache(t)
	pool := stagetest.Pool(t, cache)
	programs := stagetest.Programs(t, cache.Store, "sh", "cat", "printenv", "ls")
	root := rootfs.Root{Tree: stagetest.Save(t, cache.Store, stagetest.Tree(t, programs...))}

	inputs := t.TempDir()
	for _, dir := range []string{filepath.Dir(inputs), inputs} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(inputs, "one"), []byte("first\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	o := session.Options{Env: map[string]string{"ROLE": "session", "LEVEL": "1"}, Epoch: stagetest.Epoch}
	run := func(s Script) (string, string, error) {
		got, log, err := stagetest.Run(t, cache, func(ctx context.Context, run *stages.Run) (rootfs.Root, error) {
			return Run(ctx, run, pool, root, s, o)
		})
		if err != nil {
			return "", log, err
		}
		after := stagetest.Load(t, cache.Store, got.Tree)
		if _, ok := after.Lookup("run/imagefactory"); ok {
			t.Error("the image has /run/imagefactory")
		}
		return stagetest.Text(t, cache.Store, after, "result"), log, nil
	}

	result, log, err := run(Script{
		Name: "inline", Inline: true, Env: map[string]string{"ROLE": "script"},
		Content: []byte("printenv ROLE LEVEL >/result\ncat /run/imagefactory/inputs/dir/one >>/result\necho done\n! echo x >/run/imagefactory/inputs/dir/one"),
		Inputs:  []Input{{Path: inputs, Name: "dir"}},
	})
	if want := "result \"script\\n1\\nfirst\\n\"\n"; err != nil || result != want {
		t.Errorf("inline: %q, %v; want %q", result, err, want)
	}
	if !strings.HasPrefix(log, "script inline: done\n") {
		t.Errorf("inline: the log is %q", log)
	}

	result, _, err = run(Script{Name: "file", Content: []byte("#!/bin/sh\necho \"$0\" \"$ROLE\" >/result\n")})
	if want := "result \"/run/imagefactory/script session\\n\"\n"; err != nil || result != want {
		t.Errorf("file: %q, %v; want %q", result, err, want)
	}

	// An inline script ends at the first command that fails.
	_, _, err = run(Script{Name: "failing", Inline: true, Content: []byte("echo before\ncat /nothing\necho after")})
	var failed *session.CommandError
	if !errors.As(err, &failed) || !strings.HasPrefix(err.Error(), "script failing: /bin/sh failed with exit status 1; it printed last:\nbefore\ncat: ") || strings.Contains(err.Error(), "after") {
		t.Errorf("failing: %v", err)
	}

	left, err := filepath.Glob(filepath.Join(cache.Dir, "scratch-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left in the cache: %q, %v", left, err)
	}
	if data, err := os.ReadFile(filepath.Join(inputs, "one")); err != nil || string(data) != "first\n" {
		t.Errorf("the script changed its input to %q, %v", data, err)
	}
}
