"""One file of the tree opens pickles, and does it without running what they name: the source says so."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
OPENER = "zoo/convert/unpickle.py"
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "pickletools"}
CALLS = {"torch.load", "torch.jit.load", "torch.package", "torch.hub.load_state_dict_from_url", "read_pickle"}
CODE = {"eval", "exec", "compile", "__import__"}


def source_files():
    return [*ROOT.glob("zoo/**/*.py"), *ROOT.glob("tools/*.py"), *ROOT.glob("*.py")]


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def test_one_file_imports_pickle():
    assert [path for path in source_files() if MODULES & set(imported(ast.parse(path.read_text())))] == [ROOT / OPENER]


def test_that_file_uses_no_unpickler_but_its_own():
    tree = ast.parse((ROOT / OPENER).read_text())
    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not used & {"pickle.load", "pickle.loads", "pickle.Unpickler"}
    bases = [ast.unparse(base) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for base in node.bases]
    assert bases.count("pickle._Unpickler") == 1


def test_nothing_else_loads_objects_or_runs_text():
    found = []
    for path in source_files():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            bad = name in CODE or any(name == call or name.endswith(f".{call}") for call in CALLS)
            bad |= name in ("np.load", "numpy.load") and keywords.get("allow_pickle") != "False"
            bad |= name.startswith("yaml.") and name not in ("yaml.safe_load", "yaml.safe_dump", "yaml.YAMLError")
            bad |= keywords.get("allow_pickle") == "True" or keywords.get("trust_remote_code") == "True"
            if bad:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} {name}")
    assert not found
