"""The plugins of a process: where they come from, whether they work, what they answer."""

from __future__ import annotations

import difflib
import functools
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from qformat.errors import PluginError
from qformat.plugins import guard
from qformat.plugins.hooks import API_VERSION, GROUP, OLDEST_API_VERSION, Hooks

FILES = "QFORMAT_PLUGINS"
STRICT = "QFORMAT_STRICT_PLUGINS"
OURS = "qformat"  # the distribution whose plugins are loaded first and without a time limit


@dataclass
class PluginInfo:
    """One plugin: where it came from, what it gave, or why it did not load.

    ``origin`` is the module or the file. ``shadowed`` says what of it another plugin hides.
    """

    name: str
    distribution: str
    version: str
    origin: str
    named: bool = False  # by the user, as a file
    hooks: list[str] = field(default_factory=list)
    schemes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    error: str | None = None
    trace: str | None = None
    shadowed: str | None = None

    @property
    def state(self) -> str:
        if self.error is not None:
            return "BROKEN"
        return "SHADOWED" if self.shadowed is not None else "OK"

    @property
    def ours(self) -> bool:
        return self.distribution == OURS

    @property
    def label(self) -> str:
        """How an error names it."""
        return self.origin if self.named else f"{self.name} of {self.distribution} {self.version}"


class Host:
    """Loads the installed plugins, or only those given, and those of ``files``; asks them through the hooks.

    Raises
    ------
    PluginError
        If a file that was named does not work; under ``QFORMAT_STRICT_PLUGINS=1`` if any does not.
    """

    def __init__(self, files: tuple[Path, ...] = (), installed: Iterable[EntryPoint] | None = None) -> None:
        self.plugins: list[PluginInfo] = []
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(Hooks)
        self._modules: list[tuple[PluginInfo, Any]] = []
        self._late: list[tuple[PluginInfo, guard.Attempt]] = []
        for entry in _installed() if installed is None else installed:
            info = _entry_info(entry)
            self._load(info, entry.load, None if info.ours else guard.patience())
        for file in files:
            info = PluginInfo(file.stem, file.name, "0", str(file), named=True)
            self._load(info, functools.partial(load_file, file), None)

    def _load(self, info: PluginInfo, load: Callable[[], Any], limit: float | None) -> None:
        self.plugins.append(info)
        start = time.perf_counter()
        attempt = guard.Attempt(load, limit)
        info.seconds = time.perf_counter() - start
        if not attempt.done:
            self._late.append((info, attempt))
        self._settle(info, attempt)

    def _settle(self, info: PluginInfo, attempt: guard.Attempt) -> None:
        module, failure = attempt.outcome()
        if failure is None:
            attempt = guard.Attempt(functools.partial(self._register, info, module), None)
            failure = attempt.outcome()[1]
        if failure is not None:
            self.broke(info, failure)

    def _register(self, info: PluginInfo, module: Any) -> None:
        _check_version(module)
        for other, known in self._modules:
            if known is module or (info.named and other.origin == info.origin):
                info.shadowed = f"it is loaded already, as {other.label}"
                return
        self._manager.register(module, name=f"{len(self._modules)} {info.label}")
        callers = self._manager.get_hookcallers(module) or []
        for caller in callers:
            if not caller.has_spec():
                self._manager.unregister(module)
                near = difflib.get_close_matches(caller.name, [n for n in vars(Hooks) if "_" in n], 1)
                raise PluginError(
                    f"there is no hook {caller.name!r}" + (f"; is it {near[0]}?" if near else "")
                )
        if not callers:
            self._manager.unregister(module)
            raise PluginError("it has no function that is marked @hookimpl, so it gives nothing")
        info.hooks = [caller.name for caller in callers]
        if info.named:
            info.version = str(getattr(module, "__version__", info.version))
        self._modules.append((info, module))

    def broke(self, info: PluginInfo, failure: guard.Failure) -> None:
        """Note that a plugin does not work, which is an error if it was named, or in strict mode."""
        info.error, info.trace = failure.error, failure.trace
        self._modules = [(other, module) for other, module in self._modules if other is not info]
        if info.named:
            raise PluginError(
                f"plugin {info.origin} could not be loaded: {info.error}",
                hint=f"it was named explicitly, or in {FILES}",
            )
        if strict():
            raise PluginError(
                f"plugin {info.label} could not be loaded: {info.error}",
                hint=f"{STRICT} is set: unset it to go on without the plugin",
            )

    def shadow(self, info: PluginInfo, what: str) -> None:
        """Note that another plugin hides something of this one, which is an error as above."""
        info.shadowed = what
        if info.named or strict():
            raise PluginError(f"plugin {info.label}: {what}", hint="rename it in one of them, or remove one")

    def ask(self, hook: str, check: Callable[[Any], None]) -> Iterator[tuple[PluginInfo, Any]]:
        """All that the plugins answer to a hook, each with its plugin.

        ``check`` raises for what is not an answer; its plugin is then BROKEN and gives nothing.
        """
        for info, module in list(self._modules):
            if hook not in info.hooks:
                continue
            others = [other for _, other in self._modules if other is not module]
            call = functools.partial(_answers, self._manager.subset_hook_caller(hook, others), check)
            start = time.perf_counter()
            found, failure = guard.Attempt(
                call, None if info.ours or info.named else guard.patience()
            ).outcome()
            info.seconds += time.perf_counter() - start
            if failure is not None:
                self.broke(info, failure)
                continue
            for item in found:
                yield info, item

    def wait(self) -> bool:
        """Give the plugins that are still loading more time; whether one of them came."""
        came = False
        waiting, self._late = self._late, []
        for info, attempt in waiting:
            if not attempt.wait(guard.MORE_PATIENCE):
                self._late.append((info, attempt))
                continue
            info.error = info.trace = None
            self._settle(info, attempt)
            came = True
        return came

    def broken(self) -> list[PluginInfo]:
        """The plugins that did not load."""
        return [p for p in self.plugins if p.error is not None]


def strict() -> bool:
    """Whether every plugin has to work."""
    return os.environ.get(STRICT, "") not in ("", "0")


def _answers(call: Callable[[], Any], check: Callable[[Any], None]) -> list[Any]:
    items: list[Any] = []
    for group in call() or [None]:  # pluggy leaves out what is None
        if isinstance(group, type) or not isinstance(group, Iterable):
            raise PluginError(f"a hook gave {group!r}, not a list: `return [YourOwn]`")
        items += group
    for item in items:
        check(item)
    return items


def _check_version(module: Any) -> None:
    needed = getattr(module, "QFORMAT_API", API_VERSION)
    if not isinstance(needed, int):
        raise PluginError(f"its QFORMAT_API must be an integer, such as {API_VERSION}")
    if needed > API_VERSION:
        raise PluginError(
            f"it needs version {needed} of the plugin API and this qformat has {API_VERSION}; "
            "install a newer qformat"
        )
    if needed < OLDEST_API_VERSION:
        raise PluginError(
            f"it was written for version {needed} of the plugin API and the oldest that works is "
            f"{OLDEST_API_VERSION}; install a newer version of the plugin"
        )


def _installed() -> list[EntryPoint]:
    """The entry points, our own first, so that nobody can take a built-in name."""
    found = [(_entry_info(entry), entry) for entry in entry_points(group=GROUP)]
    return [
        entry for info, entry in sorted(found, key=lambda f: (not f[0].ours, f[0].distribution, f[0].name))
    ]


def _entry_info(entry: EntryPoint) -> PluginInfo:
    if entry.dist is None:
        return PluginInfo(entry.name, entry.value, "0", entry.value)
    return PluginInfo(entry.name, entry.dist.name, entry.dist.version, entry.value)


def load_file(file: Path) -> ModuleType:
    """Import a Python file as a module of its own."""
    if not file.is_file():
        raise FileNotFoundError(f"no such file: {file}")
    name = f"qformat_plugin_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


_files: tuple[Path, ...] = ()


def use_files(files: tuple[Path, ...]) -> None:
    """Also load these single-file plugins; call it before anything is asked of plugins."""
    global _files  # noqa: PLW0603  one host per process, told once by the command line
    if files != _files:
        _files = files
        host.cache_clear()


def named_files() -> tuple[Path, ...]:
    """The single-file plugins that the user named, by option or environment."""
    return (*_files, *(Path(p) for p in os.environ.get(FILES, "").split(os.pathsep) if p))


@functools.cache
def host() -> Host:
    """The plugins of this process; they load at the first call."""
    return Host(named_files())
