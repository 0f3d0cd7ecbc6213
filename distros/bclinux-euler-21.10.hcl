distro "bclinux-euler-21.10" {
  inherits = "bclinux-euler"
  title    = "BCLinux for Euler 21.10"
  version  = "21.10"

  unverified = [
    "Nothing of it was seen: neither packages nor metadata. Names follow openEuler.",
    "The names of boot packages and the default of SELinux are guesses from its documentation; the EFI directory is found in the packages.",
  ]
}
