# make help lists the targets. CONTRIBUTING.md says more.

VERSION   := $(shell git describe --tags --always --dirty 2>/dev/null)
PREFIX    ?= /usr/local
DESTDIR   ?=
FUZZTIME  ?= 10m
TIMEOUT   ?= 60m
GO        ?= go
JOBS      ?= 2
ONLY      ?= .*

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.1
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.8.0
MD2MAN      := github.com/cpuguy83/go-md2man/v2

# The version comes from git describe above; go's own stamp fails in a clone
# that belongs to somebody else.
# Without the tag the command line library brings a Markdown library along, which
# half a millisecond of each start is spent on.
BUILD   := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -tags urfave_cli_no_docs
LDFLAGS := $(if $(VERSION),-X ckpt/internal/cli.version=$(VERSION))

# The race detector and ptrace don't mix: these packages hold no other process.
RACE_PACKAGES := $(patsubst %,./%,$(wildcard stream stream/record internal/image internal/kcmp internal/cli internal/hold \
	internal/proc internal/objhash internal/dedup internal/write internal/commit internal/read internal/jsonl))

comma := ,
space := $(subst ,, )

MAN_PAGES := $(patsubst man/%.md,bin/man/%,$(wildcard man/*.[1-8].md))

# Where a mistake costs a user's process: so much of each is run by their own tests.
COVERED       := $(addprefix ./internal/,tracee loan puppet memory collect write read)
LEAST_PERCENT := 70

.PHONY: all build test cover storm race lint format vet staticcheck cross vuln fuzz bench security property move test-vm plenty demo man install clean help
.DELETE_ON_ERROR:

all: build ## build

build: ## build the programs, static, into bin/
	@mkdir -p bin
	$(BUILD) -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

test: ## run all tests, as root; installs the Debian packages they need
	tests/install-deps.sh
	$(GO) vet ./...
	$(GO) test ./... -count=1 -timeout $(TIMEOUT)

cover: ## how much of the dangerous packages is run by tests other than whole pipelines, also in programs that these start, as root; fails below 70 %
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; mkdir "$$dir/more"; \
	CKPT_COVER_DIR="$$dir/more" $(GO) test -count=1 -timeout $(TIMEOUT) -coverprofile="$$dir/profile" -coverpkg=$(subst $(space),$(comma),$(COVERED)) $(COVERED) || exit; \
	$(GO) tool covdata textfmt -i="$$dir/more" -o="$$dir/programs" || exit; \
	awk -v least=$(LEAST_PERCENT) -f tests/cover.awk "$$dir/profile" "$$dir/programs"

race: ## run the tests where no process is traced under the race detector
	CGO_ENABLED=1 $(GO) test -race -count=1 -timeout $(TIMEOUT) $(RACE_PACKAGES)

lint: format vet staticcheck cross vuln ## format, vet, staticcheck, cross and vuln

format: ## gofmt has nothing to say
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then echo "not formatted by gofmt:"; echo "$$files"; exit 1; fi

vet: ## go vet
	$(GO) vet ./...

staticcheck: ## staticcheck
	$(GO) run $(STATICCHECK) ./...

cross: ## build for arm64, and what is public for other systems, too
	GOOS=linux GOARCH=arm64 $(BUILD) ./...
	GOOS=linux GOARCH=arm64 $(GO) vet ./...
	for os in darwin windows freebsd; do \
		GOOS=$$os $(BUILD) ./stream/... && GOOS=$$os $(GO) vet ./stream/... || exit; \
	done

# Without its database there is nothing to be said, for or against the code.
vuln: ## govulncheck; passes, saying so, where its database is out of reach
	@out=$$($(GO) run $(GOVULNCHECK) ./... 2>&1) && { echo "$$out"; exit 0; }; \
	echo "$$out"; \
	if echo "$$out" | grep -q 'fetching vulnerabilities:'; then \
		echo "govulncheck: the vulnerability database is out of reach: NOT CHECKED"; \
	else exit 1; fi

fuzz: ## run every fuzz target for FUZZTIME (10m)
	@set -e; for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package 2>/dev/null | grep '^Fuzz' || true); do \
			echo "fuzz $$package $$target"; \
			$(GO) test $$package -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x; \
		done; \
	done

storm: ## look 10 000 times at programs that never stand still
	CKPT_STORM=2000 $(GO) test ./tests -run '^TestRestless$$' -count=1 -timeout 24h -v

bench: ## run the benchmarks
	$(GO) test ./... -run '^$$' -bench . -benchmem -timeout $(TIMEOUT)

security: ## restore 1000 times while what the paths lead to is swapped; a quarter of an hour
	CKPT_SECURITY=1 $(GO) test ./tests -run '^TestSwappedPaths$$' -v -count=1 -timeout 2h

reboot: ## save in an emulated machine, boot that anew, restore, save, restore; takes minutes, and qemu
	tests/reboot.sh

test-vm: ## save on each of three kernels, in emulated machines and here, and restore on each other, as root; takes minutes, and qemu
	$(GO) vet -tags vm ./tests/vm
	$(GO) test -tags vm ./tests/vm -count=1 -v -timeout $(TIMEOUT)

property: ## save and restore 500 random trees of random state
	CKPT_PROPERTY=500 $(GO) test ./tests -run '^TestProperty$$' -count=1 -v -timeout 2h

move: ## move a program 100 times, while tools are killed and the line is cut
	CKPT_MOVES=100 $(GO) test ./tests -run '^TestMove$$' -count=1 -v -timeout 2h

plenty: ## save and restore a tree with 100 000 open files
	CKPT_PLENTY=1250 $(GO) test ./tests -run '^TestPlenty$$' -count=1 -v -timeout 2h

stress: build ## save and restore stress-ng's stressors, some 30 minutes; JOBS=2, ONLY=pattern
	PATH="$(CURDIR)/bin:$$PATH" tests/stress.sh -j $(JOBS) '$(ONLY)'

demo: build ## show it at work
	PATH="$(CURDIR)/bin:$$PATH" tests/demo.sh

man: $(MAN_PAGES) ## make the manual pages in bin/man/

bin/man/%: man/%.md
	@mkdir -p bin/man
	$(GO) run $(MD2MAN) -in $< -out $@

install: build man ## install under PREFIX (/usr/local), in DESTDIR
	install -d '$(DESTDIR)$(PREFIX)/bin'
	install -m 755 bin/ckpt-* '$(DESTDIR)$(PREFIX)/bin'
	for page in $(MAN_PAGES); do \
		install -D -m 644 -t '$(DESTDIR)$(PREFIX)/share/man/man'"$${page##*.}" "$$page" || exit; \
	done

clean: ## remove bin/
	rm -rf bin

help: ## print this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14
