# No plugin, but made by the same rule: the counters that bench/run.py preloads into a daemon.
plugins += malloc_count
malloc_count_dir := bench/preload
malloc_count_cflags := -fno-builtin
malloc_count_libs := -ldl
