#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The arbiter in etcd: against a real etcd, and against what stands between and lies, loses or delays."""
import base64
import json
import signal
import threading
import time

from etcd_world import CONFLICT, OK, PREFIX, TIMEOUT, UNKNOWN, UNREACHABLE, Asker, Etcd, Gate, Mute, Tls, is_, key64
from lib import PATIENCE, check, main, make_key, test, wait_for


def not_had(answer):
    """Nothing was found and, for certain, nothing was changed."""
    check(answer["status"] in (TIMEOUT, UNREACHABLE), f"expected a time-out or unreachable, got {answer}")


# ---- a real etcd


@test
def records_are_read_as_they_were_written(world):
    etcd = Etcd(world).start()
    asker = Asker(world, etcd)
    is_(asker.read(), OK, number=0)
    is_(asker.change(0, 77), OK, number=1, owner="alpha", mark=77, members=2)
    is_(asker.change(0, 78), CONFLICT, number=1, mark=77)
    is_(asker.change(5, 78), CONFLICT, number=1, mark=77)
    is_(asker.change(1, 2**63 + 1, owner="beta"), OK, number=2)
    is_(asker.read(), OK, number=2, owner="beta", mark=2**63 + 1, members=2)
    is_(asker.read("g2"), OK, number=0)
    is_(asker.read("g"), OK, number=0)
    value = json.loads(etcd.ctl("get", "--print-value-only", f"{PREFIX}/main/g1"))
    check(value["carrick"] == 1 and value["number"] == "2" and value["writer"] == "alpha", f"{value}")
    asker.end()


@test
def no_number_is_won_twice(world):
    etcd = Etcd(world).start()
    askers = [Asker(world, etcd) for _ in range(3)]
    wins, wrong = [], []

    def race(index):
        try:
            for turn in range(25):
                number = askers[index].read()["number"]
                answer = askers[index].change(number, index * 1000 + turn)
                if answer["status"] == OK:
                    wins.append(answer["number"])
                elif answer["status"] != CONFLICT:
                    wrong.append(answer)
        except Exception as error:  # pylint: disable=broad-except
            wrong.append(error)

    threads = [threading.Thread(target=race, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(not wrong, f"{wrong}")
    check(sorted(wins) == list(range(1, len(wins) + 1)), f"won: {sorted(wins)}")


@test
def what_is_no_record_decides_nothing(world):
    etcd = Etcd(world).start()
    asker = Asker(world, etcd)
    is_(asker.change(0, 1), OK)
    good = etcd.ctl("get", "--print-value-only", f"{PREFIX}/main/g1").strip()
    changed = [good[:cut] for cut in range(0, len(good), 9)]
    changed += [good.replace('"1"', word, 1) for word in ('"-1"', '"01"', '" 1"', '"1x"', '"0"', "1", '"99999999999999999999"')]
    changed += [good.replace('"carrick":1', '"carrick":2'), good.replace('"g1"', '"g2"'), good + "x", "[]", "null", "x" * 5000]
    changed += [good.replace('"owner":"alpha"', word) for word in ('"owner":""', f'"owner":"{"a" * 40}"', '"owner":7')]
    for value in changed:
        check(value != good, "nothing was changed")
        etcd.ctl("put", "--", f"{PREFIX}/main/g1", value)
        is_(asker.read(), UNREACHABLE)
        answer = asker.change(1, 2)
        check(answer["status"] == UNREACHABLE, f"{value}: {answer}")
    asker.logged("cannot be used", "nothing is decided", "format that this version does not know")
    etcd.ctl("put", "--", f"{PREFIX}/main/g1", good)
    is_(asker.read(), OK, number=1, mark=1)
    asker.end()


@test
def a_minority_tells_nothing(world):
    """Two of three members stand still: the third one still has the record, but not the say."""
    names = ("one", "two", "three")
    first = Etcd(world, "one")
    peers = {name: first.peers["one"] if name == "one" else Etcd(world, name).peers[name] for name in names}
    etcds = [Etcd(world, name, peers=peers).start(wait=False) for name in names]
    for etcd in etcds:
        etcd.wait()
    asker = Asker(world, *etcds)
    is_(asker.change(0, 1), OK)
    for etcd in etcds[1:]:
        etcd.signal(signal.SIGSTOP)
    alone = Asker(world, etcds[0])
    not_had(alone.read(timeout_ms=700))
    not_had(alone.change(1, 2, timeout_ms=700))
    not_had(asker.read(timeout_ms=700))
    etcds[1].signal(signal.SIGCONT)
    wait_for(lambda: asker.read(timeout_ms=2000)["status"] == OK, "two of three to answer", 30)
    is_(asker.read(), OK, number=1, mark=1)


@test
def password_and_token(world):
    etcd = Etcd(world).start()
    password = make_key(world.dir / "password", b"se\"cret\\ 1\n")
    etcd.enable_users(carrick='se"cret\\ 1')
    asker = Asker(world, etcd, user="carrick", password_file=password)
    is_(asker.change(0, 1), OK)
    is_(Asker(world, etcd).read(), UNREACHABLE)
    wrong = make_key(world.dir / "wrong", b"nonsense")
    other = Asker(world, etcd, user="carrick", password_file=wrong)
    is_(other.read(), UNREACHABLE)
    is_(other.change(1, 2), UNREACHABLE)
    other.logged("authentication failed", "in the clear")
    wrong.write_bytes(b"se\"cret\\ 1")  # the file is read at each login
    is_(other.read(), OK, number=1)
    stray = Asker(world, etcd, user="carrick", password_file=password, prefix="/another")
    is_(stray.change(0, 1), UNREACHABLE)
    stray.logged("permission denied")
    etcd.stop()  # tokens are in its memory only
    etcd.start(wait=False)
    wait_for(lambda: asker.read()["status"] == OK, "etcd to be back")
    is_(asker.change(1, 3), OK, number=2)
    asker.end()


@test
def tls_with_a_ca_of_our_own(world):
    tls, foreign = Tls(world), Tls(world, "foreign")
    etcd = Etcd(world, tls=tls).start()
    files = {"ca": tls.ca, "cert": tls.cert("alpha"), "key": tls.key("alpha")}
    asker = Asker(world, etcd, **files)
    is_(asker.change(0, 1), OK)
    is_(asker.read(), OK, number=1)
    for change in ({"ca": foreign.ca}, {"cert": foreign.cert("alpha"), "key": foreign.key("alpha")}):
        other = Asker(world, etcd, **{**files, **change})
        is_(other.read(), UNREACHABLE)
        other.logged("etcd cannot be had", etcd.url)
        check(other.change(1, 2)["status"] in (UNREACHABLE, UNKNOWN), "an unknown peer was believed")
    for without in ({"ca": tls.ca}, {}):
        is_(Asker(world, etcd, **without).read(), UNREACHABLE)
    is_(Asker(world, f"http://{etcd.address}:{etcd.port}").read(), UNREACHABLE)
    is_(asker.read(), OK, number=1, mark=1)
    asker.end()


# ---- what stands between


@test
def endpoints_are_tried_in_turn(world):
    etcd = Etcd(world).start()
    gate, mute = Gate(world, etcd), Mute(world)
    gate.stop()
    asker = Asker(world, gate, etcd)
    is_(asker.change(0, 1), OK)
    asker.logged("not everywhere", gate.url)
    only = Asker(world, gate)
    is_(only.read(), UNREACHABLE)
    is_(only.change(1, 2), UNREACHABLE)
    only.logged("etcd cannot be had", gate.url)
    gate.start()
    is_(only.change(1, 2), OK, number=2)
    gate.stop()
    is_(only.read(), UNREACHABLE)
    # One that says nothing leaves time for the others, and is not asked first again.
    asker = Asker(world, mute, etcd)
    is_(asker.change(2, 3, timeout_ms=10000), OK, number=3)
    at = time.monotonic()
    is_(asker.change(3, 4, timeout_ms=10000), OK, number=4)
    check(time.monotonic() - at < 4 * PATIENCE, "the mute one is asked first again, which takes half of the time that there is")
    hung = Asker(world, mute)
    not_had(hung.change(4, 5, timeout_ms=300))  # its read was sent, the change was not


@test
def an_answer_that_is_lost_is_settled(world):
    etcd = Etcd(world).start()
    gate = Gate(world, etcd)
    asker = Asker(world, gate)
    is_(asker.change(0, 1), OK)
    for loss in ("lose", "drop"):
        number = asker.read()["number"]
        lost = []

        def once(kind, _body, loss=loss, lost=lost):
            if kind == "txn" and not lost:
                lost.append(kind)
                return loss
            return "pass"

        gate.rule = once
        is_(asker.change(number, number + 10), OK, number=number + 1, mark=number + 10)
        check(lost, "nothing was lost")
        is_(asker.read(), OK, number=number + 1, mark=number + 10)
    # By another endpoint as well.
    both = Asker(world, gate, etcd)
    gate.rule = lambda kind, _body: "lose" if kind == "txn" else "pass"
    is_(both.change(3, 33), OK, number=4, mark=33)
    asker.end()
    both.end()


@test
def what_may_stand_is_unknown(world):
    """The transaction stood, and nothing more can be had."""
    etcd = Etcd(world).start()
    gate = Gate(world, etcd)
    asker = Asker(world, gate)
    is_(asker.change(0, 1), OK)
    for after in ("drop", ("answer", 503, b'{"error":"x","code":14,"message":"etcdserver: request timed out"}'),
                  ("say", b""), ("answer", 200, b"{}")):
        number = asker.read()["number"]
        stood = []

        def rule(kind, _body, after=after, stood=stood):
            if kind == "txn" and not stood:
                stood.append(kind)
                return "lose"
            return after if stood else "pass"

        gate.rule = rule
        is_(asker.change(number, 50 + number, timeout_ms=2000), UNKNOWN)
        gate.rule = lambda kind, body: "pass"
        is_(asker.read(), OK, number=number + 1, mark=50 + number)
    # Refused for certain is not unknown.
    gate.rule = lambda kind, _body: "pass" if kind == "range" else (
        "answer", 403, b'{"error":"no","code":7,"message":"etcdserver: permission denied"}')
    is_(asker.change(5, 60), UNREACHABLE)
    gate.rule = lambda kind, _body: "pass" if kind == "range" else (
        "answer", 503, b'{"error":"no","code":14,"message":"etcdserver: leader changed"}')
    is_(asker.change(5, 60, timeout_ms=2000), UNKNOWN)
    # One that is still on its way is not passed on.
    gate.rule = lambda kind, _body: "pass" if kind == "range" else "drop"
    is_(asker.read(), OK, number=5)
    asker.end()


@test
def what_comes_late_finds_another_record(world):
    etcd = Etcd(world).start()
    gate, late = Gate(world, etcd), threading.Event()
    asker, other = Asker(world, gate), Asker(world, etcd)
    is_(asker.change(0, 1), OK)
    gate.rule = lambda kind, _body: ("hold", late) if kind == "txn" else "pass"
    is_(asker.change(1, 2, timeout_ms=2000), UNKNOWN)
    is_(other.change(1, 3, owner="beta"), OK, number=2)
    late.set()
    wait_for(lambda: gate.seen["txn done"] > 1, "the late transaction to arrive")
    is_(other.read(), OK, number=2, owner="beta", mark=3)
    # And two of the same asker: at most one stands.
    late.clear()
    done = gate.seen["txn done"]
    is_(asker.change(2, 4, timeout_ms=2000), UNKNOWN)
    gate.rule = lambda kind, _body: "pass"
    is_(asker.change(2, 5), OK, number=3, mark=5)
    late.set()
    wait_for(lambda: gate.seen["txn done"] > done + 1, "the late transaction to arrive")
    is_(asker.read(), OK, number=3, mark=5)
    asker.end()


@test
def what_was_not_sent_in_time_is_never_sent(world):
    etcd = Etcd(world).start()
    gate, late = Gate(world, etcd), threading.Event()
    asker = Asker(world, gate)
    is_(asker.change(0, 1), OK)
    sent = gate.seen["txn"]
    gate.rule = lambda kind, _body: ("hold", late) if kind == "range" else "pass"
    not_had(asker.change(1, 2, timeout_ms=300))
    not_had(asker.read(timeout_ms=300))
    late.set()
    is_(asker.read(), OK, number=1)
    check(gate.seen["txn"] == sent, "it was sent after it had been given up")
    asker.end()


def garbage():
    header = b'"header":{"cluster_id":"1","member_id":"2","revision":"3","raft_term":"4"}'
    key, other = key64().encode(), base64.b64encode(b"other")
    entry = b'{"key":"%s","create_revision":"1","mod_revision":"2","version":"1","value":"%s"}'
    bodies = [b"", b"{}", b"[]", b"null", b"7", b'"x"', b"{", b"}", b"<html>", b"\0" * 100, b"\xff" * 300, b"[" * 5000,
              b'{"a":' * 3000, b"x" * 300000, b"{" + header + b" " * 300000 + b"}", b'{"header":{}}', b'{"header":7}', b"{" + header, b"{" + header + b"}}",
              b"{" + header + b'}{"x":1}',
              b"{" + header + b',"kvs":7}', b"{" + header + b',"kvs":[]}', b"{" + header + b',"kvs":[7],"count":"1"}',
              b"{" + header + b',"count":"1"}', b"{" + header + b',"kvs":[{}],"count":"1"}',
              b"{" + header + b',"kvs":[' + entry % (other, other) + b'],"count":"1"}',
              b"{" + header + b',"kvs":[' + entry % (key, b"!!!!") + b'],"count":"1"}',
              b"{" + header + b',"kvs":[' + entry % (key, b"QUJD") + b'],"count":"1"}',
              b"{" + header + b',"kvs":[' + entry % (key, b"QUJD" * 9000) + b'],"count":"1"}',
              b"{" + header + b',"kvs":[' + entry % (key, key) + b"," + entry % (key, key) + b'],"count":"2"}',
              b"{" + header + b',"succeeded":"true"}', b"{" + header + b',"succeeded":true}',
              b"{" + header + b',"responses":[]}', b"{" + header + b',"responses":[{"response_range":{}}]}']
    rules = [("answer", 200, body) for body in bodies]
    rules += [("say", text) for text in (b"", b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"SSH-2.0-x\r\n",
                                         b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"header\"",
                                         b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n{}",
                                         b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                                         b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
                                         b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 60000)]
    rules += [("answer", code, body) for code in (400, 404, 500, 503) for body in (b"", b"{}", b"not found")]
    return rules


@test
def garbage_is_no_answer(world):
    etcd = Etcd(world).start()
    gate = Gate(world, etcd)
    asker = Asker(world, gate)
    is_(asker.change(0, 1), OK)
    wrong = []
    for rule in garbage():
        gate.rule = lambda kind, body, rule=rule: rule
        # An empty answer of etcd with its header says that there is no record; none of these does.
        answer = asker.read(timeout_ms=400)
        if answer["status"] not in (UNREACHABLE, TIMEOUT):
            wrong.append(("read", rule, answer))
        gate.rule = lambda kind, body, rule=rule: rule if kind == "txn" else "pass"
        answer = asker.change(1, 2, timeout_ms=60)
        if answer["status"] not in (UNKNOWN, TIMEOUT):
            wrong.append(("change", rule, answer))
    check(not wrong, f"{wrong}"[:2000])
    # A change that is still on its way is not passed on.
    gate.rule = lambda kind, body: "pass" if kind == "range" else "drop"
    is_(asker.read(), OK, number=1, mark=1)
    asker.end()


@test
def garbage_for_a_login_is_none(world):
    gate = Gate(world)
    password = make_key(world.dir / "password", b"secret")
    asker = Asker(world, gate, user="carrick", password_file=password)
    header = b'{"header":{"cluster_id":"1","member_id":"2","revision":"3"}'
    for body in (b"{}", b'{"token":"x"}', header + b',"token":""}', header + b',"token":"a\\r\\nX: y"}',
                 header + b',"token":"' + b"x" * 5000 + b'"}', header + b',"token":7}'):
        gate.rule = lambda kind, _body, body=body: ("answer", 200, body)
        is_(asker.read(timeout_ms=5000), UNREACHABLE)
    check(gate.seen["range"] == 0, "it was asked without a token")
    asker.end()


@test
def etcd_is_looked_at_before_it_is_needed(world):
    etcd = Etcd(world).start()
    gate = Gate(world, etcd)
    asker = Asker(world, gate, probe_s=1)
    wait_for(lambda: gate.seen["range done"] >= 1, "a look")
    gate.rule = lambda kind, body: ("answer", 503, b"")
    refused = gate.seen["range"]
    wait_for(lambda: gate.seen["range"] > refused, "a look that fails")
    gate.rule = lambda kind, body: "pass"
    done = gate.seen["range done"]
    wait_for(lambda: gate.seen["range done"] > done, "a look that does not")
    is_(asker.read(), OK)
    asker.logged("etcd cannot be had", "etcd answers again")
    asker.end()


@test
def mistakes_in_the_section_are_told(world):
    password = make_key(world.dir / "password", b"secret")
    open_file = make_key(world.dir / "open", b"secret")
    open_file.chmod(0o640)
    good = {"endpoints": ["http://127.0.0.1:2379"], "prefix": PREFIX}
    for change, pointer, word in (
        ({"endpoints": []}, "/endpoints", "1 to 8"),
        ({"endpoints": "http://127.0.0.1:2379"}, "/endpoints", "list"),
        ({"endpoints": ["127.0.0.1:2379"]}, "/endpoints/0", "http://HOST:PORT"),
        ({"endpoints": ["http://127.0.0.1"]}, "/endpoints/0", "http://HOST:PORT"),
        ({"endpoints": ["http://127.0.0.1:2379/v3"]}, "/endpoints/0", "without a path"),
        ({"endpoints": ["http://x@127.0.0.1:2379"]}, "/endpoints/0", "http://HOST:PORT"),
        ({"endpoints": ["http://127.0.0.1:2379", "ftp://127.0.0.1:2379"]}, "/endpoints/1", "http://HOST:PORT"),
        ({"endpoints": ["http://127.0.0.1:2379"] * 2}, "/endpoints/1", "twice"),
        ({"prefix": "carrick"}, "/prefix", "begins with /"),
        ({"prefix": "/carrick/"}, "/prefix", "does not end"),
        ({"ca": "ca.pem"}, "/ca", "absolute"),
        ({"ca": "/ca.pem"}, "/endpoints/0", "https"),
        ({"endpoints": ["https://127.0.0.1:2379"], "cert": "/cert.pem"}, "/cert", "together"),
        ({"endpoints": ["https://127.0.0.1:2379"], "ca": "/no/such.pem"}, "/ca", "cannot be read"),
        ({"endpoints": ["https://127.0.0.1:2379"], "cert": str(password), "key": str(open_file)}, "/key", "0600"),
        ({"user": "carrick"}, "/user", "together"),
        ({"user": "carrick", "password_file": str(open_file)}, "/password_file", "0600"),
        ({"user": "carrick", "password_file": str(world.dir)}, "/password_file", "regular"),
        ({"probe_s": 0}, "/probe_s", "1 to"),
        ({"lease": 7}, "/lease", "endpoints, prefix"),
    ):
        section = {**good, **change}
        error = Asker(world, *section.pop("endpoints"), **section).error if isinstance(section["endpoints"], list) else \
            Asker(world, **section).error
        check(error and error["pointer"] == pointer and word in error["text"], f"{change}: {error}")


if __name__ == "__main__":
    main()
