# SPDX-License-Identifier: Apache-2.0
"""The lab itself: RDMA between the guests with other people's programs, cables, freezing, power."""
from machine import check, leftovers, need_programs, wait_for
from suite import case

GUESTS = 2
ORDER = 0


@case
def what_is_left_would_be_seen(lab):
    """At the end of a lab nothing of it may be left; while it runs, the same look finds all of it."""
    left = leftovers()
    for guest in lab.guests.values():
        check(guest.process.pid in left, f"{guest.name} is not among {left}")
    check(lab.dir in left, f"{lab.dir} is not among {left}")


def carrier(guest, card):
    return guest.run(f"cat /sys/class/net/eth{card}/carrier").strip()


def reaches(guest, address):
    return guest.run_code(f"/busybox/ping -c 1 -W 1 {address}")[0] == 0


def rping(lab, address):
    need_programs("rping")
    alpha, beta = lab.guests["alpha"], lab.guests["beta"]
    server = beta.spawn(f"rping -s -a {address} -C 5 -v", 60)
    # It serves one client, which therefore must not come too early.
    wait_for(lambda: any("LISTEN" in line and f"src-addr {address}:" in line
                         for line in beta.run("rdma resource show cm_id").splitlines()), "rping to listen", 20, 0.2)
    alpha.run(f"rping -c -a {address} -C 5 -v")
    check("rdma-ping-4" in server.wait(20), f"the server saw: {server.output}")


@case
def devices_are_there(lab):
    for guest in lab.guests.values():
        links = guest.run("rdma link")
        for text in ("rxe0/1 state ACTIVE", "siw1/1 state ACTIVE"):
            check(text in links, f"{guest.name}: no '{text}' in: {links}")


@case
def rping_over_roce(lab):
    rping(lab, "10.0.1.2")


@case
def rping_over_iwarp(lab):
    rping(lab, "10.0.2.2")


@case
def perftest_writes_over_roce(lab):
    need_programs("ib_write_bw")
    alpha, beta = lab.guests["alpha"], lab.guests["beta"]
    server = beta.spawn("ib_write_bw -d rxe0 -x 1 -s 65536 -n 100 -F", 90)
    wait_for(lambda: beta.run("ss -Hltn sport = :18515").strip(), "ib_write_bw to listen")
    out = alpha.run("ib_write_bw -d rxe0 -x 1 -s 65536 -n 100 -F 10.0.1.2", 90)
    server.wait(30)
    row = next(line.split() for line in out.splitlines() if line.split()[:1] == ["65536"])
    check(float(row[3]) > 0, f"no bandwidth in: {out}")
    return f"{row[3]} MB/s of 64 KiB writes"


@case
def a_cable_is_pulled(lab):
    """The end whose cable it is sees its carrier go; the other end sees silence."""
    alpha, beta = lab.guests["alpha"], lab.guests["beta"]
    wait_for(lambda: reaches(beta, "10.0.1.1"), "alpha to answer")
    alpha.cable(0, False)
    wait_for(lambda: carrier(alpha, 0) == "0", "the carrier to go")
    check(carrier(beta, 0) == "1" and carrier(alpha, 1) == "1", "another carrier went with it")
    check(not reaches(beta, "10.0.1.1"), "a pulled cable carries")
    wait_for(lambda: reaches(beta, "10.0.2.1"), "the other cable to carry")
    alpha.cable(0, True)
    wait_for(lambda: reaches(beta, "10.0.1.1"), "alpha to answer again")


@case
def a_guest_is_frozen(lab):
    alpha, beta = lab.guests["alpha"], lab.guests["beta"]
    wait_for(lambda: reaches(alpha, "10.0.1.2"), "beta to answer")
    beta.freeze()
    check(not reaches(alpha, "10.0.1.2"), "a frozen guest answers")
    beta.thaw()
    wait_for(lambda: reaches(alpha, "10.0.1.2"), "beta to answer again")


@case
def power_is_cut(lab):
    alpha, beta = lab.guests["alpha"], lab.guests["beta"]
    beta.run("touch /tmp/was-here")
    beta.power_cut()
    check(not reaches(alpha, "10.0.1.2"), "a guest without power answers")
    beta.power_on().wait_boot()
    check(beta.run_code("test -e /tmp/was-here")[0] == 1, "its memory outlived the power cut")
    wait_for(lambda: reaches(alpha, "10.0.1.2"), "beta to answer again")
