package customize

import "testing"

// FuzzAccounts gives hostile account databases to add.
func FuzzAccounts(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/sh\n+::::::\n\nshort:x\n", "root:x:0:\nsudo:x:27:a,b\n", "root:*:1:0:99999:7:::\n", "root:*::\n", "short", "sudo")
	f.Add("a", "a:x:1", "a", "a:!::", "a", "a")
	f.Fuzz(func(t *testing.T, passwd, group, shadow, gshadow, name, member string) {
		a := accounts{
			passwd: parseTable([]byte(passwd)), group: parseTable([]byte(group)), shadow: parseTable([]byte(shadow)), gshadow: parseTable([]byte(gshadow)),
			hasShadow: shadow != "", hasGshadow: gshadow != "",
		}
		if text := string(formatTable(a.passwd)); text != passwd && text != passwd+"\n" {
			t.Errorf("%q became %q", passwd, text)
		}
		hash := "$6$"
		if a.add(User{Name: name, Groups: []string{member}, Home: "/h", Shell: "/bin/sh", PasswordHash: &hash}, 1) != nil {
			return
		}
		line := find(a.passwd, name)
		if len(line) != 7 {
			t.Fatalf("the line of %q is %q", name, line)
		}
		if _, err := a.uid(name); err != nil {
			t.Error(err)
		}
	})
}
