package report

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// browser is a headless Chromium, spoken to by the Chrome DevTools Protocol over a pipe: JSON messages that end in NUL.
type browser struct {
	*testing.T
	in       *os.File
	messages chan message
	id       int
	session  string
	problems []string // of the console, and exceptions
}

type message struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// openBrowser shows the page at a path in a window of the given size.
func openBrowser(t *testing.T, page string, width, height int) *browser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		program, err = exec.LookPath("chromium-browser") // on EL
	}
	if err != nil {
		t.Fatal("chromium is not there: make deps-test installs what the tests need")
	}
	theirIn, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-pipe", "--user-data-dir="+t.TempDir(), "about:blank")
	cmd.ExtraFiles = []*os.File{theirIn, theirOut} // 3 and 4, where Chromium looks for them
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirIn.Close()
	theirOut.Close()
	b := &browser{T: t, in: in, messages: make(chan message, 1000)}
	go func() {
		defer close(b.messages)
		reader := bufio.NewReader(out)
		for {
			line, err := reader.ReadBytes(0)
			if err != nil {
				return
			}
			var m message
			if json.Unmarshal(line[:len(line)-1], &m) == nil {
				b.messages <- m
			}
		}
	}()
	t.Cleanup(func() {
		b.session = ""
		b.send("Browser.close", nil)
		ended := make(chan struct{})
		go func() { cmd.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			cmd.Process.Kill()
			<-ended
		}
		in.Close()
		out.Close()
	})
	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var session struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &session)
	b.session = session.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.call(domain+".enable", nil, nil)
	}
	b.size(width, height)
	// Without animations, during which clicks would miss.
	b.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-reduced-motion", "value": "reduce"}}}, nil)
	b.call("Page.navigate", map[string]any{"url": "file://" + page}, nil)
	b.wait("document.readyState === 'complete' && document.querySelector('.cell') !== null")
	return b
}

func (b *browser) send(method string, params any) {
	b.id++
	m := map[string]any{"id": b.id, "method": method}
	if params != nil {
		m["params"] = params
	}
	if b.session != "" {
		m["sessionId"] = b.session
	}
	data, err := json.Marshal(m)
	if err != nil {
		b.Fatal(err)
	}
	b.in.Write(append(data, 0)) // an error shows where the answer is missing
}

// call sends a command and waits for its result.
func (b *browser) call(method string, params, result any) {
	b.Helper()
	b.send(method, params)
	timeout := time.After(2 * time.Minute)
	for {
		select {
		case m, ok := <-b.messages:
			switch {
			case !ok:
				b.Fatalf("%s: Chromium has ended", method)
			case m.Method != "":
				b.event(m)
				continue
			case m.ID != b.id:
				continue
			case m.Error != nil:
				b.Fatalf("%s: %s", method, m.Error.Message)
			}
			if result != nil {
				if err := json.Unmarshal(m.Result, result); err != nil {
					b.Fatalf("%s: %v", method, err)
				}
			}
			return
		case <-timeout:
			b.Fatalf("%s: Chromium does not answer", method)
		}
	}
}

// event notes what a page without mistakes does not do.
func (b *browser) event(m message) {
	switch m.Method {
	case "Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded":
		b.problems = append(b.problems, m.Method+" "+string(m.Params))
	case "Network.requestWillBeSent":
		var p struct{ Request struct{ URL string } }
		if json.Unmarshal(m.Params, &p) == nil && !strings.HasPrefix(p.Request.URL, "file:///") {
			b.problems = append(b.problems, "it loads "+p.Request.URL)
		}
	}
}

// eval computes an expression of JavaScript in the page.
func (b *browser) eval(expression string, result any) {
	b.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &r)
	if r.ExceptionDetails != nil {
		b.Fatalf("%s: %s", expression, r.ExceptionDetails)
	}
	if result != nil {
		if err := json.Unmarshal(r.Result.Value, result); err != nil {
			b.Fatalf("%s: %v", expression, err)
		}
	}
}

// wait waits until an expression is true.
func (b *browser) wait(expression string) {
	b.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var ok bool
		b.eval("!!("+expression+")", &ok)
		if ok {
			return
		}
		if time.Now().After(end) {
			b.Fatalf("%s does not become true", expression)
		}
	}
}

// text is the text of an expression.
func (b *browser) text(expression string) string {
	b.Helper()
	var s string
	b.eval("String("+expression+")", &s)
	return s
}

// click clicks into the middle of an element.
func (b *browser) click(element string) {
	b.Helper()
	var at struct{ X, Y float64 }
	b.eval("(() => { const e = "+element+"; e.scrollIntoView({block: 'center', behavior: 'instant'}); const r = e.getBoundingClientRect(); return {X: r.x + r.width / 2, Y: r.y + r.height / 2}; })()", &at)
	b.mouse("mouseMoved", at.X, at.Y)
	b.mouse("mousePressed", at.X, at.Y)
	b.mouse("mouseReleased", at.X, at.Y)
}

func (b *browser) mouse(kind string, x, y float64) {
	b.Helper()
	b.call("Input.dispatchMouseEvent", map[string]any{"type": kind, "x": x, "y": y, "button": map[bool]string{true: "none", false: "left"}[kind == "mouseMoved"], "clickCount": 1}, nil)
}

// key presses a key.
func (b *browser) key(name string) {
	b.Helper()
	codes := map[string]int{"Enter": 13, "Escape": 27, "ArrowRight": 39, "Tab": 9, "End": 35}
	params := map[string]any{"type": "keyDown", "key": name, "code": name, "windowsVirtualKeyCode": codes[name]}
	if name == "Enter" {
		params["text"] = "\r"
	}
	b.call("Input.dispatchKeyEvent", params, nil)
	b.call("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": name, "code": name, "windowsVirtualKeyCode": codes[name]}, nil)
}

// size sets the size of the window.
func (b *browser) size(width, height int) {
	b.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}, nil)
}

// screenshot keeps a picture below IMAGEFACTORY_TEST_SCREENSHOTS, if that is set.
func (b *browser) screenshot(name string) {
	dir := os.Getenv("IMAGEFACTORY_TEST_SCREENSHOTS")
	if dir == "" {
		return
	}
	var shot struct{ Data string }
	b.call("Page.captureScreenshot", map[string]any{"format": "png"}, &shot)
	b.write(filepath.Join(dir, name+".png"), shot.Data)
}

// print keeps a PDF likewise.
func (b *browser) print(name string) {
	dir := os.Getenv("IMAGEFACTORY_TEST_SCREENSHOTS")
	if dir == "" {
		return
	}
	var pdf struct{ Data string }
	b.call("Page.printToPDF", map[string]any{"printBackground": false, "preferCSSPageSize": true}, &pdf)
	b.write(filepath.Join(dir, name+".pdf"), pdf.Data)
}

func (b *browser) write(path, encoded string) {
	data, err := base64.StdEncoding.DecodeString(encoded)
	if err == nil {
		err = os.WriteFile(path, data, 0o644)
	}
	if err != nil {
		b.Fatal(fmt.Errorf("%s: %w", path, err))
	}
}
