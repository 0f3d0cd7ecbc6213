package baselines

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Severity says how much a failure matters.
type Severity string

// The severities, from the least.
const (
	Low    Severity = "low"
	Medium Severity = "medium"
	High   Severity = "high"
)

// Severities lists them, from the least.
var Severities = []string{string(Low), string(Medium), string(High)}

// Kind says what a rule looks at; the package's documentation describes each.
type Kind string

// The kinds of rules.
const (
	Sysctl         Kind = "sysctl"
	SSHD           Kind = "sshd"
	LoginDefs      Kind = "login-defs"
	SystemdConf    Kind = "systemd-conf"
	Limits         Kind = "limits"
	Mount          Kind = "mount"
	Permissions    Kind = "permissions"
	Unit           Kind = "unit"
	Modules        Kind = "modules"
	Cmdline        Kind = "cmdline"
	Allow          Kind = "allow"
	Absent         Kind = "absent"
	MachineID      Kind = "machine-id"
	Setuid         Kind = "setuid"
	WorldWritable  Kind = "world-writable"
	Unowned        Kind = "unowned"
	EmptyPasswords Kind = "empty-passwords"
	RootPassword   Kind = "root-password"
	PasswordHash   Kind = "password-hash"
	SystemShells   Kind = "system-shells"
	UniqueIDs      Kind = "unique-ids"
	Homes          Kind = "homes"
	PrivateKeys    Kind = "private-keys"
	WeakKeys       Kind = "weak-keys"
	KnownKeys      Kind = "known-keys"
)

// The values of Rule.Compare besides "".
const (
	AtMost  = "at-most"
	AtLeast = "at-least"
)

// The values of rules of the kind Absent.
const (
	Remove = "remove"
	Report = "report"
)

// Masked is the value of rules of the kind Unit.
const Masked = "masked"

// Rule is one thing that has to hold in an image. The package's documentation
// describes the fields, which are the attributes of the same names.
type Rule struct {
	ID         string   `json:"id"`
	Title      string   `json:"title"`
	Reason     string   `json:"reason"`
	Severity   Severity `json:"severity"`
	References []string `json:"references,omitempty"`
	Kind       Kind     `json:"kind"`
	When       []string `json:"when,omitempty"`
	Key        string   `json:"key,omitempty"`
	Value      string   `json:"value,omitempty"`
	Accept     []string `json:"accept,omitempty"`
	Compare    string   `json:"compare,omitempty"`
	Default    string   `json:"default,omitempty"`
	Paths      []string `json:"paths,omitempty"`
	Except     []string `json:"except,omitempty"`
	Owners     []string `json:"owners,omitempty"`
	Groups     []string `json:"groups,omitempty"`
	Remedy     string   `json:"remedy,omitempty"`

	// Skipped says that the rule is not to be applied, and that a scan only
	// mentions it.
	Skipped bool `json:"skipped,omitempty"`
}

// Fields returns the value of a rule that is a list.
func (r *Rule) Fields() []string { return strings.Fields(r.Value) }

// Settable reports whether a tree can be changed so that the rule passes.
func (r *Rule) Settable() bool {
	if r.Kind == Absent {
		return r.Value == Remove
	}
	return !kinds[r.Kind].checked
}

// Passes reports whether a setting with the value found satisfies the rule: it is
// the wanted value, an accepted one, or a number on the right side.
func (r *Rule) Passes(found string) bool {
	if found == r.Value || slices.Contains(r.Accept, found) {
		return true
	}
	if r.Compare == "" {
		return false
	}
	have, err1 := strconv.ParseInt(found, 0, 64)
	want, err2 := strconv.ParseInt(r.Value, 0, 64)
	if err1 != nil || err2 != nil {
		return false
	}
	if r.Compare == AtMost {
		return have <= want
	}
	return have >= want
}

// Wanted tells people which values pass.
func (r *Rule) Wanted() string {
	switch r.Compare {
	case AtMost:
		return "at most " + r.Value
	case AtLeast:
		return "at least " + r.Value
	}
	return strings.Join(append([]string{r.Value}, r.Accept...), " or ")
}

// Mode returns the value of a rule whose value is an octal mode.
func (r *Rule) Mode() uint32 {
	mode, err := parseMode(r.Value)
	if err != nil {
		panic("baselines: rule " + r.ID + ": " + err.Error()) // Select and Load have looked at it
	}
	return mode
}

func parseMode(s string) (uint32, error) {
	mode, err := strconv.ParseUint(s, 8, 32)
	if err != nil || mode > 0o7777 {
		return 0, fmt.Errorf("%q is no octal mode such as 0640", s)
	}
	return uint32(mode), nil
}

// Checks says in a sentence what the rule looks at.
func (r *Rule) Checks() string {
	switch r.Kind {
	case Sysctl:
		return fmt.Sprintf("the kernel parameter %s, as systemd-sysctl sets it at boot, is %s", r.Key, r.Wanted())
	case SSHD:
		return fmt.Sprintf("%s of sshd is %s, also in Match blocks", r.Key, r.Wanted())
	case LoginDefs:
		return fmt.Sprintf("%s in /etc/login.defs is %s", r.Key, r.Wanted())
	case SystemdConf:
		file, section, key := r.SystemdKey()
		return fmt.Sprintf("%s= in the section [%s] of systemd's %s is %s", key, section, file, r.Wanted())
	case Limits:
		return fmt.Sprintf("the limit %q of pam_limits is %s", strings.ReplaceAll(r.Key, "/", " "), r.Wanted())
	case Mount:
		return fmt.Sprintf("%s, where it is a mount of its own, has the options %s", r.Key, strings.Join(r.Fields(), ", "))
	case Permissions:
		text := fmt.Sprintf("%s: no more permissions than %s", strings.Join(r.Paths, ", "), r.Value)
		if len(r.Owners) > 0 {
			text += ", owner " + strings.Join(r.Owners, " or ")
		}
		if len(r.Groups) > 0 {
			text += ", group " + strings.Join(r.Groups, " or ")
		}
		return text
	case Unit:
		return fmt.Sprintf("the unit %s is %s", r.Key, r.Value)
	case Modules:
		return fmt.Sprintf("modprobe refuses the kernel modules %s", strings.Join(r.Fields(), ", "))
	case Cmdline:
		return fmt.Sprintf("the kernel's command line has %s", r.Parameter())
	case Allow:
		return fmt.Sprintf("%s is there and lists nobody but %s", strings.Join(r.Paths, ", "), strings.Join(r.Fields(), ", "))
	case Absent:
		return "there is no " + strings.Join(r.Paths, ", ")
	case Setuid:
		return "no file but the usual programs has a set-user-ID or set-group-ID bit"
	case PasswordHash:
		return fmt.Sprintf("password hashes are of the methods %s (crypt(5))", strings.Join(r.Fields(), ", "))
	case Homes:
		return fmt.Sprintf("home directories belong to their users and have no more permissions than %s", r.Value)
	case WeakKeys:
		return fmt.Sprintf("SSH keys are not DSA, and RSA keys have %s bits or more", r.Value)
	}
	return kinds[r.Kind].checks
}

// Parameter returns how the kernel's command line has the parameter of a rule of the
// kind Cmdline.
func (r *Rule) Parameter() string {
	if r.Value == "" {
		return r.Key
	}
	return r.Key + "=" + r.Value
}

// SystemdKey splits the key of a rule of the kind SystemdConf.
func (r *Rule) SystemdKey() (file, section, key string) {
	parts := strings.SplitN(r.Key, "/", 3)
	return parts[0], parts[1], parts[2]
}

// LimitsKey splits the key of a rule of the kind Limits.
func (r *Rule) LimitsKey() (domain, kind, item string) {
	parts := strings.SplitN(r.Key, "/", 3)
	return parts[0], parts[1], parts[2]
}

// kind says what rules of a kind must and may have.
type kind struct {
	needs   []string // attributes besides the ones of every rule
	may     []string
	checked bool                // nothing can be set
	value   func(string) string // what is wrong with a value, or ""; nil: the kind has no value
	parts   int                 // of key, separated by slashes; 0: any
	checks  string              // see Rule.Checks
}

var kinds = map[Kind]kind{
	Sysctl:      {needs: []string{"key", "value"}, may: []string{"accept", "compare"}, value: oneLine},
	SSHD:        {needs: []string{"key", "value", "default"}, may: []string{"accept", "compare"}, value: oneLine},
	LoginDefs:   {needs: []string{"key", "value"}, may: []string{"accept", "compare", "default"}, value: oneLine},
	SystemdConf: {needs: []string{"key", "value"}, may: []string{"accept", "default"}, value: oneLine, parts: 3},
	Limits:      {needs: []string{"key", "value"}, may: []string{"accept"}, value: oneLine, parts: 3},
	Mount:       {needs: []string{"key", "value"}, may: []string{"default"}, value: list},
	Permissions: {needs: []string{"paths", "value"}, may: []string{"except", "owners", "groups"}, value: mode},
	Unit:        {needs: []string{"key", "value"}, value: oneOf(Masked)},
	Modules:     {needs: []string{"value"}, value: list},
	Cmdline:     {needs: []string{"key", "remedy"}, may: []string{"value", "accept", "default"}, value: anything, checked: true},
	Allow:       {needs: []string{"paths", "value"}, value: list},
	Absent:      {needs: []string{"paths", "value"}, may: []string{"except", "remedy"}, value: oneOf(Remove, Report)},
	MachineID:   {checks: "/etc/machine-id is missing, empty or \"uninitialized\""},
	Setuid:      {needs: []string{"paths"}},
	WorldWritable: {may: []string{"except"},
		checks: "no file can be written by everybody, and no directory without the sticky bit"},
	Unowned:        {needs: []string{"remedy"}, checked: true, checks: "the user and the group of every file have an account"},
	EmptyPasswords: {checks: "no account in /etc/shadow and /etc/passwd has an empty password"},
	RootPassword:   {needs: []string{"remedy"}, checked: true, checks: "root has no password in /etc/shadow"},
	PasswordHash:   {needs: []string{"value", "remedy"}, value: list, checked: true},
	SystemShells:   {may: []string{"value"}, value: anything, checks: "accounts below UID_MIN have a shell that ends at once"},
	UniqueIDs:      {needs: []string{"remedy"}, checked: true, checks: "names and numbers of users and groups are unique, and only root is 0"},
	Homes:          {needs: []string{"value"}, value: mode},
	PrivateKeys:    {needs: []string{"remedy"}, may: []string{"except"}, checked: true, checks: "no file is a private key"},
	WeakKeys:       {needs: []string{"value", "remedy"}, value: number, checked: true},
	KnownKeys:      {needs: []string{"value", "remedy"}, value: list, checked: true, checks: "no authorized_keys has a key whose private half is published"},
}

// Kinds lists the kinds, sorted.
func Kinds() []string {
	var names []string
	for k := range kinds {
		names = append(names, string(k))
	}
	slices.Sort(names)
	return names
}

// What is wrong with values, "" when nothing is.

func anything(s string) string {
	if strings.ContainsAny(s, "\n\r\x00") {
		return "it has to be one line"
	}
	return ""
}

func oneLine(s string) string {
	if strings.TrimSpace(s) == "" {
		return "it is empty"
	}
	return anything(s)
}

func list(s string) string {
	if len(strings.Fields(s)) == 0 {
		return "it is empty; skip the rule instead"
	}
	return anything(s)
}

func mode(s string) string {
	if _, err := parseMode(s); err != nil {
		return err.Error()
	}
	return ""
}

func number(s string) string {
	if _, err := strconv.ParseUint(s, 10, 31); err != nil {
		return "it is no whole number"
	}
	return ""
}

func oneOf(values ...string) func(string) string {
	return func(s string) string {
		if slices.Contains(values, s) {
			return ""
		}
		return "it is " + strings.Join(values, " or ")
	}
}
