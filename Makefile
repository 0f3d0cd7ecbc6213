# imagefactory: make build, demo, test. Everything a target needs and the host
# lacks is installed by the target itself, which says so.

# A Go that is recent enough; hosts with an older one get it (see .ci/go).
GO       := $(or $(GO),$(shell ./.ci/go))
PREFIX   ?= /usr/local
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -X main.version=$(VERSION)
BUILD    := $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'

# The tests create users to build as, and mount images to look at them: that
# takes root. What they test runs as those users.
ifneq ($(shell id -u),0)
AS_ROOT  := sudo env PATH="$(PATH)" GOMODCACHE="$(shell $(GO) env GOMODCACHE)" CGO_ENABLED=0
endif
TEST     := $(GO) test -count=1

# Pinned, so that every machine has the same opinion.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# Programs the targets need, and the packages that hold them.
BUILD_TOOLS := newuidmap
TEST_TOOLS  := qemu-system-x86_64 qemu-img e2fsck debugfs sgdisk sfdisk fsck.fat mtype dpkg-deb getfacl getcap setfattr ssh grub-script-check \
	gpg openssl xz zstd bzip2 ps script rpm rpmbuild sqlite3 matchpathcon setfiles \
	rpmkeys rpm2cpio cpio createrepo_c modifyrepo_c dnf genisoimage isoinfo isovfy xorriso osirrox fdisk file testsolv sbsign sbattach grub-mkimage systemd-sysusers \
	busybox skopeo bsdtar setfacl setcap losetup depmod modprobe mkfs.ext4 mkfs.xfs xfs_repair mkfs.fat blkid efibootmgr \
	containerd ctr runc podman xmllint ssh-keygen
FULL_TOOLS  := chromium oscap
BENCH_TOOLS := mmdebstrap

export CGO_ENABLED := 0

.PHONY: build install demo test test-full lint bench fuzz clean go deps deps-build deps-test deps-full deps-bench

build: go ## Build bin/imagefactory
	$(BUILD) -o bin/imagefactory ./cmd/imagefactory

install: build
	install -D -m 0755 bin/imagefactory $(DESTDIR)$(PREFIX)/bin/imagefactory

demo: deps-build build ## Build the Debian 12 example into out/
	bin/imagefactory doctor
	bin/imagefactory build -o out examples/debian-12.hcl
	@echo 'Boot it with: bin/imagefactory boot --firmware uefi   (make deps-test installs QEMU)'

# Two packages at a time: a virtual machine keeps one core busy, and a lock sees
# to it that there is only one of them. Figures are the benchmarks', which run alone.
test: deps-test build ## Run the tests, essential boots included
	$(AS_ROOT) $(TEST) -p 2 -timeout 60m ./...

test-full: deps-test deps-full build ## Run every test: all images under all firmware
	$(AS_ROOT) env IMAGEFACTORY_TEST=full $(TEST) -p 2 -timeout 300m ./...

lint: go ## Look for mistakes without running anything
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not formatted with gofmt:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

bench: deps-test deps-bench build ## Compare with mmdebstrap, dnf, mke2fs, qemu-img and apt
	$(AS_ROOT) $(TEST) -p 1 -timeout 60m -run '^$$' -bench . -benchtime 1x ./e2e ./stages/partition/ext4 ./stages/emit/... ./stages/payload ./stages/sandbox ./stages/tree ./distros/deb ./distros/rpm/repodata ./distros/rpm ./distros/rpm/rpmfile

FUZZTIME ?= 20s
fuzz: go ## Run every fuzz target for FUZZTIME
	@set -e; for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

clean:
	rm -rf bin out

go:
	@test -n "$(GO)" && $(GO) version >/dev/null

deps: deps-test deps-full deps-bench

deps-build: ; @./.ci/install build $(BUILD_TOOLS)
deps-test:  ; @./.ci/install test $(BUILD_TOOLS) $(TEST_TOOLS)
deps-full:  ; @./.ci/install full $(FULL_TOOLS)
deps-bench: ; @./.ci/install bench $(BENCH_TOOLS)
