package hosttool

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// row is a package in dnf's table of a transaction.
type row struct {
	name, arch, evr, repo string
	auto                  bool // a dependency
}

// summaryHeading follows the table, and only a table.
const summaryHeading = "Transaction Summary"

// sections are those of the table which hold packages to install, and whether nobody
// asked for these.
var sections = map[string]bool{
	"Installing:":                       false,
	"Installing group/module packages:": false,
	"Installing group packages:":        false,
	"Installing dependencies:":          true,
	"Installing weak dependencies:":     true,
}

// otherSections hold groups and module streams, of which only the packages count.
var otherSections = []string{
	"Installing module profiles:", "Enabling module streams:", "Installing Environment Groups:", "Installing Groups:",
}

// parseTransaction reads what dnf 4 prints of a transaction in the C locale: sections,
// each with a heading and rows of
//
//	name arch version repository size
//
// A row begins with one space; where columns are wider than dnf's 80 it goes on in the
// next line, which begins with more. The size is "57 k", or "57 " for bytes. Anything
// else is an error: a transaction that is not wholly understood is not locked.
func parseTransaction(p []byte) ([]row, error) {
	var rows []row
	var fields []string // of the row that is being read
	section, counted := "", -1
	flush := func() error {
		if fields == nil {
			return nil
		}
		defer func() { fields = nil }()
		if slices.Contains(otherSections, section) {
			return nil
		}
		if len(fields) < 5 || len(fields) > 6 {
			return fmt.Errorf("%q is not a row of name, architecture, version, repository and size", strings.Join(fields, " "))
		}
		rows = append(rows, row{name: fields[0], arch: fields[1], evr: fields[2], repo: fields[3], auto: sections[section]})
		return nil
	}
	const (
		before = iota
		table
		after
	)
	at := before
	lines := bufio.NewScanner(bytes.NewReader(p))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), " \r")
		indent := len(line) - len(strings.TrimLeft(line, " "))
		switch {
		case at != after && strings.HasPrefix(line, "====="):
			at = table // rules stand above the table and below its head
		case line == summaryHeading:
			if err := flush(); err != nil {
				return nil, err
			}
			at = after
		case at == after:
			if n, ok := strings.CutPrefix(line, "Install "); ok {
				number, _, _ := strings.Cut(strings.TrimSpace(n), " ")
				count, err := strconv.Atoi(number)
				if err != nil {
					return nil, fmt.Errorf("%q has no number of packages", line)
				}
				counted = count
			}
		case at == before || line == "":
		case indent == 0:
			if err := flush(); err != nil {
				return nil, err
			}
			section = line
			if _, ok := sections[line]; !ok && !slices.Contains(otherSections, line) {
				return nil, fmt.Errorf("the section %q is not one that an empty root can have", line)
			}
		case section == "": // the titles of the columns
		case indent == 1:
			if err := flush(); err != nil {
				return nil, err
			}
			fields = strings.Fields(line)
		case fields != nil:
			fields = append(fields, strings.Fields(line)...)
		default:
			return nil, fmt.Errorf("the line %q belongs to no row", line)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	switch {
	case at != after:
		return nil, errors.New("it has no table of packages")
	case counted != len(rows):
		return nil, fmt.Errorf("it lists %d packages and counts %d", len(rows), counted)
	}
	return rows, nil
}
