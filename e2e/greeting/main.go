// Command greeting is the only program of the container images that the tests
// preload. It says which network interfaces it sees.
package main

import (
	"fmt"
	"net"
	"os"
	"strings"
)

func main() {
	interfaces, err := net.Interfaces()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var names []string
	for _, i := range interfaces {
		names = append(names, i.Name)
	}
	fmt.Printf("greetings from %s with %s\n", os.Getenv("GREETER"), strings.Join(names, " "))
}
