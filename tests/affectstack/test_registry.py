import pytest

from affectstack import AffectstackError, Registry


class Mean:
    pass


class Median:
    pass


@pytest.fixture
def fusers() -> Registry[object]:
    registry: Registry[object] = Registry("fuser")
    registry.register("mean")(Mean)
    registry.register("logpool")(Median)
    return registry


def test_decorator_hands_the_class_back_unchanged(fusers: Registry[object]) -> None:
    assert fusers.register("median")(Median) is Median
    assert fusers["median"] is Median


def test_second_registration_of_a_name_is_refused_and_the_first_stays(fusers: Registry[object]) -> None:
    with pytest.raises(ValueError, match="fuser 'mean' is registered twice"):
        fusers.register("mean")(Median)
    assert fusers["mean"] is Mean


def test_the_same_class_cannot_take_its_name_twice(fusers: Registry[object]) -> None:
    with pytest.raises(ValueError, match="registered twice"):
        fusers.register("mean")(Mean)


def test_unknown_name_is_a_readable_error_with_a_suggestion(fusers: Registry[object]) -> None:
    with pytest.raises(AffectstackError, match=r"unknown fuser 'logpol' \(did you mean 'logpool'\?\)"):
        fusers["logpol"]


def test_unlike_name_lists_what_is_known(fusers: Registry[object]) -> None:
    with pytest.raises(AffectstackError, match=r"unknown fuser 'xyz' \(known: logpool, mean\)"):
        fusers["xyz"]


def test_names_iterate_sorted_whatever_the_order_of_registration(fusers: Registry[object]) -> None:
    assert list(fusers) == ["logpool", "mean"]


def test_membership_is_by_name(fusers: Registry[object]) -> None:
    assert "mean" in fusers
    assert "max" not in fusers
    assert Mean not in fusers


def test_two_registries_share_no_entries(fusers: Registry[object]) -> None:
    assert list(Registry("head")) == []
