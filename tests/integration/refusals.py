#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who may not join is refused, with the same reason on both nodes, and comes in once it is mended."""
import json
import secrets

from lib import check, loopback_link, main, make_key, manager, test, wait_for


def two(world, change):
    """alpha as it should be, and beta with a change; both running."""
    links = [loopback_link("left"), loopback_link("right")]
    alpha = world.node("alpha", world.config([manager(links=links)]))
    beta = world.node("beta", world.config([manager(links=links)]))
    change(beta.config)
    beta.write_config()
    return alpha.start(), beta.start()


def refused_on_both(alpha, beta, reason):
    sides = {alpha.wait_refused(reason)["by"], beta.wait_refused(reason)["by"]}
    check(sides <= {"local", "partner"}, f"who refuses: {sides}")
    for node in (alpha, beta):
        refusal = node.session()["refused"]
        check(refusal is None or refusal["text"], f"{node.name} gives no text: {refusal}")
        check(not node.up(), f"{node.name} is up in spite of it")
        code, out = node.cli_code("status")
        check(code == 1 and out.startswith("DOWN"), f"{node.name}: {out}")
        # The first line names the reason: that is what an operator sees first.
        wait_for(lambda node=node: reason in node.cli_code("status")[1].splitlines()[0], f"{reason} in the first line")
        wait_for(lambda node=node: reason in node.log(), f"{reason} in {node.name}'s log")


def no_data_was_exchanged(node):
    for link in node.manager_status()["links"]:
        check(link["state"] != "up", f"{node.name}: link {link['name']} is up")


@test
def another_cluster(world):
    alpha, beta = two(world, lambda config: config.update(cluster="store2"))
    refused_on_both(alpha, beta, "cluster")


@test
def another_configuration(world):
    def change(config):
        config["managers"][0]["clients"] = [{"name": "echo", "plugin": "echo"}]

    alpha, beta = two(world, change)
    refused_on_both(alpha, beta, "configuration")


@test
def a_wrong_key(world):
    other = make_key(world.dir / "other-key")
    alpha, beta = two(world, lambda config: config.update(key_file=str(other)))
    refused_on_both(alpha, beta, "authentication")
    no_data_was_exchanged(alpha)
    no_data_was_exchanged(beta)
    # Mended and started again, it is taken at once.
    beta.stop()
    beta.config["key_file"] = str(world.key)
    beta.write_config()
    beta.start().wait_up()
    alpha.wait_up()
    check(alpha.session()["refused"] is None, "the refusal is shown after it is over")


@test
def a_key_that_differs_in_its_last_bit(world):
    key = bytearray(secrets.token_bytes(64))
    key[-1] = 0x80
    make_key(world.key, bytes(key))
    key[-1] ^= 1
    other = make_key(world.dir / "other-key", bytes(key))
    alpha, beta = two(world, lambda config: config.update(key_file=str(other)))
    refused_on_both(alpha, beta, "authentication")


def does_not_start(node, *words):
    node.start(follow=False, wait=False)
    code = node.wait_exit()
    check(code not in (0, None) and code > 0, f"{node.name} ended with {code}")
    for word in words:
        check(word in node.log(), f"the log does not say '{word}':\n{node.log_tail()}")


@test
def a_missing_key(world):
    node = world.node("alpha", world.config(key_file=str(world.dir / "no-such-key")))
    does_not_start(node, "no-such-key")


@test
def a_key_that_others_can_read(world):
    world.key.chmod(0o644)
    node = world.node("alpha", world.config())
    does_not_start(node, str(world.key), "chmod")


@test
def a_key_that_is_too_short(world):
    make_key(world.key, b"secret")
    node = world.node("alpha", world.config())
    does_not_start(node, str(world.key), "32")


@test
def a_node_that_is_not_of_the_pair(world):
    node = world.node("alpha", world.config())
    node.name = "gamma"
    does_not_start(node, "gamma", "alpha", "beta")


@test
def nodes_whose_names_are_crossed(world):
    """Both machines were given the same name: each meets itself."""
    links = [loopback_link("left")]
    crossed = json.loads(json.dumps(links))
    sections = crossed[0]["nodes"]
    sections["alpha"], sections["beta"] = sections["beta"], sections["alpha"]
    alpha = world.node("alpha", world.config([manager(links=links)]))
    second = world.node("alpha2", world.config([manager(links=crossed)], control={"socket": str(world.dir / "alpha2.sock")}))
    second.name = "alpha"
    alpha.start()
    second.start(follow=False)
    alpha.wait_refused("node")
    second.wait_refused("node")


@test
def managers_of_other_names_do_not_meet(world):
    links = [loopback_link("left")]
    alpha = world.node("alpha", world.config([manager("one", links=links)]))
    beta = world.node("beta", world.config([manager("two", links=links)]))
    alpha.start()
    beta.start()

    def refused():
        reasons = [node.session()["refused"] for node in (alpha, beta)]
        return all(reasons) and all(r["reason"] in ("node", "configuration") for r in reasons)

    wait_for(refused, "both to refuse")


def what_a_client_needs_in_common(world, **client):
    group = {"name": "g1", "home": "alpha", "log_bytes": 4 << 20, "backing": "memory"}
    links = [loopback_link("left")]
    sections = [manager(links=links, clients=[
        {"name": "log", "plugin": "nvram_shadow", "config": {"groups": [dict(group, home=home)]}, **client}])
        for home in ("alpha", "beta")]
    alpha, beta = (world.node(name, world.config([section])) for name, section in zip(("alpha", "beta"), sections))
    alpha.start()
    beta.start()
    refused_on_both(alpha, beta, "configuration")
    for node in (alpha, beta):
        first = node.cli_code("status")[1].splitlines()[0]
        for word in ("client log, group g1", 'alpha has "home alpha', 'beta has "home beta'):
            check(word in first, f"{node.name} does not say '{word}': {first}")
    beta.stop()
    beta.config["managers"] = [sections[0]]
    beta.write_config()
    beta.start().wait_up()
    alpha.wait_up()


@test
def groups_with_another_home_on_each_node(world):
    what_a_client_needs_in_common(world)


@test
def the_same_in_a_process_of_its_own(world):
    what_a_client_needs_in_common(world, isolation="process")


if __name__ == "__main__":
    main()
