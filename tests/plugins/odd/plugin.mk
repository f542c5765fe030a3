# One source, wrong in a different way each time: see tests/unit/loader.c.
odd_plugins := odd_good odd_large odd_small odd_descriptor odd_kind odd_major odd_minor odd_older_major \
	odd_symbol odd_borrowed odd_name odd_badname odd_required odd_unresolved odd_nothing odd_wrapper
plugins += $(odd_plugins)

odd_good_cflags        := -DODD_OPS_SIZE='sizeof(struct carrick_policy_ops)' \
	-DODD_DESCRIPTOR_SIZE='sizeof(struct carrick_plugin)'
odd_large_cflags       := -DODD_NAME='"odd_large"'
odd_small_cflags       := -DODD_NAME='"odd_small"' -DODD_OPS_SIZE='sizeof(void*)'
odd_descriptor_cflags  := -DODD_NAME='"odd_descriptor"' -DODD_DESCRIPTOR_SIZE=16
odd_kind_cflags        := -DODD_NAME='"odd_kind"' -DODD_KIND=99
odd_major_cflags       := -DODD_NAME='"odd_major"' -DODD_MAJOR='CARRICK_ABI_MAJOR+1' \
	-DODD_DESCRIPTOR_SIZE=8
odd_older_major_cflags := -DODD_NAME='"odd_older_major"' -DODD_MAJOR='CARRICK_ABI_MAJOR-1'
odd_minor_cflags       := -DODD_NAME='"odd_minor"' -DODD_MINOR='CARRICK_ABI_MINOR+1'
odd_symbol_cflags      := -DODD_ENTRY=odd_entry
odd_borrowed_cflags    := -DODD_ENTRY=odd_entry
odd_name_cflags        := -DODD_NAME='"another"'
odd_badname_cflags     := -DODD_NAME='"Odd Name"'
odd_required_cflags    := -DODD_NAME='"odd_required"' -DODD_WITHOUT_CHOOSE
odd_unresolved_cflags  := -DODD_NAME='"odd_unresolved"' -DODD_UNRESOLVED
odd_unresolved_ldflags := -Wl,-z,undefs
odd_nothing_cflags     := -DODD_NOTHING
odd_wrapper_cflags     := -DODD_NAME='"odd_wrapper"' -DODD_KIND=CARRICK_KIND_TRANSPORT_WRAPPER

# It has no entry of its own, but links with a plugin that has one.
odd_borrowed_ldflags   := -Wl,--no-as-needed -L$(BUILD)/test-plugins -l:odd_good.so -Wl,-rpath,'$$$$ORIGIN'
$(BUILD)/test-plugins/odd_borrowed.so: | $(BUILD)/test-plugins/odd_good.so

$(foreach n,$(odd_plugins),$(eval $(n)_dir := tests/plugins/odd))
