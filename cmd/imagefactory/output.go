package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// choice is a flag value out of a fixed set.
type choice struct {
	value   string
	allowed []string
}

// Set implements flag.Value.
func (c *choice) Set(value string) error {
	if !slices.Contains(c.allowed, value) {
		return fmt.Errorf("choose one of %s", strings.Join(c.allowed, ", "))
	}
	c.value = value
	return nil
}

// String implements flag.Value.
func (c *choice) String() string { return c.value }

// The formats of results.
const (
	formatText = "text"
	formatJSON = "json"
)

// outputFlag declares --output, which sets format.
func outputFlag(format *choice) cli.Flag {
	*format = choice{value: formatText, allowed: []string{formatText, formatJSON}}
	return &cli.GenericFlag{
		Name:  "output",
		Usage: "how to print the result: text or json",
		Value: format,
	}
}

// texter is a result that can write itself for a person.
type texter interface {
	writeText(w io.Writer) error
}

// printResult writes a command's result in the format asked for.
func printResult(w io.Writer, format choice, result texter) error {
	if format.value == formatJSON {
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(result)
	}
	return result.writeText(w)
}
