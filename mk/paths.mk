# SPDX-License-Identifier: Apache-2.0
# Where things go. Every directory can be said on the command line; DESTDIR stands before all of them.

PREFIX     ?= /usr/local
prefix     ?= $(PREFIX)
bindir     ?= $(prefix)/bin
sbindir    ?= $(prefix)/sbin
libdir     ?= $(prefix)/lib
includedir ?= $(prefix)/include
datadir    ?= $(prefix)/share
mandir     ?= $(datadir)/man
docdir     ?= $(datadir)/doc/carrick
sysconfdir ?= /etc
unitdir    ?= $(prefix)/lib/systemd/system
plugindir  ?= $(libdir)/carrick/plugins
# Debian's initramfs-tools looks into /usr/share/initramfs-tools and /etc/initramfs-tools only: with another prefix than
# /usr the second one is to be said here.
initramfsdir ?= $(datadir)/initramfs-tools
completiondir ?= $(datadir)/bash-completion/completions
