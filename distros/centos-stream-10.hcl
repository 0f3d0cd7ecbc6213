# As CentOS Stream 9; what differs is said here.
distro "centos-stream-10" {
  inherits = "centos-stream-9"
  title    = "CentOS Stream 10 (Coughlan)"
  version  = "10"

  rpm {
    database        = "/usr/lib/sysimage/rpm"
    module_platform = "platform:el10"
  }

  repository "baseos" {
    keyrings = ["/etc/pki/rpm-gpg/RPM-GPG-KEY-centosofficial-SHA256", "/usr/share/distribution-gpg-keys/centos/RPM-GPG-KEY-CentOS-Official-SHA256"]
    key_url  = "https://www.centos.org/keys/RPM-GPG-KEY-CentOS-Official-SHA256"
  }

  repository "appstream" {
    keyrings = ["/etc/pki/rpm-gpg/RPM-GPG-KEY-centosofficial-SHA256", "/usr/share/distribution-gpg-keys/centos/RPM-GPG-KEY-CentOS-Official-SHA256"]
    key_url  = "https://www.centos.org/keys/RPM-GPG-KEY-CentOS-Official-SHA256"
  }

  notes = ["x86_64 packages need processors of level x86-64-v3 (Haswell, Excavator and later): QEMU's -cpu must be host, max or one of these."]

  unverified = [
    "Nothing of it was seen: names and paths follow CentOS Stream 9.",
    "The fingerprint of the key was taken from several public sources that agree; no package was verified with it.",
  ]
}
