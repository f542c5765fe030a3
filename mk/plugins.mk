# SPDX-License-Identifier: Apache-2.0
# Plugins. A fragment DIR/plugin.mk says
#
#   plugins += NAME
#   NAME_dir     := DIR       all its *.c make $(BUILD)/plugins/NAME.so
#   NAME_srcs    := ...       instead of all *.c of the directory
#   NAME_pkgs    := ...       pkg-config packages; when one is missing the plugin is left out, and make says so
#   NAME_libs    := ...       further libraries (-lm)
#   NAME_cflags  := ...       further flags of its own
#   NAME_ldflags := ...
#   NAME_install := no        built, but not installed
#
# Plugins under tests/ and bench/ go to $(BUILD)/test-plugins and are never installed.
#
# Each plugin is archived as $(BUILD)/lib/NAME.a as well, for tests that link it statically (the
# simulator, tests of its pure parts). There carrick_plugin_entry is called NAME_plugin_entry.

plugins :=
include $(sort $(wildcard transports/*/plugin.mk plugins/*/plugin.mk plugins/*/*/plugin.mk \
	bench/*/plugin.mk tests/plugins/*/plugin.mk))

plugin_srcs    = $(or $($(1)_srcs),$(wildcard $($(1)_dir)/*.c))
plugin_objs    = $(patsubst %.c,$(BUILD)/plugin-obj/$(1)/%.o,$(call plugin_srcs,$(1)))
plugin_missing = $(strip $(foreach p,$($(1)_pkgs),$(if $(call pkg_exists,$(p)),,$(p))))
is_test_plugin = $(filter tests/% bench/%,$($(1)_dir))

left_out     := $(strip $(foreach n,$(plugins),$(if $(call plugin_missing,$(n)),$(n))))
built        := $(filter-out $(left_out),$(plugins))
# Directories of which nothing is built.
plugin_dirs   = $(sort $(patsubst %/,%,$(dir $(call plugin_srcs,$(1)))))
left_out_dirs = $(filter-out common $(foreach n,$(built),$(call plugin_dirs,$(n))),\
	$(sort $(foreach n,$(left_out),$(call plugin_dirs,$(n)))))
real_plugins := $(foreach n,$(built),$(if $(call is_test_plugin,$(n)),,$(n)))
test_plugins := $(filter-out $(real_plugins),$(built))

plugin_files      := $(patsubst %,$(BUILD)/plugins/%.so,$(real_plugins))
test_plugin_files := $(patsubst %,$(BUILD)/test-plugins/%.so,$(test_plugins))
plugin_archives   := $(patsubst %,$(BUILD)/lib/%.a,$(real_plugins))
libs_plugin       := $(foreach n,$(real_plugins),$(call pkg_libs,$($(n)_pkgs)) $($(n)_libs))

# clang leaves the sanitizer's functions in a shared object to be found in the program.
is_clang   := $(findstring clang,$(notdir $(firstword $(CC))))
comma      := ,
z_defs     := $(if $(and $(SANITIZE),$(is_clang)),,-Wl$(comma)-z$(comma)defs)

define plugin_rules
$(BUILD)/plugin-obj/$(1)/%.o: %.c $(BUILD)/flags $($(1)_dir)/plugin.mk | packages-present
	@mkdir -p $$(@D)
	$$(call show,CC)$$(CC) $$(all_cflags) -fPIC $(call pkg_cflags,$($(1)_pkgs)) $($(1)_cflags) -MMD -MP -c -o $$@ $$<

$(BUILD)/$(2)/$(1).so: $(call plugin_objs,$(1))
	@mkdir -p $$(@D)
	$$(call show,LD)$$(CC) -shared $$(all_ldflags) $$(z_defs) -Wl,--exclude-libs,ALL $($(1)_ldflags) -o $$@ $$^ \
		$(call pkg_libs,$($(1)_pkgs)) $($(1)_libs)

$(BUILD)/lib/$(1).a: $(call plugin_objs,$(1))
	@mkdir -p $$(@D) $(BUILD)/plugin-obj/$(1)/static
	@rm -f $$@
	@for o in $$^; do \
		$$(OBJCOPY) --redefine-sym carrick_plugin_entry=$(1)_plugin_entry $$$$o \
			$(BUILD)/plugin-obj/$(1)/static/$$$$(echo $$$$o | sed 's|.*/plugin-obj/$(1)/||; s|/|_|g') || exit 1; \
	done
	$$(call show,AR)$$(AR) rcs $$@ $(foreach o,$(call plugin_objs,$(1)),$(BUILD)/plugin-obj/$(1)/static/$(subst \
		/,_,$(patsubst $(BUILD)/plugin-obj/$(1)/%,%,$(o))))

-include $(patsubst %.o,%.d,$(call plugin_objs,$(1)))
endef

$(foreach n,$(real_plugins),$(eval $(call plugin_rules,$(n),plugins)))
$(foreach n,$(test_plugins),$(eval $(call plugin_rules,$(n),test-plugins)))

.PHONY: left-out
left-out:
	@:$(foreach n,$(left_out),; scripts/deps --left-out $(n) $(call plugin_missing,$(n)))
