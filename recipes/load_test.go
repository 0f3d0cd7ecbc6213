package recipes

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/imagefactory/imagefactory/distros"
	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/installer/disks"
	"github.com/imagefactory/imagefactory/stages/containers"
	"github.com/imagefactory/imagefactory/stages/guard"
	"github.com/imagefactory/imagefactory/stages/trim/modules"
)

// full uses every block and attribute of the language.
const full = `include = ["common.hcl", "sub/harden.hcl"]
name    = "node"
version = var.version
distro  = "mine"
arch    = "amd64"

hostname = "${local.prefix}-1.example.com"
timezone = "Asia/Shanghai"
locale   = "en_US.UTF-8"

variable "version" {
  default     = "1.0"
  description = "release"
}

variable "names" {
  type    = list(string)
  default = ["a", "b"]
}

variable "secret" {
  type      = string
  default   = "hidden"
  sensitive = true
}

locals {
  prefix   = "n${length(local.list)}"
  list     = [for n in var.names : upper(n)]
  greeting = "from the recipe"
}

distro "mine" {
  inherits = "debian-12"
  title    = "Our Debian"
  repository "debian" {
    url = "https://mirror.example.com/debian/"
  }
  base {
    packages = ["usr-is-merged", "our-base"]
  }
}

rootfs {
  installer  = "native"
  packages   = ["systemd-sysv", "g++", "libc6:amd64"]
  exclude    = ["vim-tiny"]
  recommends = true
  repository "debian-security" {
    components = ["main", "contrib"]
  }
  repository "extra" {
    url        = "file:///srv/extra"
    suites     = ["stable"]
    components = ["main"]
    gpg_key    = "key.gpg"
  }
}

script "one" {
  inline  = "echo one"
  env     = { ROLE = var.role, COUNT = 2 }
  network = true
  inputs  = ["inputs", "motd"]
}

script "early" {
  before = "customize"
  run    = "run.sh"
}

script "zero" {
  before = "one"
  inline = "echo zero"
}

script "configured" {
  after  = "rootfs"
  inline = "echo configured"
}

file "/etc/motd" {
  content = "${file("motd")}${local.greeting} ${templatefile("list.tmpl", { names = var.names })}"
  mode    = "4750"
  owner   = "admin"
  group   = "1000"
}

file "/etc/copied" {
  source = "binary"
}

user "admin" {
  uid                 = 1000
  group               = "users"
  groups              = ["sudo", "adm"]
  home                = "/srv/admin"
  shell               = "/bin/sh"
  comment             = "The admin"
  ssh_authorized_keys = [file("admin.pub")]
  password_hash       = sha512crypt(var.secret, "abcdefgh")
}

user "agent" {
  system        = true
  password_hash = "!"
}

container "registry.example.com/pause:3.9@sha256:` + sum + `" {
  runtime = "containerd"
}

container "registry.example.com:5000/dns@sha256:` + sum + `" {
  runtime = "podman"
}

container "registry.example.com/dns/coredns:1.11" {
  runtime   = "containerd"
  namespace = "default"
  source    = "oci:inputs:1"
}

container "registry.example.com/dns/coredns:1.11" {
  runtime  = "docker"
  source   = "docker://${var.role}.example.com:5000/coredns:1"
  insecure = true
}

harden {
  profile = "baseline"
  skip    = ["mount-tmp"]
  set     = { sshd-passwords = "yes", sysctl-panic = 30 }
}

trim {
  profile = "container-host"
  keep    = ["tcpdump", "linux-image-*", "/usr/share/zoneinfo/**", "cron.service"]
  remove  = ["perl-base", "python3*", "apt-*.timer", "/usr/share/man/*/[a-c]*"]
  paths   = ["/usr/share/doc/**", "/usr/**/*.a"]
  modules = ["can", "sound"]
  services {
    enable  = ["ssh", "getty@tty1"]
    disable = ["cron.service"]
    mask    = ["debug-shell.service"]
    remove  = ["e2scrub_all.timer"]
  }
  budget {
    packages   = 376
    services   = 143
    size       = "770MiB"
    image_size = "1GiB"
  }
  exception {
    kind   = "library"
    path   = "/usr/lib/foo.so"
    need   = "libbar.so.*"
    reason = "loaded only where it is there"
  }
  exception {
    kind   = "symlink"
    path   = "/etc/**"
    reason = "filled in by the node"
  }
}

disk {
  layout = "single"
  size   = "4GiB"
  partition "ESP" {
    size  = "200MiB"
    mount = "/boot/efi"
  }
  partition "DATA" {
    role          = "data"
    size          = "1GiB"
    mount         = "/srv"
    mount_options = "noatime"
    type          = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
  }
}

boot {
  firmware        = ["uefi", "bios"]
  secure_boot     = "off"
  console         = ["tty0", "ttyS1,9600n8"]
  cmdline         = ["quiet", "mitigations=off"]
  timeout         = 0
  password_pbkdf2 = "grub.pbkdf2.sha512.10000.AB.CD"
}

output "raw" {}

output "qcow2" {
  compression = "deflate"
  level       = 9
}

script "register" {
  stage   = "install"
  run     = "run.sh"
  env     = { ROLE = var.role }
  network = true
}

script "say" {
  stage  = "install"
  inline = "echo installed"
}

output "iso" {
  mode       = "install"
  label      = "KUBE_NODE"
  confirm    = true
  after      = "poweroff"
  on_failure = "halt"
  target {
    match      = "only"
    by_id      = "nvme-*"
    by_path    = "pci-*"
    serial     = "S3?Z*"
    wwn        = "eui.*"
    model      = "SAMSUNG *"
    min_size   = "100GiB"
    max_size   = "1920378863KiB"
    rotational = false
    transport  = "nvme"
    wipe       = true
    preserve   = ["DATA"]
  }
  events {
    console = "ttyS1"
    url     = "http://events.example.com/install?node=1"
  }
}

output "pxe" {
  url = "https://boot.example.com:8443/images/node/"
}
`

func TestLoadEverything(t *testing.T) {
	r, p := loadText(t, full, Options{})
	if len(p.Diagnostics) > 0 {
		t.Fatal(p.Error())
	}
	uid, hash := uint32(1000), "$6$abcdefgh$"
	if r.Users[0].PasswordHash == nil || !strings.HasPrefix(*r.Users[0].PasswordHash, hash) {
		t.Errorf("password hash %v", r.Users[0].PasswordHash)
	}
	hash = *r.Users[0].PasswordHash
	locked := "!"
	for i := range r.Users {
		r.Users[i].Range = r.Users[0].Range
	}
	at := r.Users[0].Range
	want := []User{
		{Name: "admin", UID: &uid, Group: "users", Groups: []string{"sudo", "adm"}, Home: "/srv/admin", Shell: "/bin/sh", Comment: "The admin", SSHAuthorizedKeys: []string{strings.TrimSpace(string(files()["work/admin.pub"].Data))}, PasswordHash: &hash, Range: at},
		{Name: "agent", System: true, Home: "/nonexistent", Shell: "/usr/sbin/nologin", PasswordHash: &locked, Range: at},
	}
	same(t, "users", r.Users, want)
	same(t, "top", []string{r.Path, r.Name, r.Version, r.Arch, r.Hostname, r.Timezone, r.Locale}, []string{"node.hcl", "node", "1.0", "x86_64", "n2-1.example.com", "Asia/Shanghai", "en_US.UTF-8"})
	same(t, "packages", r.Rootfs.Packages, []string{"auditd", "systemd-sysv", "g++", "libc6:amd64"})
	same(t, "exclude", r.Rootfs.Exclude, []string{"vim-tiny"})
	same(t, "recommends", r.Rootfs.Recommends, true)

	repos := r.Rootfs.Repositories
	keyrings := []string{"/usr/share/keyrings/debian-archive-keyring.gpg"}
	same(t, "repositories", repos, []distros.Repository{
		{Name: "debian", URL: "https://mirror.example.com/debian", Suites: []string{"bookworm", "bookworm-updates"}, Components: []string{"main"}, GPGCheck: true, Keyrings: keyrings, KeyringPackage: "debian-archive-keyring"},
		{Name: "debian-security", URL: "http://ftp.debian.org/debian-security", Suites: []string{"bookworm-security"}, Components: []string{"main", "contrib"}, GPGCheck: true, Keyrings: keyrings, KeyringPackage: "debian-archive-keyring", AptOrigin: "Debian", AptLabel: "Debian-Security"},
		{Name: "extra", URL: "file:///srv/extra", Suites: []string{"stable"}, Components: []string{"main"}, GPGCheck: true, KeyFiles: []string{"/work/key.gpg"}, KeyDigest: "sha256:" + sha256Hex([]byte("key"))},
	})
	same(t, "title", r.Distro.Title, "Our Debian")
	arch, _ := r.Distro.Architecture("x86_64")
	same(t, "image packages", r.ImagePackages(), append([]string{"usr-is-merged", "our-base", "auditd", "systemd-sysv", "g++", "libc6:amd64"}, r.Distro.Initramfs.Packages...))
	same(t, "tools", r.ToolPackages(), unique(arch.BIOS.Packages, arch.UEFI.Packages))
	same(t, "signed", r.SignedPackages(), []string(nil))

	var paths []string
	for _, f := range r.Files {
		paths = append(paths, f.Path)
	}
	same(t, "files", paths, []string{"/etc/copied", "/etc/issue", "/etc/motd"})
	same(t, "copied", r.Files[0].Source, "/work/binary")
	same(t, "issue", r.Files[1].Source, "/work/sub/issue")
	motd := r.Files[2]
	same(t, "motd", string(motd.Content), "welcome\nfrom the recipe a,b,")
	same(t, "motd's mode", []any{motd.Mode, motd.Owner, motd.Group}, []any{uint32(0o4750), "admin", "1000"})
	same(t, "copied's mode", []any{r.Files[0].Mode, r.Files[0].Owner}, []any{uint32(0o644), "root"})

	one := r.Scripts[0]
	same(t, "script", []any{one.Name, string(one.Content), one.Inline, one.Network, one.Env}, []any{"one", "echo one", true, true, map[string]string{"ROLE": "worker", "COUNT": "2"}})
	same(t, "inputs", one.Inputs, []Input{{Path: "/work/inputs", Name: "inputs", Dir: true}, {Path: "/work/motd", Name: "motd"}})
	same(t, "run", []string{r.Scripts[1].Run, string(r.Scripts[1].Content)}, []string{"/work/run.sh", "#!/bin/sh -e\ntrue\n"})
	configured, customized := r.ScriptOrder()
	same(t, "before customize", names(configured), []string{"early", "configured"})
	same(t, "after customize", names(customized), []string{"zero", "one"})

	for i := range r.Disk.Partitions {
		r.Disk.Partitions[i].Range = at
	}
	same(t, "disk", r.Disk, Disk{Layout: "single", Size: 4 << 30, Grow: true, Partitions: []Partition{
		{Label: "BIOS", Role: "bios", Size: 1 << 20, Range: at},
		{Label: "ESP", Role: "esp", Size: 200 << 20, Filesystem: "vfat", Mount: "/boot/efi", MountOptions: "defaults", Range: at},
		{Label: "DATA", Role: "data", Size: 1 << 30, Filesystem: "ext4", Mount: "/srv", MountOptions: "noatime", TypeGUID: "0fc63daf-8483-4772-8e79-3d69d8477de4", Range: at},
		{Label: "ROOT", Role: "root", Rest: true, Filesystem: "ext4", Mount: "/", MountOptions: "defaults", Range: at},
	}})
	same(t, "root", r.Disk.Root().Label, "ROOT")
	var mounts []string
	for _, p := range r.Disk.MountOrder() {
		mounts = append(mounts, p.Mount)
	}
	same(t, "mounts", mounts, []string{"/", "/boot/efi", "/srv"})
	same(t, "boot", r.Boot, Boot{Firmware: []string{"bios", "uefi"}, SecureBoot: "off", Console: []string{"tty0", "ttyS1,9600n8"}, Cmdline: []string{"quiet", "mitigations=off"}, PasswordPBKDF2: "grub.pbkdf2.sha512.10000.AB.CD"})
	same(t, "outputs", r.Outputs, []Output{{Type: "raw", Compression: "none"}, {Type: "qcow2", Compression: "deflate", Level: 9},
		{Type: "iso", Compression: "none", Media: &Media{
			Mode: "install", Label: "KUBE_NODE", Confirm: true, After: "poweroff", OnFailure: "halt",
			Target: Target{
				Match: "only", ByID: "nvme-*", ByPath: "pci-*", Serial: "S3?Z*", WWN: "eui.*", Model: "SAMSUNG *",
				MinSize: 100 << 30, MaxSize: 1920378863 << 10, Rotational: new(bool), Transport: "nvme", Wipe: true, Preserve: []string{"DATA"},
			},
			Events: Events{Console: "ttyS1", URL: "http://events.example.com/install?node=1"},
		}},
		{Type: "pxe", Compression: "none", Media: &Media{
			Mode: "install", After: "reboot", OnFailure: "shell", Target: Target{Match: "only"}, URL: "https://boot.example.com:8443/images/node",
		}},
	})
	for i := range r.Containers {
		r.Containers[i].Range = at
	}
	same(t, "containers", r.Containers, []Container{
		{Name: "registry.example.com/pause:3.9", Runtime: "containerd", Namespace: "k8s.io", Range: at,
			Source: "docker://registry.example.com/pause@sha256:" + sum, SourceReference: "docker://registry.example.com/pause@sha256:" + sum},
		{Runtime: "podman", Range: at, Source: "docker://registry.example.com:5000/dns@sha256:" + sum, SourceReference: "docker://registry.example.com:5000/dns@sha256:" + sum},
		{Name: "registry.example.com/dns/coredns:1.11", Runtime: "containerd", Namespace: "default", Source: "oci:/work/inputs:1", SourceReference: "oci:inputs:1", Range: at},
		{Name: "registry.example.com/dns/coredns:1.11", Runtime: "docker", Insecure: true, Range: at,
			Source: "docker://worker.example.com:5000/coredns:1", SourceReference: "docker://worker.example.com:5000/coredns:1"},
	})
	same(t, "harden", r.Harden, &Harden{Profile: "baseline", Skip: []string{"mount-tmp"}, Set: map[string]string{"sshd-passwords": "yes", "sysctl-panic": "30"}})
	same(t, "trim", r.Trim, &Trim{
		Profile: "container-host", Keep: []string{"tcpdump", "linux-image-*", "/usr/share/zoneinfo/**", "cron.service"},
		Remove: []string{"perl-base", "python3*", "apt-*.timer", "/usr/share/man/*/[a-c]*"}, Paths: []string{"/usr/share/doc/**", "/usr/**/*.a"}, Modules: []string{"can", "sound"},
		Services: Services{Enable: []string{"ssh.service", "getty@tty1.service"}, Disable: []string{"cron.service"}, Mask: []string{"debug-shell.service"}, Remove: []string{"e2scrub_all.timer"}},
		Budget:   Budget{Packages: 376, Services: 143, Size: 770 << 20, ImageSize: 1 << 30},
		Exceptions: []Exception{
			{Kind: "library", Path: "/usr/lib/foo.so", Need: "libbar.so.*", Reason: "loaded only where it is there"},
			{Kind: "symlink", Path: "/etc/**", Reason: "filled in by the node"},
		},
	})
	same(t, "images to pin", r.Request().Containers, []string{
		"docker://registry.example.com/pause@sha256:" + sum, "docker://registry.example.com:5000/dns@sha256:" + sum, "docker://worker.example.com:5000/coredns:1", "oci:inputs:1",
	})
	same(t, "build scripts", names(r.Scripts), []string{"one", "early", "zero", "configured"})
	same(t, "install scripts", names(r.InstallScripts), []string{"register", "say"})
	register := r.InstallScripts[0]
	same(t, "register", []any{string(register.Content), register.Inline, register.Network, register.Env, register.After}, []any{"#!/bin/sh -e\ntrue\n", false, true, map[string]string{"ROLE": "worker"}, ""})
}

func TestLiveMedium(t *testing.T) {
	r, p := loadText(t, strings.Replace(base, `output "raw" {}`, iso(`mode = "live"`), 1), Options{})
	if len(p.Diagnostics) > 0 {
		t.Fatal(p.Error())
	}
	same(t, "outputs", r.Outputs, []Output{{Type: "iso", Compression: "none", Media: &Media{Mode: "live", Label: "NODE_1_0", OnFailure: "shell"}}})
}

func TestVolumeLabel(t *testing.T) {
	for _, c := range []struct{ name, version, want string }{
		{"node", "1.0", "NODE_1_0"},
		{"Kube-Node", "1.0~rc1+2", "KUBE_NODE_1_0_RC1_2"},
		{"a-very-long-name-of-an-image", "2024.10", "A_VERY_LONG_NAME_OF_AN_IMAGE_202"},
	} {
		if got := VolumeLabel(c.name, c.version); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.name, c.version, got, c.want)
		}
	}
}

// TestMediaWordsAreTheInstallers compares what recipes may say with what the installer knows.
func TestMediaWordsAreTheInstallers(t *testing.T) {
	same(t, "modes", MediaModes, []string{config.ModeInstall, config.ModeLive})
	same(t, "ends", MediaEnds, []string{config.Reboot, config.PowerOff, config.Halt})
	same(t, "failures", MediaFailures, []string{config.Shell, config.Reboot, config.Halt})
	same(t, "matches", TargetMatches, []string{config.MatchSmallestEmpty, config.MatchLargestEmpty, config.MatchOnly})
	transports := []string{disks.NVMe, disks.SATA, disks.ATA, disks.SAS, disks.SCSI, disks.VirtIO, disks.USB, disks.MMC, disks.FC, disks.ISCSI, disks.Xen}
	same(t, "transports", Transports, transports)
}

// TestTrimmingWordsAreTheStages compares what recipes may say with what the stages know.
func TestTrimmingWordsAreTheStages(t *testing.T) {
	same(t, "kinds of exceptions", ExceptionKinds, slices.Sorted(slices.Values(guard.Kinds)))
	same(t, "runtimes", slices.Sorted(slices.Values(Runtimes)), containers.Runtimes())
	same(t, "namespace", DefaultNamespace, containers.DefaultNamespace)
	var classes []string
	for _, c := range modules.Classes {
		classes = append(classes, c.Name)
	}
	same(t, "classes of modules", ModuleClasses, classes)
}

// TestOtherOutputsKeepTheirIdentity guards the caches and the locks: what was added to the language changes nothing for recipes
// without it.
func TestOtherOutputsKeepTheirIdentity(t *testing.T) {
	r, p := loadText(t, base, Options{})
	if p.Err() != nil {
		t.Fatal(p)
	}
	text, err := json.Marshal(r.Outputs)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "output", string(text), `[{"Type":"raw","Compression":"none","Level":0}]`)
	if text, err = json.Marshal(r); err != nil {
		t.Fatal(err)
	}
	for _, later := range []string{"InstallScripts", "Containers", "Harden", "Trim"} {
		if strings.Contains(string(text), later) {
			t.Errorf("a recipe without %s says it in %s", later, text)
		}
	}
	if text, err = json.Marshal(r.Request()); err != nil || strings.Contains(string(text), "containers") {
		t.Errorf("%s, %v", text, err)
	}
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

func TestDefaults(t *testing.T) {
	r, p := loadText(t, strings.Replace(base, "boot {\n  firmware = [\"bios\", \"uefi\"]\n}\n", "", 1), Options{})
	if p.Err() != nil {
		t.Fatal(p)
	}
	same(t, "boot", r.Boot, Boot{Firmware: []string{"bios", "uefi"}, SecureBoot: "distro", Console: []string{"tty0", "ttyS0,115200n8"}, Timeout: 1})
	same(t, "top", []string{r.Hostname, r.Timezone, r.Locale}, []string{"node", "Etc/UTC", "C.UTF-8"})
	arch, _ := r.Distro.Architecture("x86_64")
	same(t, "signed", r.SignedPackages(), arch.Signed.Packages)
	same(t, "tools", r.ToolPackages(), arch.BIOS.Packages) // and not GRUB for UEFI, which comes signed
	u := r.Users[0]
	same(t, "user", []any{u.Home, u.Shell, u.PasswordHash, u.UID}, []any{"/home/admin", "/bin/bash", (*string)(nil), (*uint32)(nil)})
}

func TestFreePartitions(t *testing.T) {
	text := strings.Replace(base, "layout = \"single\"\n  size   = \"2GiB\"", `partition "ROOT" {
    role = "root"
    size = "1GiB"
  }
  partition "BIOS" {
    role = "bios"
    size = "1MiB"
  }
  partition "EFI" {
    role = "esp"
    size = "64MiB"
  }
  partition "XFER" {
    role       = "data"
    filesystem = "vfat"
    size       = "32MiB"
  }`, 1)
	r, p := loadText(t, text, Options{})
	if p.Err() != nil {
		t.Fatal(p)
	}
	same(t, "disk", []any{r.Disk.Size, r.Disk.Grow, r.Disk.Layout, len(r.Disk.Partitions)}, []any{int64(0), false, "", 4})
	same(t, "ESP", []string{r.Disk.Partitions[2].Filesystem, r.Disk.Partitions[2].Mount}, []string{"vfat", ""})
	same(t, "XFER", r.Disk.Partitions[3].Filesystem, "vfat")
}

func TestFirmwareDecidesPreset(t *testing.T) {
	for _, c := range []struct{ arch, firmware, want string }{
		{"x86_64", `["bios"]`, "BIOS ROOT"}, {"x86_64", `["uefi"]`, "ESP ROOT"}, {"arm64", `["uefi"]`, "ESP ROOT"},
	} {
		text := strings.Replace(strings.Replace(base, `["bios", "uefi"]`, c.firmware, 1), `"x86_64"`, `"`+c.arch+`"`, 1)
		r, p := loadText(t, text, Options{})
		if p.Err() != nil {
			t.Fatal(p)
		}
		var labels []string
		for _, p := range r.Disk.Partitions {
			labels = append(labels, p.Label)
		}
		same(t, c.arch+c.firmware, strings.Join(labels, " "), c.want)
	}
}

func TestVariablePrecedence(t *testing.T) {
	env := []string{"PATH=/bin", "IMAGEFACTORY_VAR_version=env", "IMAGEFACTORY_VAR_someone_elses=1"}
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{}, "1.0"},
		{Options{Environ: env}, "env"},
		{Options{Environ: env, VarFiles: []string{"good.vars"}}, "2.0"},
		{Options{Environ: env, VarFiles: []string{"good.vars"}, Vars: map[string]string{"version": "cli"}}, "cli"},
	} {
		r, p := loadText(t, base, c.o)
		if p.Err() != nil {
			t.Fatal(p)
		}
		same(t, "version", r.Version, c.want)
	}
}

func TestVariableTypes(t *testing.T) {
	text := strings.Replace(base, `"hello"`, `jsonencode([var.n, var.b, var.l, var.m, var.plain])`, 1) + `
variable "n" {
  type = number
}
variable "b" {
  default = false
}
variable "l" {
  type = list(string)
}
variable "m" {
  type    = map(number)
  default = {}
}
variable "plain" {}
`
	r, p := loadText(t, text, Options{Vars: map[string]string{"n": "4", "b": "true", "l": `["x", "y"]`, "m": "{ a = 1 }", "plain": "[not parsed"}})
	if p.Err() != nil {
		t.Fatal(p)
	}
	same(t, "values", string(r.Files[0].Content), `[4,true,["x","y"],{"a":1},"[not parsed"]`)
}

func TestFunctions(t *testing.T) {
	for expr, want := range map[string]string{
		`format("%s-%03d", "a", 7)`:                                           "a-007",
		`join(",", concat(["a"], split("/", "b/c")))`:                         "a,b,c",
		`lookup({ a = "x" }, "b", "none")`:                                    "none",
		`jsonencode(merge({ a = 1 }, { b = [true] }))`:                        `{"a":1,"b":[true]}`,
		`jsondecode("{\"a\": \"b\"}").a`:                                      "b",
		`replace("a.b", ".", "-")`:                                            "a-b",
		`regex("[0-9]+", "debian-12")`:                                        "12",
		`trimprefix(trimsuffix(" x ", " "), " ")`:                             "x",
		`contains(["a"], "a") ? "yes" : "no"`:                                 "yes",
		`coalesce(null, "b")`:                                                 "b",
		`base64encode("hello")`:                                               "aGVsbG8=",
		`base64decode("aGVsbG8=")`:                                            "hello",
		`sha256("")`:                                                          "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		`"${length("äö")}${length([1])}${length({})}"`:                        "210",
		`join(",", [for i in range(3) : tostring(i)])`:                        "0,1,2",
		`try(jsondecode("nonsense"), "fallback")`:                             "fallback",
		`fileexists("motd") && !fileexists("none") ? filesha256("motd") : ""`: sha256Hex([]byte("welcome\n")),
		`filebase64("binary")`:                                                "//4A",
		`join(",", keys({ b = 1, a = 2 }))`:                                   "a,b",
		`upper(trimspace(file("motd")))`:                                      "WELCOME",
	} {
		r, p := loadText(t, strings.Replace(base, `"hello"`, expr, 1), Options{})
		if p.Err() != nil {
			t.Errorf("%s: %v", expr, p)
			continue
		}
		if got := string(r.Files[0].Content); got != want {
			t.Errorf("%s = %q, want %q", expr, got, want)
		}
	}
	if len(Functions()) < 50 {
		t.Errorf("functions: %v", Functions())
	}
}

func TestIncludeOverrides(t *testing.T) {
	r, p := loadText(t, strings.Replace(base, "name    =", "include = [\"sub/harden.hcl\"]\nname    =", 1), Options{})
	if p.Err() != nil {
		t.Fatal(p)
	}
	same(t, "the main recipe's user wins whole", r.Users[0].Groups, []string{"sudo"})
	same(t, "package lists are joined", r.Rootfs.Packages, []string{"auditd", "systemd-sysv", "openssh-server"})
	same(t, "relative to the include", r.Files[0].Source, "/work/sub/issue")
}

// TestBlocksOfIncludes checks what an including recipe changes of the blocks it includes.
func TestBlocksOfIncludes(t *testing.T) {
	fsys := files()
	fsys["work/fleet.hcl"] = &fstest.MapFile{Mode: 0o644, Data: []byte(`container "registry.example.com/pause:1" {
  runtime = "containerd"
}
container "registry.example.com/pause:1" {
  runtime = "podman"
}
container "registry.example.com/dns:1" {
  runtime = "podman"
}
trim {
  profile = "minimal"
  keep    = ["tcpdump"]
  services {
    mask = ["debug-shell.service"]
  }
  budget {
    packages = 100
  }
  exception {
    kind   = "symlink"
    path   = "/etc/a"
    reason = "first"
  }
}
harden {
  profile = "baseline"
  skip    = ["sshd-x11"]
}
`)}
	fsys["work/node.hcl"] = &fstest.MapFile{Mode: 0o644, Data: []byte(`include = ["fleet.hcl"]
container "registry.example.com/pause:1" {
  runtime = "docker"
}
trim {
  profile = "container-host"
  keep    = ["strace", "tcpdump"]
  services {
    enable = ["ssh"]
  }
  budget {
    packages = 90
    size     = "1GiB"
  }
  exception {
    kind   = "symlink"
    path   = "/etc/b"
    reason = "second"
  }
}
harden {
  profile = "baseline"
  skip    = ["sshd-rhosts"]
}
` + base)}
	r, p := load(fsys, "/work", "node.hcl", Options{})
	if p.Err() != nil {
		t.Fatal(p)
	}
	var containers []string
	for _, c := range r.Containers {
		containers = append(containers, c.Runtime+" "+c.Name)
	}
	same(t, "containers", containers, []string{"podman registry.example.com/dns:1", "docker registry.example.com/pause:1"})
	same(t, "trim", []any{r.Trim.Profile, r.Trim.Keep, r.Trim.Budget}, []any{"container-host", []string{"tcpdump", "strace"}, Budget{Packages: 90, Size: 1 << 30}})
	same(t, "services", r.Trim.Services, Services{Enable: []string{"ssh.service"}, Mask: []string{"debug-shell.service"}})
	same(t, "exceptions", []string{r.Trim.Exceptions[0].Reason, r.Trim.Exceptions[1].Reason}, []string{"first", "second"})
	same(t, "skip", r.Harden.Skip, []string{"sshd-x11", "sshd-rhosts"})
}

// TestTrimDefaults checks what a block says that says nothing.
func TestTrimDefaults(t *testing.T) {
	r, p := loadText(t, base+"trim {}\n", Options{})
	if p.Err() != nil {
		t.Fatal(p)
	}
	same(t, "trim", r.Trim, &Trim{Profile: "none"})
}

func TestScriptOrder(t *testing.T) {
	s := func(name, after, before string) Script { return Script{Name: name, After: after, Before: before} }
	for _, c := range []struct {
		name                   string
		scripts                []Script
		configured, customized string
	}{
		{"definition order", []Script{s("b", "", ""), s("a", "", "")}, "", "b a"},
		{"after", []Script{s("b", "a", ""), s("a", "", "")}, "", "a b"},
		{"before", []Script{s("b", "", ""), s("a", "", "b")}, "", "a b"},
		{"after configure is early", []Script{s("b", "", ""), s("a", "configure", "")}, "a", "b"},
		{"rootfs is configure", []Script{s("a", "rootfs", "")}, "a", ""},
		{"follows into the early group", []Script{s("b", "a", ""), s("a", "configure", "")}, "a b", ""},
		{"before an early one is early", []Script{s("b", "", "a"), s("a", "configure", "")}, "b a", ""},
		{"early one held up by a late one", []Script{s("a", "configure", ""), s("b", "customize", "a")}, "", "b a"},
		{"after containers is after customize", []Script{s("a", "containers", ""), s("b", "customize", "")}, "", "a b"},
		{"before harden and trim is after customize", []Script{s("a", "", "trim"), s("b", "", "harden"), s("c", "configure", "")}, "c", "a b"},
		{"before initramfs", []Script{s("a", "", "initramfs"), s("b", "", "customize")}, "b", "a"},
	} {
		r := Recipe{Scripts: c.scripts}
		configured, customized := r.ScriptOrder()
		if got := strings.Join(names(configured), " "); got != c.configured {
			t.Errorf("%s: before customize %q, want %q", c.name, got, c.configured)
		}
		if got := strings.Join(names(customized), " "); got != c.customized {
			t.Errorf("%s: after customize %q, want %q", c.name, got, c.customized)
		}
	}
}

func TestExamples(t *testing.T) {
	paths, err := filepath.Glob("../examples/*.hcl")
	if err != nil || len(paths) < 3 {
		t.Fatalf("examples: %v, %v", paths, err)
	}
	// Any file will do for the vendors' keys, which nobody can publish but they.
	environ := []string{"IMAGEFACTORY_VAR_vendor_key=keys/ubuntu-archive-keyring.gpg"}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".hcl")
		r, problems := Load(path, Options{Environ: environ})
		if len(problems.Diagnostics) > 0 {
			t.Errorf("%s:\n%s", name, problems.Error())
			continue
		}
		if r.Name != strings.TrimSuffix(name, "-host")+"-host" || len(r.Outputs) < 2 || !r.Disk.Grow || r.Boot.SecureBoot != "distro" {
			t.Errorf("%s: %+v", name, r)
		}
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := Format(src); string(got) != string(src) {
			t.Errorf("%s is not formatted:\n%s", path, got)
		}
		if r.Distro.Verified[distros.FactBoot] == "" && !strings.Contains(string(src), "Not yet run on the vendor's packages") {
			t.Errorf("%s does not say that nobody has run it", path)
		}
	}
}

func TestStarter(t *testing.T) {
	for _, distro := range distros.Names() {
		src, err := Starter("my_image", distro)
		if err != nil {
			t.Fatal(err)
		}
		d, err := distros.Load(distro)
		if err != nil {
			t.Fatal(err)
		}
		fsys := files()
		fsys["work/node.hcl"] = &fstest.MapFile{Data: src, Mode: 0o644}
		_, p := load(fsys, "/work", "node.hcl", Options{})
		if hasKeys := d.Repositories[0].HasKey(); hasKeys == p.HasErrors() {
			t.Errorf("%s without a key beside the recipe: %v", distro, p)
		}
		fsys["work/"+StarterKey(d)] = &fstest.MapFile{Data: []byte("key"), Mode: 0o644}
		r, p := load(fsys, "/work", "node.hcl", Options{})
		if len(p.Diagnostics) > 0 {
			t.Errorf("%s: %v\n%s", distro, p, src)
			continue
		}
		if string(Format(src)) != string(src) {
			t.Errorf("%s: the starter is not formatted:\n%s", distro, src)
		}
		// What stands there for real machines works, too.
		before, rest, _ := strings.Cut(string(src), "#\n# trim")
		role, rest, _ := strings.Cut(rest, "\n\n")
		role = "trim" + strings.ReplaceAll(role, "\n# ", "\n") + "\n"
		fsys["work/node.hcl"] = &fstest.MapFile{Data: []byte(before + role), Mode: 0o644}
		if m, p := load(fsys, "/work", "node.hcl", Options{}); p.Err() != nil || m.Trim == nil || m.Harden == nil {
			t.Errorf("%s: %v\n%s", distro, p, role)
		} else if string(Format([]byte(role))) != role {
			t.Errorf("%s: trim and harden are not formatted:\n%s", distro, role)
		}
		_, media, _ := strings.Cut(rest, "#\n# output")
		media = "output" + strings.ReplaceAll(media, "\n# ", "\n")
		fsys["work/node.hcl"] = &fstest.MapFile{Data: []byte(before + media), Mode: 0o644}
		if m, p := load(fsys, "/work", "node.hcl", Options{}); p.Err() != nil || len(m.Outputs) != 4 {
			t.Errorf("%s: %v\n%s", distro, p, media)
		} else if string(Format([]byte(media))) != media {
			t.Errorf("%s: the media are not formatted:\n%s", distro, media)
		}
		if r.Name != "my_image" || r.Hostname != "localhost" || r.Distro.Name != distro {
			t.Errorf("%s: %+v", distro, r)
		}
	}
	if _, err := Starter("x", "debian-21"); err == nil {
		t.Error("an unknown distribution was accepted")
	}
	if _, err := Starter("my image", "debian-12"); err == nil {
		t.Error("an invalid name was accepted")
	}
}

func TestDigest(t *testing.T) {
	write := func(dir, text string) *Recipe {
		t.Helper()
		for name, content := range map[string]string{"node.hcl": text, "motd": "welcome", "inputs/a": "a"} {
			path := dir + "/" + name
			if err := os.MkdirAll(path[:strings.LastIndex(path, "/")], 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		r, p := Load(dir+"/node.hcl", Options{})
		if p.Err() != nil {
			t.Fatal(p)
		}
		return r
	}
	digest := func(r *Recipe) string {
		t.Helper()
		d, err := r.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	text := strings.Replace(base, `content = "hello"`, `source = "motd"`, 1)
	text = strings.Replace(text, `after  = "tune"`, `inputs = ["inputs"]`, 1)
	first := write(t.TempDir(), text)
	want := digest(first)
	dir := t.TempDir()
	r := write(dir, "# a comment\n\n"+strings.Replace(text, `"node"`, `lower("NODE")`, 1))
	same(t, "elsewhere, otherwise computed", digest(r), want)
	for what, change := range map[string]func(){
		"source": func() { _ = os.WriteFile(dir+"/motd", []byte("changed"), 0o644) },
		"input":  func() { _ = os.WriteFile(dir+"/inputs/a", []byte("changed"), 0o644) },
		"mode":   func() { _ = os.Chmod(dir+"/inputs/a", 0o755) },
		"name":   func() { _ = os.Rename(dir+"/inputs/a", dir+"/inputs/b") },
		"value":  func() { r.Timezone = "Asia/Shanghai" },
	} {
		before := digest(r)
		change()
		if digest(r) == before {
			t.Errorf("a changed %s does not change the digest", what)
		}
	}
	if err := os.Remove(dir + "/motd"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Digest(); err == nil {
		t.Error("a missing source was not reported")
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{"1KiB": 1 << 10, "512MiB": 512 << 20, "8GiB": 8 << 30, "2TiB": 2 << 40, "0MiB": 0} {
		got, err := ParseSize(s)
		if err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v", s, got, err)
		}
		if want > 0 && FormatSize(got) != s {
			t.Errorf("FormatSize(%d) = %q", got, FormatSize(got))
		}
	}
	for _, s := range []string{"", "8", "8GB", "8G", "8gib", "-1GiB", "1e3MiB", "GiB", "1GiB2", "1.5GiB", "9999999999999TiB", "8 GiB", "8XiB", "0x1GiB"} {
		if n, err := ParseSize(s); err == nil {
			t.Errorf("ParseSize(%q) = %d", s, n)
		}
	}
}

// The vectors of the specification's own test program.
func TestSHA512Crypt(t *testing.T) {
	for _, c := range []struct {
		salt     string
		rounds   int
		password string
		want     string
	}{
		{"saltstring", 0, "Hello world!", "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"},
		{"saltstringsaltstring", 10000, "Hello world!", "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v."},
		{"toolongsaltstring", 5000, "This is just a test", "$6$rounds=5000$toolongsaltstrin$lQ8jolhgVRVhY4b5pZKaysCLi0QBxGoNeKQzQ3glMhwllF7oGDZxUhx1yxdYcz/e1JSbq3y6JMxxl8audkUEm0"},
		{"anotherlongsaltstring", 1400, "a very much longer text to encrypt.  This one even stretches over morethan one line.", "$6$rounds=1400$anotherlongsalts$POfYwTEok97VWcjxIiSOjiykti.o/pQs.wPvMxQ6Fm7I6IoYN3CmLs66x9t0oSwbtEW7o7UmJEiDwGqd8p4ur1"},
		{"short", 77777, "we have a short salt string but not a short password", "$6$rounds=77777$short$WuQyW2YR.hBNpjjRhpYD/ifIw05xdfeEyQoMxIXbkvr0gge1a1x3yRULJ5CCaUeOxFmtlcGZelFl5CxtgfiAc0"},
		{"asaltof16chars..", 123456, "a short string", "$6$rounds=123456$asaltof16chars..$BtCwjqMJGx5hrJhZywWvt0RLE8uZ4oPwcelCjmw2kSYu.Ec6ycULevoBK25fs2xXgMNrCzIMVcgEJAstJeonj1"},
		{"roundstoolow", 10, "the minimum number is still observed", "$6$rounds=1000$roundstoolow$kUMsbe306n21p9R.FRkW3IGn.S9NPN0x50YhH1xhLsPuWGsUSklZt58jaTfF4ZEQpyUNGc0dqbpBYYBaHHrsX."},
	} {
		if got := sha512crypt([]byte(c.password), []byte(c.salt), c.rounds); got != c.want {
			t.Errorf("%s, %d rounds:\n got %s\nwant %s", c.salt, c.rounds, got, c.want)
		}
	}
}

func TestSHA512CryptLikeOpenSSL(t *testing.T) {
	for _, password := range []string{"a", "imagefactory", "pässwörd", strings.Repeat("long ", 40)} {
		cmd := exec.Command("openssl", "passwd", "-6", "-salt", "abcdefgh", "-stdin")
		cmd.Stdin = strings.NewReader(password + "\n")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("this test compares with openssl, which cannot run: %v (install the package openssl)", err)
		}
		if got, want := sha512crypt([]byte(password), []byte("abcdefgh"), 0), strings.TrimSpace(string(out)); got != want {
			t.Errorf("%q:\n got %s\nwant %s", password, got, want)
		}
	}
}

func TestRenderColorAndWidth(t *testing.T) {
	_, p := loadText(t, strings.Replace(base, "  packages =", "\tpakages =", 1), Options{})
	var b strings.Builder
	if err := p.Write(&b, 40, true); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "\x1b[1;31mError\x1b[0m") || !strings.Contains(b.String(), "| \t\x1b[31m^^^^^^^\x1b[0m\n") {
		t.Errorf("%q", b.String())
	}
	for _, line := range strings.Split(p.Error(), "\n") {
		if len(line) > 100 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	if p.ExitStatus() != 2 {
		t.Error("a wrong recipe is exit status 2")
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(base))
	f.Add([]byte(full))
	f.Add([]byte(rpmRecipe))
	for _, m := range mistakes {
		if m.old != "" {
			f.Add([]byte(strings.Replace(base, m.old, m.new, 1)))
		} else {
			f.Add([]byte(base + m.new))
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		fsys := files()
		fsys["work/node.hcl"] = &fstest.MapFile{Data: src, Mode: 0o644}
		r, p := load(fsys, "/work", "node.hcl", Options{Environ: []string{"IMAGEFACTORY_VAR_version=[1"}})
		if (r == nil) == (p.Err() == nil) {
			t.Fatalf("recipe %v, problems %v", r, p)
		}
		_ = p.Error()
		if r != nil {
			if o := order(r.Scripts); len(o.configured)+len(o.customized) != len(r.Scripts) {
				t.Fatalf("%d scripts, ordered %v", len(r.Scripts), o)
			}
			r.Request()
		}
		Format(src)
	})
}
