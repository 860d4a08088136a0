"""Splits that publications score on: the actors that are held out, by number."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A published split.

    Attributes:
        corpus: Whose actors it numbers.
        actors: All of them.
        tests: The test actors of each fold.
        development: The actors that choose settings, where the split has a set of its own for that; it is
            one fold then, whose training part holds them too. Empty where the tests are folds of a
            cross-validation.
    """

    corpus: str
    actors: range
    tests: tuple[tuple[int, ...], ...]
    development: tuple[int, ...] = ()


_RAVDESS = range(1, 25)
_CREMA_D = range(1001, 1092)

# "mmer": Luna-Jimenez et al. 2022. "katerynach": Chumachenko et al. 2022. "crema-d-N": Goncalves et al.,
# arXiv 2305.07216: the speakers whose rows say Test and Development in the file label_consensus_N.csv of
# VAVL/data/CREMA-D/labels_consensus_6class_M at github.com/ilucasgoncalves/VAVL. The five share test
# speakers: they are five draws, no cross-validation.
_MMER = (
    (2, 5, 14, 15, 16),
    (3, 6, 7, 13, 18),
    (10, 11, 12, 19, 20),
    (8, 17, 21, 23, 24),
    (1, 4, 9, 22),
)
_CREMA_D_TESTS = (
    (1004, 1008, 1011, 1013, 1015, 1030, 1046, 1050, 1059, 1066, 1073, 1074, 1082, 1083),
    (1011, 1029, 1031, 1039, 1050, 1060, 1065, 1068, 1071, 1072, 1075, 1078, 1081, 1086),
    (1009, 1012, 1013, 1028, 1031, 1041, 1048, 1053, 1056, 1068, 1075, 1077, 1087, 1089),
    (1005, 1011, 1020, 1023, 1029, 1032, 1035, 1040, 1043, 1046, 1054, 1068, 1083, 1090),
    (1012, 1013, 1016, 1020, 1021, 1036, 1041, 1049, 1051, 1055, 1057, 1061, 1076, 1080),
)
_CREMA_D_DEVELOPMENT = (
    (1006, 1007, 1012, 1018, 1032, 1038, 1042, 1044, 1047, 1072, 1078, 1084, 1085, 1086),
    (1010, 1016, 1018, 1020, 1025, 1026, 1028, 1032, 1041, 1057, 1073, 1074, 1085, 1087),
    (1014, 1015, 1038, 1040, 1042, 1049, 1051, 1063, 1067, 1069, 1074, 1080, 1082, 1085),
    (1001, 1002, 1003, 1015, 1022, 1042, 1048, 1051, 1058, 1071, 1073, 1075, 1078, 1089),
    (1004, 1005, 1010, 1017, 1024, 1028, 1031, 1048, 1054, 1056, 1060, 1062, 1068, 1070),
)

PUBLISHED = {
    "mmer": Published("RAVDESS", _RAVDESS, _MMER),
    "katerynach": Published("RAVDESS", _RAVDESS, ((5, 10, 16, 19),), (11, 13, 18, 22)),
} | {
    f"crema-d-{n}": Published("CREMA-D", _CREMA_D, (test,), development)
    for n, (test, development) in enumerate(zip(_CREMA_D_TESTS, _CREMA_D_DEVELOPMENT, strict=True), start=1)
}
