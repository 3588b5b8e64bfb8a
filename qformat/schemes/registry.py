"""The schemes and mixtures that the plugins provide, by name."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from qformat.blocks.descriptor import Provider, SchemeRecord, record_from_json, record_to_json
from qformat.blocks.layout import Layout, planes
from qformat.errors import SchemeError
from qformat.plugins.host import Host, PluginInfo, host
from qformat.schemes.mixture import Mixture
from qformat.schemes.scheme import Scheme


@dataclass(frozen=True)
class _Owned:
    scheme: type[Scheme]
    plugin: PluginInfo


class Registry:
    """The schemes of this process.

    A name that two plugins claim belongs to neither, unless one is built in; only a file's record,
    which names the distribution, still finds its own.
    """

    def __init__(self, plugins: Host) -> None:
        self.host = plugins
        self._fill()

    @property
    def plugins(self) -> list[PluginInfo]:
        return self.host.plugins

    def _fill(self) -> None:
        self._claims: dict[str, list[_Owned]] = {}
        self._mixtures: dict[str, Mixture] = {}
        for plugin, kind in list(self.host.ask("qformat_schemes", _check)):
            self._claims.setdefault(kind.id, []).append(_Owned(kind, plugin))
        for name, claims in self._claims.items():
            for claim in claims:
                if name not in claim.plugin.schemes:
                    claim.plugin.schemes.append(name)
            if len(claims) > 1:
                self._shadow(name, claims)
        for plugin, mixture in list(self.host.ask("qformat_mixtures", _check_mixture)):
            if mixture.id in self._mixtures:
                self.host.shadow(plugin, f"the mixture {mixture.id!r} is provided by another plugin too")
                continue
            # A mixture may have the name of a scheme of its own plugin: it is that, with exceptions.
            others = [c for c in self._claims.get(mixture.id, []) if c.plugin is not plugin]
            if others and not plugin.ours:
                self.host.shadow(plugin, f"{mixture.id!r} is a scheme of {others[0].plugin.label}, too")
                continue
            for claim in others:
                self._claims[mixture.id].remove(claim)
                self.host.shadow(claim.plugin, f"{mixture.id!r} is the name of a built-in mixture")
            if not self._claims.get(mixture.id, [None]):
                del self._claims[mixture.id]
            self._mixtures[mixture.id] = mixture

    def _shadow(self, name: str, claims: list[_Owned]) -> None:
        hidden = claims[1:] if claims[0].plugin.ours else claims
        for claim in hidden:
            self.host.shadow(claim.plugin, _both(name, claims))

    @property
    def _schemes(self) -> dict[str, _Owned]:
        """Those whose name is nobody else's, or built in."""
        return {
            name: claims[0]
            for name, claims in self._claims.items()
            if len(claims) == 1 or claims[0].plugin.ours
        }

    def broken(self) -> list[PluginInfo]:
        """The plugins that did not load."""
        return self.host.broken()

    def schemes(self) -> Iterator[tuple[type[Scheme], PluginInfo]]:
        """All schemes with the plugin that gave each, by id."""
        for _, owned in sorted(self._schemes.items()):
            yield owned.scheme, owned.plugin

    def mixtures(self) -> Iterator[Mixture]:
        """All mixtures, by id."""
        for name in sorted(self._mixtures):
            yield self._mixtures[name]

    def mixture(self, name: str) -> Mixture | None:
        """The mixture of that name, in any case, if there is one."""
        return self._mixtures.get(name) or self._mixtures.get(name.lower())

    def parse(self, spec: str) -> Scheme:
        """The scheme that ``id:option=value,…`` asks for; the id in any case.

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

    def _claimed(self, name: str) -> list[_Owned]:
        """Who provides a scheme; plugins that are still loading are waited for where nobody does."""
        if name not in self._claims and self.host.wait():
            self._fill()
        return self._claims.get(name, [])

    def _class(self, name: str) -> type[Scheme]:
        claims = self._claimed(name) or self._claimed(name.lower())
        if len(claims) > 1 and not claims[0].plugin.ours:
            raise SchemeError(_both(name, claims), hint="uninstall one of them, or do not name its file")
        if claims:
            return claims[0].scheme
        if self.mixture(name) is not None:
            raise SchemeError(
                f"{name} is a mixture of types for GGUF, not a scheme for every format",
                hint="name a target that ends in .gguf, or choose a type, such as q4_k",
            )
        near = difflib.get_close_matches(name.lower(), self._schemes, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else "`qformat schemes` lists what there is"
        if self.broken():
            hint += "; `qformat plugins` shows plugins that did not load"
        raise SchemeError(f"there is no scheme {name!r}", hint=hint)

    def record(self, scheme: Scheme) -> SchemeRecord:
        """What a file says of a scheme."""
        claims = self._claims[scheme.id]
        plugin = next((c.plugin for c in claims if isinstance(scheme, c.scheme)), claims[0].plugin)
        provider = Provider(plugin.distribution, plugin.version)
        return SchemeRecord(scheme.id, scheme.version, scheme.options(), provider, scheme.layout())

    def for_record(self, record: SchemeRecord) -> Scheme:
        """The installed scheme that a file's record names, in the version that it names.

        Raises
        ------
        SchemeError
            If it is not installed, or not in that version; names what to install.
        """
        claims = self._claimed(record.id)
        own = [c for c in claims if c.plugin.distribution == record.provider.distribution]
        if not claims:
            raise SchemeError(f"scheme {record.id!r} is not installed", hint=self._remedy(record.provider))
        kind = own[0].scheme if own else self._class(record.id)
        if record.version > kind.version:
            raise SchemeError(
                f"the file needs {record.id} version {record.version}, installed is {kind.version}",
                hint=self._remedy(record.provider),
            )
        if record.version < kind.version:
            if record.version not in kind.older:
                raise SchemeError(
                    f"the file needs {record.id} version {record.version}, "
                    f"which the installed version {kind.version} no longer reads",
                    hint=f"it was written with {record.provider.distribution} {record.provider.version}",
                )
            kind = kind.older[record.version]
        return kind.from_options(record.options)

    def _remedy(self, provider: Provider) -> str:
        for plugin in self.broken():
            if plugin.distribution == provider.distribution:
                return f"its plugin did not load: {plugin.error}; `qformat plugins --errors` shows where"
        if provider.distribution.endswith(".py"):
            return f"it came from the single file {provider.distribution}: give it with --plugin FILE"
        return f"install {provider.distribution} {provider.version} or newer"


def _both(name: str, claims: list[_Owned]) -> str:
    return f"scheme {name!r} is provided by {' and by '.join(c.plugin.label for c in claims)}"


def _check(scheme: Any) -> None:
    """Refuse what is not a scheme before anything uses it."""
    if not (isinstance(scheme, type) and issubclass(scheme, Scheme)):
        raise SchemeError(f"qformat_schemes gave {scheme!r}, which is not a Scheme class")
    name = getattr(scheme, "id", None)
    if not isinstance(name, str) or not re.fullmatch("[a-z0-9][a-z0-9_-]*", name):
        raise SchemeError(f"{scheme.__name__}.id must be a word of small letters, digits, - and _")
    for field in dataclasses.fields(scheme):
        if "option" not in field.metadata:
            raise SchemeError(f"{scheme.__name__}.{field.name} is not made with option(…)")
    for version, older in scheme.older.items():
        if not (isinstance(older, type) and issubclass(older, Scheme)):
            raise SchemeError(f"{scheme.__name__}.older[{version!r}] is {older!r}, not a Scheme class")
    made = scheme()
    layout = made.layout()
    if not isinstance(layout, Layout):
        raise SchemeError(f"{scheme.__name__}.layout gives {layout!r}, which is not a layout")
    # What a reader demands of a file has to hold for what this scheme will write.
    record = SchemeRecord(name, scheme.version, made.options(), Provider("a plugin", "0"), layout)
    record_from_json(record_to_json(record), scheme.__name__)
    planes(layout)


def _check_mixture(mixture: Any) -> None:
    if not isinstance(mixture, Mixture):
        raise SchemeError(f"qformat_mixtures gave {mixture!r}, which is not a Mixture")


@functools.lru_cache(maxsize=1)
def _registry(plugins: Host) -> Registry:
    return Registry(plugins)


def registry() -> Registry:
    """The registry of this process; plugins load at the first call."""
    return _registry(host())
