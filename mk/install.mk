# SPDX-License-Identifier: Apache-2.0
# What install puts where: words MODE:SOURCE:DIRECTORY, which uninstall reads as well.

man_pages   := $(wildcard man/*.[1-9])
example_dirs := $(wildcard examples/*)

generated := $(patsubst packaging/%,$(BUILD)/gen/%,$(wildcard packaging/*.service) packaging/carrick.pc \
	$(if $(srcs_lib),packaging/libcarrick.pc))
# The hook and the scripts of Debian's initramfs-tools, and what they run.
initramfs_hooks := $(patsubst packaging/%,$(BUILD)/gen/%,$(wildcard packaging/initramfs-tools/*/carrick \
	packaging/initramfs-tools/scripts/*/carrick))
initramfs_early := $(patsubst packaging/%,$(BUILD)/gen/%,$(wildcard packaging/initramfs-tools/carrick-early))
generated += $(initramfs_hooks) $(initramfs_early)
substitute = sed $(foreach v,prefix bindir sbindir libdir includedir datadir mandir sysconfdir plugindir \
	abi_major abi_minor,-e 's|@$(v)@|$($(v))|g') -e 's|@version@|$(VERSION)|g'

$(BUILD)/gen/%.service: packaging/%.service $(BUILD)/flags
	@mkdir -p $(@D)
	$(call show,GEN)$(substitute) $< > $@
$(BUILD)/gen/initramfs-tools/%: packaging/initramfs-tools/% $(BUILD)/flags
	@mkdir -p $(@D)
	$(call show,GEN)$(substitute) $< > $@
$(BUILD)/gen/%.pc: packaging/%.pc.in include/carrick/types.h $(BUILD)/flags
	@mkdir -p $(@D)
	$(call show,GEN)$(substitute) $< > $@

# A fragment says when its plugin is of use in a test only (the simulated transport).
installed_plugins := $(strip $(foreach n,$(real_plugins),$(if $(filter no,$($(n)_install)),,$(n))))

install_map := \
	$(foreach f,$(filter %/carrick,$(programs)),755:$(f):$(bindir)) \
	$(foreach f,$(filter %/carrickd %/carrick-host,$(programs)),755:$(f):$(sbindir)) \
	$(foreach n,$(installed_plugins),755:$(BUILD)/plugins/$(n).so:$(plugindir)) \
	$(foreach f,$(lib_so),755:$(f):$(libdir)) \
	$(foreach f,$(lib_archive),644:$(f):$(libdir)) \
	$(foreach f,$(nbdkit_built),755:$(f):$(nbdkit_plugindir)) \
	$(foreach f,$(wildcard include/carrick/*.h),644:$(f):$(includedir)/carrick) \
	$(foreach f,$(filter %.pc,$(generated)),644:$(f):$(libdir)/pkgconfig) \
	$(foreach f,$(filter %.service,$(generated)),644:$(f):$(unitdir)) \
	$(foreach f,$(initramfs_hooks),755:$(f):$(initramfsdir)/$(patsubst \
		$(BUILD)/gen/initramfs-tools/%/carrick,%,$(f))) \
	$(foreach f,$(initramfs_early),755:$(f):$(datadir)/carrick/initramfs) \
	$(foreach f,$(man_pages),644:$(f):$(mandir)/man$(patsubst .%,%,$(suffix $(f)))) \
	$(foreach f,$(wildcard cli/carrick.bash),644:$(f):$(completiondir)) \
	$(foreach f,$(wildcard core/config.schema.json),644:$(f):$(datadir)/carrick) \
	$(foreach f,$(wildcard README.md LICENSE),644:$(f):$(docdir)) \
	$(foreach f,$(wildcard docs/*.md),644:$(f):$(docdir)/docs) \
	$(foreach d,$(example_dirs),$(foreach f,$(filter-out %.o %.so %.d,$(wildcard $(d)/*)), \
		644:$(f):$(docdir)/examples/$(notdir $(d))))

# Under another name than its source: the completion is found by the command's name.
installed_name = $(patsubst %.bash,%,$(notdir $(1)))

map_mode = $(word 1,$(subst :, ,$(1)))
map_src  = $(word 2,$(subst :, ,$(1)))
map_dir  = $(word 3,$(subst :, ,$(1)))
map_dest = '$(DESTDIR)$(call map_dir,$(1))/$(call installed_name,$(call map_src,$(1)))'
link_dest = '$(DESTDIR)$(libdir)/$(notdir $(1))'

define newline


endef

.PHONY: install uninstall
install: all $(generated)
	$(foreach d,$(sort $(foreach m,$(install_map),$(call map_dir,$(m)))),$(INSTALL) -d -m 755 '$(DESTDIR)$(d)'$(newline)	)
	$(foreach m,$(install_map),$(INSTALL) -m $(call map_mode,$(m)) $(call map_src,$(m)) $(call map_dest,$(m))$(newline)	)
	$(foreach l,$(lib_links),ln -sf $(notdir $(lib_so)) $(call link_dest,$(l))$(newline)	)

# Directories that are ours alone go when they are empty; configuration and keys stay.
uninstall:
	$(foreach m,$(install_map),rm -f $(call map_dest,$(m))$(newline)	)
	$(foreach l,$(lib_links),rm -f $(call link_dest,$(l))$(newline)	)
	@for d in $(foreach e,$(example_dirs),'$(docdir)/examples/$(notdir $(e))') '$(docdir)/examples' '$(docdir)/docs' '$(docdir)' \
		'$(includedir)/carrick' '$(plugindir)' '$(libdir)/carrick' '$(datadir)/carrick/initramfs' '$(datadir)/carrick'; do \
		rmdir "$(DESTDIR)$$d" 2>/dev/null || true; \
	done
