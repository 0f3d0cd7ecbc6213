package deb

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// aptSets are package sets for which our answer has to be the same as apt's.
// "@base" is every essential package and all of priority required.
var aptSets = []struct {
	names      string
	recommends bool
}{
	{"@base", false},
	{"@base", true},
	{"libc6", false}, // without the base, which apt does not add by itself
	{"@base apt debian-archive-keyring", false},
	{"@base systemd systemd-sysv udev dbus linux-image-cloud-amd64 initramfs-tools grub-pc-bin grub-efi-amd64-bin grub-efi-amd64-signed shim-signed openssh-server iproute2", false},
	{"@base systemd systemd-sysv udev dbus linux-image-amd64 openssh-server iproute2 containerd runc iptables conntrack ethtool socat chrony", false},
	{"@base systemd systemd-sysv udev dbus linux-image-amd64 openssh-server iproute2 containerd runc iptables conntrack ethtool socat chrony", true},
	{"@base docker.io podman buildah skopeo", false},
	{"@base docker.io podman buildah skopeo", true},
	{"@base sysvinit-core elogind", false},
	{"@base dracut linux-image-amd64", false},
	{"@base cloud-init cloud-guest-utils network-manager", false},
	{"@base network-manager ifupdown wpasupplicant", true},
	{"@base apache2 mariadb-server php", false},
	{"@base apache2 mariadb-server php php-mysql phpmyadmin", true},
	{"@base nginx postgresql php-fpm php-pgsql", false},
	{"@base mailutils", false}, // default-mta | mail-transport-agent
	{"@base mailutils", true},
	{"@base mailutils postfix", false},
	{"@base mdadm at cron exim4", true},
	{"@base logwatch nullmailer", true},
	{"@base gawk original-awk", false}, // awk
	{"@base busybox bsd-mailx vim emacs-nox", false},
	{"@base default-jdk maven tomcat10", false},
	{"@base build-essential devscripts debhelper", false},
	{"@base build-essential devscripts debhelper", true},
	{"@base python3-dev python3-numpy python3-matplotlib jupyter-notebook", false},
	{"@base xorg openbox lightdm firefox-esr", false},
	{"@base xfce4 lightdm", true},
	{"@base task-gnome-desktop", false},
	{"@base task-gnome-desktop", true},
	{"@base task-kde-desktop", true},
	{"@base gnome-core pipewire-audio", true},
	{"@base lxqt sddm pulseaudio", true},
	{"@base libreoffice thunderbird gimp inkscape", true},
	{"@base ispell aspell hunspell dictionaries-common", false}, // virtual dictionaries
	{"@base qemu-system-x86 libvirt-daemon-system virtinst ovmf", true},
	{"@base samba winbind krb5-user sssd", true},
	{"@base frr bird2 keepalived haproxy", false},
	{"@base rsyslog logrotate anacron unattended-upgrades", true},
	{"@base openssh-client=@oldest", false},
	{"@base texlive-latex-extra latexmk", false},
	{"@base ruby rails golang nodejs npm rustc cargo ghc", false},
	{"@base fuse3 sshfs ntfs-3g exfatprogs btrfs-progs xfsprogs lvm2 cryptsetup-initramfs", true},
	{"@base tasksel task-web-server task-ssh-server task-laptop", true},
	{"@base resolvconf openresolv", false},             // conflict
	{"@base exim4-daemon-light postfix", false},        // conflict
	{"@base systemd-sysv sysvinit-core", false},        // conflict
	{"@base libnode-dev r-base-dev octave-dev", false}, // virtual ABIs
	{"@base emacs-gtk auctex elpa-magit", true},        // emacsen
	{"@base dma opensmtpd-extras", false},              // provider against another one's conflict
	{"@base inetutils-syslogd fail2ban", true},         // system-log-daemon
	{"@base openjdk-17-jre-headless ca-certificates-java ant", true},
}

// TestSolveLikeApt compares our answers with apt-get's on the indexes of
// Debian 12 as the mirror has them today.
func TestSolveLikeApt(t *testing.T) {
	apt := newPrivateApt(t)
	for _, set := range aptSets {
		name := strings.TrimPrefix(set.names, "@base ")
		if set.recommends {
			name += " with recommends"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if ours, apts := apt.compare(t, apt.names(set.names), set.recommends); ours != apts {
				t.Error(difference(ours, apts))
			}
		})
	}
	t.Run("simulation", func(t *testing.T) {
		names := apt.names("@base openssh-server")
		fast, _ := apt.install(t, names, true)
		slow, _ := apt.simulate(t, names, true)
		if len(fast) == 0 || !slices.Equal(fast, slow) {
			t.Error("apt-get --print-uris and apt-get -s differ: " + difference(strings.Join(fast, "\n"), strings.Join(slow, "\n")))
		}
	})
}

// TestSolveLikeAptSweep compares our answers with apt-get's on random sets.
// Where apt finds no solution ours is judged by apt-get check.
func TestSolveLikeAptSweep(t *testing.T) {
	if os.Getenv("IMAGEFACTORY_TEST") != "full" {
		t.Skip("set IMAGEFACTORY_TEST=full to compare 200 random package sets with apt")
	}
	apt := newPrivateApt(t)
	base := apt.names("@base")
	for seed := range int64(200) {
		random := rand.New(rand.NewSource(seed))
		names := slices.Clone(base)
		recommends := seed%3 == 0
		n := 1 + random.Intn(20)
		if recommends {
			n = 1 + random.Intn(4)
		}
		for range n {
			names = append(names, apt.packages[random.Intn(len(apt.packages))].Name)
		}
		slices.Sort(names)
		names = slices.Compact(names)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			if ours, apts := apt.compare(t, names, recommends); ours != apts {
				t.Errorf("recommends %v, %v: %s", recommends, names, difference(ours, apts))
			}
		})
	}
}

// names splits the names of a set and replaces "@base" and "@oldest". They are
// sorted, because apt's answer depends on their order, and ours is that for
// this order.
func (a *privateApt) names(set string) []string {
	var names []string
	for _, name := range strings.Fields(set) {
		plain, version, _ := strings.Cut(name, "=")
		switch {
		case name == "@base":
			for _, p := range a.universe.packages {
				if p.Essential || p.Priority == "required" {
					names = append(names, p.Name)
				}
			}
		case version == "@oldest":
			versions := slices.Clone(a.universe.named(plain))
			slices.SortFunc(versions, func(p, q *Package) int { return CompareVersions(p.Version, q.Version) })
			names = append(names, plain+"="+versions[0].Version)
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// noSolution is the answer where there is none.
const noSolution = "no solution"

// compare returns our answer and apt's as lines. Where apt finds no solution
// and we do, it returns ours twice if apt-get check finds nothing wrong with
// it.
func (a *privateApt) compare(t *testing.T, names []string, recommends bool) (ours, apts string) {
	t.Helper()
	request := Request{Recommends: recommends}
	for _, name := range names {
		request.Packages = append(request.Packages, Item{Name: name})
	}
	set, err := a.universe.Solve(request)
	var lines []string
	for _, p := range set {
		lines = append(lines, p.Name+" "+p.Version+" "+p.Arch)
	}
	slices.Sort(lines)
	ours = strings.Join(lines, "\n")
	if err != nil {
		t.Logf("we: %v", err)
		ours = noSolution
	}
	installed, failure := a.install(t, names, recommends)
	apts = strings.Join(installed, "\n")
	if failure != "" {
		apts = noSolution
		if err == nil {
			t.Logf("apt finds no solution, we do: %v", names)
			if problem := a.check(t, set); problem != "" {
				t.Errorf("our solution is none: %s", problem)
			}
			return ours, ours
		}
	}
	return ours, apts
}

// check returns what apt-get check finds wrong with a system on which exactly
// these packages are installed.
func (a *privateApt) check(t *testing.T, set []*Package) string {
	t.Helper()
	var status strings.Builder
	multiArch := map[MultiArch]string{MultiArchNo: "no", MultiArchSame: "same", MultiArchForeign: "foreign", MultiArchAllowed: "allowed"}
	for _, p := range set {
		s := Stanza{Fields: []Field{{Name: "Package", Value: p.Name}, {Name: "Status", Value: "install ok installed"},
			{Name: "Version", Value: p.Version}, {Name: "Architecture", Value: p.Arch}, {Name: "Multi-Arch", Value: multiArch[p.MultiArch]},
			{Name: "Pre-Depends", Value: p.PreDepends}, {Name: "Depends", Value: p.Depends}, {Name: "Provides", Value: p.Provides},
			{Name: "Conflicts", Value: p.Conflicts}, {Name: "Breaks", Value: p.Breaks}}}
		s.Fields = slices.DeleteFunc(s.Fields, func(f Field) bool { return f.Value == "" })
		status.WriteString(s.String() + "\n")
	}
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/status", []byte(status.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	command := exec.Command("apt-get", "check", "-q", "-o", "Dir::State::status="+dir+"/status", "-o", "Dir::Cache="+dir)
	command.Env = append(os.Environ(), "APT_CONFIG="+a.dir+"/apt.conf", "LC_ALL=C")
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Sprintf("%v\n%s", err, out)
	}
	return ""
}

// difference lists the lines of which only one answer has them.
func difference(ours, apts string) string {
	ourLines, aptLines := strings.Split(ours, "\n"), strings.Split(apts, "\n")
	only := func(a, b []string) []string {
		return slices.DeleteFunc(slices.Clone(a), func(line string) bool { return slices.Contains(b, line) })
	}
	return fmt.Sprintf("only we: %q; only apt: %q", only(ourLines, aptLines), only(aptLines, ourLines))
}

// BenchmarkParseIndex reads the largest index of Debian 12.
func BenchmarkParseIndex(b *testing.B) {
	text := newPrivateApt(b).largest(b)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseIndex(bytes.NewReader(text), "main"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNewUniverse joins the indexes of Debian 12, its updates and its
// security updates, and reports what all of it occupies.
func BenchmarkNewUniverse(b *testing.B) {
	apt := newPrivateApt(b)
	var universe *Universe
	for b.Loop() {
		var err error
		if universe, err = NewUniverse(aptArch, nil, apt.universe.indexes...); err != nil {
			b.Fatal(err)
		}
	}
	apt.universe = nil
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	b.ReportMetric(float64(memory.HeapAlloc)/(1<<20), "live-MiB")
	runtime.KeepAlive(universe)
}

// BenchmarkSolve solves a container host with the base system and reports how
// much longer apt-get -s takes for the same, reading its prepared cache.
func BenchmarkSolve(b *testing.B) {
	apt := newPrivateApt(b)
	names := apt.names("@base systemd systemd-sysv udev dbus linux-image-amd64 openssh-server iproute2 containerd runc iptables conntrack ethtool socat chrony")
	var request Request
	for _, name := range names {
		request.Packages = append(request.Packages, Item{Name: name})
	}
	apt.simulate(b, names, false) // writes its cache
	start := time.Now()
	apt.simulate(b, names, false)
	aptTime := time.Since(start)
	for b.Loop() {
		if _, err := apt.universe.Solve(request); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(aptTime.Seconds()*1000, "apt-ms")
	b.ReportMetric(aptTime.Seconds()/(b.Elapsed().Seconds()/float64(b.N)), "apt/ours")
}
