package config_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/imagefactory/imagefactory/installer/config"
)

// sample is a document with every member.
func sample() *config.Config {
	rotational := false
	digest := strings.Repeat("0a", 32)
	return &config.Config{
		Format: config.Format, Name: "node", Version: "1", Arch: "x86_64", ID: strings.Repeat("ab", 16), Mode: config.ModeInstall,
		Payload: config.Payload{File: "/imagefactory/payload", Size: 1000, SHA256: digest, IndexSHA256: digest, DiskSize: 1 << 30},
		Layout: config.Layout{DiskGUID: "11111111-2222-3333-4444-555555555555", Partitions: []config.Partition{
			{Number: 1, Label: "BOOT", TypeGUID: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", GUID: "11111111-2222-3333-4444-000000000001", Start: 1 << 20, Size: 1 << 20, Filesystem: "vfat", Role: "esp"},
			{Number: 2, Label: "ROOT", TypeGUID: "4f68bce3-e8cd-4db1-96e7-fbcaf984b709", GUID: "11111111-2222-3333-4444-000000000002", Start: 2 << 20, Size: 1 << 20, Filesystem: "ext4", Role: "root"},
		}},
		Target: config.Target{Match: config.MatchOnly, ByID: "ata-*", ByPath: "*", Serial: "S*", WWN: "0x5*", Model: "?*", MinSize: 1, MaxSize: 2,
			Rotational: &rotational, Transport: "sata", Wipe: true, Preserve: []string{"ROOT"}},
		Grow: true, Scripts: []config.Script{{Name: "s", File: "/imagefactory/scripts/s", Env: map[string]string{"A": "b"}, Network: true}},
		After: config.Reboot, OnFailure: config.Shell, Confirm: true, Consoles: []string{"tty0", "ttyS0,115200n8"},
		Events: config.Events{Console: "ttyS0", URL: "http://example.com/events"},
		EFI:    config.EFI{Label: "node", Loader: `\EFI\x\shimx64.efi`, Partition: 1},
		Root:   config.RootImage{File: "/live/root.img", Filesystem: "ext4"},
	}
}

func TestDecodeReadsWhatEncodeWrites(t *testing.T) {
	want := sample()
	data, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := config.Decode(bytes.NewReader(data))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n got %+v\nwant %+v", err, got, want)
	}
}

// Every member that is wrong is named.
func TestDecodeRefuses(t *testing.T) {
	for member, spoil := range map[string]func(*config.Config){
		"format":                      func(c *config.Config) { c.Format = 2 },
		"name":                        func(c *config.Config) { c.Name = "" },
		"version":                     func(c *config.Config) { c.Version = "a\nb" },
		"id":                          func(c *config.Config) { c.ID = "ABCDEF0123456789" },
		"mode":                        func(c *config.Config) { c.Mode = "both" },
		"payload:":                    func(c *config.Config) { c.Payload = config.Payload{} },
		"payload.file":                func(c *config.Config) { c.Payload.File = "/../payload" },
		"payload.size":                func(c *config.Config) { c.Payload.Size = 0 },
		"payload.sha256":              func(c *config.Config) { c.Payload.SHA256 = "00" },
		"payload.index_sha256":        func(c *config.Config) { c.Payload.IndexSHA256 = "" },
		"payload.disk_size":           func(c *config.Config) { c.Payload.DiskSize = 513 },
		"layout:":                     func(c *config.Config) { c.Layout = config.Layout{} },
		"layout.disk_guid":            func(c *config.Config) { c.Layout.DiskGUID = "x" },
		"layout.partitions[0].number": func(c *config.Config) { c.Layout.Partitions[0].Number = 0 },
		"layout.partitions[1].number": func(c *config.Config) { c.Layout.Partitions[1].Number = 1 },
		"layout.partitions[1].start":  func(c *config.Config) { c.Layout.Partitions[1].Start = -512 },
		"layout.partitions[1].size":   func(c *config.Config) { c.Layout.Partitions[1].Size = 1 },
		"layout.partitions[1]: it":    func(c *config.Config) { c.Layout.Partitions[1].Size = 1 << 40 },
		"layout.partitions[1].label":  func(c *config.Config) { c.Layout.Partitions[1].Label = "BOOT" },
		"layout.partitions: 1 and 2":  func(c *config.Config) { c.Layout.Partitions[1].Start = 1 << 20 },
		"target.match":                func(c *config.Config) { c.Target.Match = "any" },
		"target.serial":               func(c *config.Config) { c.Target.Serial = "[" },
		"target.path":                 func(c *config.Config) { c.Target.Path = "sda" },
		"target.min_size":             func(c *config.Config) { c.Target.MinSize = 3 },
		"target.preserve":             func(c *config.Config) { c.Target.Preserve = []string{"HOME"} },
		"scripts[0].name":             func(c *config.Config) { c.Scripts[0].Name = "" },
		"scripts[0].file":             func(c *config.Config) { c.Scripts[0].File = "s" },
		"scripts[0].env":              func(c *config.Config) { c.Scripts[0].Env = map[string]string{"A=B": ""} },
		"scripts: there":              func(c *config.Config) { c.Layout.Partitions[1].Role = "data" },
		"after":                       func(c *config.Config) { c.After = config.Shell },
		"on_failure":                  func(c *config.Config) { c.OnFailure = config.PowerOff },
		"consoles[1]":                 func(c *config.Config) { c.Consoles[1] = "/dev/ttyS0" },
		"events.console":              func(c *config.Config) { c.Events.Console = "../x" },
		"events.url":                  func(c *config.Config) { c.Events.URL = "ftp://x/" },
		"efi.label":                   func(c *config.Config) { c.EFI.Label = "" },
		"efi.loader":                  func(c *config.Config) { c.EFI.Loader = "/EFI/x" },
		"efi.partition":               func(c *config.Config) { c.EFI.Partition = 9 },
		"root: missing":               func(c *config.Config) { c.Mode, c.Root = config.ModeLive, config.RootImage{} },
		"root.filesystem":             func(c *config.Config) { c.Root.Filesystem = "" },
	} {
		c := sample()
		spoil(c)
		data, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := config.Decode(bytes.NewReader(data)); err == nil || !strings.HasPrefix(err.Error(), member) {
			t.Errorf("%s: %v", member, err)
		}
		if _, err := c.Encode(); err == nil {
			t.Errorf("%s: a wrong document was encoded", member)
		}
	}
	good, err := sample().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for want, text := range map[string]string{
		"the document is no valid JSON": "{",
		"format:":                       "{}",
		"unknown field":                 strings.Replace(string(good), `"name"`, `"nmae"`, 1),
		"after top-level value":         string(good) + "{}",
		"larger than":                   string(good) + strings.Repeat(" ", 5<<20),
		"cannot unmarshal":              strings.Replace(string(good), `"grow": true`, `"grow": "yes"`, 1),
	} {
		if _, err := config.Decode(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	good, err := sample().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := config.Decode(bytes.NewReader(data))
		if err != nil {
			return
		}
		if _, err := c.Encode(); err != nil {
			t.Errorf("what was decoded cannot be encoded: %v", err)
		}
	})
}

// override applies a command line to the sample.
func override(t *testing.T, line string) (*config.Config, config.Arguments, error) {
	t.Helper()
	c := sample()
	a, err := config.ParseArguments(line)
	if err == nil {
		err = c.Override(a)
	}
	return c, a, err
}

func TestOverride(t *testing.T) {
	for line, check := range map[string]func(*config.Config, config.Arguments) bool{
		"quiet splash": func(c *config.Config, a config.Arguments) bool {
			return reflect.DeepEqual(c, sample()) && a.Wait == 90*time.Second && !a.DryRun
		},
		"imagefactory.target=/dev/sdb": func(c *config.Config, _ config.Arguments) bool {
			return reflect.DeepEqual(c.Target, config.Target{Path: "/dev/sdb", Wipe: true, Preserve: []string{"ROOT"}})
		},
		`imagefactory.target="model:SAMSUNG MZ*"`: func(c *config.Config, _ config.Arguments) bool {
			return c.Target.Model == "SAMSUNG MZ*" && c.Target.Serial == ""
		},
		`"imagefactory.target=by-id:nvme-a b"`:       func(c *config.Config, _ config.Arguments) bool { return c.Target.ByID == "nvme-a b" },
		"imagefactory.target=by-path:pci-0000:00:1f": func(c *config.Config, _ config.Arguments) bool { return c.Target.ByPath == "pci-0000:00:1f" },
		"imagefactory.target=wwn:0x5 imagefactory.target=largest-empty": func(c *config.Config, _ config.Arguments) bool {
			return c.Target.WWN == "" && c.Target.Match == config.MatchLargestEmpty
		},
		"imagefactory.wipe=0":                     func(c *config.Config, _ config.Arguments) bool { return !c.Target.Wipe },
		"imagefactory.wipe=off imagefactory.wipe": func(c *config.Config, _ config.Arguments) bool { return c.Target.Wipe },
		"imagefactory.preserve=":                  func(c *config.Config, _ config.Arguments) bool { return len(c.Target.Preserve) == 0 },
		"imagefactory.preserve=BOOT,ROOT":         func(c *config.Config, _ config.Arguments) bool { return len(c.Target.Preserve) == 2 },
		"imagefactory.dry-run":                    func(_ *config.Config, a config.Arguments) bool { return a.DryRun },
		"imagefactory.dry_run=0":                  func(_ *config.Config, a config.Arguments) bool { return !a.DryRun },
		"imagefactory.confirm=no":                 func(c *config.Config, _ config.Arguments) bool { return !c.Confirm },
		"imagefactory.after=halt":                 func(c *config.Config, _ config.Arguments) bool { return c.After == config.Halt },
		"imagefactory.on-failure=reboot":          func(c *config.Config, _ config.Arguments) bool { return c.OnFailure == config.Reboot },
		"imagefactory.mode=live":                  func(c *config.Config, _ config.Arguments) bool { return c.Mode == config.ModeLive },
		"imagefactory.events=/dev/ttyS1":          func(c *config.Config, _ config.Arguments) bool { return c.Events == config.Events{Console: "ttyS1"} },
		"imagefactory.events=http://h:8/x?y=z": func(c *config.Config, _ config.Arguments) bool {
			return c.Events == config.Events{URL: "http://h:8/x?y=z"}
		},
		"imagefactory.events=":                        func(c *config.Config, _ config.Arguments) bool { return c.Events == config.Events{} },
		"imagefactory.url=http://h/node//":            func(_ *config.Config, a config.Arguments) bool { return a.URL == "http://h/node" },
		"imagefactory.wait=5":                         func(_ *config.Config, a config.Arguments) bool { return a.Wait == 5*time.Second },
		"-- imagefactory.dry_run":                     func(_ *config.Config, a config.Arguments) bool { return !a.DryRun },
		"imagefactory.id=" + strings.Repeat("ab", 16): func(_ *config.Config, a config.Arguments) bool { return a.ID != "" },
	} {
		if c, a, err := override(t, line); err != nil || !check(c, a) {
			t.Errorf("%s: %v\n%+v", line, err, c)
		}
	}
}

// Errors name the argument, and nothing is changed then.
func TestOverrideRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"imagefactory.dryrun":                         "imagefactory.dryrun: no such argument",
		"imagefactory.dry_run=maybe":                  "imagefactory.dry_run: ",
		"imagefactory.target=sda":                     "imagefactory.target: ",
		"imagefactory.target=serial:":                 "imagefactory.target: ",
		"imagefactory.target=serial:[":                "imagefactory.target: ",
		"imagefactory.target=/dev/../etc":             "imagefactory.target: ",
		"imagefactory.preserve=HOME":                  "imagefactory.preserve: ",
		"imagefactory.mode=fly":                       "imagefactory.mode: ",
		"imagefactory.after=shell":                    "imagefactory.after: ",
		"imagefactory.on_failure=poweroff":            "imagefactory.on_failure: ",
		"imagefactory.events=ftp://x":                 "imagefactory.events: ",
		"imagefactory.url=example.com":                "imagefactory.url: ",
		"imagefactory.wait=soon":                      "imagefactory.wait: ",
		"imagefactory.id=xyz":                         "imagefactory.id: ",
		"imagefactory.id=" + strings.Repeat("cd", 16): "imagefactory.id: the medium's id is",
	} {
		c, _, err := override(t, line)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", line, err)
		}
		if !reflect.DeepEqual(c, sample()) {
			t.Errorf("%s: changed the document", line)
		}
	}
	c := sample()
	c.Root = config.RootImage{}
	live := config.ModeLive
	if err := c.Override(config.Arguments{Mode: &live}); err == nil || !strings.HasPrefix(err.Error(), "imagefactory.mode: root: missing") {
		t.Errorf("live without a root: %v", err)
	}
}

func FuzzParseArguments(f *testing.F) {
	f.Add(`console=ttyS0 imagefactory.target="by-id:a b" imagefactory.preserve=A,B`)
	f.Fuzz(func(t *testing.T, line string) {
		a, err := config.ParseArguments(line)
		if err != nil {
			return
		}
		c := sample()
		if c.Override(a) == nil {
			if err := c.Validate(); err != nil {
				t.Errorf("%q makes the document invalid: %v", line, err)
			}
		}
	})
}
