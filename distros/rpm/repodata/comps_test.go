package repodata

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/imagefactory/imagefactory/distros/rpm"
)

const testComps = `<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE comps PUBLIC "-//Red Hat, Inc.//DTD Comps info//EN" "comps.dtd">
<comps>
  <group>
    <id>core</id>
    <name>Core</name>
    <name xml:lang="de">Kern</name>
    <description>Smallest</description>
    <default>true</default>
    <packagelist>
      <packagereq type="mandatory">bash</packagereq>
      <packagereq type="default">dnf</packagereq>
      <packagereq type="optional">dracut-config-generic</packagereq>
      <packagereq type="conditional" requires="selinux-policy">policycoreutils</packagereq>
      <packagereq>setup</packagereq>
      <packagereq type="conditional" requires="gtk">both</packagereq>
    </packagelist>
  </group>
  <group>
    <id>tools</id>
    <name>System Tools</name>
    <packagelist>
      <packagereq type="mandatory">bash</packagereq>
      <packagereq type="mandatory">policycoreutils</packagereq>
      <packagereq type="conditional" requires="qt">both</packagereq>
    </packagelist>
  </group>
  <category><id>apps</id><name>Applications</name><grouplist><groupid>tools</groupid></grouplist></category>
  <environment>
    <id>minimal-environment</id>
    <name>Minimal Install</name>
    <grouplist><groupid>core</groupid><groupid> absent </groupid></grouplist>
    <optionlist><groupid default="true">tools</groupid></optionlist>
  </environment>
  <environment>
    <id>tools</id>
    <name>Everything</name>
    <grouplist><groupid>core</groupid><groupid>tools</groupid></grouplist>
  </environment>
  <langpacks><match name="aspell" install="aspell-%s"/></langpacks>
</comps>
`

func parseComps(t testing.TB, text string) *Comps {
	t.Helper()
	c, err := ParseComps(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func itemTexts(items []rpm.Item) string {
	var texts []string
	for _, i := range items {
		text := i.Spec
		if i.If != "" {
			text += "(if " + i.If + ")"
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, " ")
}

func TestExpand(t *testing.T) {
	c := parseComps(t, testComps)
	const core, tools = "bash dnf policycoreutils(if selinux-policy) setup both(if gtk)", "bash policycoreutils both(if qt)"
	for spec, want := range map[string]string{
		"@core":                 core,
		"@Core":                 core,
		"@CORE":                 core,
		"@tools":                tools, // the group, not the environment
		"@System Tools":         tools,
		"@^tools":               "bash dnf policycoreutils setup both(if gtk) both(if qt)",
		"@everything":           "bash dnf policycoreutils setup both(if gtk) both(if qt)",
		"@^minimal-environment": core,
		"@minimal-environment":  core,
		"@^Minimal Install":     core,
	} {
		items, err := c.Expand(spec)
		if got := itemTexts(items); got != want || err != nil {
			t.Errorf("%s: %s, %v; want %s", spec, got, err, want)
		}
		for _, i := range items {
			if !i.Optional || !strings.HasPrefix(i.Origin, "group ") {
				t.Errorf("%s: %+v", spec, i)
			}
		}
	}
	for spec, want := range map[string]string{
		"@cor":        `no repository has the group or environment "@cor"; there is "@core"`,
		"@^core":      `no repository has the environment "@^core"`,
		"@Kern":       `no repository has the group or environment "@Kern"`,
		"@minimal":    `no repository has the group or environment "@minimal"; there is "@^minimal-environment"`,
		"@gnome-apps": `no repository has the group or environment "@gnome-apps"`,
	} {
		_, err := c.Expand(spec)
		var unknown *UnknownGroupError
		if !errors.As(err, &unknown) || err.Error() != want || unknown.ExitStatus() != 2 {
			t.Errorf("%s: error %v, want %s", spec, err, want)
		}
	}
}

func TestMergeComps(t *testing.T) {
	c := parseComps(t, testComps)
	more := parseComps(t, `<comps><group><id>core</id><name>Core</name><packagelist><packagereq type="mandatory">bash</packagereq><packagereq type="mandatory">more</packagereq></packagelist></group>
<group><id>absent</id><name>Found</name><packagelist><packagereq type="mandatory">found</packagereq></packagelist></group>
<environment><id>minimal-environment</id><name>Minimal</name><grouplist><groupid>core</groupid><groupid>tools</groupid></grouplist></environment></comps>`)
	merged := MergeComps(nil, c, more)
	items, err := merged.Expand("@^minimal-environment")
	if want := "bash dnf policycoreutils setup both(if gtk) more found both(if qt)"; itemTexts(items) != want || err != nil {
		t.Errorf("%s, %v; want %s", itemTexts(items), err, want)
	}
	if items, err := c.Expand("@core"); err != nil || strings.Contains(itemTexts(items), "more") {
		t.Errorf("merging has changed what was merged: %s, %v", itemTexts(items), err)
	}
	if _, err := MergeComps().Expand("@core"); err == nil {
		t.Error("nothing has a group")
	}
}

// createrepo_c and dnf read the same groups.
func TestGroupsAsDNFReadsThem(t *testing.T) {
	dirs := make([]string, 2)
	var all []*Comps
	for i, text := range []string{testComps, strings.NewReplacer("<id>core", "<id>other", "bash", "zsh", "<id>tools", "<id>more").Replace(testComps)} {
		dirs[i] = t.TempDir()
		if err := os.WriteFile(dirs[i]+"/comps.xml", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		createrepo(t, dirs[i], "--groupfile=comps.xml")
		r := load(t, newClient(t), unverified("file://"+dirs[i]))
		all = append(all, r.Comps)
	}
	compareGroups(t, all[0], "file://"+dirs[0])
	compareGroups(t, MergeComps(all...), "file://"+dirs[0], "file://"+dirs[1])
}

func TestParseCompsErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "the file ends too early",
		"<comps>":                       "XML syntax error on line 1: unexpected EOF",
		"<metadata/>":                   "expected element type <comps> but have <metadata>",
		"<comps><group/></comps>":       `the group "" has no id`,
		"<comps><environment/></comps>": `the environment "" has no id`,
		"<comps><group><id>a</id><packagelist><packagereq/></packagelist></group></comps>": "group a has a package without a name",
	} {
		if _, err := ParseComps(strings.NewReader(text)); err == nil || err.Error() != want {
			t.Errorf("%q: error %v, want %s", text, err, want)
		}
	}
}

func FuzzComps(f *testing.F) {
	f.Add(testComps)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseComps(strings.NewReader(text))
		if err != nil {
			return
		}
		merged := MergeComps(c, c)
		for _, g := range c.Groups {
			if _, err := merged.Expand("@" + g.ID); err != nil && !strings.HasPrefix(g.ID, "^") && !strings.HasPrefix(g.ID, "@") {
				t.Error(err)
			}
		}
	})
}
