"""JSON merge patches (RFC 7396): a small text that says how a body differs."""

from collections.abc import Mapping


def merged(body: object, patch: object) -> object:
    """The body with the patch's fields; null takes a field away, a list replaces a list."""
    if not isinstance(patch, Mapping):
        return patch
    whole = dict(body) if isinstance(body, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            whole.pop(name, None)
        else:
            whole[name] = merged(whole.get(name), value)
    return whole
