profile "container-host" {
  description = "draft"
  inherits    = "minimal"
  essential   = false
}
