package pipeline

import (
	"context"
	"strings"

	"github.com/imagefactory/imagefactory/distros"
	"github.com/imagefactory/imagefactory/recipes"
	"github.com/imagefactory/imagefactory/stages/configure"
	"github.com/imagefactory/imagefactory/stages/emit"
)

// scripts lists the programs of the target that made the image, in the order in which
// their stages ran: those of packages, the recipe's scripts, the initramfs generator
// and GRUB's.
func (env *Environment) scripts(ctx context.Context, r *recipes.Recipe, g *graph) ([]emit.ManifestScript, error) {
	var list []emit.ManifestScript
	names, err := env.packageScripts(ctx, r, g)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		list = append(list, emit.ManifestScript{Stage: recipes.StageConfigure, Name: name})
	}
	for _, name := range g.scripts {
		list = append(list, emit.ManifestScript{Stage: "script " + name, Name: name})
	}
	list = append(list, emit.ManifestScript{Stage: recipes.StageInitramfs, Name: strings.Join(r.Distro.Initramfs.Command, " ")})
	if images := g.images.Result(); !images.Core.IsZero() || !images.EFI.IsZero() {
		list = append(list, emit.ManifestScript{Stage: "grub", Name: r.Distro.Grub.Mkimage})
	}
	return list, nil
}

// packageScripts names the scripts of packages that ran; none where the root came whole.
func (env *Environment) packageScripts(ctx context.Context, r *recipes.Recipe, g *graph) ([]string, error) {
	if g.packages == nil {
		return nil, nil
	}
	pkgs := g.packages.Result().Packages
	if r.Distro.Family == distros.FamilyRPM {
		return configure.RPMScripts(ctx, env.Cache.Store, pkgs)
	}
	var names []string
	for _, p := range pkgs {
		control, err := p.LoadControl(env.Cache.Store)
		if err != nil {
			return nil, err
		}
		for _, name := range []string{"preinst", "config", "postinst"} {
			if len(control[name]) > 0 {
				names = append(names, p.Name+"."+name)
			}
		}
	}
	return names, nil
}
