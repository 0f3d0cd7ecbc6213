// Package doctor finds out what a build host can and cannot do, and says how to
// mend what it cannot.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/imagefactory/imagefactory/distros"
	"github.com/imagefactory/imagefactory/qemu"
	"github.com/imagefactory/imagefactory/stages/hosttool"
	"github.com/imagefactory/imagefactory/stages/media"
	"github.com/imagefactory/imagefactory/stages/sandbox"
)

// Verdict says how well something is.
type Verdict string

// The verdicts, from the best to the worst.
const (
	Good     Verdict = "good"
	Limited  Verdict = "limited"  // something works less well, or only some things need it
	Blocking Verdict = "blocking" // no build is possible
)

// Finding is what was found out about one thing.
type Finding struct {
	About   string  `json:"about"`
	Verdict Verdict `json:"verdict"`
	Found   string  `json:"found"`
	Remedy  string  `json:"remedy,omitempty"` // how to mend it; empty when it is good
}

// Options says what to look at.
type Options struct {
	Cache  string // directory of the cache, which need not exist yet
	Mirror bool   // also ask the distributions' mirrors, which takes the network
}

// Examine looks at everything and returns a finding for each.
func Examine(ctx context.Context, o Options) []Finding {
	findings := []Finding{architecture(), sandboxed(), cacheDir(o.Cache), space(o.Cache)}
	findings = append(findings, namespaces()...)
	findings = append(findings, keyrings()...)
	findings = append(findings, installers(ctx)...)
	findings = append(findings, installationMedia(os.Executable))
	findings = append(findings, machines()...)
	if o.Mirror {
		findings = append(findings, mirrors(ctx)...)
	}
	return findings
}

// architectures are the recipes' names of what Go calls its targets.
var architectures = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}

// architecture tells which images' programs this host can run.
func architecture() Finding {
	f := Finding{About: "architecture", Verdict: Good}
	if name, ok := architectures[runtime.GOARCH]; ok {
		f.Found = fmt.Sprintf("%s: builds images for %s", name, name)
		return f
	}
	f.Verdict, f.Found = Blocking, runtime.GOARCH+": no image can be built here"
	f.Remedy = "build on x86_64 or aarch64"
	return f
}

// sandboxed tries out whether programs of the target can be run.
func sandboxed() Finding {
	f := Finding{About: "sandbox", Verdict: Good}
	mode, reason, err := sandbox.Detect()
	if err != nil {
		f.Verdict, f.Found = Blocking, err.Error()
		var host *sandbox.HostError
		if errors.As(err, &host) {
			f.Found, f.Remedy = host.Problem, host.Remedy
		}
		return f
	}
	f.Found = fmt.Sprintf("%s: %s", mode, reason)
	if limits := mode.Limits(); len(limits) > 0 {
		f.Verdict = Limited
		f.Found += ": " + strings.Join(limits, "; ")
		f.Remedy = "see the findings about user namespaces below"
	}
	if mode == sandbox.Single {
		f.Verdict = Blocking
		f.Remedy = "give the user a range of subordinate ids (usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER), or build with --allow-single-id"
	}
	return f
}

// namespaces looks at what can stand in the way of user namespaces. Root needs
// none.
func namespaces() []Finding {
	var findings []Finding
	for _, helper := range []string{"newuidmap", "newgidmap"} {
		f := Finding{About: helper, Verdict: Good}
		if path, err := exec.LookPath(helper); err == nil {
			f.Found = path
		} else {
			f.Verdict, f.Found = Limited, "not installed: only root can build with full ownership"
			f.Remedy = "install the package uidmap (Debian, Ubuntu) or shadow-utils (RHEL and relatives)"
		}
		findings = append(findings, f)
	}
	for _, s := range []struct{ path, bad, remedy string }{
		{"user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=15000"},
		{"kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"},
		{"kernel/apparmor_restrict_unprivileged_userns", "1", "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for imagefactory with \"userns,\""},
	} {
		value, err := os.ReadFile(filepath.Join("/proc/sys", s.path))
		if err != nil {
			continue // this kernel has no such switch
		}
		f := Finding{About: strings.ReplaceAll(s.path, "/", "."), Verdict: Good, Found: strings.TrimSpace(string(value))}
		if f.Found == s.bad {
			f.Verdict, f.Remedy = Limited, s.remedy
			f.Found += ": ordinary users cannot make user namespaces"
		}
		findings = append(findings, f)
	}
	return findings
}

// cacheDir tells whether the cache can be written.
func cacheDir(dir string) Finding {
	f := Finding{About: "cache", Verdict: Good, Found: dir}
	if err := unix.Access(existing(dir), unix.W_OK|unix.X_OK); err != nil {
		f.Verdict, f.Found = Blocking, fmt.Sprintf("%s cannot be written: %v", dir, err)
		f.Remedy = "choose another directory with --cache or IMAGEFACTORY_CACHE"
	}
	return f
}

// existing is dir, or the nearest directory above it that exists.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// enoughSpace is what the cache and the images of a first build take, with
// room to spare.
const enoughSpace = 3 << 30

// space looks at the disk of the cache.
func space(dir string) Finding {
	f := Finding{About: "free space", Verdict: Good}
	var stat unix.Statfs_t
	if err := unix.Statfs(existing(dir), &stat); err != nil {
		f.Verdict, f.Found = Limited, err.Error()
		return f
	}
	free := int64(stat.Bavail) * stat.Bsize
	f.Found = fmt.Sprintf("%d MiB where the cache is", free>>20)
	if free < enoughSpace {
		f.Verdict = Limited
		f.Remedy = fmt.Sprintf("a first build can take %d MiB: choose another place with --cache, or shrink the cache with \"imagefactory cache gc\"", enoughSpace>>20)
	}
	return f
}

// keyrings looks for the keys of each distribution's repositories.
func keyrings() []Finding {
	var findings []Finding
	for _, name := range distros.Names() {
		d, err := distros.Load(name)
		if err != nil {
			findings = append(findings, Finding{About: "keys of " + name, Verdict: Limited, Found: err.Error()})
			continue
		}
		findings = append(findings, keyringOf(d))
	}
	return findings
}

func keyringOf(d *distros.Distro) Finding {
	f := Finding{About: "keys of " + d.Name, Verdict: Good}
	for _, repo := range d.Repositories {
		if !repo.GPGCheck {
			continue
		}
		if !repo.HasKey() {
			f.Found = "come with the recipe, as gpg_key of its repositories"
			if repo.KeySource != "" {
				f.Found += "; the vendor's is " + repo.KeySource
			}
			continue
		}
		found := ""
		for _, file := range repo.Keyrings {
			if _, err := os.Stat(file); err == nil {
				found = file
				break
			}
		}
		if found == "" && repo.KeyURL != "" {
			found = repo.KeyURL + ", whose fingerprint is known"
		}
		if found == "" {
			f.Verdict = Limited
			f.Found = fmt.Sprintf("none for the repository %s: its packages cannot be verified", repo.Name)
			f.Remedy = "set gpg_key in the recipe's repository block"
			if repo.KeyringPackage != "" {
				f.Remedy = fmt.Sprintf("install the package %s, or %s", repo.KeyringPackage, f.Remedy)
			}
			return f
		}
		f.Found = found
	}
	if f.Found == "" {
		f.Found = "none is expected on this host: recipes name it, or builds download it and compare its fingerprint"
	}
	return f
}

// installers looks at the host's package managers, which only recipes that ask for them
// need.
func installers(ctx context.Context) []Finding {
	var findings []Finding
	for _, name := range hosttool.Installers {
		if _, err := exec.LookPath(name); err != nil && name == hosttool.Yum {
			continue // where there is none, nobody misses it
		}
		f := Finding{About: fmt.Sprintf("installer %q", name), Verdict: Good}
		version, err := hosttool.Check(ctx, name)
		var host *sandbox.HostError
		switch {
		case errors.As(err, &host):
			f.Verdict, f.Found, f.Remedy = Limited, host.Problem, host.Remedy
		case err != nil:
			f.Verdict, f.Found, f.Remedy = Limited, err.Error(), "use installer = \"native\""
		default:
			f.Found = version
		}
		findings = append(findings, f)
	}
	return findings
}

// installationMedia tells whether this program can be the installer of the media it
// makes, for which it must need no library. executable says where it lies.
func installationMedia(executable func() (string, error)) Finding {
	f := Finding{About: "installation media", Verdict: Good}
	program, err := executable()
	if err == nil {
		_, err = media.OpenProgram(program, architectures[runtime.GOARCH])
	}
	if err != nil {
		f.Verdict, f.Found = Limited, "the outputs iso and pxe cannot be built: "+err.Error()
		f.Remedy = "use the imagefactory that is released, or build it with CGO_ENABLED=0 go build"
		return f
	}
	f.Found = program + " is the installer on them"
	return f
}

// machines looks at what boot and test need; builds do not.
func machines() []Finding {
	f := Finding{About: "QEMU", Verdict: Good, Found: "installed"}
	if err := qemu.CheckInstalled(); err != nil {
		f.Verdict, f.Found, f.Remedy = Limited, "images cannot be booted here", err.Error()
	}
	findings := []Finding{f}
	for _, kind := range []qemu.Firmware{qemu.UEFI, qemu.UEFISecure} {
		f := Finding{About: "firmware " + string(kind), Verdict: Good}
		files, err := qemu.FindFirmware(kind)
		if err != nil {
			f.Verdict, f.Found, f.Remedy = Limited, "images cannot be booted with it here", err.Error()
		} else {
			f.Found = files.Code
		}
		findings = append(findings, f)
	}
	f = Finding{About: "acceleration", Verdict: Good, Found: "KVM"}
	if accel, reason := qemu.DetectAccelerator(); accel != qemu.KVM {
		f.Verdict, f.Found = Limited, reason+"; booting takes minutes instead of seconds"
		f.Remedy = "on a host with KVM, let the user open /dev/kvm (usermod -aG kvm USER)"
	}
	return append(findings, f)
}

// mirrors asks for each repository's first index.
func mirrors(ctx context.Context) []Finding {
	var findings []Finding
	for _, name := range distros.Names() {
		d, err := distros.Load(name)
		if err != nil {
			continue // keyrings said so
		}
		for _, repo := range d.Repositories {
			if d.Family == distros.FamilyRPM {
				repo = repo.Expand(d.Architectures[0].PackageArch, d.Version)
			}
			findings = append(findings, reach(ctx, d.Name+" "+repo.Name, repo))
		}
	}
	return findings
}

func reach(ctx context.Context, about string, repo distros.Repository) Finding {
	url := strings.TrimRight(repo.URL, "/") + "/"
	if len(repo.Suites) > 0 {
		url += "dists/" + repo.Suites[0] + "/InRelease"
	} else {
		url += "repodata/repomd.xml"
	}
	f := Finding{About: "mirror of " + about, Verdict: Good, Found: url}
	fail := func(err error) Finding {
		f.Verdict, f.Found = Limited, err.Error()
		f.Remedy = "set HTTP_PROXY if this host needs a proxy, choose a mirror with --mirror, or build with --offline from a lock and a full cache"
		return f
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
	if err != nil {
		return fail(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fail(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fail(fmt.Errorf("%s: %s", url, response.Status))
	}
	return f
}

// Worst returns the worst verdict among findings.
func Worst(findings []Finding) Verdict {
	worst := Good
	for _, f := range findings {
		if f.Verdict == Blocking || f.Verdict == Limited && worst == Good {
			worst = f.Verdict
		}
	}
	return worst
}
