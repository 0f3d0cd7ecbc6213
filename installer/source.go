package installer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/installer/medium"
	"github.com/imagefactory/imagefactory/installer/network"
	"github.com/imagefactory/imagefactory/installer/payload"
	"github.com/imagefactory/imagefactory/installer/report"
)

// source is where the files come from: a medium, or a web server.
type source interface {
	// Open opens a file of size bytes by its path in the document. It may implement io.Closer.
	Open(ctx context.Context, path string, size int64) (io.ReaderAt, error)
	// ReadFile returns a small file.
	ReadFile(ctx context.Context, path string) ([]byte, error)
	// Disk is the name of the disk that must not be installed on; empty when there is none.
	Disk() string
	// Local says that reading all of it twice costs little.
	Local() bool
	String() string
	Close() error
}

// maxFile bounds what ReadFile returns: scripts.
const maxFile = 16 << 20

// findSource finds the medium or the server, reads the document and applies the command line to it.
func (m *machine) findSource(ctx context.Context) error {
	var err error
	if m.arguments.URL != "" {
		m.stage = "network"
		err = m.fetchDocument(ctx)
	} else {
		m.stage = "medium"
		err = m.findMedium(ctx)
	}
	if err != nil {
		return err
	}
	m.stage = "command line"
	if err := m.config.Override(m.arguments); err != nil {
		return fmt.Errorf("the kernel's command line: %w", err)
	}
	if err := m.startReport(ctx); err != nil {
		return err
	}
	c := m.config
	m.report.Send(report.Started{Name: c.Name, Version: c.Version, Arch: c.Arch, ID: c.ID, Mode: c.Mode, DryRun: m.arguments.DryRun})
	m.report.Send(report.Medium{Source: m.source.String()})
	m.say("%s %s for %s, from %s", c.Name, c.Version, c.Arch, m.source)
	return nil
}

func (m *machine) findMedium(ctx context.Context) error {
	m.say("Looking for the medium for up to %.0f seconds.", m.arguments.Wait.Seconds())
	finder := medium.Finder{Sys: "/sys", Dev: "/dev", ID: m.arguments.ID}
	found, err := finder.Wait(ctx, m.monitor.Changes(), m.arguments.Wait)
	if err != nil {
		return err
	}
	// The first is not the only one before all devices are there.
	found.Close()
	m.settle(ctx)
	if found, err = finder.Wait(ctx, m.monitor.Changes(), m.arguments.Wait); err != nil {
		return err
	}
	m.source, m.config = localSource{found}, found.Config
	return nil
}

// startReport opens the ways that events go.
func (m *machine) startReport(ctx context.Context) error {
	m.writeEvents(m.config.Events)
	if url := m.config.Events.URL; url != "" {
		if err := m.connect(ctx); err != nil {
			m.say("Events cannot be sent to %s: %v.", url, err)
			return nil
		}
		m.postEvents(m.config.Events)
	}
	return nil
}

// startReportEarly opens those ways that the command line names, so that whoever listens there hears of failures before the document
// is read, too. An address is used once the network is up, which is not brought up for that.
func (m *machine) startReportEarly() {
	if m.arguments.Events == nil {
		return
	}
	m.writeEvents(*m.arguments.Events)
	if m.connection != nil {
		m.postEvents(*m.arguments.Events)
	}
}

func (m *machine) writeEvents(to config.Events) {
	if to.Console == "" {
		return
	}
	if err := m.consoles.OpenEvents("/dev", to.Console); err != nil {
		// The installation matters more than who hears of it.
		m.say("Events cannot be written: %v.", err)
	}
}

func (m *machine) postEvents(to config.Events) {
	if to.URL != "" {
		m.report.To(m.life, to.URL, func(err error) { m.say("%v.", err) })
	}
}

// connect brings up the network unless it is up.
func (m *machine) connect(ctx context.Context) error {
	if m.connection != nil {
		return nil
	}
	arguments, err := network.ParseArguments(m.words)
	if err != nil {
		return fmt.Errorf("the kernel's command line: %w", err)
	}
	m.say("Bringing up the network for up to %.0f seconds.", m.arguments.Wait.Seconds())
	bounded, cancel := context.WithTimeout(ctx, m.arguments.Wait)
	defer cancel()
	connection, err := network.Up(bounded, m.life, network.Options{
		Arguments: arguments,
		Sys:       "/sys",
		Changes:   m.monitor.Changes(),
		Log:       m.say,
	})
	if err != nil {
		return err
	}
	// Where Go's resolver, too, looks for name servers.
	if err := os.MkdirAll("/etc", 0o755); err != nil {
		return err
	}
	if err := os.WriteFile("/etc/resolv.conf", connection.ResolvConf(), 0o644); err != nil {
		return err
	}
	m.connection = connection
	m.say("The network is up: %s.", connection)
	return nil
}

// localSource is a medium.
type localSource struct{ *medium.Medium }

func (s localSource) Open(_ context.Context, path string, size int64) (io.ReaderAt, error) {
	f, err := s.Medium.Open(path)
	if err != nil {
		return nil, err
	}
	if f.Size() != size {
		return nil, fmt.Errorf("%s has %d bytes, not %d as it should: the medium was not written completely", f.Name(), f.Size(), size)
	}
	return f, nil
}

func (s localSource) ReadFile(_ context.Context, path string) ([]byte, error) {
	f, err := s.Medium.Open(path)
	if err != nil {
		return nil, err
	}
	if f.Size() > maxFile {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", f.Name(), f.Size(), maxFile)
	}
	data := make([]byte, f.Size())
	if n, err := f.ReadAt(data, 0); n < len(data) {
		return nil, err
	}
	return data, nil
}

func (s localSource) Disk() string { return s.Medium.Disk }
func (s localSource) Local() bool  { return true }

// webSource is a directory of a web server.
type webSource struct {
	url  string
	wait time.Duration
	say  func(format string, args ...any)
}

// fetchDocument brings up the network and reads the document from the server.
func (m *machine) fetchDocument(ctx context.Context) error {
	if err := m.connect(ctx); err != nil {
		return err
	}
	m.startReportEarly()
	s := webSource{m.arguments.URL, m.arguments.Wait, m.say}
	m.say("Fetching %s%s for up to %.0f seconds.", s.url, config.NetworkPath, s.wait.Seconds())
	document, err := s.ReadFile(ctx, config.NetworkPath)
	if err != nil {
		return err
	}
	c, err := config.Decode(bytes.NewReader(document))
	if err != nil {
		return fmt.Errorf("%s%s: %w", s.url, config.NetworkPath, err)
	}
	m.source, m.config = s, c
	return nil
}

func (s webSource) Open(ctx context.Context, path string, size int64) (io.ReaderAt, error) {
	f, err := payload.OpenHTTP(ctx, s.url+path, payload.HTTPOptions{Notice: func(err error, wait time.Duration) {
		s.say("%v; asking again in %.0f seconds.", err, wait.Seconds())
	}})
	if err != nil {
		return nil, err
	}
	if f.Size() != size {
		f.Close()
		return nil, fmt.Errorf("%s has %d bytes, not %d as %s says: the files on the server are not of one build", f.Name(), f.Size(), size, config.NetworkPath)
	}
	return f, nil
}

// ReadFile tries again until its time is up: servers and switches start slowly, too. What the server refuses for good ends it at once.
func (s webSource) ReadFile(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, s.wait)
	defer cancel()
	var last error
	for {
		data, final, err := s.fetch(ctx, s.url+path)
		if err == nil {
			return data, nil
		}
		if final {
			return nil, err
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			if last == nil {
				last = err
			}
			return nil, fmt.Errorf("no answer that can be used in %.0f seconds: %w", s.wait.Seconds(), last)
		}
	}
}

// attempt bounds one request for a small file, so that a server that stalls gets asked again.
const attempt = 20 * time.Second

func (s webSource) fetch(ctx context.Context, url string) (data []byte, final bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, true, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, false, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		// Servers that are overloaded, or starting, say 5xx, 408 or 429.
		later := response.StatusCode >= 500 || response.StatusCode == http.StatusRequestTimeout || response.StatusCode == http.StatusTooManyRequests
		return nil, !later, fmt.Errorf("%s: the server says %s", url, response.Status)
	}
	data, err = io.ReadAll(io.LimitReader(response.Body, maxFile+1))
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", url, err)
	}
	if len(data) > maxFile {
		return nil, true, fmt.Errorf("%s: more than %d bytes", url, maxFile)
	}
	if response.ContentLength >= 0 && int64(len(data)) != response.ContentLength {
		return nil, false, fmt.Errorf("%s: %w", url, errors.New("the server sent less than it announced"))
	}
	return data, false, nil
}

func (s webSource) Disk() string   { return "" }
func (s webSource) Local() bool    { return false }
func (s webSource) String() string { return strings.TrimRight(s.url, "/") }
func (s webSource) Close() error   { return nil }
