# Nothing but what the recipe says goes.
profile "none" {
  description = "only what the trim block names goes"
}
