distro "openeuler-22.03" {
  inherits = "openeuler-lts"
  title    = "openEuler 22.03 LTS"
  version  = "22.03-LTS" # a service pack has another one, such as "22.03-LTS-SP1"

  repository "os" {
    url              = "https://repo.openeuler.org/openEuler-$releasever/OS/$basearch"
    keyrings         = ["/etc/pki/rpm-gpg/RPM-GPG-KEY-openEuler", "/usr/share/distribution-gpg-keys/openeuler/RPM-GPG-KEY-openEuler", "/usr/share/distribution-gpg-keys/openeuler/RPM-GPG-KEY-openEuler-EulerMaker"]
    keyring_package  = "distribution-gpg-keys"
    key_url          = "https://repo.openeuler.org/openEuler-$releasever/OS/$basearch/RPM-GPG-KEY-openEuler"
    key_fingerprints = ["12EA74AC9DF48D46C69CA0BED557065EB25E7F66", "8AA16BF9F2CA5244010DCA963B477C60B675600B"]
  }

  repository "everything" {
    url              = "https://repo.openeuler.org/openEuler-$releasever/everything/$basearch"
    keyrings         = ["/etc/pki/rpm-gpg/RPM-GPG-KEY-openEuler", "/usr/share/distribution-gpg-keys/openeuler/RPM-GPG-KEY-openEuler", "/usr/share/distribution-gpg-keys/openeuler/RPM-GPG-KEY-openEuler-EulerMaker"]
    keyring_package  = "distribution-gpg-keys"
    key_url          = "https://repo.openeuler.org/openEuler-$releasever/OS/$basearch/RPM-GPG-KEY-openEuler"
    key_fingerprints = ["12EA74AC9DF48D46C69CA0BED557065EB25E7F66", "8AA16BF9F2CA5244010DCA963B477C60B675600B"]
  }

  repository "update" {
    url              = "https://repo.openeuler.org/openEuler-$releasever/update/$basearch"
    keyrings         = ["/etc/pki/rpm-gpg/RPM-GPG-KEY-openEuler", "/usr/share/distribution-gpg-keys/openeuler/RPM-GPG-KEY-openEuler", "/usr/share/distribution-gpg-keys/openeuler/RPM-GPG-KEY-openEuler-EulerMaker"]
    keyring_package  = "distribution-gpg-keys"
    key_url          = "https://repo.openeuler.org/openEuler-$releasever/OS/$basearch/RPM-GPG-KEY-openEuler"
    key_fingerprints = ["12EA74AC9DF48D46C69CA0BED557065EB25E7F66", "8AA16BF9F2CA5244010DCA963B477C60B675600B"]
  }

  unverified = [
    "Nothing of it was seen: neither packages nor metadata.",
    "The keys are those published for the release and for its first service pack; no package was verified with them.",
  ]
}
