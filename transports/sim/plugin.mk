# SPDX-License-Identifier: Apache-2.0
# A network in memory, for tests: it lives inside one process and is of no use in a daemon.
plugins     += sim
sim_dir     := transports/sim
sim_pkgs    := json-c
sim_static  := yes
sim_install := no
