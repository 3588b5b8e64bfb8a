"""Finding plugins and their schemes; a broken plugin is a row in a table, not the end."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pluggy

from qformat.blocks.descriptor import Provider, SchemeRecord
from qformat.errors import PluginError, SchemeError
from qformat.schemes.hooks import GROUP, Hooks
from qformat.schemes.mixture import Mixture
from qformat.schemes.scheme import Scheme

ENVIRONMENT = "QFORMAT_PLUGINS"


@dataclass
class PluginInfo:
    """One plugin: where it came from, what it gave, or why it did not load."""

    name: str
    distribution: str
    version: str
    schemes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    error: str | None = None
    trace: str | None = None

    @property
    def state(self) -> str:
        return "OK" if self.error is None else "BROKEN"


@dataclass(frozen=True)
class _Owned:
    scheme: type[Scheme]
    plugin: PluginInfo


class Registry:
    """The plugins of this process and the schemes that they provide."""

    def __init__(self, files: tuple[Path, ...] = ()) -> None:
        self.plugins: list[PluginInfo] = []
        self._schemes: dict[str, _Owned] = {}
        self._mixtures: dict[str, Mixture] = {}
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(Hooks)
        for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name):
            self._try(_entry_info(entry), entry.load)
        for file in files:
            info = PluginInfo(file.stem, str(file), "-")
            self._try(info, functools.partial(_load_file, file))
            if info.error is not None:
                raise PluginError(
                    f"plugin {file} could not be loaded: {info.error}", hint="it was named explicitly"
                )

    def _try(self, info: PluginInfo, load: Any) -> None:
        start = time.perf_counter()
        try:
            # A plugin that prints must not spoil the data on stdout.
            with contextlib.redirect_stdout(sys.stderr):
                self._register(info, load())
        except (Exception, SystemExit) as error:  # noqa: BLE001  a plugin may raise anything
            info.error = f"{type(error).__name__}: {error}"
            info.trace = traceback.format_exc()
        info.seconds = time.perf_counter() - start
        self.plugins.append(info)

    def _register(self, info: PluginInfo, module: Any) -> None:
        self._manager.register(module, name=f"{info.distribution}:{info.name}")
        schemes = self._ask(module, "qformat_schemes")
        mixtures = self._ask(module, "qformat_mixtures")
        for scheme in schemes:
            _check(scheme)
            taken = self._schemes.get(scheme.id)
            if taken is not None:
                raise SchemeError(f"scheme {scheme.id!r} is already provided by {taken.plugin.distribution}")
        for mixture in mixtures:
            if not isinstance(mixture, Mixture) or mixture.id in self._mixtures:
                raise SchemeError(f"{mixture!r} is not a mixture, or its name is taken")
        for scheme in schemes:
            self._schemes[scheme.id] = _Owned(scheme, info)
            info.schemes.append(scheme.id)
        self._mixtures.update({m.id: m for m in mixtures})

    def _ask(self, module: Any, hook: str) -> list[Any]:
        """What one plugin alone answers to a hook."""
        others = [p for p in self._manager.get_plugins() if p is not module]
        return [item for group in self._manager.subset_hook_caller(hook, others)() for item in group]

    def broken(self) -> list[PluginInfo]:
        """The plugins that did not load."""
        return [p for p in self.plugins if p.error is not None]

    def schemes(self) -> Iterator[tuple[type[Scheme], PluginInfo]]:
        """All schemes with the plugin that gave each, by id."""
        for name in sorted(self._schemes):
            yield self._schemes[name].scheme, self._schemes[name].plugin

    def mixtures(self) -> Iterator[Mixture]:
        """All mixtures, by id."""
        for name in sorted(self._mixtures):
            yield self._mixtures[name]

    def mixture(self, name: str) -> Mixture | None:
        """The mixture of that name, if there is one."""
        return self._mixtures.get(name)

    def parse(self, spec: str) -> Scheme:
        """The scheme that ``id:option=value,…`` asks for.

        Raises
        ------
        SchemeError
            For an unknown scheme or option, naming the near misses.
        """
        name, _, rest = spec.partition(":")
        options: dict[str, int | float | str | bool] = {}
        for item in filter(None, rest.split(",")):
            key, equals, value = item.partition("=")
            if not equals or key in options:
                raise SchemeError(
                    f"{spec!r} is not a scheme", hint="write it as id:option=value,option=value"
                )
            options[key] = value
        return self._class(name).from_options(options)

    def _class(self, name: str) -> type[Scheme]:
        if name not in self._schemes:
            import difflib

            near = difflib.get_close_matches(name, self._schemes, 3)
            hint = f"did you mean {' or '.join(near)}?" if near else "`qformat schemes` lists what there is"
            if self.broken():
                hint += "; `qformat plugins` shows plugins that did not load"
            raise SchemeError(f"there is no scheme {name!r}", hint=hint)
        return self._schemes[name].scheme

    def record(self, scheme: Scheme) -> SchemeRecord:
        """What a file says of a scheme."""
        plugin = self._schemes[scheme.id].plugin
        provider = Provider(plugin.distribution, plugin.version)
        return SchemeRecord(scheme.id, scheme.version, scheme.options(), provider, scheme.layout())

    def for_record(self, record: SchemeRecord) -> Scheme:
        """The installed scheme that a file's record names.

        Raises
        ------
        SchemeError
            If it is not installed, or only in an older version; names what to install.
        """
        provider = record.provider
        hint = f"install {provider.distribution} {provider.version} or newer"
        if record.id not in self._schemes:
            raise SchemeError(f"scheme {record.id!r} is not installed", hint=hint)
        kind = self._schemes[record.id].scheme
        if record.version > kind.version:
            raise SchemeError(
                f"the file needs {record.id} version {record.version}, installed is {kind.version}", hint=hint
            )
        return kind.from_options(record.options)


def _entry_info(entry: EntryPoint) -> PluginInfo:
    if entry.dist is None:
        return PluginInfo(entry.name, entry.value, "-")
    return PluginInfo(entry.name, entry.dist.name, entry.dist.version)


def _load_file(file: Path) -> Any:
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


def _check(scheme: Any) -> None:
    """Refuse what is not a scheme before anything uses it."""
    if not (isinstance(scheme, type) and issubclass(scheme, Scheme)):
        raise SchemeError(f"qformat_schemes gave {scheme!r}, which is not a Scheme class")
    name = getattr(scheme, "id", None)
    if not isinstance(name, str) or not name.replace("_", "").replace("-", "").isalnum():
        raise SchemeError(f"{scheme.__name__}.id must be a word of letters, digits, - and _")
    scheme().layout()


_files: tuple[Path, ...] = ()


def use_files(files: tuple[Path, ...]) -> None:
    """Also load these single-file plugins; call it before the registry is first used."""
    global _files  # noqa: PLW0603  one registry per process, told once by the command line
    if files != _files:
        _files = files
        registry.cache_clear()


@functools.cache
def registry() -> Registry:
    """The registry of this process; plugins load at the first call."""
    named = tuple(Path(p) for p in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if p)
    return Registry((*_files, *named))
