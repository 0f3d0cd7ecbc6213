package progress

import (
	"encoding/json"
	"io"

	"github.com/imagefactory/imagefactory/stages"
)

// jsonLines writes one JSON object per event.
type jsonLines struct{ encoder *json.Encoder }

// JSON shows every event as a JSON object on a line of its own.
func JSON(w io.Writer) View {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return jsonLines{encoder}
}

func (v jsonLines) Show(e stages.Event) {
	// Whoever reads may have gone; that is no reason to end the build.
	_ = v.encoder.Encode(e)
}

func (v jsonLines) Close() {}
