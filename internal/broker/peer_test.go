package broker

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"drawbridge/internal/plan"
)

// A process lives until its last thread has ended, also while it becomes another program,
// and a later one with its number is another one.
func TestProcessLives(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	started, err := processStarted(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	h := &plan.TapHolder{PID: cmd.Process.Pid, Started: started}
	if !processLives(h) {
		t.Error("a process that runs does not live")
	}
	if processLives(&plan.TapHolder{PID: h.PID, Started: started + 1}) {
		t.Error("another process of that number lives")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); processLives(h); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a zombie lives")
		}
	}
	_ = cmd.Wait() // killed
	if processLives(h) {
		t.Error("a process that was waited for lives")
	}
	if self, err := processStarted(os.Getpid()); err != nil || !processLives(&plan.TapHolder{PID: os.Getpid(), Started: self}) {
		t.Errorf("this process does not live: %v", err)
	}
}
