package rootfs

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/imagefactory/imagefactory/distros/rpm/header"
	"github.com/imagefactory/imagefactory/distros/rpm/rpmdb"
	"github.com/imagefactory/imagefactory/stages/stagetest"
)

// TestSettleRPM has sqlite3 open a database as rpm does when it writes.
func TestSettleRPM(t *testing.T) {
	st := stagetest.Cache(t).Store
	blob, err := header.Build([]header.Entry{
		header.StringEntry(header.TagName, "demo"), header.StringEntry(header.TagVersion, "1"), header.StringEntry(header.TagRelease, "1"),
		header.StringEntry(header.TagArch, "noarch"),
	}, header.TagHeaderImmutable)
	if err != nil {
		t.Fatal(err)
	}
	h, err := header.Parse(blob)
	if err != nil {
		t.Fatal(err)
	}
	written, err := rpmdb.Write([]rpmdb.Package{{Header: h, InstallTime: 1, TransactionID: 1}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), rpmdb.FileName)
	if err := os.WriteFile(file, written, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("sqlite3", file, "pragma journal_mode=wal; vacuum;").CombinedOutput(); err != nil {
		t.Fatalf("sqlite3, which make test installs: %v\n%s", err, out)
	}
	opened, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(opened) == string(written) {
		t.Fatal("sqlite3 left the database as it was: the test is about nothing")
	}

	const at = "usr/lib/sysimage/rpm/" + rpmdb.FileName
	save := func(contents, wal string) Root {
		root := stagetest.Tree(t, stagetest.File(t, st, at, contents), stagetest.File(t, st, at+"-wal", wal), stagetest.File(t, st, at+"-shm", "x"),
			stagetest.Link("var/lib/rpm", "../../usr/lib/sysimage/rpm"))
		return Root{Tree: stagetest.Save(t, st, root)}
	}
	settled, err := SettleRPM(st, save(string(opened), ""), "/var/lib/rpm")
	if err != nil {
		t.Fatal(err)
	}
	after := stagetest.Load(t, st, settled.Tree)
	if e, _ := after.Lookup(at); stagetest.Contents(t, st, e) != string(written) {
		t.Error("the database is not as the build writes it")
	}
	for _, gone := range []string{at + "-wal", at + "-shm"} {
		if _, ok := after.Lookup(gone); ok {
			t.Errorf("/%s is still there", gone)
		}
	}
	root := save(string(written), "")
	if again, err := SettleRPM(st, root, "/var/lib/rpm"); err != nil || again != root {
		t.Errorf("one that is settled: %v, %v", again, err)
	}
	if _, err := SettleRPM(st, save(string(opened), "changes"), "/var/lib/rpm"); err == nil {
		t.Error("changes beside the database were forgotten")
	}
	if other, err := SettleRPM(st, root, "/var/lib/other"); err != nil || other != root {
		t.Errorf("a root without a database: %v, %v", other, err)
	}
}
