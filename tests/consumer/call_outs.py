"""Reads the package's code for every place where it calls something that is not its own.

A call counts as a call out if its name is a parameter or a local variable, if it is called on the result of another
call, or if it is an attribute that neither the package defines nor one of the types below has; besides, the hooks of a
consumer, whose definitions in `Consumer` are there to be overridden.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import collections
import concurrent.futures
import contextlib
import datetime
import inspect
import logging
import pathlib
import queue
import re
import select
import sys
import threading
import types
from dataclasses import dataclass, field
from itertools import count

import confluent_kafka
import msgspec

import swarm_consumer

SOURCE = pathlib.Path(swarm_consumer.__file__).parent
HOOKS = {"consume", "initialized", "revoked", "shutdown", "tick", "eofed", "wrap"}
HANDED_IN = {"consumer", "producer"}
"""The class of a route, and the methods of a factory of clients: our own have these names too."""
CLIENT_CALLBACKS = {"on_commit", "on_assign", "on_revoke", "on_lost", "on_delivery", "logger"}
_TYPES = [
    str, bytes, int, float, dict, list, set, frozenset, tuple, type, BaseException, types.CodeType,
    collections.deque, collections.OrderedDict, count(), re.Pattern, re.Match, pathlib.Path, datetime.datetime,
    threading.Thread, threading.Lock(), threading.Condition(), threading.Event, queue.SimpleQueue, select.poll(),
    concurrent.futures.Future, asyncio.AbstractEventLoop, asyncio.Future, asyncio.Task, asyncio.Event,
    contextlib.ExitStack, contextlib.AsyncExitStack, inspect.Signature, logging.Logger, logging.LogRecord,
    confluent_kafka.Consumer, confluent_kafka.Producer, confluent_kafka.Message, confluent_kafka.TopicPartition,
    confluent_kafka.KafkaError, msgspec.json.Decoder,
]  # fmt: skip
_KNOWN = {name for each in _TYPES for name in dir(each)}


@dataclass
class CallOuts:
    """What was found, each with its place: ``file:Class.function``."""

    calls: set[tuple[str, str]] = field(default_factory=set)
    emits: set[tuple[str, str]] = field(default_factory=set)
    logs: set[str] = field(default_factory=set)
    callbacks: set[tuple[str, str]] = field(default_factory=set)
    threads: set[tuple[str, str]] = field(default_factory=set)


class _Reader(ast.NodeVisitor):
    def __init__(self, file: str, tree: ast.Module, defined: set[str], found: CallOuts) -> None:
        self.file, self.defined, self.found = file, defined, found
        self.stack: list[str] = []
        self.variables: list[set[str]] = []
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
        self.modules = {(name.asname or name.name).partition(".")[0] for node in imports for name in node.names}

    @property
    def place(self) -> str:
        return f"{self.file}:{'.'.join(self.stack)}"

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.stack.append(node.name)
        self.generic_visit(node)
        self.stack.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        arguments = node.args
        names = {each.arg for each in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]}
        names |= {each.arg for each in (arguments.vararg, arguments.kwarg) if each is not None}
        names |= {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}
        names -= {
            each.name
            for each in ast.walk(node)
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each is not node
        }
        self.stack.append(node.name)
        self.variables.append(names)
        self.generic_visit(node)
        self.variables.pop()
        self.stack.pop()

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func
        text = ast.unparse(called)
        if isinstance(called, ast.Name):
            if any(called.id in names for names in self.variables):
                self.found.calls.add((self.place, text))
        elif isinstance(called, ast.Attribute):
            self._attribute(node, called, text)
        elif not (isinstance(called, ast.Subscript) and isinstance(called.value, ast.Name)):  # deque[int]()
            self.found.calls.add((self.place, text))
        for keyword in node.keywords:
            if keyword.arg is not None and (keyword.arg in CLIENT_CALLBACKS or keyword.arg.endswith("_cb")):
                self.found.callbacks.add((self.place, keyword.arg))
            if keyword.arg == "target" and text == "threading.Thread":
                self.found.threads.add((self.place, ast.unparse(keyword.value)))
        self.generic_visit(node)

    def _attribute(self, node: ast.Call, called: ast.Attribute, text: str) -> None:
        root = text.partition(".")[0]
        if called.attr == "emit":
            event = node.args[0]
            name = event.func if isinstance(event, ast.Call) else event
            self.found.emits.add((self.place, ast.unparse(name)))
        elif text.rpartition(".")[0].endswith("logger"):
            self.found.logs.add(self.place)
        elif root in self.modules:
            return
        elif called.attr in HOOKS | HANDED_IN or (called.attr not in self.defined and called.attr not in _KNOWN):
            self.found.calls.add((self.place, text))

    def visit_Dict(self, node: ast.Dict) -> None:
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and not isinstance(value, ast.Constant):
                self._key(key.value)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if isinstance(node.ctx, ast.Store) and isinstance(node.slice, ast.Constant):
            self._key(node.slice.value)
        self.generic_visit(node)

    def _key(self, name: object) -> None:
        if isinstance(name, str) and (name in CLIENT_CALLBACKS or name.endswith("_cb")):
            self.found.callbacks.add((self.place, name))


ELSEWHERE = {
    "testing": "no part of what runs in production",
    "progress": "calls nothing that is not its own but packing of bytes; who uses it guards each call (KeptProgress)",
    "eviction": "an add-on that contains all errors of its library; test_eviction_deadline.py has it fail in each way",
}
"""Rooms that are not read here, each with the reason."""


def read() -> CallOuts:
    """Return every call out of the package, except in the rooms that have tests of their own."""
    paths = [path for path in sorted(SOURCE.rglob("*.py")) if not ELSEWHERE.keys() & {*path.relative_to(SOURCE).parts}]
    trees = {path.name: ast.parse(path.read_text()) for path in paths if path.name != "__init__.py"}
    trees["__init__.py"] = ast.parse((SOURCE / "__init__.py").read_text())
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    defined = {node.name for tree in trees.values() for node in ast.walk(tree) if isinstance(node, definitions)}
    found = CallOuts()
    for file, tree in trees.items():
        _Reader(file, tree, defined | set(dir(builtins)), found).visit(tree)
    return found


if __name__ == "__main__":
    for name, what in vars(read()).items():
        sys.stdout.write(name + "".join(f"\n  {each}" for each in sorted(what)) + "\n")
