# SPDX-License-Identifier: Apache-2.0
plugins += mailbox
mailbox_dir  := plugins/arbiter/mailbox
mailbox_pkgs := json-c libisal
