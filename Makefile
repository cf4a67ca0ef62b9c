# The door to drawbridge: "make demo" and "make test" are all that a newcomer needs;
# "make" alone tells the rest. They install what is missing, and say so.
.POSIX:

# These are given on make's command line: make fuzz FUZZTIME=5m
PREFIX = /usr/local
# How long "make fuzz" tries each target.
FUZZTIME = 30s
# What "make bench" is told: "-only taps", "-quick".
BENCH =
# Where the race detector pays: goroutines, processes, sockets.
RACE = ./internal/kernel/...,./internal/lab/...,./internal/machine/...,./internal/probe,./internal/broker

.PHONY: help demo test build install lint check golden gallery fuzz bench soak clean go

help: ## tell what there is (this)
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: build ## see a virtual machine join a LAN, drawn step by step (a minute)
	@scripts/need.sh demo
	bin/drawbridge lab demo

test: go ## run every test; tells how many ran on the real kernel
	@scripts/need.sh test
	go vet ./...
	go vet -tags soak ./cmd/drawbridge
	@go run ./internal/tools/testsummary -race "$(RACE)" ./...

# -buildvcs=false: the go command would ask git, which may not be there, and may
# distrust a folder of another user's; version and commit are set by hand instead.
build: go ## build bin/drawbridge, one static binary
	@mkdir -p bin
	@version=`git describe --tags --always --dirty 2>/dev/null || echo devel`; \
	commit=`git rev-parse HEAD 2>/dev/null || echo unknown`; \
	CGO_ENABLED=0 go build -trimpath -buildvcs=false \
		-ldflags "-s -w -X drawbridge/internal/cli.version=$$version -X drawbridge/internal/cli.commit=$$commit" \
		-o bin/drawbridge ./cmd/drawbridge

install: build ## install it: PREFIX=/usr/local, DESTDIR for packagers
	mkdir -p "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(PREFIX)/share/bash-completion/completions"
	cp bin/drawbridge "$(DESTDIR)$(PREFIX)/bin/drawbridge.new"
	mv "$(DESTDIR)$(PREFIX)/bin/drawbridge.new" "$(DESTDIR)$(PREFIX)/bin/drawbridge"
	bin/drawbridge completion bash > "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/drawbridge"

lint: go ## run the linters of .golangci.yml
	@scripts/lint.sh

check: lint test ## lint and test: what must pass before a commit is shared

golden: go ## write the golden files anew (look at the difference before you commit it)
	@scripts/golden.sh

gallery: go ## draw docs/gallery anew from its bundles
	@go run ./internal/tools/gallery

fuzz: go ## try foreign bytes on everything that reads them: FUZZTIME=30s each
	@scripts/fuzz.sh "$(FUZZTIME)"

bench: build ## measure side by side with others and write docs/benchmarks.md (21 minutes)
	@scripts/need.sh bench
	go run ./internal/tools/bench -drawbridge bin/drawbridge -o docs/benchmarks.md $(BENCH)

soak: go ## up and down under probes, past the ends of leases and announced routes (20 minutes)
	@scripts/need.sh test
	go test -tags soak ./cmd/drawbridge -run Soak -v -timeout 60m

clean: ## remove what was built
	rm -rf bin drawbridge-demo

go:
	@scripts/go.sh
