# The measuring client of `make bench`.
plugins += bench
bench_dir := bench/client
bench_pkgs := json-c
