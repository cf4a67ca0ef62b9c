package draw

import "math"

// Metrics are the sizes of a medium. All lengths are in its unit.
type Metrics struct {
	// Measure is the width of a line of text.
	Measure func(Style, string) float64
	// Middle is where in a row of height 1 its middle is: 0.5 for pixels, 0 for cells.
	Middle float64
	// Terse media give an address's origin a line of its own, and short bus names.
	Terse bool

	MaxWidth float64 // boxes beyond it go to a next row
	MinWidth float64 // of a picture, for its caption
	Margin   float64 // around the picture

	Title, Subtitle, CaptionGap float64 // heights of the caption's lines, and the gap below
	Line, Small                 float64 // heights of a line of addresses, of small print

	Pad, BoxGap, RowGap float64 // inside a box at its sides; between boxes; between rows of boxes
	Name                float64 // y of a stack's name, from the box's top
	Header              float64 // from the box's top to its band
	BandInset           float64 // of the band in the box, at its sides
	Router, RouterBox   float64 // heights of the row with a router's sign, and of that sign
	BandLabel, BandFoot float64 // heights of the band's label, and of what is below its last line
	Zone                float64 // a gap between two kinds of things
	Plate, PlatePad     float64 // a name plate's height, and its text's distance from its sides
	PlateLeft           float64 // from a plate's left side to the pipe; 0: centred
	Mark                float64 // room for a change mark
	Bus                 float64 // a bus's height
	Text                float64 // from a pipe to the text beside it
	TextMark            float64 // from a pipe to the change mark of that text
	Overhang            float64 // of a bus beyond its outermost pipe
	ColumnGap           float64

	Exit                        float64 // from a box's lower side to the wire ends below it
	Track                       float64 // between cables
	CableText                   float64 // from the lowest cable to its label; 0: none
	LANGap, LANText, LANTextGap float64 // above a LAN's bus; from it to its label; between label and next bus
}

// Pixels are the metrics of a screen or a page: CSS pixels.
func Pixels() *Metrics {
	return &Metrics{
		Measure: measurePixels, Middle: 0.5,
		MaxWidth: 1800, MinWidth: 720, Margin: 36,
		Title: 28, Subtitle: 20, CaptionGap: 18,
		Line: 19, Small: 17,
		Pad: 26, BoxGap: 48, RowGap: 36, Name: 27, Header: 46, BandInset: 12, Router: 34, RouterBox: 24, BandLabel: 26, BandFoot: 10,
		Zone: 12, Plate: 28, PlatePad: 15, Mark: 20, Bus: 14, Text: 27, TextMark: 17, Overhang: 22, ColumnGap: 16,
		Exit: 44, Track: 18, CableText: 15, LANGap: 40, LANText: 25, LANTextGap: 34,
	}
}

// Cells are the metrics of a terminal, one unit a character cell.
func Cells() *Metrics {
	return &Metrics{
		Measure: func(_ Style, s string) float64 { return float64(CellWidth(s)) }, Middle: 0, Terse: true,
		MaxWidth: 80, MinWidth: 40, Margin: 0,
		Title: 1, Subtitle: 1, CaptionGap: 1,
		Line: 1, Small: 1,
		Pad: 1, BoxGap: 2, RowGap: 1, Name: 0, Header: 1, BandInset: 1, Router: 1, RouterBox: 0, BandLabel: 1, BandFoot: 0,
		Zone: 0, Plate: 1, PlatePad: 1, PlateLeft: 2, Mark: 1, Bus: 1, Text: 2, TextMark: 1, Overhang: 2, ColumnGap: 1,
		Exit: 1, Track: 1, CableText: 0, LANGap: 2, LANText: 1, LANTextGap: 1,
	}
}

// font is how a style is set on a screen. The svg style sheet sets the same sizes.
type font struct {
	size float64
	bold bool
	mono bool
}

// Size is the size of a style's font in CSS pixels, and whether it is bold and monospaced.
func (s Style) Size() (px float64, bold, mono bool) {
	f := s.font()
	return f.size, f.bold, f.mono
}

func (s Style) font() font {
	switch s {
	case TitleText, NameText:
		return font{size: 17, bold: true}
	case PlateText, LANText, BridgeText, RouterText:
		return font{size: 14, bold: true}
	case AddressText:
		return font{size: 13, mono: true}
	case SmallText:
		return font{size: 11.5, mono: true}
	case NoteText:
		return font{size: 11.5}
	case HopText, HopMayText:
		return font{size: 11, bold: true}
	case MarkText:
		return font{size: 16, bold: true}
	default:
		return font{size: 13}
	}
}

// measurePixels measures with the advances of DejaVu Sans, which is wider than the
// other fonts that a viewer may take instead: a label never outgrows its room.
func measurePixels(s Style, text string) float64 {
	f := s.font()
	sum := 0
	for _, r := range text {
		sum += f.advance(r)
	}
	return math.Ceil(float64(sum) * f.size / 1000)
}

func (f font) advance(r rune) int {
	table := &advances
	if f.bold {
		table = &boldAdvances
	}
	switch w := runeCells(r); {
	case w == 0:
		return 0
	case f.mono && w == 1:
		return 602
	case r >= ' ' && int(r-' ') < len(table):
		return table[r-' ']
	case w == 2:
		return 1350 // emoji fonts are wider than 1 em
	default:
		return 1000 // most are narrower: 600 to 875
	}
}

// Advances of ' ' to '~' in 1/1000 em: DejaVu Sans 2.37.
var advances = [...]int{
	318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337, 636, 636, 636,
	636, 636, 636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531, 1000, 684, 686, 698, 770, 632,
	575, 775, 752, 295, 295, 656, 557, 863, 748, 787, 603, 787, 695, 635, 611, 732, 684, 989, 685,
	611, 685, 390, 337, 390, 838, 500, 500, 613, 635, 550, 635, 615, 352, 635, 634, 278, 278, 579,
	278, 974, 634, 612, 635, 635, 411, 521, 392, 634, 592, 818, 592, 592, 525, 636, 337, 636, 838,
}

// Advances of ' ' to '~' in 1/1000 em: DejaVu Sans Bold 2.37.
var boldAdvances = [...]int{
	348, 456, 521, 838, 696, 1002, 872, 306, 457, 457, 523, 838, 380, 415, 380, 365, 696, 696, 696,
	696, 696, 696, 696, 696, 696, 696, 400, 400, 838, 838, 838, 580, 1000, 774, 762, 734, 830, 683,
	683, 821, 837, 372, 372, 775, 637, 995, 837, 850, 733, 850, 770, 720, 682, 812, 774, 1103, 771,
	724, 725, 457, 365, 457, 838, 500, 500, 675, 716, 593, 716, 678, 435, 716, 712, 343, 343, 665,
	343, 1042, 712, 687, 716, 716, 493, 595, 478, 712, 652, 924, 645, 652, 582, 712, 365, 712, 838,
}
