// Package gitlab writes the pipeline that builds recipes in GitLab CI.
package gitlab

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Job is one recipe to build.
type Job struct {
	Recipe  string   // path relative to the project's directory, with slashes
	Distro  string   // name of its distribution
	Arch    string   // canonical architecture
	Locked  bool     // there is a lock beside it, which a build must use
	Outputs []string // types of its outputs: "raw", "qcow2", "iso", "pxe"
}

// Options are what all jobs have in common.
type Options struct {
	Image string // container image of the jobs
	User  string // "UID:GID" the jobs run as
}

// Pipeline returns a .gitlab-ci.yml for the jobs, the same for the same jobs in whatever order.
func Pipeline(jobs []Job, o Options) []byte {
	jobs = slices.Clone(jobs)
	slices.SortFunc(jobs, func(a, b Job) int { return strings.Compare(a.Recipe, b.Recipe) })
	jobs = slices.CompactFunc(jobs, func(a, b Job) bool { return a.Recipe == b.Recipe })

	var matrix, lint, artifacts strings.Builder
	var patterns []string
	for _, j := range jobs {
		locked := ""
		if j.Locked {
			locked = "--locked"
		}
		fmt.Fprintf(&matrix, "      - RECIPE: %s\n        DISTRO: %s\n        ARCH: %s\n        LOCKED: %s\n", quote(j.Recipe), quote(j.Distro), quote(j.Arch), quote(locked))
		fmt.Fprintf(&lint, " %s", shellQuote(j.Recipe))
		for _, output := range j.Outputs {
			patterns = append(patterns, artifactsOf(output)...)
		}
	}
	slices.Sort(patterns)
	for _, p := range append([]string{"out/manifest.json"}, slices.Compact(patterns)...) {
		fmt.Fprintf(&artifacts, "      - %s\n", quote(p))
	}
	return []byte(strings.NewReplacer(
		"@IMAGE@", quote(o.Image),
		"@USER@", quote(o.User),
		"@RECIPES@", lint.String(),
		"@MATRIX@", matrix.String(),
		"@ARTIFACTS@", artifacts.String(),
	).Replace(pipeline))
}

// artifactsOf returns what an output leaves below out/: a file and its digest, or a directory.
func artifactsOf(output string) []string {
	if output == "pxe" {
		return []string{"out/*-pxe/"}
	}
	return []string{"out/*." + output, "out/*." + output + ".sha256"}
}

// quote returns s as a double-quoted scalar of YAML, whose escapes include those of Go that can occur here.
func quote(s string) string { return strconv.Quote(s) }

// shellQuote returns s as one word of a POSIX shell.
func shellQuote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./_+-") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Local reports whether a recipe's path lies in the project's directory.
func Local(recipe string) bool {
	clean := path.Clean(recipe)
	return !path.IsAbs(clean) && clean != ".." && !strings.HasPrefix(clean, "../") && !strings.ContainsAny(clean, "\n\r\t")
}

const pipeline = `# Written by "imagefactory ci gitlab"; write it again when recipes are added, renamed or locked.
#
# Jobs run as an ordinary user in an unprivileged container: without root, loop devices or a Docker socket. The
# image holds imagefactory, newuidmap and newgidmap, a range of subordinate ids for the user (/etc/subuid,
# /etc/subgid), and the keyrings of the distributions it does not bring keys for; "imagefactory doctor", which
# every job runs first, says what is missing. The runner must let the container make user namespaces.
#
# Variables of recipes are set in Settings > CI/CD > Variables: IMAGEFACTORY_VAR_name is the value of var.name; of
# the type "File" it is the path of a file, such as a vendor's key.

workflow:
  rules:
    - if: '$CI_PIPELINE_SOURCE == "merge_request_event"'
    - if: "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH"
    - if: "$CI_COMMIT_TAG"

stages:
  - lint
  - build

variables:
  IMAGEFACTORY_CACHE: "$CI_PROJECT_DIR/.imagefactory-cache"
  IMAGEFACTORY_CACHE_SIZE: "8GiB" # what is kept from one pipeline to the next, for each distribution

default:
  image:
    name: @IMAGE@
    entrypoint: [""]
    docker:
      user: @USER@
  interruptible: true
  before_script:
    # Sections of the log that can be collapsed: section NAME TITLE COMMAND [ARGUMENT]...
    - |
      section() {
        name=$1 title=$2 && shift 2
        printf '\033[0Ksection_start:%s:%s[collapsed=true]\r\033[0K%s\n' "$(date +%s)" "$name" "$title"
        "$@" && status=0 || status=$?
        printf '\033[0Ksection_end:%s:%s\r\033[0K\n' "$(date +%s)" "$name"
        return "$status"
      }

lint:
  stage: lint
  script:
    - |
      for recipe in@RECIPES@; do
        imagefactory fmt --check "$recipe"
        imagefactory validate "$recipe"
      done

# One job for each recipe. Those of one distribution share a cache: packages are unpacked once.
build:
  stage: build
  parallel:
    matrix:
@MATRIX@  cache:
    key: "imagefactory-$DISTRO-$ARCH"
    paths:
      - ".imagefactory-cache/"
    when: always
  script:
    - section doctor "What this host can do" imagefactory doctor
    - section plan "What will run" imagefactory plan $LOCKED "$RECIPE"
    - imagefactory build $LOCKED -o out "$RECIPE" # makes a section of every stage
  after_script:
    - imagefactory cache gc --max-size "$IMAGEFACTORY_CACHE_SIZE"
  artifacts:
    name: "$CI_JOB_NAME_SLUG"
    paths:
@ARTIFACTS@    expire_in: 1 week
`
