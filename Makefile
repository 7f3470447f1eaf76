VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GOBUILD := CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)"

.PHONY: build
build: ## bin/snapsource and bin/ec2sandbox
	$(GOBUILD) -o bin/ ./cmd/...
