# cython: language_level=3
"""Documents with what $lookup found for them: the fast twin of the loops of ``pipeline/joining.py``.

What lives here: ``join_known``, ``join_unwound``. What it must not know: where foreign documents come from. Left over are documents whose value is no plain
text or int, whose value was not looked for yet, or whose foreign documents hold objects or arrays.

``known`` holds (foreign documents, whether they are flat) by value. All documents are new, the values of their fields are not.
"""

from cpython.dict cimport PyDict_Copy, PyDict_GetItem, PyDict_SetItem
from cpython.object cimport PyObject


def join_known(list batch not None, str local not None, dict known not None, str target not None):
    """Return ([each document with a list of its foreign ones under ``target``, None where left over], [numbers of those left over])."""
    cdef list result = []
    cdef list left = []
    cdef list foreign, copies
    cdef dict made
    for document in batch:
        foreign = found_for(document, local, known)
        if foreign is None:
            left.append(len(result))
            result.append(None)
            continue
        copies = []
        for one in foreign:
            copies.append(PyDict_Copy(<dict?>one))
        made = PyDict_Copy(<dict?>document)
        PyDict_SetItem(made, target, copies)
        result.append(made)
    return result, left


def join_unwound(list batch not None, str local not None, dict known not None, str target not None, bint keeps):
    """Do the same and unwind the lists: each result is the list of a document's rows. With ``keeps`` one that found nothing is a row without ``target``."""
    cdef list result = []
    cdef list left = []
    cdef list foreign, rows
    cdef dict made
    for document in batch:
        foreign = found_for(document, local, known)
        if foreign is None:
            left.append(len(result))
            result.append(None)
            continue
        rows = []
        for one in foreign:
            made = PyDict_Copy(<dict?>document)
            PyDict_SetItem(made, target, PyDict_Copy(<dict?>one))
            rows.append(made)
        if keeps and not rows:
            made = PyDict_Copy(<dict?>document)
            made.pop(target, None)
            rows.append(made)
        result.append(rows)
    return result, left


cdef inline list found_for(object document, str local, dict known):
    """Return the foreign documents of a document, None where it is left over."""
    cdef PyObject* found
    cdef object value
    cdef tuple entry
    if type(document) is not dict:
        return None
    found = PyDict_GetItem(document, local)
    if found == NULL:
        return None
    value = <object>found
    if type(value) is not str and type(value) is not int:
        return None
    found = PyDict_GetItem(known, value)
    if found == NULL:
        return None
    entry = <tuple?><object>found
    return <list?>entry[0] if entry[1] else None
