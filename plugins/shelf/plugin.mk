# SPDX-License-Identifier: Apache-2.0
plugins += shelf
shelf_dir  := plugins/shelf
shelf_srcs := $(wildcard plugins/shelf/*.c) common/local_socket.c
shelf_pkgs := json-c libisal
