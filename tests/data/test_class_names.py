import pytest

from zoo.data.class_names import DATASETS, ClassIndex, class_names
from zoo.data.mirrored_classes import mirrored_classes
from zoo.errors import InputError


@pytest.mark.parametrize(
    ("dataset", "size", "first", "last"),
    [
        ("kinetics400", 400, "abseiling", "zumba"),
        ("kinetics600", 600, "abseiling", "zumba"),
        ("kinetics700", 700, "abseiling", "zumba"),
        (
            "something-something-v1",
            174,
            "Approaching something with your camera",
            "Wiping something off of something",
        ),
        (
            "something-something-v2",
            174,
            "Approaching something with your camera",
            "Wiping something off of something",
        ),
        ("jester", 27, "Swiping Left", "Doing other things"),
        ("ucf101", 101, "ApplyEyeMakeup", "YoYo"),
        ("hmdb51", 51, "brush_hair", "wave"),
    ],
)
def test_official_class_orders(dataset, size, first, last):
    names = class_names(dataset)
    assert len(set(names)) == size and names[0] == first and names[-1] == last


def test_official_classes_are_found_however_they_are_written():
    classes = ClassIndex(class_names("kinetics400"))
    number = classes.names.index("hurling (sport)")
    for name in ("hurling (sport)", "hurling_(sport)", "hurling_sport", "Hurling (Sport)"):
        assert classes.number(name, "a.csv, line 3") == number
    for dataset in DATASETS:
        classes = ClassIndex(class_names(dataset))
        assert [classes.number(name.replace(" ", "_").upper(), "") for name in classes.names] == [
            *range(len(classes.names))
        ]


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="jester"):
        class_names("charades")
    with pytest.raises(InputError, match=r"a\.csv, line 3: 'surfing' is none of the 2 classes"):
        ClassIndex(["a", "b"]).number("surfing", "a.csv, line 3")
    with pytest.raises(InputError, match="'a' is named twice"):
        ClassIndex(["a", "b", "a"])


def in_the_mirror(names, exceptions=None):
    mirror = mirrored_classes(names, exceptions)
    return {
        name: None if other is None else names[other]
        for name, other in zip(names, mirror, strict=True)
        if other is None or names[other] != name
    }


def exchanges(pairs):
    return dict(pairs) | {other: one for one, other in pairs}


def test_gestures_in_the_mirror():
    assert in_the_mirror(class_names("jester")) == exchanges(
        [
            ("Swiping Left", "Swiping Right"),
            ("Sliding Two Fingers Left", "Sliding Two Fingers Right"),
            ("Turning Hand Clockwise", "Turning Hand Counterclockwise"),
        ]
    )


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_something_something_in_the_mirror(version):
    expected = exchanges(
        [
            ("Pulling something from left to right", "Pulling something from right to left"),
            ("Pushing something from left to right", "Pushing something from right to left"),
            ("Turning the camera left while filming something", "Turning the camera right while filming something"),
        ]
    )
    # Not a side, but nothing is lost by leaving it alone.
    expected["Plugging something into something but pulling it right out as you remove your hand"] = None
    assert in_the_mirror(class_names(f"something-something-{version}")) == expected


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_mirror_image_of_a_mirror_image_is_the_class(dataset):
    mirror = mirrored_classes(class_names(dataset))
    assert all(other is None or mirror[other] == number for number, other in enumerate(mirror))


def test_own_classes_in_the_mirror():
    names = [
        "Clockwise",
        "Counter Clockwise",
        "turn_left",
        "turn_right",
        "SwipeLeft",
        "SwipeRight",
        "upright",
        "Left hook",
    ]
    assert in_the_mirror(names) == exchanges(
        [("Clockwise", "Counter Clockwise"), ("turn_left", "turn_right"), ("SwipeLeft", "SwipeRight")]
    ) | {"Left hook": None}


def test_exceptions_from_the_rule():
    names = ["Left hook", "overtake", "be overtaken", "drive"]
    exceptions = {"Left hook": "Left hook", "overtake": "be overtaken", "drive": None}
    assert in_the_mirror(names, exceptions) == exchanges([("overtake", "be overtaken")]) | {"drive": None}
    with pytest.raises(InputError, match="'fly' is none of"):
        mirrored_classes(names, {"fly": None})
    with pytest.raises(InputError, match="not the other way round"):
        mirrored_classes(names, {"overtake": "drive", "drive": "be overtaken"})
