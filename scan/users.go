package scan

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/imagefactory/imagefactory/baselines"
	"github.com/imagefactory/imagefactory/scan/accounts"
	"github.com/imagefactory/imagefactory/scan/settings"
	"github.com/imagefactory/imagefactory/stages/tree"
)

func (e *evaluator) emptyPasswords(_ context.Context, r *baselines.Rule) (v verdict, err error) {
	for _, a := range e.withoutPassword() {
		v.fail(Evidence{Path: a.Path, Line: a.Line, Found: a.Name + " has an empty password", Wanted: "a password, or a locked one"})
	}
	return v, nil
}

// withoutPassword returns the accounts that anybody can log in to.
func (e *evaluator) withoutPassword() []Account {
	var found []Account
	for _, u := range e.accounts.Users {
		if u.Password == "" {
			found = append(found, Account{u.Name, accounts.Passwd, u.Line})
		}
	}
	for _, p := range e.accounts.Passwords {
		if p.Hash == "" {
			found = append(found, Account{p.Name, accounts.Shadow, p.Line})
		}
	}
	return found
}

// hashes returns the password hashes of all accounts, locked ones ("!$6$…") as well,
// for usermod -U brings them back.
func (e *evaluator) hashes() []hash {
	var found []hash
	add := func(name, field, file string, line int) {
		h := strings.TrimLeft(field, "!")
		if h == "" || h == "x" || strings.HasPrefix(h, "*") {
			return // none, or elsewhere
		}
		found = append(found, hash{Account{name, file, line}, h, h != field})
	}
	for _, u := range e.accounts.Users {
		add(u.Name, u.Password, accounts.Passwd, u.Line)
	}
	for _, p := range e.accounts.Passwords {
		add(p.Name, p.Hash, accounts.Shadow, p.Line)
	}
	return found
}

type hash struct {
	Account
	text   string
	locked bool
}

// method returns the method of a hash as crypt(5) names it, "des" for the traditional
// one without a prefix.
func (h hash) method() string {
	rest, ok := strings.CutPrefix(h.text, "$")
	if !ok {
		if strings.HasPrefix(h.text, "_") {
			return "bsdi"
		}
		return "des"
	}
	method, _, ok := strings.Cut(rest, "$")
	if !ok {
		return "unknown"
	}
	method, _, _ = strings.Cut(method, ",") // sunmd5 has its rounds there
	return method
}

func (e *evaluator) rootPassword(_ context.Context, r *baselines.Rule) (v verdict, err error) {
	found := false
	for _, u := range e.accounts.Users {
		found = found || u.Name == "root"
	}
	if !found {
		v.absent = "there is no account root"
		return v, nil
	}
	for _, h := range e.hashes() {
		if h.Name == "root" && !h.locked {
			v.fail(Evidence{Path: h.Path, Line: h.Line, Found: fmt.Sprintf("root has a password ($%s$)", h.method()), Wanted: "a locked password"})
		}
	}
	for _, a := range e.withoutPassword() {
		if a.Name == "root" {
			v.fail(Evidence{Path: a.Path, Line: a.Line, Found: "root has an empty password", Wanted: "a locked password"})
		}
	}
	return v, nil
}

func (e *evaluator) passwordHash(_ context.Context, r *baselines.Rule) (v verdict, err error) {
	hashes := e.hashes()
	for _, h := range hashes {
		ev := Evidence{Path: h.Path, Line: h.Line, Found: fmt.Sprintf("the password of %s is hashed with %s", h.Name, h.method())}
		if !slices.Contains(r.Fields(), h.method()) {
			ev.Wanted = "one of " + strings.Join(r.Fields(), ", ")
			v.fail(ev)
		} else {
			v.pass(ev)
		}
	}
	if len(hashes) == 0 {
		v.pass(Evidence{Found: "no account has a password"})
	}
	return v, nil
}

// uidMin returns the first number of people's accounts (login.defs(5)).
func (e *evaluator) uidMin() (uint64, error) {
	f, _, err := e.root.Read(settings.LoginDefsPath)
	if err != nil {
		return 0, err
	}
	value, _ := settings.LoginDefs(f.Data, "UID_MIN")
	if n, err := strconv.ParseUint(value, 0, 32); err == nil {
		return n, nil
	}
	return 1000, nil
}

// NoLogin reports whether a shell is one that ends at once. An empty one is /bin/sh.
func NoLogin(shell string) bool {
	return path.Base(shell) == "nologin" || path.Base(shell) == "false" || path.Base(shell) == "true" || shell == "/dev/null"
}

func (e *evaluator) systemShells(_ context.Context, r *baselines.Rule) (v verdict, err error) {
	first, err := e.uidMin()
	if err != nil {
		return v, err
	}
	for _, u := range e.accounts.Users {
		if uint64(u.UID) >= first || u.UID == 0 || slices.Contains(r.Fields(), u.Name) || NoLogin(u.Shell) {
			continue
		}
		shell := u.Shell
		if shell == "" {
			shell = "no shell, which is /bin/sh"
		}
		v.fail(Evidence{Path: accounts.Passwd, Line: u.Line, Found: u.Name + " has " + shell, Wanted: "nologin"})
	}
	return v, nil
}

func (e *evaluator) uniqueIDs(_ context.Context, r *baselines.Rule) (v verdict, err error) {
	unique := func(file, what string) func(line int, value, name string) {
		seen := map[string]string{}
		return func(line int, value, name string) {
			if other, ok := seen[value]; ok {
				found := fmt.Sprintf("%s has the %s %s, as %s has", name, what, value, other)
				if what == "name" {
					found = name + " is there twice"
				}
				v.fail(Evidence{Path: file, Line: line, Found: found, Wanted: "one of each " + what})
				return
			}
			seen[value] = name
		}
	}
	names, numbers := unique(accounts.Passwd, "name"), unique(accounts.Passwd, "number")
	for _, u := range e.accounts.Users {
		names(u.Line, u.Name, u.Name)
		numbers(u.Line, fmt.Sprint(u.UID), u.Name)
		if u.UID == 0 && u.Name != "root" {
			v.fail(Evidence{Path: accounts.Passwd, Line: u.Line, Found: u.Name + " has the number 0, and is root", Wanted: "another number"})
		}
	}
	names = unique(accounts.Shadow, "name")
	for _, p := range e.accounts.Passwords {
		names(p.Line, p.Name, p.Name)
	}
	names, numbers = unique(accounts.Group, "name"), unique(accounts.Group, "number")
	for _, g := range e.accounts.Groups {
		names(g.Line, g.Name, g.Name)
		numbers(g.Line, fmt.Sprint(g.GID), g.Name)
	}
	return v, nil
}

func (e *evaluator) homes(_ context.Context, r *baselines.Rule) (v verdict, err error) {
	first, err := e.uidMin()
	if err != nil {
		return v, err
	}
	found := false
	for _, u := range e.accounts.Users {
		if uint64(u.UID) < first || NoLogin(u.Shell) || u.Home == "" || u.Home == "/" {
			continue
		}
		home, ok := e.root.Lookup(u.Home)
		if !ok || home.Type != tree.Directory {
			continue
		}
		found = true
		ev := Evidence{Path: "/" + home.Path, Found: fmt.Sprintf("mode %04o, %s", home.Mode, e.user(home.UID))}
		if home.Mode&^r.Mode() != 0 || home.UID != u.UID {
			ev.Wanted = fmt.Sprintf("at most %s, owner %s", r.Value, u.Name)
			v.fail(ev)
		} else {
			v.pass(ev)
		}
	}
	if !found {
		v.absent = "nobody has a home directory"
	}
	return v, nil
}
