# SPDX-License-Identifier: Apache-2.0
"""A kit with a newer kernel, and a newer rdma-core built for this machine beside it: RDMA's own flush is in both.

The kernel is the distribution's own backport; rdma-core comes as the source of the next release of the distribution, since
that one's programs want its C library. Both are asked from where the machine's packages come from anyhow. The package
manager gets sources, lists and state of its own for this, all in the cache: those of the machine are not touched.
"""
import os
import pathlib
import re
import shutil
import subprocess
import time

import kit
from kit import Broken, Missing, call

RELEASE, BACKPORTS, NEXT = "bookworm", "bookworm-backports", "trixie"
LISTS_S = 24 * 3600  # they are fetched again after this
KEYS = pathlib.Path("/usr/share/keyrings/debian-archive-keyring.gpg")
COMMANDS = ("cmake", "pkg-config", "cc")
LIBRARIES = ("libnl-3.0", "libnl-route-3.0")
TARGETS = ("lib/libibverbs.so", "lib/librdmacm.so", "lib/librxe-rdmav34.so")


def need_tools():
    missing = [name for name in COMMANDS if not shutil.which(name)]
    missing += [name for name in LIBRARIES
                if subprocess.run(["pkg-config", "--exists", name], check=False).returncode != 0]
    if missing:
        raise Missing(f"needs {' '.join(missing)} to build rdma-core")


def archive():
    """Where this machine has its release from."""
    text = call("apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(CREATED_BY) $(REPO_URI)", otherwise=Missing)
    found = re.search(rf"^{RELEASE} main Packages (\S+)$", text, re.MULTILINE)
    if not found:
        raise Missing(f"fetches a newer kernel and rdma-core where the packages of {RELEASE} come from, and this machine has none")
    return found.group(1)


def apt_options():
    """Of a package manager that knows the backports and the next release's sources, and nothing of this machine."""
    place = kit.CACHE / "newer-apt"
    for name in ("lists/partial", "parts", "archives/partial"):
        (place / name).mkdir(parents=True, exist_ok=True)
    (place / "status").touch()
    signed = f"Signed-By: {KEYS}\n" if KEYS.exists() else ""
    where = f"URIs: {archive()}\nComponents: main\n{signed}"
    (place / "list.sources").write_text(f"Types: deb\nSuites: {BACKPORTS}\n{where}\nTypes: deb-src\nSuites: {NEXT}\n{where}")
    settings = {"Dir::Etc::SourceList": place / "list.sources", "Dir::Etc::SourceParts": place / "parts",
                "Dir::State": place, "Dir::State::Lists": place / "lists", "Dir::State::status": place / "status",
                "Dir::Cache": place, "APT::Sandbox::User": "root", "Acquire::Languages": "none"}
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    stamp = place / "updated"
    if not stamp.exists() or time.time() - stamp.stat().st_mtime > LISTS_S:
        call("apt-get", *options, "-o", "APT::Update::Error-Mode=any", "update", otherwise=Missing)
        stamp.touch()
    return options


def build_rdma_core(place, apt):
    """In place: its libraries find their drivers where they were built, and nowhere else."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    print("lab: fetching and building rdma-core", flush=True)
    # The archive alone: a mirror need not have the rest, and nothing of the packaging is used.
    call("apt-get", *apt, "source", "--download-only", "--tar-only", "rdma-core", cwd=place, otherwise=Missing)
    call("tar", "-xzf", next(place.glob("rdma-core_*.orig.tar.gz")), "--strip-components", "1", cwd=place)
    call("cmake", "-G", "Unix Makefiles", "-DIN_PLACE=1", "-DNO_MAN_PAGES=1", "-DNO_PYVERBS=1", "-DCMAKE_INSTALL_RUNDIR=/run",
         "-S", place, "-B", place / "build")
    call("make", "-s", "-C", place / "build", f"-j{os.cpu_count()}", "ibverbs", "rdmacm", "rxe-rdmav34")
    for name in TARGETS:
        if not (place / "build" / name).exists():
            raise Broken(f"rdma-core was built without {name}")
    # The drivers that were not built are not looked for.
    for driver in (place / "build/etc/libibverbs.d").iterdir():
        if driver.stem != "rxe":
            driver.unlink()
    (place / "made").touch()


def find_kit():
    """The directory of the kit; rdma-core/build in it has the libraries."""
    kit.need_commands()
    need_tools()
    with kit.only_maker():
        apt = apt_options()
        release = kit.kernel_release(apt)
        place = kit.kit_of(release, kit.candidate(f"linux-image-{release}", apt), apt, siw=False)
        if not (place / "rdma-core/made").exists():
            build_rdma_core(place / "rdma-core", apt)
        return place


def make_tree(top, build, place, *targets):
    """The tree as it is, built against that rdma-core into a directory of its own."""
    libraries = place / "rdma-core/build/lib"
    call("make", "-C", top, f"BUILD={build}", f"-j{os.cpu_count()}", *targets,
         env=dict(os.environ, MAKEFLAGS="", PKG_CONFIG_PATH=str(libraries / "pkgconfig")))
