"""The pickler of one group of variables: cloudpickle, with the live namespace and our recipes (worker side).

Beyond cloudpickle: functions come back over the live mapping, or over their module's; cells that were shared are
shared again; a function or class that is a variable of its own is referred to by its name, so that every object
of a class does not drag the class along; see recipes.py for single types.
"""

from __future__ import annotations

import builtins
import copyreg
import io
import marshal
import pickle
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import cloudpickle

from checkpoint.capture.buffer_digests import Place
from checkpoint.capture.class_sources import cell_of
from checkpoint.capture.process_state import PROCESS_STATE
from checkpoint.format.payload import TEXT_CHARS_MAX
from checkpoint.lost_names import LostValue
from checkpoint.pickling import classes, constants, frames, instances, loaders
from checkpoint.pickling.arrays import subclass_recipe
from checkpoint.pickling.importable import attributes_of, defined, importable, is_made_by_hand, module_of
from checkpoint.pickling.namespace_owners import keeps_namespace, namespace_of
from checkpoint.pickling.object_columns import Column, Columns, Known
from checkpoint.pickling.recipes import RECIPES, Recipe, Reduced
from checkpoint.pickling.trial_restore import shaped
from checkpoint.pickling.unsaveable import Unsaveable, explain, is_too_deep, reason_key, type_key

type Reducer = Callable[["GroupPickler", Any], Any]

type Kind = tuple[type, int]
"""A class, and a number for the types of the attributes of some of its objects; 0 for the class itself."""

LOOKED_AT_MAX = 1_000
"""Objects of one class whose attributes are looked at in one capture: some milliseconds."""


class Scope:
    """The state that the picklers of one capture share.

    `definitions`: id of a function or class -> the name of the variable that holds it.
    `externals`: id of an object that the worker puts into every session -> its name.
    """

    def __init__(
        self, namespace: dict[str, object], externals: Mapping[str, object], kept: KeptValues | None = None
    ) -> None:
        self.namespace = namespace
        self.kept = kept
        self.met: dict[Kind, str] = {}
        """Kinds of objects, with the variable in which each was met first."""
        self.looked_at: dict[type, int] = {}
        """Classes that say themselves how they are saved, and how many of their objects were looked at: what they say
        may depend on what an object has."""
        self.externals = {id(value): name for name, value in externals.items()}
        self.definitions: dict[int, str] = {}
        own = ("__stdin__", "__stdout__", "__stderr__")  # what the user put in their place is saved as what it is
        self.streams = {id(stream): name for name in own if (stream := getattr(sys, name, None))}
        self.filenames: set[str] = set()
        self.texts = constants.texts() | constants.containers(namespace)
        """Objects that modules have one of: id -> module and name."""
        self.forget_owners()
        self.columns: Mapping[Place, Known] = {}
        self.dispatch_table = {**cloudpickle.Pickler.dispatch_table, **copyreg.dispatch_table}
        self.special = {type(value) for value in (*externals.values(), sys.__stdin__, sys.__stdout__, sys.__stderr__)}
        self.dict_classes: set[type] = set()
        """The classes of dicts that were met."""
        self.of_functions: set[int] = set()
        """Ids of the dicts of annotations and defaults of functions."""
        self.plain: set[type] = set()
        self.reducers: dict[type, Reducer | None] = {}
        self.hashed: set[type] = set()
        """Classes whose instances are hashed by code."""
        self.plain_hashed: set[type] = set()
        """The classes among them that need no recipe."""
        self.module_namespaces: dict[int, _ModuleNamespace | None] = {}

    def forget_owners(self) -> None:
        """Begin to look for objects whose namespaces something else holds, too."""
        self.owners: list[object] = []
        self.owned: set[int] = set()
        """Ids of these namespaces."""
        self.namespaces: dict[int, object] = {}
        """These namespaces, by the id of an object that gets its own back."""
        self.keepers: dict[int, object] = {}
        """Objects that cannot be given another namespace, by the id of theirs."""

    def add_owner(self, owner: object, held: int) -> bool:
        """Note an object whose namespace so many others hold. False for one that holds it alone."""
        namespace, cls = namespace_of(owner), type(owner)
        if held == 1 and self.reducer(cls) is None and instances.own_hook(cls) is None and instances.slots_of(owner):
            return False  # pickle itself holds it, in a tuple with the slots
        if isinstance(owner, types.ModuleType) and (id(namespace) in self.texts or namespace is self.namespace):
            return False
        self.owners.append(owner)
        self.owned.add(id(namespace))
        if keeps_namespace(owner) or id(owner) in self.externals:
            self.keepers.setdefault(id(namespace), owner)
        else:
            self.namespaces[id(owner)] = namespace
        return True

    def add_modules(self, dicts: Iterable[object]) -> set[int]:
        """Note those dicts that are the namespaces of modules. The ids of all that are."""
        dicts = list(dicts)
        for value in dicts:
            module = module_of(value)
            if module is not None and not is_made_by_hand(module):
                self.texts[id(value)] = module.__name__, "__dict__"
        return {id(value) for value in dicts} & self.texts.keys()

    def reducer(self, cls: type) -> Reducer | None:
        """How objects of exactly this type are saved; None leaves them to pickle."""
        try:
            return self.reducers[cls]
        except KeyError:
            found = self.reducers[cls] = self._find_reducer(cls)
            if isinstance(defined(cls, "__hash__"), types.FunctionType) and not (
                issubclass(cls, Enum) and importable(cls)
            ):
                self.hashed.add(cls)
            return found

    def _find_reducer(self, cls: type) -> Reducer | None:
        if issubclass(cls, dict):
            self.dict_classes.add(cls)
        if issubclass(cls, type):
            return GroupPickler.reduce_class
        if cls in _OWN:
            return _OWN[cls]
        if issubclass(cls, Enum):
            return GroupPickler.reduce_member
        if issubclass(cls, BaseException):
            return GroupPickler.reduce_exception
        recipe = RECIPES.get(type_key(cls))
        if recipe is not None:
            return _by_recipe(recipe)
        key = reason_key(cls)
        if key is not None:
            return _refusal(key)
        array = subclass_recipe(cls)
        if array is not None:
            return _by_recipe(array)
        for special in (frames.recipe_for, instances.recipe_for, constants.recipe_for):
            found = special(cls)
            if found is not None:
                return _by_class(found)
        return None

    def module_namespace(self, function: types.FunctionType) -> object:
        """Stands for the globals of a function: a module's by its name, any other mapping itself."""
        namespace = function.__globals__
        if namespace is self.namespace or namespace is builtins.__dict__:
            return namespace
        if id(namespace) not in self.module_namespaces:
            name = namespace.get("__name__")
            module = sys.modules.get(name) if isinstance(name, str) and name != "__main__" else None
            known = module is not None and getattr(module, "__dict__", None) is namespace
            self.module_namespaces[id(namespace)] = _ModuleNamespace(name) if known and isinstance(name, str) else None
        return self.module_namespaces[id(namespace)] or namespace


@dataclass(frozen=True, slots=True)
class Hole:
    """Something inside of a variable that cannot be saved: a placeholder comes back instead of it."""

    value: object
    kind: str
    reason: str
    error: BaseException


class KeptValues:
    """Values that a savepoint cannot save and need not: they stay in this process. A number stands for each."""

    def __init__(self) -> None:
        self.values: list[object] = []
        self._places: dict[int, int] = {}

    def place(self, value: object) -> int:
        """The number of a value, the same each time."""
        if id(value) not in self._places:
            self._places[id(value)] = len(self.values)
            self.values.append(value)
        return self._places[id(value)]


class _ModuleNamespace:
    """Pickles as the dict of a module."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return loaders.module_namespace, (self.name,)


class GroupPickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles the variables of one group after another: `begin`, then one `dump` for each, into one stream."""

    def __init__(self, scope: Scope) -> None:
        self.file = io.BytesIO()
        self.dispatch_table = (
            scope.dispatch_table
        )  # before __init__, which reads it; cloudpickle's own is a slow ChainMap
        this = weakref.ref(self)  # a method of its own would keep it, and all that it pickled last, until a collection
        super().__init__(self.file, protocol=5, buffer_callback=lambda buffer: this().take_buffer(buffer))  # type: ignore[union-attr]
        self.scope = scope
        self._codes: dict[int, bytes] = {}
        self._plain = scope.plain
        self._hashed = scope.plain_hashed
        self._spaces: dict[int, tuple[int, object]] = {
            id(scope.namespace): (0, scope.namespace),
            id(builtins.__dict__): (1, builtins.__dict__),
        }
        self.begin(frozenset())

    def begin(self, own: frozenset[str], texts: Iterable[int] = ()) -> None:
        """The next group's variables are `own`. `texts`: ids of constants that are in it."""
        self.file.seek(0)
        self.file.truncate()
        places = [self.scope.texts[identity] for identity in texts]
        self.file.write(loaders.preamble(places) if places else loaders.PREAMBLE)
        self.seed = dict(self._spaces)
        for module, name in places:
            constant = getattr(sys.modules[module], name)
            self.seed[id(constant)] = len(self.seed), constant
        self.memo = self.seed
        self._namespaces = self.scope.namespaces
        self.own = own
        self.columns = Columns(self.scope.columns)
        self.buffers: list[pickle.PickleBuffer | Column] = []
        self.needs: set[str] = set()
        self.by_value: set[int] = set()
        self.hashed = False
        """Whether something in the group is hashed by code of its class."""
        self.variable("", None)

    def variable(self, name: str, root: object) -> None:
        """The next `dump` is of this variable: it is lost when it cannot be saved, but not for what is in it."""
        self._root = root
        self._name = name
        self.notes: dict[str, None] = {}
        self.holes: list[Hole] = []

    def take_buffer(self, buffer: pickle.PickleBuffer) -> bool:
        """Keep it out of the stream."""
        met = self.columns.met.get(id(buffer.raw().obj))
        self.buffers.append(buffer if met is None else met[1])
        return False

    def note(self, how: str) -> None:
        """One thing that will be made anew."""
        self.notes[how] = None

    def reducer_override(self, value: Any) -> Any:
        """Called for every object that is not a plain built-in value."""
        cls = type(value)
        if self._namespaces and id(value) in self._namespaces:
            return self._reduce_owner(value)
        if cls in self._plain:
            return NotImplemented
        if cls in self._hashed:
            self.hashed = True
            return NotImplemented
        scope = self.scope
        if id(value) in scope.externals:
            return loaders.external, (scope.externals[id(value)],)
        if id(value) in scope.streams:
            return getattr, (sys, scope.streams[id(value)])
        if cls not in scope.reducers:
            scope.met[cls, 0] = self._name
        reducer = scope.reducer(cls)
        if cls in scope.hashed:
            self.hashed = True
        more = self._look_at(cls, value)
        if reducer is None:
            if cls not in scope.special and not more:
                (self._hashed if cls in scope.hashed else self._plain).add(cls)
            return NotImplemented
        try:
            return reducer(self, value)
        except Exception as error:
            return self.replaced(value, error)

    def _reduce_owner(self, value: Any) -> Any:
        """An object, then its namespace, which something else holds as well."""
        namespace, self._namespaces = self._namespaces[id(value)], {}
        try:
            reduced = self.reducer_override(value)
            if reduced is NotImplemented and not isinstance(value, types.FunctionType):
                reduced = self.reduce_or_replace(value)
        finally:
            self._namespaces = self.scope.namespaces
        if not isinstance(reduced, tuple) or reduced[0] in (loaders.lost_value, loaders.kept_value):
            return reduced
        make, arguments, state, items, pairs, setter = (*reduced, None, None, None, None)[:6]
        rest = instances.without_namespace(type(value), state, setter, namespace)
        first = rest is not state  # a namespace that the object did not write itself is put into it at the end
        return make, arguments, (namespace, first, setter, rest), items, pairs, loaders.fill_adopting

    def _look_at(self, cls: type, value: object) -> bool:
        """Note of which types the attributes of an object are, for a trial. Whether more of its class are looked at."""
        looked_at = self.scope.looked_at
        if cls not in looked_at:
            looked_at[cls] = 0 if shaped(cls) else LOOKED_AT_MAX
        if looked_at[cls] == LOOKED_AT_MAX:
            return False
        looked_at[cls] += 1
        held = attributes_of(value)
        self.scope.met.setdefault((cls, hash(frozenset(zip(held, map(type, held.values()), strict=True)))), self._name)
        return True

    def reduce_or_replace(self, value: Any) -> Any:
        """Reduce an object as it says itself, or as whoever registered its class says."""
        try:
            registered = self.dispatch_table.get(type(value))
            reduced = registered(value) if registered is not None else value.__reduce_ex__(5)
            if not isinstance(reduced, str | tuple):
                raise TypeError(f"its __reduce__ returned {type(reduced).__name__}, not a tuple")
            if isinstance(reduced, str) and not importable(value, reduced):
                pickle.dumps(value)  # raises when it is not found by that name
            return reduced
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return self.replaced(value, error)

    def replaced(self, value: object, error: BaseException) -> tuple[Any, tuple[Any, ...]]:
        """A placeholder for what cannot be saved inside of something else. Nothing can be built on one for a class."""
        if value is self._root or issubclass(type(value), type) or is_too_deep(error):
            raise error
        kind, reason = explain(value, error)
        error.__traceback__ = None  # its frames would keep the pickler
        self.holes.append(Hole(value, kind[:TEXT_CHARS_MAX], reason[:TEXT_CHARS_MAX], error))
        return self._placeholder(self.holes[-1])

    def reduce_placeholder(self, value: LostValue) -> Reduced:
        """One that was lost before is named again."""
        self.holes.append(Hole(value, value._kind, value._reason, TypeError(value._reason)))
        return self._placeholder(self.holes[-1])

    def _placeholder(self, hole: Hole) -> tuple[Any, tuple[Any, ...]]:
        if self.scope.kept is not None:
            return loaders.kept_value, (self.scope.kept.place(hole.value),)
        return loaders.lost_value, (hole.kind, hole.reason)

    def _reference(self, value: object) -> Reduced:
        name = self.scope.definitions.get(id(value))
        if name is None or name in self.own:
            return None
        self.needs.add(name)
        return loaders.definition, (name,)

    def reduce_class(self, cls: type) -> Any:
        """By reference when importable or a variable; else by value, as cloudpickle does."""
        reference = self._reference(cls)
        if reference is not None:
            return reference
        if importable(cls):
            return NotImplemented
        reduced = super().reducer_override(cls)
        if reduced is NotImplemented or len(reduced) < 6:
            return reduced
        again = classes.reduce_generic(cls) or classes.reduce_foreign(cls)
        if again is not None:
            return again
        self.by_value.add(id(cls))
        self.scope.met.setdefault((cls, 0), self._name)
        cell = cell_of(cls)
        if cell is not None:
            self.scope.filenames.add(cell)
        return classes.reduce_by_value(cls)

    def reduce_member(self, member: Enum) -> Any:
        """A member by its name, but with its enum, when that is saved here, as the object that it is."""
        cls = type(member)
        if self._reference(cls) is not None or importable(cls):
            obeyed = cls.__reduce_ex__ is not Enum.__reduce_ex__ and importable(cls)
            return NotImplemented if obeyed else classes.named_member(member)
        return instances.reduce_whole(member)

    def reduce_function(self, function: types.FunctionType) -> Any:
        """By reference when importable or a variable; else its code over the live mapping."""
        reference = self._reference(function)
        if reference is not None:
            return reference
        if importable(function):
            return NotImplemented
        place = PROCESS_STATE.original_place(function)
        if place is not None:
            return loaders.original, place
        self.by_value.add(id(function))
        self.scope.filenames.add(function.__code__.co_filename)
        values = tuple(getattr(function, name) for name in loaders.FUNCTION_ATTRIBUTES)
        self.scope.of_functions.update(id(value) for value in values if type(value) is dict)
        return (
            loaders.make_function,
            (function.__code__, self.scope.module_namespace(function), function.__closure__),
            ({**function.__dict__}, values),
            None,
            None,
            loaders.fill_function,
        )

    def reduce_exception(self, error: BaseException) -> Any:
        """With its cause and context, which pickle drops; a traceback is live state and stays behind."""
        if error.__traceback__ is not None:
            self.note("an exception comes back without its traceback")
        made = instances.reduce_exception(error)
        if made is not None:
            return made
        reduced = error.__reduce_ex__(5)
        if not isinstance(reduced, tuple) or not 2 <= len(reduced) <= 3:
            return reduced
        own = reduced[2] if len(reduced) == 3 else None
        state = (own, error.__cause__, error.__context__, error.__suppress_context__)
        return *reduced[:2], state, None, None, loaders.fill_exception

    def reduce_code(self, code: types.CodeType) -> Any:
        """marshal's version 2 writes the same bytes for the same code; later versions depend on reference counts."""
        data = self._codes.get(id(code))
        if data is None:
            data = self._codes[id(code)] = marshal.dumps(code, 2)
        return loaders.make_code, (data,)

    def reduce_cell(self, cell: types.CellType) -> Any:
        """A cell is memoised before its contents: functions may refer to themselves and share it."""
        try:
            contents = (cell.cell_contents,)
        except ValueError:
            return loaders.make_cell, ()
        return loaders.make_cell, (), contents, None, None, loaders.fill_cell

    def reduce_module(self, module: types.ModuleType) -> Any:
        """The session's own module by reference, others by name; one that no import gives, by value."""
        if vars(module) is self.scope.namespace:
            return loaders.main_module, ()
        if sys.modules.get(module.__name__) is module and not is_made_by_hand(module):
            return NotImplemented
        state: Mapping[str, Any] = vars(module)  # itself: a variable may be this dict
        if "__builtins__" in state:
            state = {name: value for name, value in state.items() if name != "__builtins__"}
        return loaders.make_module, (module.__name__,), state, None, None, loaders.fill_module


_OWN: dict[type, Reducer] = {
    types.FunctionType: GroupPickler.reduce_function,
    types.CodeType: GroupPickler.reduce_code,
    types.CellType: GroupPickler.reduce_cell,
    types.ModuleType: GroupPickler.reduce_module,
    LostValue: GroupPickler.reduce_placeholder,
}


def _by_recipe(recipe: Recipe) -> Reducer:
    def reduce(pickler: GroupPickler, value: Any) -> Any:
        reduced = recipe(value, pickler)
        return NotImplemented if reduced is None else reduced

    return reduce


def _by_class(recipe: Callable[[Any], Any]) -> Reducer:
    def reduce(_pickler: GroupPickler, value: Any) -> Any:
        reduced = recipe(value)
        return NotImplemented if reduced is None else reduced

    return reduce


def _refusal(key: str) -> Reducer:
    def refuse(_pickler: GroupPickler, value: Any) -> Any:
        raise Unsaveable(key, type(value))

    return refuse
