# make demo and make test set up what they need and say so.

GO ?= $(shell command -v go || echo /usr/local/go/bin/go)
ifndef VERSION
VERSION := $(shell git -c safe.directory='*' describe --tags --always --dirty 2>/dev/null || echo dev)
endif
COMMIT := $(shell git -c safe.directory='*' rev-parse HEAD 2>/dev/null)
# The commit's, not the build's: two builds of a commit are the same.
DATE := $(shell TZ=UTC git -c safe.directory='*' show -s --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd HEAD 2>/dev/null)
BUILD := $(GO) build -buildvcs=false -ldflags "-s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.date=$(DATE)"
BIN := bin
DIST := dist
TOOLS := mkfs.xfs mkfs.ext4 mkfs.btrfs mkfs.vfat mkfs.exfat mkfs.ntfs mkfs.f2fs mkfs.nilfs2 mkfs.reiserfs mkfs.jfs mkfs.gfs2 \
	mkfs.udf mkfs.erofs mkfs.minix mkfs.bfs mkfs.cramfs mksquashfs genisoimage make-bcache pvcreate cryptsetup veritysetup \
	sfdisk sgdisk mkswap losetup findmnt blkid aws gcc groff jq cap sshd ssh-keygen sudo git rsync ansible strace \
	systemd-analyze setpriv
GOLANGCI_LINT := v2.15.0
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/snapsource
LINTER := $(CACHE)/$(GOLANGCI_LINT)/golangci-lint
NFPM_VERSION := v2.43.4
NFPM := $(CACHE)/nfpm-$(NFPM_VERSION)/nfpm
SBOM_VERSION := v1.10.0
SBOM := $(CACHE)/cyclonedx-gomod-$(SBOM_VERSION)/cyclonedx-gomod

export GO NFPM
# EC2 and the metadata service speak HTTP/1.1: without HTTP/2 the binary is 0.36 MB
# smaller (a tag of Go's net/http). Without inlining it is 1.1 MB smaller, and no slower:
# it waits for EC2. All but the benchmarks is compiled like that, for the SDK's EC2 client
# takes more than a minute of a processor each time that it is compiled another way.
export CGO_ENABLED := 0
TAGS := nethttpomithttp2
# make lint vets, once.
export GOFLAGS := -trimpath -gcflags=all=-l -tags=$(TAGS) -vet=off

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: build
build: ## bin/snapsource and bin/ec2sandbox, static
	$(BUILD) -o "$(BIN)/" ./cmd/...

.PHONY: demo
demo: build ## a release goes from one instance to the next, a bad one is rolled back, on real XFS (root)
	@.ci/need mkfs.xfs findmnt losetup aws
	@examples/demo.sh

.PHONY: test
test: build ## all tests, most of them with the race detector (root: kernel tests too): PACKAGES=./mountfs for some
	@if [ "$$(id -u)" = 0 ]; then $(MAKE) -s tools; fi
	@.ci/test $(PACKAGES)

.PHONY: check
check: lint ## vet, the linter, and the tests that need no root
	$(GO) test ./agent ./agent/config ./agent/deploy ./agent/failure ./agent/launchhook ./agent/record ./agent/releases ./agent/report ./agent/inventory ./ec2ops ./systemd

.PHONY: tools
tools: ## install the programs that the tests use (root)
	@.ci/need $(TOOLS)

.PHONY: bench
bench: GOFLAGS := -vet=off
bench: SHELL = bash
bench: .SHELLFLAGS = -o pipefail -c
bench: ## one launch against other ways to do it, a writer's wait, waits in vain, a fleet at EC2's limits (root)
	@.ci/need mkfs.xfs findmnt losetup aws curl
	$(GO) test ./cmd/snapsource -tags bench -count=1 -timeout 30m -v -run 'TestRace(Arrived)?$$' | grep -v -- '---\|==='
	$(GO) test ./ec2ops -run '^$$' -bench . -benchtime 3x
	$(GO) test ./cmd/snapsource -count=1 -v -run TestSnapshotsOfABusySource | grep writer
	$(GO) test ./agent/agenttest -count=1 -v -run TestPace | grep launches
	FLEET=10,100,1000,5000 FLEET_SVG=$(CURDIR)/docs/fleet.svg $(GO) test ./agent/agenttest -count=1 -timeout 2h -v -run TestFleet | grep -v -- '---\|==='

.PHONY: bench-warm
bench-warm: SHELL = bash
bench-warm: .SHELLFLAGS = -o pipefail -c
bench-warm: ## first reads of a new volume: the hot set, warm, dd, fio and others against each other (root, 20 minutes)
	@.ci/need mkfs.xfs findmnt losetup aws fio jq
	WARM_SVG=$(CURDIR)/docs/warm.svg $(GO) test ./cmd/snapsource -tags $(TAGS),bench -count=1 -timeout 60m -v -run 'TestWarm(Race|Speed|Share|Launch|Mount)$$' | grep -v -- '---\|==='
	$(GO) test ./cmd/snapsource -count=1 -v -run 'TestWarmBytes$$' | grep 'in use\|^ok\|FAIL'

.PHONY: crash-matrix
crash-matrix: ## SIGKILL at every moment of every command, and what the next run makes of it (root)
	@.ci/need strace
	$(GO) test ./cmd/snapsource -count=1 -v -run TestCrashMatrix

.PHONY: histories
histories: ## 2,000 random histories of an account, with crashes, and what must hold after each event
	HISTORIES=2000 $(GO) test ./agent/agenttest -count=1 -v -run TestHistories

.PHONY: fleet
fleet: ## 500 launches at the same moment, at EC2's limits: FLEET=10,1000 for other sizes
	FLEET=$(or $(FLEET),500) $(GO) test ./agent/agenttest -count=1 -timeout 2h -v -run TestFleet/per

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (5s)
	@.ci/fuzz

.PHONY: fault-matrix
fault-matrix: ## each command, each API call it makes, each thing that can go wrong there
	@mkdir -p $(BIN); $(GO) test ./agent/agenttest -count=1 -v -run TestFaultMatrix >$(BIN)/fault-matrix.txt 2>&1; status=$$?; \
	grep -vE '^ *(---|===)|^(PASS|FAIL|ok)' $(BIN)/fault-matrix.txt; exit $$status

.PHONY: cross
cross: ## compile for the other platforms, for darwin the tests too
	GOOS=linux GOARCH=arm64 $(BUILD) -o /dev/null ./cmd/snapsource
	GOOS=darwin GOARCH=arm64 $(BUILD) -o /dev/null ./cmd/snapsource
	GOOS=darwin GOARCH=arm64 $(GO) test -exec true ./agent ./mountfs ./ec2ops ./systemd ./cmd/snapsource >/dev/null

.PHONY: packages
packages: $(NFPM) ## dist/: deb and rpm, for amd64 and arm64
	@DIST="$(DIST)" packaging/build

.PHONY: release
release: $(NFPM) $(SBOM) ## dist/: the packages, archives, lists of what the binaries consist of, checksums
	@DIST="$(DIST)" SBOM="$(SBOM)" packaging/build

.PHONY: packages-test
packages-test: ## lintian, the packages' life on a Debian of its own, and its boot (root)
	@.ci/need lintian rpm mmdebstrap systemd-nspawn
	unshare --mount $(GO) test ./packaging -tags $(TAGS),packages -count=1 -v

.PHONY: vm-image
vm-image: ## the machine image for test-vm, which is kept (root)
	@.ci/need qemu-system-x86_64 qemu-img mmdebstrap sfdisk mkfs.ext4 mkfs.xfs
	$(GO) test ./systemd/vmtest -tags $(TAGS),vm -count=1 -run TestImage

.PHONY: test-vm
test-vm: $(NFPM) vm-image ## launches, one with its volume, a reboot and a power cut in a virtual machine that believes it is on EC2 (root)
	$(GO) test ./systemd/vmtest -tags $(TAGS),vm -count=1 -v -timeout 60m

.PHONY: test-vm-all
test-vm-all: ## all that is tested there: also deployments, late metadata, no snapshot, termination
	VM=all $(MAKE) test-vm

$(NFPM):
	GOBIN=$(@D) $(GO) install github.com/goreleaser/nfpm/v2/cmd/nfpm@$(NFPM_VERSION)

$(SBOM):
	GOBIN=$(@D) $(GO) install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$(SBOM_VERSION)

.PHONY: lint
lint: $(LINTER) ## gofmt, golangci-lint with go vet
	@test -z "$$($(GO)fmt -l .)" || { $(GO)fmt -d .; exit 1; }
	$(LINTER) run

$(LINTER):
	GOBIN=$(@D) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT)

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist
