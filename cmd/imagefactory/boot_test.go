package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestNewestImage(t *testing.T) {
	dir := t.TempDir()
	if _, err := newestImage(dir); err == nil || !strings.Contains(err.Error(), "build one first") {
		t.Errorf("an empty directory: %v", err)
	}
	for i, name := range []string{"old.raw", "new.qcow2", "older.raw", "newest.raw.sha256", "manifest.json"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		when := time.Unix([]int64{1000, 2000, 500, 9000, 9000}[i], 0)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := newestImage(dir); err != nil || filepath.Base(got) != "new.qcow2" {
		t.Errorf("the newest image is %s, %v", got, err)
	}
}
