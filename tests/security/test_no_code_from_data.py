"""Nothing that Swarm reads can become code: no unpickling, no eval, no loader that makes objects of any class."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*ROOT.glob("packages/*/src/**/*.py"), *ROOT.glob("examples/**/*.py")])
# Pipes, queues and managers of multiprocessing unpickle what comes in; joblib, dill and shelve are pickle.
MODULES = {
    "pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "multiprocessing", "xmlrpc",
}  # fmt: skip
BUILTINS = {"eval", "exec", "compile", "__import__"}
METHODS = {
    ("yaml", "load"), ("yaml", "unsafe_load"), ("yaml", "full_load"), ("os", "system"), ("os", "popen"),
    ("subprocess", "getoutput"), ("subprocess", "getstatusoutput"), ("tempfile", "mktemp"),
}  # fmt: skip


def offences(source):
    """(line, what) of all that is not allowed."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            names = []
        for name in names:
            if name.partition(".")[0] in MODULES:
                yield node.lineno, f"imports {name}"
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id in BUILTINS:
            yield node.lineno, f"calls {called.id}"
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
            if (called.value.id, called.attr) in METHODS:
                yield node.lineno, f"calls {called.value.id}.{called.attr}"
            if called.value.id in ("numpy", "np") and any(each.arg == "allow_pickle" for each in node.keywords):
                yield node.lineno, "loads pickled arrays"
        for each in node.keywords:
            if each.arg == "shell" and not (isinstance(each.value, ast.Constant) and each.value.value is False):
                yield node.lineno, "starts a shell"


def test_no_source_makes_code_of_data():
    assert len(SOURCES) > 100
    found = [
        f"{path.relative_to(ROOT)}:{line}: {what}" for path in SOURCES for line, what in offences(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from multiprocessing import connection", "def f():\n    import _pickle as p", "eval('1')",
        "yaml.load(text)", "subprocess.run('x', shell=True)", "np.load(f, allow_pickle=True)",
    ],
)  # fmt: skip
def test_each_offence_would_be_found(source):
    assert list(offences(source))
