package accounts

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func TestRead(t *testing.T) {
	root := t.TempDir()
	if d, err := Read(root); err != nil || len(d.Users)+len(d.Groups) != 0 {
		t.Errorf("of nothing: %+v, %v", d, err)
	}
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string]string{
		PasswdFile: "root:x:0:0:Super User:/root:/bin/bash\n# a comment\n+nis::::::\nshort:x:1:1\nbad:x:-1:0::/:\nbig:x:4294967294:5::/:/bin/sh\n:x:7:7::/:\nroot:x:9:9::/:/bin/false",
		GroupFile:  "root:x:0:\nwheel:x:10:adam,eve\nbad:x:y:\nshort:x:1\n",
	} {
		if err := os.WriteFile(root+path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d, err := Read(root)
	if err != nil {
		t.Fatal(err)
	}
	superUser := User{Name: "root", Password: "x", Comment: "Super User", Home: "/root", Shell: "/bin/bash"}
	if u, ok := d.User("root"); !ok || u != superUser {
		t.Errorf("root is %+v", u)
	}
	if u, ok := d.UserID(1<<32 - 2); !ok || u.Name != "big" || u.GID != 5 {
		t.Errorf("big is %+v", u)
	}
	if g, ok := d.Group("wheel"); !ok || !reflect.DeepEqual(g, Group{"wheel", 10, []string{"adam", "eve"}}) {
		t.Errorf("wheel is %+v", g)
	}
	if g, ok := d.GroupID(0); !ok || g.Name != "root" || g.Members != nil {
		t.Errorf("group 0 is %+v", g)
	}
	for _, name := range []string{"bad", "short", "", "+nis"} {
		_, user := d.User(name)
		_, group := d.Group(name)
		if user || group {
			t.Errorf("there is a %q", name)
		}
	}
	if len(d.Users) != 3 || len(d.Groups) != 2 {
		t.Errorf("%+v", d)
	}
	if _, ok := d.UserID(7); ok {
		t.Error("a user has no name")
	}
	if err := os.Remove(root + GroupFile); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(root+GroupFile, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(root); err == nil {
		t.Error("a directory is no database")
	}
}
