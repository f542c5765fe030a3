# SPDX-License-Identifier: Apache-2.0
"""The peers that Carrick is measured against. Each returns a number, or raises Missing."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time

TIMEOUT_S = 60


class Missing(Exception):
    """The peer is not on this machine; its row says so and bears no figure of it."""


class Failed(Exception):
    """A measurement was tried and gave no figure."""


def command_find(name, package):
    path = shutil.which(name)
    if path is None:
        raise Missing(f"{name} is missing (package {package})")
    return path


def ports_free(count):
    """Ports that nobody has, all different: they are held until the last is found."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


def port_free():
    return ports_free(1)[0]


def pinned(core, argv):
    return ["taskset", "-c", str(core)] + argv


def run(argv, env=None):
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=TIMEOUT_S, env=env, check=False)
    except subprocess.TimeoutExpired as why:
        raise Failed(f"{' '.join(argv)}: not done within {TIMEOUT_S} s") from why
    if done.returncode != 0:
        raise Failed(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout


def port_wait(port, server):
    """Waits until somebody listens on the port; tells it from /proc so as not to use up a connection."""
    until = time.monotonic() + 10
    wanted = f":{port:04X} "
    while time.monotonic() < until:
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            with open(table, encoding="ascii") as f:
                if any(wanted in line and " 0A " in line for line in f):
                    return
        if server.poll() is not None:
            break
        time.sleep(0.01)
    raise Failed(f"no server on port {port}")


def server_and_client(server_argv, client_argv, port, env=None):
    server = subprocess.Popen(server_argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              env=env)
    try:
        port_wait(port, server)
        return run(client_argv, env)
    finally:
        try:
            server.wait(timeout=3)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def socket_pair_command(build, cores, mode, read=False, size=4096, rounds=20000):
    argv = [os.path.join(build, "bench", "socket_pair"), f"--{mode}", "--json", "--size", str(size),
            "--rounds", str(rounds), "--pin", f"{cores[0]},{cores[1]}"]
    return argv + (["--read"] if read else [])


def socket_pair(build, cores, mode, **options):
    """The bare exchange: dictionary of median_ns, p99_ns, min_ns."""
    argv = socket_pair_command(build, cores, mode, **options)
    if not os.access(argv[0], os.X_OK):
        raise Missing(f"{argv[0]} is not built (make bench builds it)")
    return json.loads(run(argv))


def ucx(cores, test, size, count, warmup, extra=()):
    """One ucx_perftest run over TCP on loopback: the columns of its last line, by name."""
    path = command_find("ucx_perftest", "ucx-utils")
    port = port_free()
    env = dict(os.environ, UCX_TLS="tcp", UCX_NET_DEVICES="lo")
    client = [path, "127.0.0.1", "-p", str(port), "-t", test, "-s", str(size), "-n", str(count),
              "-w", str(warmup), "-f", "-v", *extra]
    out = server_and_client(pinned(cores[1], [path, "-p", str(port)]), pinned(cores[0], client),
                            port, env)
    lines = [line.split(",") for line in out.splitlines() if "," in line]
    if len(lines) < 2:
        raise Failed(f"ucx_perftest {test}: cannot read: {out.strip()[-200:]}")
    return dict(zip(lines[0], map(float, lines[-1])))


def ucx_put_round_trip_ns(cores):
    """ucp_put_lat tells one way; a round trip is twice that."""
    return 2000 * ucx(cores, "ucp_put_lat", 4096, 20000, 2000)["50.0_percentile_lat"]


def ucx_put_bytes_per_s(cores):
    return 1e6 * ucx(cores, "ucp_put_bw", 1 << 20, 1000, 100)["overall_bw"]


def iperf3_bytes_per_s(cores, seconds=2):
    path = command_find("iperf3", "iperf3")
    port = port_free()
    out = server_and_client(
        pinned(cores[1], [path, "-s", "-1", "-B", "127.0.0.1", "-p", str(port)]),
        pinned(cores[0], [path, "-c", "127.0.0.1", "-p", str(port), "-l", "1M", "-t", str(seconds),
                          "-J"]), port)
    return json.loads(out)["end"]["sum_received"]["bits_per_second"] / 8
