"""The registry: duplicates, close matches, prefixes, tables."""

import pytest

from fastreid_ext.registry import Registry, RegistryError


@pytest.fixture
def registry() -> Registry:
    registry = Registry("loss")

    @registry.register(source="Hermans et al. 2017", aliases=("Triplet",))
    def TripletLoss() -> str:  # noqa: N802
        """Hardest positive against hardest negative.

        More text.
        """
        return "made"

    return registry


def test_gets_by_name_and_alias(registry: Registry) -> None:
    assert registry.get("TripletLoss")() == "made"
    assert registry.get("Triplet") is registry.get("TripletLoss")
    assert registry.names() == ["TripletLoss"] and len(registry) == 1
    assert "Triplet" in registry and "Trip" not in registry


def test_unknown_name_lists_close_matches(registry: Registry) -> None:
    with pytest.raises(RegistryError, match=r"unknown loss 'tripletlos'. Did you mean TripletLoss"):
        registry.get("tripletlos")


@pytest.mark.parametrize("name", ["TripletLoss", "Triplet"])
def test_refuses_duplicates_naming_both(registry: Registry, name: str) -> None:
    with pytest.raises(RegistryError, match=r"registered twice: by .*TripletLoss and by .*other"):

        @registry.register(name)
        def other() -> None:
            """Another."""


def test_a_refused_alias_leaves_nothing_behind(registry: Registry) -> None:
    with pytest.raises(RegistryError):
        registry.register("New", aliases=("Triplet",))(lambda: None)
    assert "New" not in registry


def test_prefix_resolves_the_rest(registry: Registry) -> None:
    registry.register_prefix("pml", lambda rest: f"library's {rest}")
    assert registry.get("pml:CircleLoss") == "library's CircleLoss"
    assert "pml:CircleLoss" in registry


def test_describe_shows_first_line_and_source(registry: Registry) -> None:
    table = registry.describe()
    assert "Hardest positive against hardest negative." in table and "Hermans et al. 2017" in table
    assert "More text" not in table
