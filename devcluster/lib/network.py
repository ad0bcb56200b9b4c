"""The bridge, its routes and masquerading; and taking all of it away, with what kube-proxy left."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from lib.paths import BRIDGE, BRIDGE_ADDRESS, POD_CIDR, SERVICE_CIDR
from lib.say import ClusterError

# How the machine was before. A reboot forgets it, as it forgets the changes.
BEFORE = Path("/run/dino-devcluster-before.json")
# What the kubelet, kube-proxy and this file set, and `down` sets back.
SYSCTLS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
# Chains of kube-proxy and the kubelet, of the CNI plug-in portmap, and of this file.
CHAIN_PREFIXES = ("KUBE-", "CNI-HOSTPORT-", "CNI-DN-", "DINO-")

RULES = f"""\
*nat
:DINO-POSTROUTING - [0:0]
-A DINO-POSTROUTING -s {POD_CIDR} ! -d {POD_CIDR} ! -o {BRIDGE} -j MASQUERADE
-I POSTROUTING 1 -j DINO-POSTROUTING
COMMIT
*filter
:DINO-FORWARD - [0:0]
-A DINO-FORWARD -i {BRIDGE} -j ACCEPT
-A DINO-FORWARD -o {BRIDGE} -j ACCEPT
-I FORWARD 1 -j DINO-FORWARD
COMMIT
"""


def up() -> None:
    """Make the bridge and its rules, after writing down how the machine was before."""
    remember()
    ip("link", "add", BRIDGE, "type", "bridge", unless="File exists")
    ip("address", "replace", f"{BRIDGE_ADDRESS}/16", "dev", BRIDGE)
    ip("link", "set", BRIDGE, "up")
    # With a route of their own, Services are reachable from a host without a default route too.
    ip("route", "replace", SERVICE_CIDR, "dev", BRIDGE, "src", BRIDGE_ADDRESS)
    write_sysctl("net/ipv4/ip_forward", "1")
    if "DINO-FORWARD" not in saved_rules("iptables"):
        restore("iptables", RULES)


def remember() -> None:
    """Write down, once per life of the cluster, the settings and chains to be kept at the end."""
    if BEFORE.exists():
        return
    chains = {family: sorted(_chains(saved_rules(family))) for family in families()}
    if any(name.startswith("KUBE-SERVICES") for names in chains.values() for name in names):
        raise ClusterError(
            "Another Kubernetes has its rules in this machine's iptables: end that one, or use "
            "it with CLUSTER=current."
        )
    settings = {name: read_sysctl(name) for name in SYSCTLS}
    unfinished = BEFORE.with_suffix(".new")
    unfinished.write_text(json.dumps({"chains": chains, "sysctls": settings}, indent=1))
    unfinished.rename(BEFORE)


def down() -> None:
    """Take away the rules, the interfaces and the settings; what was there before stays."""
    for name in ports_of_bridge():
        ip("link", "delete", name, unless="Cannot find device")
    ip("link", "delete", BRIDGE, unless="Cannot find device")
    if not BEFORE.exists():
        return
    before = json.loads(BEFORE.read_text())
    for family in families():
        undo = undoing(saved_rules(family), set(before["chains"].get(family, ())))
        if undo:
            restore(family, undo)
    for name, value in before["sysctls"].items():
        if value is not None and read_sysctl(name) != value:
            write_sysctl(name, value)
    BEFORE.unlink()


def undoing(saved: str, keep: set[str]) -> str:
    """The input of iptables-restore that removes our chains and every rule that jumps to them.

    `saved` is what iptables-save printed; chains named in `keep` were there before us.
    """
    output: list[str] = []
    for table, lines in _tables(saved):
        ours = {name for name in _chains("\n".join(lines)) if _is_ours(name) and name not in keep}
        if not ours:
            continue
        jumps = [line for line in lines if _jumps_from_elsewhere(line, ours)]
        output.append(table)
        output += [f":{name} - [0:0]" for name in sorted(ours)]  # which empties it
        output += ["-D" + line[2:] for line in jumps]
        output += [f"-X {name}" for name in sorted(ours)]
        output.append("COMMIT")
    return "\n".join(output) + "\n" if output else ""


def _tables(saved: str) -> Iterable[tuple[str, list[str]]]:
    table, lines = "", list[str]()
    for line in saved.splitlines():
        if line.startswith("*"):
            table, lines = line, []
        elif line == "COMMIT":
            yield table, lines
        else:
            lines.append(line)


def _chains(saved: str) -> set[str]:
    return {line[1:].split()[0] for line in saved.splitlines() if line.startswith(":")}


def _is_ours(chain: str) -> bool:
    return chain.startswith(CHAIN_PREFIXES)


def _jumps_from_elsewhere(rule: str, ours: set[str]) -> bool:
    """Whether a rule of a chain that stays leads to one that goes."""
    words = rule.split()
    if len(words) < 4 or words[0] != "-A" or words[1] in ours:
        return False
    targets = {words[i + 1] for i, word in enumerate(words[:-1]) if word in {"-j", "-g"}}
    return bool(targets & ours)


def families() -> list[str]:
    """The iptables programs there are: IPv4's, and IPv6's where the machine has it."""
    return [name for name in ("iptables", "ip6tables") if shutil.which(f"{name}-save")]


def saved_rules(family: str) -> str:
    """What <family>-save prints."""
    done = subprocess.run([f"{family}-save"], capture_output=True, text=True, check=False)
    return done.stdout


def restore(family: str, rules: str) -> None:
    """Apply rules in one transaction per table, keeping all others."""
    done = subprocess.run(
        [f"{family}-restore", "--noflush", "--wait", "600"],
        input=rules,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ClusterError(f"{family}-restore refused the cluster's rules: {done.stderr.strip()}")


def ports_of_bridge() -> list[str]:
    """The interfaces of pods that are plugged into the bridge."""
    folder = Path(f"/sys/class/net/{BRIDGE}/brif")
    return [path.name for path in folder.iterdir()] if folder.exists() else []


def ip(*arguments: str, unless: str | None = None) -> None:
    """Run ip(8). A failure that says `unless` is none: what was asked for is so already."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0 and not (unless and unless in done.stderr):
        raise ClusterError(f"`ip {' '.join(arguments)}` failed: {done.stderr.strip()}")


def read_sysctl(name: str) -> str | None:
    """A kernel setting, None where this kernel has none of that name."""
    path = Path("/proc/sys") / name
    return path.read_text().strip() if path.exists() else None


def write_sysctl(name: str, value: str) -> None:
    """Set a kernel setting."""
    try:
        (Path("/proc/sys") / name).write_text(value)
    except OSError as error:
        raise ClusterError(f"The kernel refused {name}={value}: {error.strerror}.") from error
