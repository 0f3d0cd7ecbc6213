package scan

// OpenSCAP is what the program oscap found by other rules than ours.
type OpenSCAP struct {
	Skipped string           `json:"skipped,omitempty"` // why it was not run
	Version string           `json:"version,omitempty"` // of oscap
	Content string           `json:"content,omitempty"` // the data stream's file
	Profile string           `json:"profile,omitempty"` // its identifier
	Results []OpenSCAPResult `json:"results,omitempty"`
}

// OpenSCAPResult is what became of one rule.
type OpenSCAPResult struct {
	ID       string `json:"id"`
	Title    string `json:"title"`
	Severity string `json:"severity"`
	Result   string `json:"result"` // XCCDF's: "pass", "fail", "notapplicable", "notchecked", …
}

// counts returns how many rules passed and failed.
func (o *OpenSCAP) counts() (passed, failed int) {
	for _, r := range o.Results {
		switch r.Result {
		case "pass", "fixed":
			passed++
		case "fail":
			failed++
		}
	}
	return passed, failed
}
