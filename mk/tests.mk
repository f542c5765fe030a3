# SPDX-License-Identifier: Apache-2.0
# Tests, the bench, the fuzzers, and the commands that run them.
#
# A test source that only makes sense with a certain plugin in the tree says so in a line
#   // needs plugin: NAME
# and is left out when the plugin is not there. Tests may link with any plugin's archive.

pkgs_test := criterion libuv
libs_test  = $(call pkg_libs,$(pkgs_test) $(pkgs_core)) $(libs_plugin) -ldl -pthread -lm

srcs_unit        := $(wildcard tests/unit/*.c)
srcs_conformance := $(wildcard tests/conformance/*.c)
srcs_sim         := $(wildcard tests/sim/*.c)
srcs_daemon_test := $(wildcard tests/daemon/*.c)
srcs_fuzz        := $(wildcard tests/fuzz/*.c)
srcs_bench       := $(wildcard bench/*.c bench/ideal-mirror/*.c)
srcs_test        := $(srcs_unit) $(srcs_conformance) $(srcs_sim) $(srcs_daemon_test) $(srcs_fuzz)

# Lines "FILE:// needs plugin: NAME", spaces squeezed to one word each.
needs_lines := $(if $(srcs_test),$(shell grep -Hs '^// needs plugin:' $(srcs_test) /dev/null | \
	sed 's|:// needs plugin: *|:|; s| |:|g'))
needless    := $(sort $(foreach l,$(needs_lines),$(if $(filter-out $(real_plugins),$(wordlist \
	2,99,$(subst :, ,$(l)))),$(firstword $(subst :, ,$(l))))))
srcs_unit        := $(filter-out $(needless),$(srcs_unit))
srcs_daemon_test := $(filter-out $(needless),$(srcs_daemon_test))
srcs_fuzz        := $(filter-out $(needless),$(srcs_fuzz))
srcs_conformance := $(if $(filter $(needless),$(srcs_conformance)),,$(srcs_conformance))
srcs_sim         := $(if $(filter $(needless),$(srcs_sim)),,$(srcs_sim))

unit_bins        := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(srcs_unit))
daemon_test_bins := $(patsubst tests/daemon/%.c,$(BUILD)/tests/daemon/%,$(srcs_daemon_test))
conformance_bin  := $(if $(srcs_conformance),$(BUILD)/tests/conformance)
sim_bin          := $(if $(srcs_sim),$(BUILD)/bin/carrick-sim)
bench_bins       := $(patsubst bench/%.c,$(BUILD)/bench/%,$(srcs_bench))
test_bins        := $(unit_bins) $(daemon_test_bins) $(conformance_bin) $(sim_bin)

test_objs := $(call objs,$(srcs_unit) $(srcs_daemon_test) $(srcs_conformance) $(srcs_sim) $(srcs_bench))
$(test_objs): extra_cflags = $(call pkg_cflags,$(pkgs_test))

# Archives are searched again until nothing is missing: a plugin's parts may use each other in a ring.
link_test = $(CC) $(all_ldflags) -pie -o $@ $(filter %.o,$^) \
	-Wl,--start-group $(filter %.a,$^) -Wl,--end-group

$(unit_bins): $(BUILD)/tests/unit/%: $(BUILD)/obj/tests/unit/%.o $(core_lib) $(plugin_archives) $(lib_archive)
	@mkdir -p $(@D)
	$(call show,LD)$(link_test) $(libs_test)

$(daemon_test_bins): $(BUILD)/tests/daemon/%: $(BUILD)/obj/tests/daemon/%.o \
		$(call objs,$(filter-out daemon/main.c,$(srcs_daemon))) $(objs_channel) $(core_lib) $(plugin_archives)
	@mkdir -p $(@D)
	$(call show,LD)$(link_test) $(call pkg_libs,$(pkgs_daemon)) $(libs_test)

$(BUILD)/tests/conformance: $(call objs,$(srcs_conformance)) $(core_lib) $(plugin_archives)
	@mkdir -p $(@D)
	$(call show,LD)$(link_test) $(libs_test)

# The simulator has a plain main: it runs without the test framework, to replay one history by hand.
$(BUILD)/bin/carrick-sim: $(call objs,$(srcs_sim)) $(core_lib) $(plugin_archives)
	@mkdir -p $(@D)
	$(call show,LD)$(link_test) $(call pkg_libs,libuv $(pkgs_core)) $(libs_plugin) -ldl -pthread -lm

$(bench_bins): $(BUILD)/bench/%: $(BUILD)/obj/bench/%.o $(core_lib)
	@mkdir -p $(@D)
	$(call show,LD)$(link_test) $(libs_core) -lm

-include $(patsubst %.o,%.d,$(test_objs))

.PHONY: tests bench-build
tests: all $(test_bins) $(test_plugin_files)
	@printf '%s\n' $(needless) > $(BUILD)/tests-left-out
bench-build: all $(bench_bins) $(test_plugin_files)

# ---- fuzzers: libFuzzer with clang, objects of their own

fuzz_flags := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
fuzz_obj    = $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,$(1))
fuzz_bins  := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(srcs_fuzz))
srcs_fuzz_plugin := $(foreach n,$(real_plugins),$(call plugin_srcs,$(n)))

$(BUILD)/fuzz/obj/%.o: %.c $(BUILD)/flags | packages-present
	@mkdir -p $(@D)
	$(call show,CC)$(FUZZ_CC) $(cppflags) $(cflags) -O1 -g $(fuzz_flags) -fsanitize=fuzzer-no-link -fPIC \
		-DCARRICK_PLUGIN_DIR='"$(plugindir)"' -DCARRICK_SYSCONF_DIR='"$(sysconfdir)"' \
		$(pkgs_cflags) $(call pkg_cflags,$(foreach n,$(real_plugins),$($(n)_pkgs))) -MMD -MP -c -o $@ $<

# Objects come out of an archive, so that only what the target refers to is linked.
$(BUILD)/fuzz/all.a: $(call fuzz_obj,$(srcs_core) $(srcs_fuzz_plugin)) $(schema_obj)
	@rm -f $@
	@mkdir -p $(BUILD)/fuzz/flat
	@rm -f $(BUILD)/fuzz/flat/*
	@for o in $^; do ln -f $$o $(BUILD)/fuzz/flat/$$(echo $$o | sed 's|.*/obj/||; s|/|_|g'); done
	$(call show,AR)$(AR) rcs $@ $(BUILD)/fuzz/flat/*.o

$(fuzz_bins): $(BUILD)/fuzz/%: $(BUILD)/fuzz/obj/tests/fuzz/%.o $(BUILD)/fuzz/all.a
	@mkdir -p $(@D)
	$(call show,LD)$(FUZZ_CC) -fsanitize=fuzzer $(fuzz_flags) -o $@ $^ $(call pkg_libs,$(pkgs_core)) $(libs_plugin) \
		-ldl -pthread -lm

-include $(patsubst %.o,%.d,$(call fuzz_obj,$(srcs_core) $(srcs_fuzz_plugin) $(srcs_fuzz)))

.PHONY: fuzz-build
fuzz-build: $(fuzz_bins)

# ---- commands that install what is missing first
# pkg-config was asked when this file was read, before anything was installed: so make is started once
# more. Builds run as the owner of the tree (`sudo make test` leaves no file of root in it), tests as
# the caller, since network namespaces want root.

submake = MAKEFLAGS= scripts/as-owner '$(BUILD)' $(MAKE) $(if $(findstring n,$(filter-out --%,$(firstword \
	-$(MAKEFLAGS)))),-n) --no-print-directory -j$(JOBS) $(MAKEOVERRIDES)
run     = BUILD='$(abspath $(BUILD))' ONLY='$(ONLY)' SANITIZE='$(SANITIZE)' CC='$(CC)' PYTHONDONTWRITEBYTECODE=1 \
	CARRICK_MAKE='$(subst ','\'',$(MAKE) $(MAKEOVERRIDES))'

.PHONY: deps test demo bench fuzz sim sim-long crash-long sanitize check check-build format
deps:
	@scripts/deps build test nbd etcd net bench check rdma

test:
	@scripts/deps build test nbd etcd net
	+@$(submake) tests
	@$(run) tests/run; status=$$?; scripts/as-owner --give-back '$(BUILD)'; exit $$status

demo:
	@scripts/deps build test nbd net
	+@$(submake) all bench-build
	@$(run) python3 scripts/demo.py; status=$$?; scripts/as-owner --give-back '$(BUILD)'; exit $$status

bench:
	@scripts/deps build test nbd net bench
	+@$(submake) bench-build
	@$(run) python3 bench/run.py $(if $(ONLY),--only '$(ONLY)'); status=$$?; \
		scripts/as-owner --give-back '$(BUILD)'; exit $$status

fuzz:
	@scripts/deps build check
	+@$(submake) fuzz-build
	@scripts/as-owner '$(BUILD)' scripts/fuzz --build '$(BUILD)' --seconds '$(FUZZ_S)' --only '$(ONLY)'

sim: $(sim_bin)
	@$(BUILD)/bin/carrick-sim --seed '$(or $(SEED),1)' --verbose

# What the test command does with 10,000: histories from SEED on, crash states of shelf and map.
sim-long: $(sim_bin)
	@$(BUILD)/bin/carrick-sim --histories '$(or $(N),1000000)' --seed '$(or $(SEED),1)'

crash-long: $(BUILD)/tests/unit/shelf_crash
	@CRASH_STATES='$(or $(N),1000000)' $(BUILD)/tests/unit/shelf_crash

# The sanitizers' own code makes gcc suspect more than there is: warnings are errors in the plain builds.
sanitize:
	+@$(MAKE) --no-print-directory BUILD='$(BUILD)/sanitize' SANITIZE=address,undefined SIM_HISTORIES=$(or $(SIM_HISTORIES),100) \
		CRASH_STATES=$(or $(CRASH_STATES),2000) CFLAGS='-O1 -g' WERROR=0 test

check:
	@scripts/deps build test check
	+@$(submake) check-build
	@$(run) scripts/check

# Everything is compiled, and the flags for the analysers are left where they find them.
check-build: tests bench-build
	@printf '%s\n' $(foreach f,$(cppflags) -std=gnu11 $(pkgs_cflags) $(call pkg_cflags,$(pkgs_test)) \
		-DCARRICK_PLUGIN_DIR='"$(plugindir)"' -DCARRICK_SYSCONF_DIR='"$(sysconfdir)"',$(f)) \
		> $(BUILD)/analyser-flags
	@printf '%s\n' $(plugin_files) > $(BUILD)/plugin-list
	@printf '%s\n' $(left_out_dirs) $(if $(nbdkit_missing),nbdkit) > $(BUILD)/left-out-dirs

format:
	clang-format -i $$(git ls-files -co --exclude-standard '*.c' '*.h' ':!tests/abi/include-*')
