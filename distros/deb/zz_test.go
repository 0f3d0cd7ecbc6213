package deb

import (
	"fmt"
	"sort"
	"strings"
	"testing"
)

func TestZZ2(t *testing.T) {
	a := newAptRoot(t)
	names := strings.Fields("libx11-6 jamulus node-vm-browserify tenshi jumpnbump-levels librust-fern-dev libspring-context-java wmtop fonts-ukij-uyghur libdc1394-dev tophat-recondition libmatroska-dev node-ismobilejs debfoster xml-twig-tools php-symfony-amazon-sqs-messenger webvtt cron-daemon-common libiso9660++0 libghc-soap-tls-prof rt5-standalone librte-sched23 libavahi-compat-libdnssd1 elpa-eyebrowse php8.2 libiterator-perl qmidinet libiptc0 librust-unicode-width+compiler-builtins-dev libhidapi-dev")
	sort.Slice(names, func(i, j int) bool { return a.universe.mentionedAt(names[i]) < a.universe.mentionedAt(names[j]) })
	for _, n := range names {
		fmt.Println(n, a.universe.mentionedAt(n))
	}
}
