# SPDX-License-Identifier: Apache-2.0
# libcarrick, for processes that are not the daemon, and the nbdkit plugin that is built on it.

abi_major := $(shell sed -n 's/^.define CARRICK_ABI_MAJOR  *\([0-9]*\).*/\1/p' include/carrick/types.h 2>/dev/null)
abi_minor := $(shell sed -n 's/^.define CARRICK_ABI_MINOR  *\([0-9]*\).*/\1/p' include/carrick/types.h 2>/dev/null)

srcs_lib    := $(wildcard lib/*.c)
srcs_nbdkit := $(wildcard nbdkit/*.c)

lib_soname  := libcarrick.so.$(abi_major)
lib_so      := $(if $(srcs_lib),$(BUILD)/lib/libcarrick.so.$(abi_major).$(abi_minor))
lib_archive := $(if $(srcs_lib),$(BUILD)/lib/libcarrick.a)
lib_links   := $(if $(srcs_lib),$(BUILD)/lib/$(lib_soname) $(BUILD)/lib/libcarrick.so)

$(lib_so): $(call objs,$(srcs_lib))
	@mkdir -p $(@D)
	$(call show,LD)$(CC) -shared $(all_ldflags) $(z_defs) -Wl,-soname,$(lib_soname) -o $@ $^ -pthread
$(lib_links): $(lib_so)
	@ln -sf $(notdir $<) $@
$(lib_archive): $(call objs,$(srcs_lib))
	@mkdir -p $(@D)
	@rm -f $@
	$(call show,AR)$(AR) rcs $@ $^

# The library is linked in: the plugin is one file, that nbdkit loads from wherever it lies.
nbdkit_plugin    := $(if $(srcs_nbdkit),$(BUILD)/nbdkit/nbdkit-carrick-plugin.so)
nbdkit_missing   := $(if $(nbdkit_plugin),$(if $(call pkg_exists,nbdkit),,nbdkit))
nbdkit_built     := $(if $(nbdkit_missing),,$(nbdkit_plugin))
nbdkit_plugindir ?= $(libdir)/nbdkit/plugins

$(call objs,$(srcs_nbdkit)): extra_cflags = $(call pkg_cflags,nbdkit)
ifeq ($(SANITIZE),)
$(nbdkit_plugin): $(call objs,$(srcs_nbdkit)) $(lib_archive)
	@mkdir -p $(@D)
	$(call show,LD)$(CC) -shared $(all_ldflags) -Wl,--exclude-libs,ALL -Wl,-z,nodelete -o $@ $^ -pthread
else
# nbdkit is not built with the sanitizers and cannot load what is: its plugin stays plain.
$(nbdkit_plugin): $(srcs_nbdkit) $(srcs_lib) $(wildcard lib/*.h nbdkit/*.h include/carrick/*.h)
	@mkdir -p $(@D)
	$(call show,LD)$(CC) $(cppflags) $(CPPFLAGS) $(cflags) $(CFLAGS) $(call pkg_cflags,nbdkit) -fPIC -shared $(ldflags) \
		$(LDFLAGS) -Wl,--exclude-libs,ALL -Wl,-z,nodelete -o $@ $(filter %.c,$^) -pthread
endif

libraries += $(lib_so) $(lib_archive) $(lib_links) $(nbdkit_built)

.PHONY: nbdkit-left-out
left-out: nbdkit-left-out
nbdkit-left-out:
	@:$(if $(nbdkit_missing),; scripts/deps --left-out nbdkit-carrick-plugin nbdkit)

-include $(patsubst %.o,%.d,$(call objs,$(srcs_lib) $(srcs_nbdkit)))
