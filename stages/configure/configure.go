// Package configure is the stage that makes a configured system of unpacked
// packages: their scripts run in the sandbox, in the order and with the arguments that
// their package manager gives them.
package configure

// Version is the version of this stage's code; see stages.Stage.
const Version = 4
