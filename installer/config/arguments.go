package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// prefix is what all arguments for the installer begin with.
const prefix = "imagefactory."

// DefaultWait is how long the installer waits for its medium, or for the network, unless told.
const DefaultWait = 90 * time.Second

// Arguments are the overrides on the kernel command line. Pointers are nil where the medium decides.
type Arguments struct {
	// ID restricts the search to one medium; empty takes the only one there is.
	ID string
	// URL is where everything comes from instead of from a medium. It never ends in '/'.
	URL string
	// Wait bounds the search for the medium.
	Wait time.Duration
	// DryRun decides, prints the decision and writes nothing.
	DryRun bool

	Mode      *string
	Target    *Target // Match, Path and the globs only
	Wipe      *bool
	Preserve  *[]string
	Confirm   *bool
	After     *string
	OnFailure *string
	Events    *Events
}

// ParseArguments reads the kernel's command line. Each argument's value is checked as far as it can be without the
// document; errors name the argument.
func ParseArguments(commandLine string) (Arguments, error) {
	a := Arguments{Wait: DefaultWait}
	var errs []error
	for _, word := range SplitCommandLine(commandLine) {
		key, value, hasValue := strings.Cut(word, "=")
		key = strings.ReplaceAll(key, "-", "_")
		name, ours := strings.CutPrefix(key, prefix)
		if !ours {
			continue
		}
		if err := a.set(name, value, hasValue); err != nil {
			errs = append(errs, fmt.Errorf("%s%s: %w", prefix, name, err))
		}
	}
	return a, errors.Join(errs...)
}

func (a *Arguments) set(name, value string, hasValue bool) error {
	switches := map[string]**bool{"wipe": &a.Wipe, "confirm": &a.Confirm}
	choices := map[string]struct {
		field   **string
		allowed []string
	}{
		"mode":       {&a.Mode, []string{ModeInstall, ModeLive, ModeRescue}},
		"after":      {&a.After, []string{Reboot, PowerOff, Halt}},
		"on_failure": {&a.OnFailure, []string{Shell, Reboot, Halt}},
	}
	if field, ok := switches[name]; ok {
		on, err := parseSwitch(value, hasValue)
		if err != nil {
			return err
		}
		*field = &on
		return nil
	}
	if choice, ok := choices[name]; ok {
		if !slices.Contains(choice.allowed, value) {
			return fmt.Errorf("%q is not one of %s", value, strings.Join(choice.allowed, ", "))
		}
		*choice.field = &value
		return nil
	}
	switch name {
	case "dry_run":
		on, err := parseSwitch(value, hasValue)
		a.DryRun = on
		return err
	case "id":
		if !idPattern.MatchString(value) {
			return fmt.Errorf("%q is not 16 to 64 lower-case hexadecimal digits", value)
		}
		a.ID = value
	case "url":
		if err := webAddress("value", value); err != nil {
			return fmt.Errorf("%q is no http or https URL", value)
		}
		a.URL = strings.TrimRight(value, "/")
	case "wait":
		seconds, err := strconv.Atoi(value)
		if err != nil || seconds < 0 || seconds > 24*60*60 {
			return fmt.Errorf("%q is no number of seconds up to a day", value)
		}
		a.Wait = time.Duration(seconds) * time.Second
	case "target":
		t, err := ParseTarget(value)
		if err != nil {
			return err
		}
		a.Target = &t
	case "preserve":
		labels := []string{}
		for label := range strings.SplitSeq(value, ",") {
			if label != "" {
				labels = append(labels, label)
			}
		}
		a.Preserve = &labels
	case "events":
		var e Events
		if strings.Contains(value, "://") {
			e.URL = value
		} else {
			e.Console = strings.TrimPrefix(value, "/dev/")
		}
		if err := e.validate(); err != nil {
			return fmt.Errorf("%q is neither a console like ttyS0 nor an http or https URL", value)
		}
		a.Events = &e
	default:
		return errors.New("no such argument; there are id, url, wait, mode, target, wipe, preserve, dry_run, confirm, after, on_failure and events")
	}
	return nil
}

// ParseTarget reads the value of imagefactory.target: a device's path, a kind of name with a glob, or a way to match.
func ParseTarget(value string) (Target, error) {
	kind, glob, hasKind := strings.Cut(value, ":")
	var t Target
	switch {
	case strings.HasPrefix(value, "/dev/"):
		t.Path = value
	case value == MatchSmallestEmpty || value == MatchLargestEmpty || value == MatchOnly:
		t.Match = value
	case hasKind && glob != "" && kind == "by-id":
		t.ByID = glob
	case hasKind && glob != "" && kind == "by-path":
		t.ByPath = glob
	case hasKind && glob != "" && kind == "serial":
		t.Serial = glob
	case hasKind && glob != "" && kind == "wwn":
		t.WWN = glob
	case hasKind && glob != "" && kind == "model":
		t.Model = glob
	default:
		return Target{}, fmt.Errorf("%q is neither a path like /dev/sda, nor by-id:, by-path:, serial:, wwn: or model: with a glob, nor %s, %s or %s",
			value, MatchSmallestEmpty, MatchLargestEmpty, MatchOnly)
	}
	if err := (&Config{Target: t}).validateTarget(); err != nil {
		return Target{}, err
	}
	return t, nil
}

// Override changes the document as the arguments say and checks the result. The document is unchanged when an error is
// returned, which names the argument.
func (c *Config) Override(a Arguments) error {
	if a.ID != "" && a.ID != c.ID {
		return fmt.Errorf("%sid: the medium's id is %s, not %s", prefix, c.ID, a.ID)
	}
	changed := *c
	for _, override := range []struct {
		name  string
		apply func()
		asked bool
	}{
		{"mode", func() { changed.Mode = *a.Mode }, a.Mode != nil},
		{"target", func() {
			wipe, preserve := changed.Target.Wipe, changed.Target.Preserve
			changed.Target = *a.Target
			changed.Target.Wipe, changed.Target.Preserve = wipe, preserve
		}, a.Target != nil},
		{"wipe", func() { changed.Target.Wipe = *a.Wipe }, a.Wipe != nil},
		{"preserve", func() { changed.Target.Preserve = slices.Clone(*a.Preserve) }, a.Preserve != nil},
		{"confirm", func() { changed.Confirm = *a.Confirm }, a.Confirm != nil},
		{"after", func() { changed.After = *a.After }, a.After != nil},
		{"on_failure", func() { changed.OnFailure = *a.OnFailure }, a.OnFailure != nil},
		{"events", func() { changed.Events = *a.Events }, a.Events != nil},
	} {
		if !override.asked {
			continue
		}
		override.apply()
		// The document was valid before, so whatever is wrong now is this argument's doing.
		if err := changed.Validate(); err != nil {
			return fmt.Errorf("%s%s: %w", prefix, override.name, err)
		}
	}
	*c = changed
	return nil
}

// SplitCommandLine splits the kernel's command line into words as the kernel does: white space separates, double quotes
// keep it together and vanish when they enclose a word or its value. Words after "--" are not for the kernel, nor for
// the installer.
func SplitCommandLine(line string) []string {
	var words []string
	var word strings.Builder
	quoted, some := false, false
	end := func() {
		if some {
			words = append(words, word.String())
		}
		word.Reset()
		some = false
	}
	for _, r := range line {
		switch {
		case r == '"':
			quoted, some = !quoted, true
		case !quoted && (r == ' ' || r == '\t' || r == '\n' || r == '\r'):
			end()
		default:
			word.WriteRune(r)
			some = true
		}
	}
	end()
	if i := slices.Index(words, "--"); i >= 0 {
		words = words[:i]
	}
	return words
}

func parseSwitch(value string, hasValue bool) (bool, error) {
	if !hasValue {
		return true, nil
	}
	switch strings.ToLower(value) {
	case "1", "yes", "on", "true", "y":
		return true, nil
	case "0", "no", "off", "false", "n":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither 1 (yes, on, true) nor 0 (no, off, false)", value)
}
