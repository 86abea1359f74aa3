/* What the sanitized campaign needs of C: inputs without a byte to spare, and faults that prove that the sanitizers are awake.
 *
 * A bytes object has a zero behind its last byte, so a kernel that reads one byte too many would not be noticed: ``exact`` makes a copy
 * whose zero may not be read.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <sanitizer/asan_interface.h>

static PyObject *exact(PyObject *self, PyObject *given)
{
    Py_buffer view;
    PyObject *made;
    if (PyObject_GetBuffer(given, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    /* Without content to copy, the interpreter shares no object; an empty one is cut from one of a byte. */
    made = PyBytes_FromStringAndSize(NULL, view.len ? view.len : 1);
    if (made != NULL) {
        memcpy(PyBytes_AS_STRING(made), view.buf, (size_t)view.len);
        Py_SET_SIZE(made, view.len);
        PyBytes_AS_STRING(made)[view.len] = 0;
        __asan_poison_memory_region(PyBytes_AS_STRING(made) + view.len, 1);
    }
    PyBuffer_Release(&view);
    return made;
}

/* Read the byte behind a bytes object's last. */
static PyObject *overrun(PyObject *self, PyObject *given)
{
    const volatile char *data;
    Py_ssize_t size;
    if (!PyBytes_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "bytes");
        return NULL;
    }
    data = PyBytes_AS_STRING(given);
    size = PyBytes_GET_SIZE(given);
    return PyLong_FromLong(data[size]);
}

/* Add one to a C int. */
static PyObject *overflow(PyObject *self, PyObject *given)
{
    volatile int number = (int)PyLong_AsLong(given);
    return PyErr_Occurred() ? NULL : PyLong_FromLong(number + 1);
}

static PyMethodDef methods[] = {
    {"exact", exact, METH_O, "Return a copy of bytes whose terminating zero may not be read."},
    {"overflow", overflow, METH_O, "Add one to a C int."},
    {"overrun", overrun, METH_O, "Read one byte too many."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "planted", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_planted(void)
{
    return PyModule_Create(&module);
}
