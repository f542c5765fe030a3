# SPDX-License-Identifier: Apache-2.0
"""Two real daemons, pinned, on loopback or in network namespaces of their own, and a hand on both."""

import contextlib
import json
import mmap
import os
import resource
import shutil
import struct
import subprocess
import tempfile
import threading
import time

from peers import Failed, pinned, ports_free

NODES = ("alpha", "beta")
COUNTERS = ("allocations", "frees", "allocated_bytes", "large_copies", "large_copy_bytes")
START_S = 20
COMMAND_S = 40


def wait_for(what, condition, seconds=START_S, every_s=0.02):
    """Asks until the condition gives something true, and returns that."""
    until = time.monotonic() + seconds
    while True:
        got = condition()
        if got:
            return got
        if time.monotonic() > until:
            raise Failed(f"waited {seconds} s for: {what}")
        time.sleep(every_s)


class Loopback:
    """Links over 127.0.0.1; nothing can be cut here."""

    def __init__(self, links=1):
        ports = iter(ports_free(links * len(NODES)))
        self.sections = [{n: {"address": "127.0.0.1", "port": next(ports)} for n in NODES}
                         for _ in range(links)]

    def enter(self, node, argv):
        del node
        return argv

    def close(self):
        pass


class Namespaces:
    """Two network namespaces with one veth pair for each link, made for this run and taken away with it."""

    def __init__(self, links=2):
        if os.geteuid() != 0 or shutil.which("ip") is None:
            raise Failed("network namespaces need root and iproute2")
        self.links = links
        self.names = {n: f"carrick-bench-{os.getpid()}-{n}" for n in NODES}
        self.sections = []
        try:
            self._make()
        except Failed:
            self.close()
            raise

    def _make(self):
        for name in self.names.values():
            self.command("ip", "netns", "add", name)
        for i in range(self.links):
            ends = []
            for n in NODES:
                ends += ["name" if n == NODES[0] else "peer", f"cb{i}", "netns", self.names[n]]
            ends.insert(ends.index("peer") + 1, "name")
            self.command("ip", "link", "add", *ends[:4], "type", "veth", *ends[4:])
            for k, n in enumerate(NODES):
                self.inside(n, "ip", "addr", "add", f"{self.address(i, n)}/24", "dev", f"cb{i}")
                self.inside(n, "ip", "link", "set", f"cb{i}", "up")
            self.sections.append({n: {"address": self.address(i, n), "port": 7400} for n in NODES})
        for n in NODES:
            self.inside(n, "ip", "link", "set", "lo", "up")

    @staticmethod
    def address(link, node):
        return f"10.77.{link}.{1 + NODES.index(node)}"

    @staticmethod
    def command(*argv):
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=20, check=False)
        if done.returncode != 0:
            raise Failed(f"{' '.join(argv)}: {done.stdout.strip()}")
        return done.stdout

    def inside(self, node, *argv):
        return self.command("ip", "netns", "exec", self.names[node], *argv)

    def enter(self, node, argv):
        return ["ip", "netns", "exec", self.names[node]] + argv

    # Each fault returns what heals it.

    def fault_reset(self, link):
        """Resets every connection of the link that is there now."""
        out = self.inside(NODES[0], "ss", "-K", "-t", "-n", "dst", self.address(link, NODES[1]))
        if "ESTAB" not in out:
            raise Failed("ss -K closed nothing (the kernel lacks CONFIG_INET_DIAG_DESTROY?)")
        return lambda: None

    def fault_carrier(self, link):
        """Takes the far end down, so that the near one loses its carrier."""
        self.inside(NODES[1], "ip", "link", "set", f"cb{link}", "down")
        return lambda: self.inside(NODES[1], "ip", "link", "set", f"cb{link}", "up")

    def fault_drop(self, link):
        """Drops, without a word, all that the first node gets on the link, and all that it sends."""
        rules = [("INPUT", "-i", f"cb{link}", "-j", "DROP"), ("OUTPUT", "-o", f"cb{link}", "-j", "DROP")]
        for rule in rules:
            self.inside(NODES[0], "iptables", "-w", "-I", *rule)

        def heal():
            for rule in rules:
                self.inside(NODES[0], "iptables", "-w", "-D", *rule)
        return heal

    def close(self):
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, check=False)


class Pair:
    """Two carrickd with the client `bench`, the first node the initiator."""

    def __init__(self, bench, network=None, clients=None, count_calls=False, **manager):
        self.bench = bench
        self.network = network or Loopback()
        self.clients = clients or [{}]
        self.manager = manager
        self.count_calls = count_calls
        self.counters = {}
        self.processes = {}
        self.directory = tempfile.mkdtemp(prefix="carrick-bench-")
        os.chmod(self.directory, 0o700)
        self.daemon = self.program("carrickd")
        self.carrick = self.program("carrick")
        self.config_path = os.path.join(self.directory, "carrick.json")
        self._config_write()

    def program(self, name):
        path = os.path.join(self.bench.build, "bin", name)
        if not os.access(path, os.X_OK):
            raise Failed(f"{path} is not built")
        return path

    def _config_write(self):
        key = os.path.join(self.directory, "key")
        with open(os.open(key, os.O_CREAT | os.O_WRONLY, 0o600), "w", encoding="ascii") as f:
            f.write(os.urandom(32).hex() + "\n")
        clients = []
        for i, config in enumerate(self.clients):
            clients.append({"name": f"bench{i}" if i else "bench", "plugin": "bench",
                            "config": {"initiator": NODES[0], **config}})
        links = [{"name": f"link{i}", "transport": "tcp", "nodes": section}
                 for i, section in enumerate(self.network.sections)]
        plugin_dirs = [os.path.join(self.bench.build, d) for d in ("plugins", "test-plugins")]
        config = {"cluster": "bench", "key_file": key, "plugin_dirs": plugin_dirs,
                  "nodes": list(NODES), "log": {"level": "notice"},
                  "control": {"socket": os.path.join(self.directory, "%n.sock")},
                  "managers": [{"name": "m0", "links": links, "clients": clients, **self.manager}]}
        with open(self.config_path, "w", encoding="utf-8") as f:
            json.dump(config, f, indent=2)

    def start(self, node):
        # Each region is a descriptor; ten thousand of them are more than the usual soft limit.
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        env = dict(os.environ)
        if self.count_calls:
            path = os.path.join(self.directory, f"{node}.counters")
            with open(path, "wb") as f:
                f.truncate(mmap.PAGESIZE)
            env["CARRICK_BENCH_COUNTERS"] = path
            env["LD_PRELOAD"] = os.path.join(self.bench.build, "test-plugins", "malloc_count.so")
            self.counters[node] = path
        argv = [self.daemon, "--config", self.config_path, "--node", node]
        argv = self.network.enter(node, pinned(self.bench.cores[NODES.index(node)], argv))
        with open(os.path.join(self.directory, f"{node}.log"), "ab") as log:
            self.processes[node] = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log,
                                                    stderr=log, env=env)
        return self.processes[node].pid

    def stop(self, node):
        process = self.processes.pop(node)
        if process.poll() is None:
            process.terminate()
        self.wait_end(process)

    @staticmethod
    def wait_end(process):
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self):
        try:
            for node in NODES:
                self.start(node)
            self.wait_ready()
        except BaseException:
            self.__exit__(Failed, None, None)
            raise
        return self

    def __exit__(self, kind, value, trace):
        for process in self.processes.values():
            process.terminate()  # both at once: neither waits for the other
        for process in self.processes.values():
            self.wait_end(process)
        self.network.close()
        if self.bench.keep or kind is not None:
            print(f"# logs and configuration are left in {self.directory}")
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def command(self, node, *words, check=True):
        """One `carrick --json` command: its answer, or None when it failed and check is off."""
        argv = [self.carrick, "--socket", os.path.join(self.directory, f"{node}.sock"), "--json",
                *words]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=COMMAND_S, check=False)
        if done.returncode != 0 and check:
            raise Failed(f"carrick {' '.join(words)}: {(done.stderr or done.stdout).strip()[-300:]}")
        try:
            return json.loads(done.stdout) if done.returncode == 0 else None
        except json.JSONDecodeError as why:
            raise Failed(f"carrick {' '.join(words)}: no JSON: {why}: {done.stdout[:200]}") from why

    def client(self, node, word, arguments=None, name="bench", check=True):
        words = ["client", name, word]
        if arguments is not None:
            words.append(json.dumps(arguments))
        return self.command(node, *words, check=check)

    def alive_check(self):
        for node, process in self.processes.items():
            if process.poll() is not None:
                with open(os.path.join(self.directory, f"{node}.log"), encoding="utf-8",
                          errors="replace") as f:
                    raise Failed(f"carrickd {node} ended with {process.returncode}: "
                                 f"{f.read()[-400:].strip()}")

    def times(self, node, name="bench"):
        self.alive_check()
        return self.client(node, "times", name=name, check=False)

    def wait_node_ready(self, node, count=1):
        """Asks seldom: each question is a process of its own, beside a daemon that is to be measured."""
        last = f"bench{len(self.clients) - 1}" if len(self.clients) > 1 else "bench"
        wait_for(f"session up on {node}",
                 lambda: (self.times(node, last) or {}).get("ready_count", 0) >= count,
                 every_s=0.1)

    def wait_ready(self, count=1):
        for node in NODES:
            self.wait_node_ready(node, count)

    def wait_links(self):
        """Until every link is up and in use again on both nodes."""
        def all_up(node):
            links = [link for manager in self.command(node, "links") for link in manager["links"]]
            return links and all(link["state"] == "up" and link["eligible"] for link in links)
        for node in NODES:
            wait_for(f"all links up on {node}", lambda n=node: all_up(n), 30)

    def run(self, **plan):
        """Runs a workload on the initiator: its first stream's figures (or all, when it has several)."""
        answer = self.client(NODES[0], "run", plan)
        if answer.get("status") != 0:
            raise Failed(f"workload ended with {answer}")
        return answer["streams"] if "streams" in plan else answer["streams"][0]

    @contextlib.contextmanager
    def running(self, box, **plan):
        """Runs a workload beside the body; its answer is in box afterwards."""
        def work():
            try:
                box["answer"] = self.run(**plan)
            except Exception as why:  # pylint: disable=broad-except
                box["error"] = why
        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            thread.join()
        if "error" in box:
            raise box["error"]

    def count(self, node):
        with open(self.counters[node], "rb") as f:
            return dict(zip(COUNTERS, struct.unpack(f"={len(COUNTERS)}Q", f.read(8 * len(COUNTERS)))))

    def rss_bytes(self, node):
        with open(f"/proc/{self.processes[node].pid}/status", encoding="ascii") as f:
            lines = dict(line.split(":", 1) for line in f)
        return {k: int(lines[k].split()[0]) * 1024 for k in ("VmRSS", "RssAnon", "RssFile", "RssShmem")}
