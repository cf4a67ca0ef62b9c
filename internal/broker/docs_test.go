package broker

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// The page tells of every key of a policy, its examples are policies, and its messages
// are what is sent.
func TestThePageTellsTheTruth(t *testing.T) {
	data, err := os.ReadFile("../../docs/broker.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	rules, _ := reflect.TypeFor[policyFile]().FieldByName("Rules")
	for i := range rules.Type.Elem().NumField() {
		if key := rules.Type.Elem().Field(i).Tag.Get("yaml"); !strings.Contains(page, "`"+key+"`") {
			t.Errorf("docs/broker.md does not tell of %s", key)
		}
	}
	everybody := Accounts{User: func(string) (uint32, error) { return 1, nil }, Group: func(string) (uint32, error) { return 1, nil }}
	for _, example := range []string{between(page, "# cat /etc/drawbridge/broker.yaml\n", "# drawbridge serve"), between(page, "```yaml\n", "```")} {
		if _, err := ParsePolicy("broker.md", []byte(example), everybody); err != nil || len(example) < 20 {
			t.Errorf("%v\n%s", err, example)
		}
	}
	messages := strings.Split(strings.TrimSpace(between(page, "```json\n", "```")), "\n")
	if _, err := DecodeRequest([]byte(messages[0])); err != nil {
		t.Error(err)
	}
	for _, m := range messages[1:] {
		d := json.NewDecoder(strings.NewReader(m))
		d.DisallowUnknownFields()
		var r Reply
		if err := d.Decode(&r); err != nil || r.Version != Version {
			t.Errorf("%s: %v", m, err)
		}
	}
	for _, kind := range []string{KindInvalid, KindDenied, KindQuota, KindTaken, KindBusy, KindFailed, KindDescriptor, KindNamed} {
		if !regexp.MustCompile("`" + kind + "`").MatchString(page) {
			t.Errorf("docs/broker.md does not tell of kind %s", kind)
		}
	}
}

func between(text, from, to string) string {
	_, text, _ = strings.Cut(text, from)
	text, _, _ = strings.Cut(text, to)
	return text
}
