package report

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/imagefactory/imagefactory/stages/installed"
	"github.com/imagefactory/imagefactory/stages/stagetest"
	"github.com/imagefactory/imagefactory/stages/store"
	"github.com/imagefactory/imagefactory/stages/tree"
	"github.com/imagefactory/imagefactory/stages/trim"
)

// evil is a name that wants to be markup.
const evil = `</script><img src=x onerror="alert(1)">'&\`

// trimmedPage is the page of an image with so many packages of 20 files each, of which every third was removed.
func trimmedPage(t testing.TB, packages int) Page {
	t.Helper()
	st := stagetest.Cache(t).Store
	digest := func(n int) store.Digest { // of files that nobody reads
		var d store.Digest
		copy(d[:], fmt.Sprintf("%032d", n+1))
		return d
	}
	batch, err := st.NewBatch()
	if err != nil {
		t.Fatal(err)
	}
	defer batch.Abort()
	p := Page{
		Name: "node <b>", Version: "1.0", Arch: "x86_64", Tool: "imagefactory test",
		Report:  &trim.Report{Profile: "container-host", Database: "dropped"},
		Budget:  &trim.Budget{Packages: 1, Size: 1 << 40},
		Outputs: []Output{{Format: "raw", File: "node.raw", Size: 1000, VirtualSize: 2000}},
		Checks:  []Check{{"sshd-01", "No passwords", "high", "fail", evil}, {"sshd-02", "Keys", "low", "pass", "fine"}},
		Origin: func(path string) string {
			if path == "/etc/motd" {
				return `file "/etc/motd"`
			}
			return ""
		},
	}
	dirs := []string{"usr/bin", "usr/lib/x86_64-linux-gnu", "usr/share/doc/%s", "usr/lib/modules/6.1/kernel/%s"}
	var before, after []tree.Entry
	var status strings.Builder
	put := func(path, contents string) { // what only the untrimmed system has
		d, size, err := batch.Add(strings.NewReader(contents))
		if err != nil {
			t.Fatal(err)
		}
		before = append(before, tree.Entry{Path: path, Type: tree.Regular, Mode: 0o644, Digest: d, Size: size})
	}
	n := 0
	for i := range packages {
		name := fmt.Sprintf("package-%03d", i)
		kept := i%3 != 0
		fate := trim.PackageFate{ID: name, Name: name, Version: "1.2-3", Arch: "amd64", Kept: kept, Reason: "nothing that is kept needs it"}
		fmt.Fprintf(&status, "Package: %s\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.2-3\nDescription: x\n\n", name)
		list := "/.\n"
		if kept {
			fate.Reason, fate.Chain = "ssh needs it", []string{"the recipe installs ssh", "ssh needs " + name}
		}
		for j := range 20 {
			dir := dirs[j%len(dirs)]
			if strings.Contains(dir, "%s") {
				dir = fmt.Sprintf(dir, name)
			}
			n++
			e := tree.Entry{Path: fmt.Sprintf("%s/file-%03d-%02d", dir, i, j), Type: tree.Regular, Mode: 0o644, Digest: digest(n), Size: int64(100 + (n*7919)%50_000*(1+i%7))}
			if i == 1 && j == 4 {
				e.Path = "usr/bin/" + strings.ReplaceAll(evil, "/", "")
			}
			before = append(before, e)
			list += "/" + e.Path + "\n"
			fate.Bytes += e.Size
			fate.Files++
			if kept && j%len(dirs) != 2 {
				after = append(after, e)
				fate.After += e.Size
				fate.FilesAfter++
			}
		}
		if i == 1 {
			fate.Reason = evil
		}
		p.Report.Packages = append(p.Report.Packages, fate)
		put("var/lib/dpkg/info/"+name+".list", list)
	}
	put("var/lib/dpkg/status", status.String())
	if err := batch.Commit(); err != nil {
		t.Fatal(err)
	}
	motd := tree.Entry{Path: "etc/motd", Type: tree.Regular, Mode: 0o644, Digest: digest(n + 1), Size: 5000}
	linked := motd
	linked.Path, linked.Link, motd.Link = "etc/motd.link", 1, 1
	before, after = append(before, motd, linked), append(after, motd, linked)
	p.Before, p.After = stagetest.Tree(t, before...), stagetest.Tree(t, after...)
	if p.Database, err = installed.Read(st, p.Before); err != nil {
		t.Fatal(err)
	}
	p.Report.Services = []trim.ServiceFate{
		{Name: "ssh.service", Before: "enabled", After: "enabled", Package: "package-001"},
		{Name: "cron.service", Before: "enabled", Reason: "went with its package"},
	}
	p.Report.Before = trim.Counts{Packages: packages, Services: 2, Files: filesOf(p.Before), Bytes: p.Before.Bytes(), Modules: 5}
	p.Report.After = trim.Counts{Packages: packages * 2 / 3, Services: 1, Files: filesOf(p.After), Bytes: p.After.Bytes(), Modules: 5}
	p.Report.Modules = []trim.ModuleFate{{Path: "/usr/lib/modules/6.1/kernel/package-000/file-000-03", Bytes: 1, Reason: "sound is not for hosts"}}
	p.Stages = []Stage{{"rootfs", p.Report.Before}, {"trim", p.Report.After}}
	return p
}

func render(t testing.TB, p Page) string {
	t.Helper()
	var b bytes.Buffer
	if err := HTML(&b, p); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// pageNode is a node of the map as the page's script gets it.
type pageNode struct {
	Name          string
	Before, After int64
	Children      []pageNode
	Note          string
}

func (n *pageNode) UnmarshalJSON(p []byte) error {
	var row []json.RawMessage
	if err := json.Unmarshal(p, &row); err != nil {
		return err
	}
	for i, v := range []any{&n.Name, &n.Before, &n.After, new(int), new(int), &n.Children, &n.Note} {
		if i < len(row) {
			if err := json.Unmarshal(row[i], v); err != nil {
				return err
			}
		}
	}
	return nil
}

// check tells where the children of a node do not add up.
func (n pageNode) check(t *testing.T) (leaves int) {
	if len(n.Children) == 0 {
		return 1
	}
	var before, after int64
	for _, c := range n.Children {
		before += c.Before
		after += c.After
		leaves += c.check(t)
	}
	if before != n.Before || after != n.After {
		t.Errorf("%s has %d and %d bytes, its children %d and %d", n.Name, n.Before, n.After, before, after)
	}
	return leaves
}

// parts are what a browser finds in a page: elements by name, with the text in them.
func parts(t *testing.T, page string) map[string][]string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	var visit func(n *html.Node)
	visit = func(n *html.Node) {
		if n.Type == html.ElementNode {
			var text strings.Builder
			for c := n.FirstChild; c != nil; c = c.NextSibling {
				if c.Type == html.TextNode {
					text.WriteString(c.Data)
				}
			}
			found[n.Data] = append(found[n.Data], text.String())
			for _, a := range n.Attr {
				found["@"+a.Key] = append(found["@"+a.Key], a.Val)
			}
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			visit(c)
		}
	}
	visit(root)
	return found
}

// TestPageData reads the page as a browser does, and adds up what it says.
func TestPageData(t *testing.T) {
	p := trimmedPage(t, 60)
	page := render(t, p)
	found := parts(t, page)
	if len(found["script"]) != 2 || len(found["img"]) != 0 || len(found["@onerror"]) != 0 || found["h1"][0] != "node <b> 1.0" {
		t.Fatalf("names became markup: %d scripts, %d images, %q", len(found["script"]), len(found["img"]), found["h1"])
	}
	for _, attribute := range []string{"@src", "@style"} {
		if len(found[attribute]) > 0 {
			t.Errorf("there is %s %q", attribute, found[attribute])
		}
	}
	for _, link := range found["@href"] {
		if !strings.HasPrefix(link, "#") {
			t.Errorf("it links to %s", link)
		}
	}
	policy := found["@content"][slices.IndexFunc(found["@content"], func(v string) bool { return strings.Contains(v, "default-src") })]
	for _, want := range []string{"default-src 'none'", "script-src '" + sourceHash(found["script"][1]) + "'", "style-src '" + sourceHash(found["style"][0]) + "'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy %q lacks %s", policy, want)
		}
	}
	var data struct {
		Map                                  pageNode
		Packages, Services, Removed, Modules [][]any
		Checks                               [][]string
	}
	if err := json.Unmarshal([]byte(found["script"][0]), &data); err != nil {
		t.Fatal(err)
	}
	if data.Map.Before != p.Before.Bytes() || data.Map.After != p.After.Bytes() {
		t.Errorf("the map has %d and %d bytes, the trees %d and %d", data.Map.Before, data.Map.After, p.Before.Bytes(), p.After.Bytes())
	}
	data.Map.check(t)
	for _, f := range p.Report.Packages {
		i := slices.IndexFunc(data.Map.Children, func(n pageNode) bool { return n.Name == f.ID })
		if i < 0 || data.Map.Children[i].Before != f.Bytes || data.Map.Children[i].After != f.After {
			t.Errorf("the map's package %s: %d %v", f.ID, i, f)
		}
	}
	i := slices.IndexFunc(data.Map.Children, func(n pageNode) bool { return n.Name == unpackaged })
	if i < 0 || data.Map.Children[i].After != 5000 || !strings.Contains(fmt.Sprint(data.Map.Children[i]), `{motd 5000 5000 [] file "/etc/motd"}`) {
		t.Errorf("what no package owns: %+v", data.Map.Children[max(0, i)])
	}
	var bytes, files float64
	for _, r := range data.Removed {
		files += r[1].(float64)
		bytes += r[2].(float64)
		if r[0] == "/usr/share/doc/package-001/" {
			t.Errorf("a directory of a name that is not there: %v", r)
		}
		if r[4] == "" || strings.Contains(r[4].(string), "no package owned it") {
			t.Errorf("no reason: %v", r)
		}
	}
	if int64(bytes) != p.Before.Bytes()-p.After.Bytes() || int(files) != filesOf(p.Before)-filesOf(p.After) {
		t.Errorf("%v bytes of %v files were removed, the list says %v of %v", p.Before.Bytes()-p.After.Bytes(), filesOf(p.Before)-filesOf(p.After), bytes, files)
	}
	if len(data.Packages) != 60 || len(data.Services) != 2 || len(data.Modules) != 1 || len(data.Checks) != 2 || data.Checks[0][4] != evil {
		t.Errorf("rows: %d packages, %d services, %d modules, checks %q", len(data.Packages), len(data.Services), len(data.Modules), data.Checks)
	}
	for _, want := range []string{"Trimming took ", " (51 %) of ", "20 of 60 packages and 1 of 2 services"} {
		if !strings.Contains(page, want) {
			t.Errorf("the summary lacks %q: %s", want, p.sentence())
		}
	}
	if again := render(t, p); again != page {
		t.Error("the same image gives another page")
	}
}

// TestPageUntrimmed shows an image that was not trimmed.
func TestPageUntrimmed(t *testing.T) {
	p := trimmedPage(t, 9)
	p.Before, p.Report, p.Stages, p.Checks, p.Budget = nil, nil, nil, nil, nil
	page := render(t, p)
	if !strings.Contains(page, "The image holds") || strings.Contains(page, "before trimming") {
		t.Error("it speaks of trimming")
	}
	found := parts(t, page)
	var data struct{ Map pageNode }
	if err := json.Unmarshal([]byte(found["script"][0]), &data); err != nil {
		t.Fatal(err)
	}
	if data.Map.Before != data.Map.After || data.Map.After != p.After.Bytes() {
		t.Errorf("%d and %d bytes", data.Map.Before, data.Map.After)
	}
	p.Database = nil
	render(t, p)
}

// TestPageSize keeps the page of a large image small, and says what it left out.
func TestPageSize(t *testing.T) {
	p := trimmedPage(t, 1000) // 20,000 files
	page := render(t, p)
	if n := len(page); n > 3_000_000 {
		t.Errorf("the page has %d bytes", n)
	}
	var data struct{ Map pageNode }
	if err := json.Unmarshal([]byte(parts(t, page)["script"][0]), &data); err != nil {
		t.Fatal(err)
	}
	if data.Map.Before != p.Before.Bytes() || data.Map.After != p.After.Bytes() {
		t.Error("files were forgotten")
	}
	if leaves := data.Map.check(t); leaves > 2*maxLeaves {
		t.Errorf("%d leaves", leaves)
	}
	small := regexp.MustCompile(`[0-9,]+ files? of less than [0-9.]+ k?B`)
	if !small.MatchString(page) {
		t.Error("small files are not summed up")
	}
}

// BenchmarkPage makes the page of an image with 20,000 files.
func BenchmarkPage(b *testing.B) {
	p := trimmedPage(b, 1000)
	for b.Loop() {
		b.ReportMetric(float64(len(render(b, p))), "bytes")
	}
}

// BenchmarkDiff compares two systems of 20,000 files.
func BenchmarkDiff(b *testing.B) {
	p := trimmedPage(b, 1000)
	x, y := Snapshot{Tree: p.Before, Packages: PackagesOf(p.Database)}, Snapshot{Tree: p.After, Packages: []Package{}}
	for b.Loop() {
		if _, err := Diff(x, y); err != nil {
			b.Fatal(err)
		}
	}
}

// TestBrowser uses the page as people do, in Chromium.
func TestBrowser(t *testing.T) {
	if os.Getenv("IMAGEFACTORY_TEST") != "full" {
		t.Skip("starts a browser: set IMAGEFACTORY_TEST=full")
	}
	p := trimmedPage(t, 200)
	path := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(path, []byte(render(t, p)), 0o644); err != nil {
		t.Fatal(err)
	}
	b := openBrowser(t, path, 1400, 1000)
	b.screenshot("after")
	b.checkMap(t, p.After.Bytes())

	b.click("document.querySelector('input[value=before]')")
	b.checkMap(t, p.Before.Bytes())
	if n := b.text("document.querySelectorAll('.cell.gone').length"); n == "0" {
		t.Error("nothing is marked as removed")
	}
	b.screenshot("before")

	// Into a package and out again, with the mouse and the keyboard.
	largest := slices.MaxFunc(p.Report.Packages, func(a, b trim.PackageFate) int { return cmp.Compare(a.Bytes, b.Bytes) })
	b.click("document.querySelector('.cell')")
	if got := b.text("document.querySelector('#crumbs [aria-current]').textContent"); got != fmt.Sprintf("%s (%s)", largest.ID, Bytes(largest.Bytes)) {
		t.Errorf("a click leads to %q, the largest package is %s", got, largest.ID)
	}
	b.checkMap(t, largest.Bytes)
	if got := b.text("document.querySelector('#details').textContent"); !strings.Contains(got, largest.Reason) {
		t.Errorf("the details do not say why: %q", got)
	}
	b.screenshot("zoomed")
	b.eval("document.querySelector('.cell').focus()", nil)
	b.key("Escape")
	b.checkMap(t, p.Before.Bytes())
	if got := b.text("document.activeElement.getAttribute('aria-label')"); !strings.HasPrefix(got, largest.ID) {
		t.Errorf("after Escape the focus is on %q", got)
	}
	b.key("ArrowRight")
	second := b.text("document.activeElement.node.name")
	if second == largest.ID {
		t.Error("the arrow key does not move the focus")
	}
	b.key("Enter")
	if got := b.text("document.querySelector('#crumbs [aria-current]').textContent"); !strings.HasPrefix(got, second+" (") {
		t.Errorf("Enter leads to %q instead of %s", got, second)
	}
	b.click("document.querySelector('#crumbs button')")
	b.checkMap(t, p.Before.Bytes())

	// The tooltip.
	b.eval("document.querySelector('#map').scrollIntoView({behavior: 'instant'})", nil)
	var at struct{ X, Y float64 }
	b.eval("(() => { const r = document.querySelector('.cell').getBoundingClientRect(); return {X: r.x + 20, Y: r.y + 10}; })()", &at)
	b.mouse("mouseMoved", at.X, at.Y)
	tip := b.text("document.querySelector('#tooltip').hidden ? '' : document.querySelector('#tooltip').innerText")
	if !strings.Contains(tip, largest.ID) || !strings.Contains(tip, Bytes(largest.Bytes)) || !strings.Contains(tip, largest.Reason) {
		t.Errorf("the tooltip: %q", tip)
	}

	// Tables: filter, choice, order.
	rows := "document.querySelectorAll('#packages tbody tr').length"
	if got := b.text(rows); got != "100" {
		t.Errorf("%s rows at first", got)
	}
	b.click("document.querySelector('#packages .more')")
	if got := b.text(rows); got != "200" {
		t.Errorf("%s of 200 rows after “Show all”", got)
	}
	b.click("document.querySelector('#packages input')")
	b.call("Input.insertText", map[string]any{"text": "Package-11"}, nil)
	if got := b.text(rows); got != "10" {
		t.Errorf("%s rows match, 10 should", got)
	}
	b.eval("(() => { const s = document.querySelector('#packages select'); s.value = 'Removed'; s.dispatchEvent(new Event('change')); })()", nil)
	if got := b.text(rows + " + ' ' + document.querySelector('#packages .count').textContent"); !regexp.MustCompile(`^3 3 of 200 packages, [0-9.]+ MB → 0 B$`).MatchString(got) {
		t.Errorf("rows of removed packages: %s", got)
	}
	b.click("document.querySelector('#packages thead button')")
	if got := b.text("[...document.querySelectorAll('#packages tbody th')].map(e => e.textContent).join(' ')"); len(strings.Fields(got)) != 3 || !slices.IsSorted(strings.Fields(got)) {
		t.Errorf("sorted by name: %s", got)
	}
	b.click("document.querySelector('#packages thead button')")
	if got := b.text("document.querySelector('#packages thead th').getAttribute('aria-sort')"); got != "descending" {
		t.Errorf("a second click sorts %s", got)
	}
	if got := b.text("document.querySelector('#checks tbody').innerText"); !strings.Contains(got, evil) {
		t.Errorf("evidence is shown as %q", got)
	}
	b.screenshot("tables")

	b.click("document.querySelector('#theme')")
	if got := b.text("document.documentElement.dataset.theme"); got != "dark" {
		t.Errorf("the colors are %s", got)
	}
	b.screenshot("dark")
	b.print("print")
	b.size(420, 900)
	b.wait("document.documentElement.clientWidth <= 420")
	if got := b.text("document.documentElement.scrollWidth <= document.documentElement.clientWidth"); got != "true" {
		t.Error("on a narrow screen the page is wider than the screen")
	}
	b.checkMap(t, p.Before.Bytes())
	b.screenshot("narrow")
	if len(b.problems) > 0 {
		t.Errorf("problems: %s", strings.Join(b.problems, "\n"))
	}
}

// checkMap measures the rectangles that are drawn: together they cover the map without overlapping, and each has the share
// of the area that it has of the bytes.
func (b *browser) checkMap(t *testing.T, bytes int64) {
	t.Helper()
	var m struct {
		Width, Height float64
		Cells         []struct{ X, Y, W, H, Bytes float64 }
	}
	b.eval(`(() => {
		const map = document.querySelector("#treemap"), box = map.getBoundingClientRect();
		return { Width: box.width, Height: box.height, Cells: [...map.querySelectorAll(".cell")].map((c) => {
			const r = c.getBoundingClientRect();
			return { X: r.x - box.x, Y: r.y - box.y, W: r.width, H: r.height, Bytes: Number(c.dataset.bytes) };
		}) };
	})()`, &m)
	var area, sum float64
	for _, c := range m.Cells {
		area += c.W * c.H
		sum += c.Bytes
	}
	whole := m.Width * m.Height
	if int64(sum) != bytes {
		t.Errorf("the rectangles stand for %.0f bytes instead of %d", sum, bytes)
	}
	if whole == 0 || area < whole*0.995 || area > whole*1.005 {
		t.Errorf("the rectangles have an area of %.0f, the map %.0f", area, whole)
	}
	for i, c := range m.Cells {
		if c.X < -0.1 || c.Y < -0.1 || c.X+c.W > m.Width+0.1 || c.Y+c.H > m.Height+0.1 {
			t.Errorf("rectangle %d lies outside: %+v", i, c)
		}
		// What the browser rounds is up to a tenth of a pixel at each side.
		if want := c.Bytes / sum * whole; c.W*c.H < want-0.1*(c.W+c.H)-1 || c.W*c.H > want+0.1*(c.W+c.H)+1 {
			t.Errorf("rectangle %d has an area of %.1f instead of %.1f", i, c.W*c.H, want)
		}
		for j, d := range m.Cells[:i] {
			w, h := min(c.X+c.W, d.X+d.W)-max(c.X, d.X), min(c.Y+c.H, d.Y+d.H)-max(c.Y, d.Y)
			if w > 0.1 && h > 0.1 {
				t.Errorf("rectangles %d and %d overlap by %.2f × %.2f", i, j, w, h)
			}
		}
	}
}
