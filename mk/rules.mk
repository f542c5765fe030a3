# SPDX-License-Identifier: Apache-2.0
# The core library, the daemon, the command, and how any object is made.

pkgs_core   := json-c libcrypto libisal
pkgs_daemon := libuv json-c libmicrohttpd libsystemd libcrypto
pkgs_cli    := json-c

srcs_core   := $(wildcard core/*.c)
srcs_daemon := $(wildcard daemon/*.c) common/local_socket.c
srcs_cli    := $(wildcard cli/*.c)
srcs_host   := $(wildcard host/*.c)

# Both ends of the way between the daemon and a client process.
objs_channel := $(BUILD)/obj/host/channel.o

pkgs_all    := $(sort $(pkgs_core) $(pkgs_daemon) $(pkgs_cli))
pkgs_cflags := $(call pkg_cflags,$(pkgs_all))

# ---- what is missing is said before a compiler trips over it

missing_pkgs := $(strip $(foreach p,$(pkgs_all),$(if $(call pkg_exists,$(p)),,$(p))))
.PHONY: packages-present
packages-present:
ifneq ($(missing_pkgs),)
	@scripts/deps --check build; echo 'make deps installs them.'; exit 1
endif

# ---- a change of flags rebuilds

# `carrick doctor` uses librdmacm's header where there is one.
flags_now := $(CC) $(all_cflags) $(all_ldflags) $(pkgs_cflags) $(plugindir) $(sysconfdir) $(call pkg_exists,librdmacm)
flags_was := $(if $(wildcard $(BUILD)/flags),$(shell cat '$(BUILD)/flags'))
flags_quoted := $(subst ','\'',$(flags_now))
ifneq ($(strip $(shell printf '%s' '$(flags_quoted)')),$(strip $(flags_was)))
.PHONY: flags-changed
$(BUILD)/flags: flags-changed
endif
$(BUILD)/flags:
	@mkdir -p $(@D)
	@printf '%s\n' '$(flags_quoted)' > $@

# ---- objects
# Everything is position independent, since the same object may go into a program and into an archive
# that a test links; programs are linked as PIE.

objs = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

$(BUILD)/obj/%.o: %.c $(BUILD)/flags | packages-present
	@mkdir -p $(@D)
	$(call show,CC)$(CC) $(all_cflags) -fPIC $(pkgs_cflags) $(extra_cflags) -MMD -MP -c -o $@ $<

$(call objs,$(srcs_core) $(srcs_daemon) $(srcs_cli)): extra_cflags = \
	-DCARRICK_PLUGIN_DIR='"$(plugindir)"' -DCARRICK_SYSCONF_DIR='"$(sysconfdir)"'

# The schema goes into the library as it is: config_schema_json, config_schema_json_size.
schema_src := $(wildcard core/config.schema.json)
schema_obj := $(if $(schema_src),$(BUILD)/obj/core/config_schema.o)
$(BUILD)/gen/config_schema.S: $(BUILD)/flags
	@mkdir -p $(@D)
	@{ echo '.section .rodata'; \
	echo '.balign 16'; \
	echo '.globl config_schema_json, config_schema_json_size'; \
	echo '.hidden config_schema_json, config_schema_json_size'; \
	echo '.type config_schema_json, %object'; \
	echo '.type config_schema_json_size, %object'; \
	echo 'config_schema_json: .incbin "core/config.schema.json"'; \
	echo '1: .byte 0'; \
	echo '.size config_schema_json, . - config_schema_json'; \
	echo '.balign 8'; \
	echo 'config_schema_json_size: .quad 1b - config_schema_json'; \
	echo '.size config_schema_json_size, 8'; \
	echo '.section .note.GNU-stack,"",%progbits'; } > $@
$(BUILD)/obj/core/config_schema.o: $(BUILD)/gen/config_schema.S $(schema_src)
	@mkdir -p $(@D)
	$(call show,CC)$(CC) -c -o $@ $<

# ---- libraries and programs

core_lib  := $(if $(srcs_core),$(BUILD)/lib/libcarrick-core.a)
libs_core  = $(call pkg_libs,$(pkgs_core)) -ldl -pthread
libraries := $(core_lib)

$(BUILD)/lib/libcarrick-core.a: $(call objs,$(srcs_core)) $(schema_obj)
	@mkdir -p $(@D)
	@rm -f $@
	$(call show,AR)$(AR) rcs $@ $^

# No -rdynamic: a plugin finds nothing in the daemon, all that it may call reaches it by the host table.
# daemon/main.c tells that there is a daemon at all, not only parts of it.
programs := $(if $(wildcard daemon/main.c),$(BUILD)/bin/carrickd) \
	$(if $(wildcard cli/main.c cli/carrick.c),$(BUILD)/bin/carrick) \
	$(if $(wildcard host/main.c),$(BUILD)/bin/carrick-host)

$(BUILD)/bin/carrickd: $(call objs,$(srcs_daemon)) $(objs_channel) $(core_lib)
	@mkdir -p $(@D)
	$(call show,LD)$(CC) $(all_ldflags) -pie -o $@ $^ $(call pkg_libs,$(pkgs_daemon)) $(libs_core)

# The command reads the configuration and inspects plugins as the daemon does, with the daemon's own
# code: it links with the core. It is the one program beside the daemon that may include core/.
$(BUILD)/bin/carrick: $(call objs,$(srcs_cli)) $(core_lib)
	@mkdir -p $(@D)
	$(call show,LD)$(CC) $(all_ldflags) -pie -o $@ $^ $(call pkg_libs,$(pkgs_cli)) $(libs_core)

# A client process has the daemon's loop, files and memory, and of the core what any plugin's host table is made of.
host_env := $(foreach n,env_uv env_file env_file_request memory memory_file mailbox,daemon/$(n).c)
$(BUILD)/bin/carrick-host: $(call objs,$(srcs_host) $(host_env)) $(core_lib)
	@mkdir -p $(@D)
	$(call show,LD)$(CC) $(all_ldflags) -pie -o $@ $^ $(call pkg_libs,libuv) $(libs_core)

-include $(patsubst %.o,%.d,$(call objs,$(srcs_core) $(srcs_daemon) $(srcs_cli) $(srcs_host)))
