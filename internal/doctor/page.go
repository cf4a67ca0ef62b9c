package doctor

import "strings"

// Page is docs/doctor.md: all checks, as they are.
func Page() string {
	var b strings.Builder
	b.WriteString(`# What the doctor checks

` + "`drawbridge doctor`" + ` looks at one network namespace, without rights where that is enough, and changes nothing.
Each finding says what is wrong, how it shows, the facts that say so, how sure that is, and what mends it:

- **broken**: something does not work now. **risk**: it works until something happens that will. **note**: nothing is
  wrong; good to know when something else is.
- **certain**: the kernel's own rules say so. **likely**: unless something that is not seen makes up for it. **possible**:
  it depends on what cannot be seen from here.

` + "`drawbridge doctor --fix N`" + ` (or ` + "`--fix CHECK:OBJECT`" + `, which is the same tomorrow) mends one finding as a transaction: an undo
journal, a guard, step by step, verified. The finding must be gone then and what answered before must answer still, or
everything is rolled back. It tells the commands that take the mend back. ` + "`down`" + ` leaves mends alone: it undoes what ` + "`up`" + ` did.

Exit codes: 0 nothing is wrong; 6 something is (notes do not count). ` + "`--json`" + ` gives ` + "`version`" + `, ` + "`wrong`" + ` (how many), ` + "`findings`" + ` (each
with ` + "`n`, `check`, `object`, `severity`, `sure`, `what`, `shows`, `seen`, `mend` (`says`, `commands`) and `fixable`" + `), ` + "`checked`" + ` and ` + "`unchecked`" + `.
` + "`drawbridge draw --doctor`" + ` marks in the picture what something is wrong with.

This page is made from the checks themselves (` + "`go test ./internal/doctor -update`" + `).

| check | what is wrong |
|---|---|
`)
	for _, c := range Checks() {
		b.WriteString("| [" + c.ID + "](#" + c.ID + ") | " + c.Title + " |\n")
	}
	for _, c := range Checks() {
		b.WriteString("\n## " + c.ID + "\n\n" + c.Title + ".\n\n")
		b.WriteString("- Shows as: " + c.Shows + ".\n")
		b.WriteString("- Known by: " + c.Knows + ".\n")
		b.WriteString("- Mend: " + c.Mends + ".\n")
		for _, n := range c.Needs {
			b.WriteString("- Needs: " + string(n) + ".\n")
		}
	}
	return b.String()
}
