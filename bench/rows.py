# SPDX-License-Identifier: Apache-2.0
"""The rows of the bench. Each takes a Bench and gives one or more Row; its docstring is what --list says."""

import json

import peers
from measure import Row, interleaved, limit_row, median, ratio_row, spread_text
from pair import NODES, Pair
from rows_calls import calls
from rows_nbd import nbd_write_d1, nbd_write_d32
from rows_storage import catchup, catchup_busy, false_takeover, nbd_read_d32, replay, takeover
from rows_faults import carrier, drop, reset
from rows_path import nbd_path_d1

MIB = 1 << 20
SMALL = {"size": 4096, "depth": 1, "count": 20000, "warmup": 2000}
POLL = {"poll_us": 1000}  # longer than any answer takes: both daemons poll for as long as the row runs
BIG = {"regions": 1, "region_bytes": 64 * MIB}


def unmeasured(name, why):
    return Row(name=name, what=f"{name}: not measured", note=why)


def ours_command(plan):
    return f"carrick client bench run '{json.dumps(plan)}'"


def once(bench, plan, clients=None, **manager):
    """A fresh pair, one workload, gone again: between rounds nothing of ours runs beside the peer."""
    with Pair(bench, clients=clients, **manager) as pair:
        return pair.run(**plan)


def peer_or_missing(function):
    """The function's answer, or the reason why the peer cannot give one."""
    try:
        return function(), None
    except peers.Missing as why:
        return None, str(why)


def exchange(bench, name, what, op, mode, limit, manager, cores=None):
    """Ours against the bare exchange of the same bytes."""
    read = op == "read"
    ours, bare = interleaved(
        bench.rounds, lambda: once(bench, {"op": op, **SMALL}, **manager)["median_ns"],
        lambda: peers.socket_pair(bench.build, cores or bench.cores, mode, read=read)["median_ns"])
    command = peers.socket_pair_command("BUILD", bench.cores, mode, read=read)
    return ours, ratio_row(ours, bare, limit, True, name=name, what=what, unit="ns",
                           peer=f"socket_pair --{mode}",
                           command=f"{ours_command({'op': op, **SMALL})}; {' '.join(command)}")


def write4k_poll(bench):
    """4 KiB write and flush until completion, both daemons polling"""
    ours, row = exchange(bench, "write4k_poll", "4 KiB write+flush, polling", "write", "spin", 1.3,
                         POLL)
    yield row
    # The daemons' rounds are used again; ucx's stand right behind them.
    ucx, why = peer_or_missing(
        lambda: [peers.ucx_put_round_trip_ns(bench.cores) for _ in range(bench.rounds)])
    row = Row(name="write4k_poll_ucx", what="the same, round trip of ucp_put_lat", value=median(ours),
              unit="ns", peer="ucx_perftest ucp_put_lat x2", target="< 1x", note=why or "",
              command="UCX_TLS=tcp ucx_perftest -t ucp_put_lat -s 4096")
    if ucx:
        row.peer_value = median(ucx)
        row.ratio = row.value / row.peer_value
        row.met = row.ratio < 1
        row.spread = f"peer {spread_text(ucx)}"
    yield row


def write4k_sleep(bench):
    """4 KiB write and flush until completion, both sides sleeping"""
    row = exchange(bench, "write4k_sleep", "4 KiB write+flush, sleeping", "write", "block", 1.15,
                   {})[1]
    loop = median([peers.socket_pair(bench.build, bench.cores, "epoll")["median_ns"]
                   for _ in range(bench.rounds)])
    row.note = f"the bare exchange with both sides sleeping in epoll_wait, as any event loop does: {loop:,.0f} ns"
    yield row


def read4k_poll(bench):
    """4 KiB read, both daemons polling"""
    yield exchange(bench, "read4k_poll", "4 KiB read, polling", "read", "spin", 1.3, POLL)[1]


def write1m_pipelined(bench):
    """1 MiB writes, pipelined, against iperf3 and ucp_put_bw"""
    plan = {"op": "pipeline", "size": MIB, "depth": 16, "duration_ms": 2000, "warmup": 100}
    # iperf3 sends the same block over and over, out of the processor's cache; our 16 writes are of 16 blocks.
    one_block = {**plan, "one_source": True}
    functions = {
        "ours": lambda: once(bench, plan, clients=[BIG])["bytes_per_s"] / 1e6,
        "ours, one block": lambda: once(bench, one_block, clients=[BIG])["bytes_per_s"] / 1e6,
        "iperf3 -l 1M": lambda: peers.iperf3_bytes_per_s(bench.cores) / 1e6,
        "ucx_perftest ucp_put_bw": lambda: peers.ucx_put_bytes_per_s(bench.cores) / 1e6,
    }
    got = {name: [] for name in functions}
    missing = {}
    for _ in range(bench.rounds):
        for name, function in functions.items():
            if name in missing:
                continue
            if name.startswith("ours"):
                got[name].append(function())
                continue
            value, why = peer_or_missing(function)
            if why:
                missing[name] = why
            else:
                got[name].append(value)
    for row_name, what, peer, limit in (
            ("write1m_pipelined", "1 MiB writes pipelined", "iperf3 -l 1M", 0.85),
            ("write1m_pipelined_ucx", "the same, against ucp_put_bw", "ucx_perftest ucp_put_bw", 1)):
        fields = {"name": row_name, "what": what, "unit": "MB/s", "peer": peer,
                  "command": ours_command(plan)}
        if peer in missing:
            yield Row(value=median(got["ours"]), target=f">= {limit}x", note=missing[peer], **fields)
        else:
            yield ratio_row(got["ours"], got[peer], limit, False, **fields)
    row = Row(name="write1m_pipelined_one_block", what="the same, all written from one block, as iperf3",
              value=median(got["ours, one block"]), unit="MB/s", peer="iperf3 -l 1M",
              command=ours_command(one_block))
    if "iperf3 -l 1M" not in missing:
        row.peer_value = median(got["iperf3 -l 1M"])
        row.ratio = median([ours / peer for ours, peer in
                            zip(got["ours, one block"], got["iperf3 -l 1M"])])
    yield row


def small_beside_big(bench):
    """4 KiB write on another VI while 1 MiB writes run on the same link"""
    client = {"vis": 2, **BIG}
    idle_plan = {"op": "write", "size": 4096, "vi": 1, "count": 5000, "warmup": 500}
    busy_plan = {"streams": [{"op": "pipeline", "size": MIB, "depth": 16, "background": True},
                             {"op": "write", "size": 4096, "vi": 1, "warmup": 100}],
                 "duration_ms": 3000}
    idle, busy = [], []
    rates = []
    for _ in range(bench.rounds):
        with Pair(bench, clients=[client]) as pair:
            idle.append(pair.run(**idle_plan)["median_ns"])
            streams = pair.run(**busy_plan)
            busy.append(streams[1]["median_ns"])
            rates.append(streams[0]["bytes_per_s"] / 1e6)
    yield ratio_row(busy, idle, 10, True, name="small_beside_big",
                    what="4 KiB write while 1 MiB writes run", unit="ns", peer="ours, idle link",
                    command=ours_command(busy_plan),
                    note=f"the 1 MiB writes ran at {median(rates):,.0f} MB/s meanwhile")


def compared(bench, name, what, limit, clients):
    """The busy VI's latency with a burden, against the same without it."""
    plan = {"op": "write", **SMALL}
    plain, burdened = [], []
    for i in range(2 * bench.rounds):  # the effect is small: twice the rounds, in alternating order
        turns = ((plain, None), (burdened, clients))
        for got, burden in turns if i % 2 else reversed(turns):
            got.append(once(bench, plan, clients=burden, **POLL)["median_ns"])
    return ratio_row(burdened, plain, limit, True, name=name, what=what, unit="ns",
                     peer="ours without", command=ours_command(plan))


def idle_vis(bench):
    """What 1,000 idle VIs cost the busy one"""
    yield compared(bench, "idle_vis", "4 KiB write beside 1,000 idle VIs", 1.05, [{"vis": 1001}])


def many_regions(bench):
    """What 10,000 regions cost"""
    clients = [{}] + [{"regions": 1000, "region_bytes": 4096}] * 10
    yield compared(bench, "many_regions", "4 KiB write beside 10,000 regions", 1.05, clients)


def memory(bench):
    """Resident memory of a daemon with one session and ten VIs"""
    values, regions = [], []
    for _ in range(bench.rounds):
        with Pair(bench, clients=[{"vis": 10, "region_bytes": 4096 * 16}]) as pair:
            for vi in range(10):
                pair.run(op="write", size=4096, vi=vi, count=1000)
            for node in NODES:
                rss = pair.rss_bytes(node)
                values.append((rss["VmRSS"] - rss["RssShmem"]) / MIB)
                regions.append(rss["RssShmem"] / MIB)
    yield limit_row(values, 16, name="memory", what="RSS with one session, ten VIs", unit="MiB",
                    command="/proc/PID/status: VmRSS - RssShmem",
                    note=f"both daemons, after 10,000 writes; shared memory (regions) beside it: "
                         f"{median(regions):.2f} MiB")


def session_up(bench):
    """How long bring-up takes on loopback: a daemon that starts, and after an end in order"""
    cold, again = [], []
    for _ in range(2 * bench.rounds):
        with Pair(bench) as pair:
            pair.command(NODES[0], "session", "reset")
            pair.wait_ready(2)
            for node in NODES:
                times = pair.times(node)
                again.append((times["ready_ns"] - times["ended_ns"]) / 1e6)
            pair.stop(NODES[1])
            pair.start(NODES[1])
            pair.wait_node_ready(NODES[1])
            times = pair.times(NODES[1])
            cold.append((times["ready_ns"] - times["created_ns"]) / 1e6)
    yield limit_row(cold, 20, name="session_up", what="session up, node starts beside its partner",
                    unit="ms", command="client bench: from create to ready")
    yield limit_row(again, 20, name="session_again", what="session up again after a reset", unit="ms",
                    command="carrick session reset; client bench: from ended to ready")


ROWS = {f.__name__: f for f in (
    write4k_poll, write4k_sleep, read4k_poll, write1m_pipelined, small_beside_big, idle_vis,
    many_regions, memory, session_up, reset, carrier, drop, calls, nbd_write_d1, nbd_path_d1, nbd_write_d32, nbd_read_d32, takeover,
    replay, catchup, catchup_busy, false_takeover)}
