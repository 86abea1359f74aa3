# cython: language_level=3
"""Documents with what $lookup found for them: the fast twin of the loops of ``pipeline/joining.py``.

What lives here: ``join_known``, ``join_unwound``, ``copies``, ``are_flat``. What it must not know: where foreign documents come from. Left over are documents
whose value is no plain text or int, or whose value was not looked for yet.

``local`` is a path of names; ``known`` holds (foreign documents, whether they are flat) by value. All documents are new; foreign ones share nothing
that can change.
"""

from cpython.dict cimport PyDict_Copy, PyDict_GetItem, PyDict_Next, PyDict_SetItem
from cpython.object cimport PyObject

cdef enum:
    DEEPEST = 200           # a document has 100 levels


def are_flat(list documents not None):
    """Tell whether no document holds an object or an array."""
    cdef PyObject* item
    cdef Py_ssize_t at
    for document in documents:
        at = 0
        while PyDict_Next(<dict?>document, &at, NULL, &item):
            if type(<object>item) is dict or type(<object>item) is list:
                return False
    return True


def copies(list documents not None, bint flat):
    """Return copies that share nothing that can change; ``flat``: they hold no objects and no arrays."""
    cdef list result = []
    for document in documents:
        result.append(PyDict_Copy(<dict?>document) if flat else copied(document, 0))
    return result


cdef object copied(object value, int depth):
    """Return a value that shares nothing that can change."""
    cdef PyObject* name
    cdef PyObject* item
    cdef Py_ssize_t at = 0
    cdef dict made
    cdef list items
    if depth > DEEPEST:
        raise ValueError("nested too deep")
    if type(value) is dict:
        made = PyDict_Copy(<dict>value)
        while PyDict_Next(<dict>value, &at, &name, &item):
            if type(<object>item) is dict or type(<object>item) is list:
                PyDict_SetItem(made, <object>name, copied(<object>item, depth + 1))
        return made
    if type(value) is list:
        items = []
        for one in <list>value:
            items.append(copied(one, depth + 1) if type(one) is dict or type(one) is list else one)
        return items
    return value


def join_known(list batch not None, tuple local not None, dict known not None, str target not None):
    """Return ([each document with a list of its foreign ones under ``target``, None where left over], [numbers of those left over])."""
    cdef list result = []
    cdef list left = []
    cdef tuple found
    cdef dict made
    for document in batch:
        found = found_for(document, local, known)
        if found is None:
            left.append(len(result))
            result.append(None)
            continue
        made = PyDict_Copy(<dict?>document)
        PyDict_SetItem(made, target, copies(found[0], found[1]))
        result.append(made)
    return result, left


def join_unwound(list batch not None, tuple local not None, dict known not None, str target not None, bint keeps):
    """Do the same and unwind the lists: each result is the list of a document's rows. With ``keeps`` one that found nothing is a row without ``target``."""
    cdef list result = []
    cdef list left = []
    cdef list rows
    cdef tuple found
    cdef dict made
    cdef Py_ssize_t at
    for document in batch:
        found = found_for(document, local, known)
        if found is None:
            left.append(len(result))
            result.append(None)
            continue
        rows = copies(found[0], found[1])
        for at in range(len(rows)):
            made = PyDict_Copy(<dict?>document)
            PyDict_SetItem(made, target, rows[at])
            rows[at] = made
        if keeps and not rows:
            made = PyDict_Copy(<dict?>document)
            made.pop(target, None)
            rows.append(made)
        result.append(rows)
    return result, left


cdef inline tuple found_for(object value, tuple local, dict known):
    """Return what is known for a document, None where it is left over."""
    cdef PyObject* found
    for name in local:
        if type(value) is not dict:
            return None
        found = PyDict_GetItem(value, name)
        if found == NULL:
            return None
        value = <object>found
    if type(value) is not str and type(value) is not int:
        return None
    found = PyDict_GetItem(known, value)
    return None if found == NULL else <tuple?><object>found
