package harden

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/imagefactory/imagefactory/baselines"
	"github.com/imagefactory/imagefactory/scan"
	"github.com/imagefactory/imagefactory/scan/sshd"
)

// sshd sets what sshd has to be told: in a drop-in file, or at the top of its
// configuration where that would come too late or not at all.
func (a *applier) sshd(ctx context.Context, failing []failure) error {
	drop := &dropIn{path: sshdDropIn, mode: 0o600}
	var rules []baselines.Rule
	for _, f := range failing {
		if f.rule.Kind == baselines.SSHD {
			drop.add(f, f.rule.Key+" "+f.rule.Value)
			rules = append(rules, f.rule)
		}
	}
	if rules == nil {
		return nil
	}
	without, changes := a.root.Tree, a.changes
	if err := a.drop(drop); err != nil {
		return err
	}
	results, err := scan.Evaluate(ctx, a.root.Store, a.root.Tree, rules, scan.Options{})
	if err != nil {
		return err
	}
	holds := true
	for _, r := range results {
		holds = holds && r.Status != scan.Fail
	}
	if holds {
		return nil
	}
	a.root.Tree, a.changes = without, changes
	f, ok, err := a.root.Read(sshd.Path)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%s: %w", sshd.Path, sshd.ErrNoConfig)
	}
	text := strings.TrimPrefix(drop.text(), marker)
	block := blockBegin + text + blockEnd
	a.block = strings.Count(block, "\n")
	if err := a.write(sshd.Path, append([]byte(block), f.Data...), 0o600); err != nil {
		return err
	}
	for _, c := range drop.changes {
		c.Path = sshd.Path
		a.changes = append(a.changes, c)
	}
	return nil
}

// stripBlock takes the block out of sshd's configuration.
func (a *applier) stripBlock() error {
	f, ok, err := a.root.Read(sshd.Path)
	if err != nil || !ok || !bytes.HasPrefix(f.Data, []byte(blockBegin)) {
		return err
	}
	_, rest, ok := bytes.Cut(f.Data, []byte(blockEnd))
	if !ok {
		return fmt.Errorf("%s begins with %q, but has no line %q: restore it", sshd.Path, blockBegin, strings.TrimSpace(blockEnd))
	}
	return a.write(sshd.Path, rest, 0o600)
}
