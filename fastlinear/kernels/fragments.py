"""Functions that live on as part of their callers, and get no machine code of their own.

Numba optimises every function, and generates machine code for it, as soon as it is compiled, also
where nothing will ever call that code: the callers link the function's intermediate form and do all
of it again. For the hundred small functions that a layer's kernels are made of, that was a third of
the time to compile them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numba import _dynfunc
from numba.core.codegen import JITCodeLibrary
from numba.core.typed_passes import BaseNativeLowering


class _Depth(threading.local):
    """How many compilations are under way in this thread, each as part of the one before."""

    value = 0


_depth = _Depth()


@contextmanager
def deeper() -> Iterator[int]:
    """Compile what is compiled inside as part of what is under way; give how deep that is."""
    _depth.value += 1
    try:
        yield _depth.value
    finally:
        _depth.value -= 1


@contextmanager
def standalone() -> Iterator[None]:
    """Compile what is compiled inside for itself, even while a caller is being compiled."""
    before, _depth.value = _depth.value, 0
    try:
        yield
    finally:
        _depth.value = before


class Fragment(JITCodeLibrary):
    """The code of a function that lives on in its callers' code only."""

    has_machine_code = False

    def _optimize_final_module(self) -> None:
        """Leave it to the callers, which do it again for all that they link."""
        if self.has_machine_code:
            super()._optimize_final_module()

    def _finalize_final_module(self) -> None:
        if self.has_machine_code:
            super()._finalize_final_module()
        else:
            self._finalize_dynamic_globals()
            self._verify_declare_only_symbols()
            self._finalized = True


def is_fragment(result: Any) -> bool:
    """Return whether a compile result has no entry point for Python's callers."""
    return isinstance(result.library, Fragment)


class FragmentLowering(BaseNativeLowering):
    """A lowering pass that makes a fragment of what is compiled as part of another function."""

    def run_pass(self, state: Any) -> bool:
        """Lower a function."""
        if _depth.value <= 1:
            return bool(super().run_pass(state))
        context, flags = state.targetctx, state.flags
        library = state.library = Fragment(context.codegen(), state.func_id.func_qualname)
        flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        super().run_pass(state)
        fndesc, env = state.cr.fndesc, state.cr.env
        # Exceptions made of run-time values need the function's environment, whose address is
        # stored where the machine code is.
        library.has_machine_code = str(library._final_module).count(fndesc.env_name) > 1
        if library.has_machine_code:
            entry = context.get_executable(library, fndesc, env)
        else:
            module, name = fndesc.lookup_module(), state.func_id.func_name
            entry = _dynfunc.make_function(module, name, "", 0, env, (library,))
        context.insert_user_function(entry, fndesc, [library])
        state.reload_init.extend(library._reload_init)
        state.cr = state.cr._replace(cfunc=entry)
        return True
