package configure

import (
	"context"

	"github.com/imagefactory/imagefactory/stages/packages"
	"github.com/imagefactory/imagefactory/stages/store"
)

// RPMScripts names the scriptlets and triggers that RunRPM runs for packages, in order:
// "%post(bash-5.1.8-9.el9.x86_64)".
func RPMScripts(ctx context.Context, st *store.Store, pkgs []packages.Package) ([]string, error) {
	steps, err := rpmSteps(ctx, st, pkgs)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, step := range steps {
		if step.HasScript || len(step.Interpreter) > 0 {
			names = append(names, step.Name())
		}
	}
	return names, nil
}
