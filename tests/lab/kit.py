# SPDX-License-Identifier: Apache-2.0
"""What the guests boot from: the distribution's kernel, its modules, siw built for it, a small initramfs.

All of it comes through the package manager, is unpacked and never installed, and lies in a cache outside the tree,
in a directory named after the kernel's version: it is made once, whoever runs labs at the same time.
"""
import contextlib
import fcntl
import lzma
import os
import pathlib
import re
import shutil
import struct
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(
    os.environ.get("LAB_CACHE")
    or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "carrick-lab")
FORM = 1  # to be raised when what lies in the cache changes

COMMANDS = ("qemu-system-x86_64", "modprobe", "depmod", "rdma", "ip", "cpio", "xz", "gcc", "make")
# As much of the kernel's modules as the lab could want: the whole is five times as large.
MODULES = ("kernel/arch/x86/crypto", "kernel/crypto", "kernel/lib", "kernel/net", "kernel/fs", "kernel/drivers/block",
           "kernel/drivers/char", "kernel/drivers/infiniband", "kernel/drivers/md", "kernel/drivers/net/*.ko*",
           "kernel/drivers/nvdimm", "kernel/drivers/nvme", "kernel/drivers/virtio", "kernel/drivers/watchdog",
           "kernel/drivers/scsi/virtio_scsi.ko*", "modules.*")
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
FIRST_MODULES = ("virtio_pci", "virtio_console", "9p", "9pnet_virtio")


class Missing(Exception):
    """The lab cannot run here, where its kernel is not to be had; the text says why."""


class Broken(Exception):
    """It could run here, but what it boots from was not made."""


def call(*command, otherwise=Broken, **options):
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, **options)
    if done.returncode != 0:
        raise otherwise(f"'{' '.join(map(str, command))}' ended with {done.returncode}:\n{done.stdout.strip()}")
    return done.stdout


def need_commands():
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [name for name in COMMANDS if not shutil.which(name, path=path)]
    if missing:
        raise Missing(f"needs the commands {' '.join(missing)} (scripts/deps lab)")
    if not shutil.which("apt-get"):
        raise Missing("fetches its kernel with apt-get, which is not here")


def kernel_release(apt=()):
    """What linux-image-amd64 depends on now: 6.1.0-NN-amd64. apt: options for the package manager, here and below."""
    found = re.search(r"Depends: linux-image-(\S+-amd64)\s",
                      call("apt-cache", *apt, "depends", "linux-image-amd64", otherwise=Missing))
    if not found:
        raise Missing("the package manager knows no linux-image-amd64")
    return found.group(1)


def candidate(package, apt=()):
    found = re.search(r"Candidate: (\S+)", call("apt-cache", *apt, "policy", package, otherwise=Missing))
    if not found or found.group(1) == "(none)":
        raise Missing(f"the package manager knows no {package}")
    return found.group(1)


def tar_from(deb, target, *patterns):
    """Unpacks those members of a package alone."""
    target.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as source:
        subprocess.run(["tar", "-x", "-C", target, "--wildcards", *patterns], stdin=source.stdout, check=True)


def build_siw(work, release):
    """The module is built outside of the kernel's tree, with the headers of the package."""
    headers = work / "usr/src" / f"linux-headers-{release}"
    makefile = headers / "Makefile"
    makefile.write_text(makefile.read_text().replace("/usr/src", str(work / "usr/src")))
    tree = "drivers/infiniband/sw/siw"
    source = next((work / "usr/src").glob("linux-source-*.tar.xz"))
    call("tar", "-xJf", source, "-C", work, "--strip-components", "1",
         source.name.removesuffix(".tar.xz") + "/" + tree)
    compiler = shutil.which("gcc-12") or shutil.which("gcc")
    call("make", "-C", headers, f"M={work / tree}", "CONFIG_RDMA_SIW=m", f"CC={compiler}", "modules")
    return work / tree / "siw.ko"


def fetch(work, packages, apt=()):
    """Their files, by name of the package. A package may be said as NAME=VERSION."""
    print(f"lab: fetching {' '.join(packages)}", flush=True)
    call("apt-get", *apt, "-o", "APT::Sandbox::User=root", "download", *packages, cwd=work, otherwise=Missing)
    names = [package.partition("=")[0] for package in packages]
    return {name: next(work.glob(f"{name}_*.deb")) for name in names}


def make_kit(kit, release, version, apt=(), siw=True):
    base = release.rsplit("-", 1)[0]
    series = ".".join(release.split(".")[:2])
    image, source = f"linux-image-{release}", f"linux-source-{series}"
    headers = [f"linux-headers-{release}", f"linux-headers-{base}-common", f"linux-kbuild-{series}"]
    with tempfile.TemporaryDirectory(prefix="making-", dir=kit.parent) as name:
        work = pathlib.Path(name)
        debs = fetch(work, ["busybox-static"])
        debs |= fetch(work, [f"{package}={version}" for package in [image] + ([*headers, source] if siw else [])], apt)
        root = work / "kit/root"
        tar_from(debs[image], work / "kit", "./boot/vmlinuz-*",
                 *(f"./lib/modules/{release}/{pattern}" for pattern in MODULES))
        root.mkdir()
        (work / "kit/lib").rename(root / "lib")
        unpack_kernel(next((work / "kit/boot").iterdir()), work / "kit/vmlinux")
        shutil.rmtree(work / "kit/boot")
        packed = list(root.rglob("*.ko.xz"))
        if packed:
            call("xz", "-d", *packed)
        tar_from(debs["busybox-static"], work, "./bin/busybox")
        shutil.move(work / "bin/busybox", work / "kit/busybox")
        if siw:
            print("lab: building siw", flush=True)
            for package in headers:
                call("dpkg-deb", "-x", debs[package], work)
            tar_from(debs[source], work, "./usr/src/linux-source-*.tar.xz")
            extra = root / "lib/modules" / release / "extra"
            extra.mkdir()
            shutil.copy(build_siw(work, release), extra)
        call("depmod", "-b", root, release, env=dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin"))
        make_base(work / "kit", release)
        (work / "kit").rename(kit)


def unpack_kernel(image, target):
    """QEMU starts the plain kernel as well; unpacking itself would take it most of the time of a boot."""
    data = image.read_bytes()
    setup_sectors = data[0x1F1] or 4
    offset, length = struct.unpack_from("<II", data, 0x248)  # of the payload, behind the real-mode part
    start = (setup_sectors + 1) * 512 + offset
    payload = data[start:start + length - 4]  # its unpacked size follows
    if not payload.startswith(ZSTD_MAGIC):
        target.write_bytes(lzma.LZMADecompressor().decompress(payload))
    elif shutil.which("zstd"):
        target.write_bytes(subprocess.run(["zstd", "-d", "--long=31"], input=payload, stdout=subprocess.PIPE,
                                          check=True).stdout)
    else:
        shutil.copy(image, target)


def first_modules(root, release):
    """Paths of the first modules below lib/modules/RELEASE, in the order in which they must be loaded."""
    directory = root / "lib/modules" / release
    needs, paths = {}, {}
    for line in (directory / "modules.dep").read_text().splitlines():
        path, _, after = line.partition(":")
        needs[path] = after.split()
        paths[pathlib.Path(path).stem] = path
    soft = {}
    for line in (directory / "modules.softdep").read_text().splitlines():
        words = line.split()
        if len(words) > 3 and words[0] == "softdep":
            soft[words[1]] = [word for word in words[3:] if word in paths]
    order = []

    def add(path):
        for name in soft.get(pathlib.Path(path).stem, []):
            if paths[name] not in order and paths[name] != path:
                add(paths[name])
        for other in reversed(needs[path]):
            if other not in order:
                add(other)
        if path not in order:
            order.append(path)

    built_in = {pathlib.Path(line).stem for line in (directory / "modules.builtin").read_text().splitlines()}
    for name in FIRST_MODULES:
        if name not in built_in:
            add(paths[name])
    return order


def pack(directory, target):
    names = subprocess.run(["find", ".", "-mindepth", "1"], cwd=directory, stdout=subprocess.PIPE, check=True).stdout
    with open(target, "wb") as out:
        subprocess.run(["cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet"], cwd=directory, input=names, stdout=out,
                       check=True)


def make_base(kit, release):
    """The part of the initramfs that stays: busybox and the modules that reach the host's files."""
    with tempfile.TemporaryDirectory(dir=kit) as name:
        root = pathlib.Path(name)
        (root / "busybox").mkdir()
        (root / "modules").mkdir()
        shutil.copy(kit / "busybox", root / "busybox/busybox")
        order = first_modules(kit / "root", release)
        for path in order:
            shutil.copy(kit / "root/lib/modules" / release / path, root / "modules")
        (root / "first-modules").write_text("".join(pathlib.Path(path).name + "\n" for path in order))
        pack(root, kit / "base.cpio")


def make_initramfs(kit, target):
    """The base, and the scripts of the tree as they are now; not compressed, since unpacking is what costs."""
    with tempfile.TemporaryDirectory() as name:
        root = pathlib.Path(name)
        for script in (HERE / "guest").iterdir():
            shutil.copy(script, root / script.name)
            (root / script.name).chmod(0o755)
        pack(root, target.with_suffix(".part"))
        with open(target, "wb") as out:
            out.write((kit / "base.cpio").read_bytes())
            out.write(target.with_suffix(".part").read_bytes())
        target.with_suffix(".part").unlink()


@contextlib.contextmanager
def only_maker():
    """One maker at a time, whoever runs labs beside this one."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def kit_of(release, version, apt=(), siw=True):
    """The directory of that kernel's kit, made first if it is not there. For the only maker."""
    kit = CACHE / f"{release}_{version}_{FORM}{'' if siw else '-without-siw'}"
    if not kit.exists():
        for old in CACHE.glob("making-*"):
            shutil.rmtree(old, ignore_errors=True)
        make_kit(kit, release, version, apt, siw)
    return kit


def find_kit():
    """What the guests boot from, where a suite does not say otherwise."""
    need_commands()
    with only_maker():
        release = kernel_release()
        return kit_of(release, candidate(f"linux-image-{release}"))
