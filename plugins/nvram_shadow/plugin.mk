# SPDX-License-Identifier: Apache-2.0
plugins += nvram_shadow
nvram_shadow_dir  := plugins/nvram_shadow
nvram_shadow_pkgs := json-c libisal
