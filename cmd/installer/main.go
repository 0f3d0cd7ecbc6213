// Command installer is the init of an installation medium: package installer, without the rest of imagefactory.
package main

import "github.com/imagefactory/imagefactory/installer"

func main() { installer.Main() }
