package installer

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/imagefactory/imagefactory/installer/config"
	"github.com/imagefactory/imagefactory/installer/report"
)

// graceful is how long a failure stays on the consoles before the machine restarts.
const graceful = 30 * time.Second

// fail says what failed, on all consoles and as an event, and then does what the medium or the command line wants. It returns
// when somebody at the prompt wants another try.
func (m *machine) fail(err error) {
	written := m.written
	if written == "" {
		written = "Nothing was written to any disk."
	}
	m.report.Send(report.Failed{Stage: m.stage, Device: m.device, Message: err.Error(), Written: written})
	where := ""
	if m.device != "" && !strings.Contains(err.Error(), m.device) {
		where = " on " + m.device
	}
	rule := strings.Repeat("-", 40)
	m.say("%s\nFAILED (%s%s): %v\n%s\n%s", rule, m.stage, where, err, written, rule)
	m.report.Flush(5 * time.Second)
	// The kernel may speak again when its messages cannot stand inside ours.
	m.consoles.Flush(drained)
	m.loudly()
	switch m.onFailure() {
	case config.Halt:
		m.end(config.Halt)
	case config.Reboot:
		m.say("Restarting in %.0f seconds, as on_failure = \"reboot\" asks. The return key gives a prompt instead.", graceful.Seconds())
		m.consoles.Discard()
		ctx, cancel := context.WithTimeout(m.life, graceful)
		defer cancel()
		if _, err := m.consoles.ReadLine(ctx); err != nil {
			m.end(config.Reboot)
		}
	}
	m.prompt()
}

// onFailure is what happens after a failure. Without a document, only the command line can say.
func (m *machine) onFailure() string {
	switch {
	case m.arguments.OnFailure != nil:
		return *m.arguments.OnFailure
	case m.config != nil:
		return m.config.OnFailure
	}
	return config.Shell
}

// wrote remembers what became of the disk, for the message of a failure that comes later.
func (m *machine) wrote(format string, args ...any) { m.written = fmt.Sprintf(format, args...) }
