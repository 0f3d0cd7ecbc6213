package sbom

import (
	"testing"

	"github.com/package-url/packageurl-go"

	"github.com/imagefactory/imagefactory/stages/installed"
	"github.com/imagefactory/imagefactory/stages/store"
)

// TestPackageURL reads package URLs with the specification's own library.
func TestPackageURL(t *testing.T) {
	debian := System{ID: "debian", VersionID: "12"}
	for _, c := range []struct {
		family, name, version, arch string
		system                      System
		url                         string
		wantVersion                 string
		qualifiers                  map[string]string
	}{
		{installed.Deb, "curl", "7.50.3-1", "i386", debian, "pkg:deb/debian/curl@7.50.3-1?arch=i386&distro=debian-12", "7.50.3-1", map[string]string{"arch": "i386", "distro": "debian-12"}},
		{installed.Deb, "libstdc++6", "1:12.2.0-14~x+deb12u1", "amd64", debian, "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14~x%2Bdeb12u1?arch=amd64&distro=debian-12", "1:12.2.0-14~x+deb12u1", map[string]string{"arch": "amd64", "distro": "debian-12"}},
		{installed.Deb, "rolling", "1", "", System{ID: "arch"}, "pkg:deb/arch/rolling@1?distro=arch", "1", map[string]string{"distro": "arch"}},
		{installed.RPM, "bind-libs", "32:9.16.23-1.el9", "x86_64", System{ID: "rocky", VersionID: "9.4"}, "pkg:rpm/rocky/bind-libs@9.16.23-1.el9?arch=x86_64&distro=rocky-9.4&epoch=32", "9.16.23-1.el9", map[string]string{"arch": "x86_64", "distro": "rocky-9.4", "epoch": "32"}},
		{installed.RPM, "R&D^x", "0:1^git-2", "noarch", System{ID: "sles", VersionID: "15 SP4"}, "pkg:rpm/sles/R%26D%5Ex@1%5Egit-2?arch=noarch&distro=sles-15%20SP4", "1^git-2", map[string]string{"arch": "noarch", "distro": "sles-15 SP4"}},
	} {
		got := packageURL(c.family, c.name, c.version, c.arch, c.system)
		if got != c.url {
			t.Errorf("%s, want %s", got, c.url)
		}
		p, err := packageurl.FromString(got)
		if err != nil {
			t.Errorf("%s: %v", got, err)
			continue
		}
		if p.Type != c.family || p.Namespace != c.system.ID || p.Name != c.name || p.Version != c.wantVersion {
			t.Errorf("%s is read as %+v", got, p)
		}
		for name, want := range c.qualifiers {
			if p.Qualifiers.Map()[name] != want {
				t.Errorf("%s has %s=%s, want %s", got, name, p.Qualifiers.Map()[name], want)
			}
		}
	}

	digest := store.Sum([]byte("manifest"))
	got := containerURL(Container{Reference: "registry.example.com:5000/Team/Pause:3.9@" + digest.String(), Digest: digest, Arch: "amd64"})
	p, err := packageurl.FromString(got)
	if err != nil || p.Type != "oci" || p.Name != "pause" || p.Version != digest.String() ||
		p.Qualifiers.Map()["repository_url"] != "registry.example.com:5000/team/pause" || p.Qualifiers.Map()["tag"] != "3.9" || p.Qualifiers.Map()["arch"] != "amd64" {
		t.Errorf("%s is read as %+v, %v", got, p, err)
	}
	if got := containerURL(Container{Reference: "pause", Digest: digest}); got != "pkg:oci/pause@sha256:"+digest.Hex() {
		t.Errorf("a name alone is %s", got)
	}
}
