# SPDX-License-Identifier: Apache-2.0
#
# One make for the whole tree. Sources are found by wildcard, plugins by their plugin.mk fragment, so
# that a plugin is added or taken out with its directory alone. All output lies under $(BUILD).
#
#   Settings      here                      make help        what can be asked for
#   mk/rules.mk   core, daemon, command     mk/plugins.mk    what a plugin.mk fragment may say
#   mk/tests.mk   tests, bench, fuzzing     mk/lib.mk        libcarrick, nbdkit's plugin
#   mk/paths.mk   directories of an         mk/install.mk    what is installed there
#                 installation              mk/lab.mk        machines with real RDMA

VERSION := 0.1.0

BUILD    ?= build
ifeq ($(origin CC),default)
CC       := gcc
endif
CFLAGS   ?= -O2 -g
WERROR   ?= 1
SANITIZE ?=
FUZZ_CC  ?= clang
FUZZ_S   ?= 60
JOBS     ?= $(shell nproc 2>/dev/null || echo 2)

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := all
SHELL := /bin/sh

OBJCOPY    ?= objcopy
AR         ?= ar
INSTALL    ?= install
PKG_CONFIG ?= pkg-config

pkg_exists = $(shell $(PKG_CONFIG) --exists $(1) 2>/dev/null && echo yes)
pkg_cflags = $(if $(strip $(1)),$(shell $(PKG_CONFIG) --cflags $(1) 2>/dev/null))
pkg_libs   = $(if $(strip $(1)),$(shell $(PKG_CONFIG) --libs $(1) 2>/dev/null))

warnings := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
	-Wwrite-strings -Wundef -Wvla
ifeq ($(WERROR),1)
warnings += -Werror
endif

# _GNU_SOURCE is empty, so that a source which defines it itself does not contradict this.
cppflags := -D_GNU_SOURCE= -Iinclude -I. -DCARRICK_VERSION='"$(VERSION)"'
cflags   := -std=gnu11 $(warnings) -fstack-protector-strong -fno-common -fvisibility=hidden
ldflags  := -Wl,-z,relro -Wl,-z,now -Wl,--as-needed

# A finding ends the program: Criterion counts a process that goes on after one as passed.
sanitize_flags := $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all \
	-fno-omit-frame-pointer)

all_cflags  = $(cppflags) $(CPPFLAGS) $(cflags) $(sanitize_flags) $(CFLAGS)
all_ldflags = $(ldflags) $(sanitize_flags) $(LDFLAGS)

# One short line per command; V=1 shows the commands.
show = $(if $(V),,@echo '  $(1)	$(patsubst $(BUILD)/%,%,$@)';)

include mk/paths.mk
include mk/rules.mk
include mk/plugins.mk
include mk/lib.mk
include mk/tests.mk
include mk/lab.mk
include mk/install.mk

.PHONY: all help
all: $(libraries) $(programs) $(plugin_files) left-out

help:
	@echo 'Carrick $(VERSION)'
	@echo
	@echo 'make all           daemon, command and plugins, under $(BUILD)/ (the default)'
	@echo 'make deps          install what building, testing and the bench need, from the distribution'
	@echo 'make demo          two storage nodes on this machine: one is killed, the other serves on; a timeline'
	@echo 'make test          install what is missing, build, run all tests    [ONLY=part of a name]'
	@echo 'make sanitize      the same under the Address and UndefinedBehavior sanitizers'
	@echo 'make check         format, static analysis, headers alone, arrows between directories'
	@echo 'make bench         our figures beside those of other programs       [ONLY=NAME]'
	@echo 'make lab           machines with real kernel RDMA      [SUITE=NAME[/CASE]] [KEEP=1: a shell in them]'
	@echo 'make sim           replay one simulated history                     SEED=N'
	@echo 'make sim-long      many histories                                   [N=1000000] [SEED=1]'
	@echo 'make crash-long    many crash states of shelf and map               [N=1000000]'
	@echo 'make fuzz          fuzz each parser                                 [FUZZ_S=60] [ONLY=NAME]'
	@echo 'make tests         build the tests, run nothing'
	@echo 'make format        put all sources in the format that check wants'
	@echo 'make install       [DESTDIR=] [PREFIX=/usr/local] [libdir=] [sysconfdir=/etc] [mandir=]'
	@echo 'make uninstall     take away what install put there'
	@echo 'make clean         remove $(BUILD)/'
	@echo
	@echo 'Settings: BUILD=$(BUILD) CC=$(CC) CFLAGS="$(CFLAGS)" LDFLAGS= WERROR=$(WERROR)'
	@echo '          V=1 shows each command; SANITIZE=address,undefined (then also say BUILD=)'

.PHONY: clean
clean:
	rm -rf '$(BUILD)'
