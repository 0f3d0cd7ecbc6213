package baselines

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// Every rule says what it needs to, and none says the same as another.
func TestProfiles(t *testing.T) {
	for _, name := range Names() {
		p, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Rules) < 50 {
			t.Errorf("the profile %s has %d rules", name, len(p.Rules))
		}
		settings := map[string]string{}
		for _, r := range p.Rules {
			if strings.HasSuffix(r.Title, ".") || !strings.HasSuffix(r.Reason, ".") {
				t.Errorf("%s: the title is a phrase without a full stop, the reason a sentence with one", r.ID)
			}
			if r.Checks() == "" {
				t.Errorf("%s: there is no description of what is checked", r.ID)
			}
			if !r.Settable() && r.Remedy == "" {
				t.Errorf("%s: it cannot be set, and has no remedy", r.ID)
			}
			if key := string(r.Kind) + " " + r.Key; r.Key != "" {
				if settings[key] != "" {
					t.Errorf("%s and %s both are about %s", settings[key], r.ID, key)
				}
				settings[key] = r.ID
			}
			if r.ID != strings.ToLower(r.ID) || strings.ContainsAny(r.ID, " _.") {
				t.Errorf("%q is no identifier", r.ID)
			}
		}
	}
}

// What would break containers, kubelet or network plugins is never set.
func TestNothingThatContainersNeed(t *testing.T) {
	p, err := Load("baseline")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range p.Rules {
		for _, needed := range []string{"forward", "rp_filter", "bridge-nf", "max_user_namespaces", "unprivileged_userns", "modules_disabled", "accept_ra", "kexec"} {
			if r.Kind == Sysctl && strings.Contains(r.Key, needed) {
				t.Errorf("%s sets %s", r.ID, r.Key)
			}
		}
		for _, needed := range []string{"overlay", "br_netfilter", "nf_conntrack", "vxlan", "sctp", "ip_vs", "veth", "squashfs", "udf", "vfat"} {
			if r.Kind == Modules && slices.Contains(r.Fields(), needed) {
				t.Errorf("%s refuses %s", r.ID, needed)
			}
		}
		if r.Kind == Mount && (r.Key == "/var" || strings.HasPrefix(r.Key, "/var/lib")) {
			t.Errorf("%s changes %s, where containers lie", r.ID, r.Key)
		}
	}
}

func TestSelect(t *testing.T) {
	p, err := Load("baseline")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := p.Select([]string{"sshd-x11"}, map[string]string{"sysctl-sysrq": "16", "sshd-max-auth-tries": "6", "setuid": "/usr/bin/mine /usr/bin/yours"})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		switch r.ID {
		case "sshd-x11":
			if !r.Skipped {
				t.Error("sshd-x11 is not skipped")
			}
		case "sysctl-sysrq":
			if r.Value != "16" || r.Passes("0") || !r.Passes("16") {
				t.Errorf("sysctl-sysrq: %+v", r)
			}
		case "sshd-max-auth-tries":
			if !r.Passes("5") || r.Passes("7") || r.Passes("many") {
				t.Errorf("sshd-max-auth-tries: %+v", r)
			}
		case "setuid":
			if !slices.Contains(r.Paths, "/usr/bin/mine") || !slices.Contains(r.Paths, "/usr/bin/su") {
				t.Errorf("setuid: %v", r.Paths)
			}
		default:
			if r.Skipped {
				t.Errorf("%s is skipped", r.ID)
			}
		}
	}
	if again, _ := Load("baseline"); again.Rules[0].Skipped || slices.ContainsFunc(again.Rules, func(r Rule) bool { return slices.Contains(r.Paths, "/usr/bin/mine") }) {
		t.Error("selecting changed the profile itself")
	}
}

func TestMistakes(t *testing.T) {
	if _, err := Load("basline"); err == nil || !strings.Contains(err.Error(), `Did you mean "baseline"?`) {
		t.Errorf("unknown profile: %v", err)
	}
	p, err := Load("baseline")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		skip []string
		set  map[string]string
		want string
	}{
		{skip: []string{"sshd-rootlogin"}, want: `there is no hardening rule "sshd-rootlogin". Did you mean "sshd-root-login"?`},
		{skip: []string{"sshd-client-alive-interval"}, want: `Those that begin like it are "sshd-root-login", `},
		{set: map[string]string{"sysctl-sysreq": "1"}, want: `Did you mean "sysctl-sysrq"?`},
		{set: map[string]string{"homes": "9"}, want: `the rule homes cannot be set to "9": "9" is no octal mode such as 0640`},
		{set: map[string]string{"machine-id": "x"}, want: "has no value; it can only be skipped"},
		{set: map[string]string{"sysctl-sysrq": "1\n2"}, want: "one line"},
		{set: map[string]string{"sysctl-sysrq": ""}, want: "it is empty"},
		{set: map[string]string{"setuid": "mine"}, want: "absolute paths"},
		{set: map[string]string{"weak-keys": "long"}, want: "no whole number"},
		{skip: []string{"homes"}, set: map[string]string{"homes": "0700"}, want: "it is skipped"},
	} {
		_, err := p.Select(test.skip, test.set)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("skip %v, set %v: %v, want %s", test.skip, test.set, err, test.want)
			continue
		}
		var status interface{ ExitStatus() int }
		if !errors.As(err, &status) || status.ExitStatus() != 2 {
			t.Errorf("%v has no exit status 2", err)
		}
	}
}

// A mistake in a data file is reported where it stands.
func TestParseMistakes(t *testing.T) {
	const good = "title = \"T\"\nreason = \"R.\"\nseverity = \"low\"\n"
	for _, test := range []struct{ body, want string }{
		{good + `kind = "sysctle"`, `Did you mean "sysctl"?`},
		{good + `kind = "sysctl"`, `key = …`},
		{good + "kind = \"sysctl\"\nkey = \"a\"\nvalue = \"1\"\npaths = [\"/x\"]", `have no "paths"`},
		{good + "kind = \"homes\"\nvalue = \"abc\"", `octal`},
		{good + "kind = \"limits\"\nkey = \"core\"\nvalue = \"0\"", `3 parts`},
		{good + "kind = \"absent\"\npaths = [\"x\"]\nvalue = \"remove\"", `does not begin with a slash`},
		{good + "kind = \"sysctl\"\nkey = \"a\"\nvalue = \"1\"\ncompare = \"less\"", `at-most`},
		{"title = \"T\"\nreason = \"R.\"\nseverity = \"bad\"\nkind = \"machine-id\"", `There is no severity "bad"`},
		{good + "kind = \"machine-id\"\nvalu = \"1\"", `valu`},
	} {
		_, diags := parse("test.hcl", []byte("profile \"p\" {\ntitle = \"P\"\nrule \"r\" {\n"+test.body+"\n}\n}\n"))
		if !diags.HasErrors() || !strings.Contains(diags.Error(), test.want) {
			t.Errorf("%s\ngives %v, want %s", test.body, diags, test.want)
		}
	}
}
