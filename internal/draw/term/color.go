package term

import (
	"drawbridge/internal/draw"
	"drawbridge/internal/model"
)

// The colours are the sixteen that a terminal's user has chosen (SGR 30 to 37 and 90
// to 97), so that they are legible on the user's background.

// bridgeSGR are the colours that tell bridges apart.
var bridgeSGR = []string{"35", "36", "34", "33", "95", "96"}

func toneSGR(tone int) string {
	if tone < 0 {
		return ""
	}
	return bridgeSGR[tone%len(bridgeSGR)]
}

var boxSGR = map[draw.Style]string{draw.VMBox: "33", draw.NamespaceBox: "36"}

func changeSGR(c model.Change) string {
	switch c {
	case model.Added:
		return "1;32"
	case model.Removed:
		return "1;31"
	case model.Altered:
		return "1;33"
	default:
		return ""
	}
}

func textSGR(l draw.Label) string {
	sgr := ""
	switch l.Style {
	case draw.TitleText, draw.NameText, draw.PlateText:
		sgr = "1"
	case draw.LANText:
		sgr = "1;32"
	case draw.BridgeText:
		sgr = "1;" + toneSGR(l.Tone)
	case draw.SubText, draw.SystemText, draw.NoteText, draw.SmallText, draw.CalloutText:
		sgr = "2"
	case draw.DiesText:
		sgr = "31"
	}
	if l.Change != "" {
		sgr = changeSGR(l.Change)
	}
	if l.Struck {
		sgr += ";9"
	}
	return sgr
}
