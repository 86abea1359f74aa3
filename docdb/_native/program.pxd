# cython: language_level=3
"""The compiled predicate for other kernels: hold a ``Program``, call ``program_match``, from any thread, no GIL."""

from libc.stdint cimport uint64_t

from .leaves cimport Node, Part
from .operands cimport Operand

cdef enum:
    MAX_SLOTS = 16      # top-level fields that one walk collects

cdef struct Plan:
    Node* nodes
    int root
    Part slots[MAX_SLOTS]
    int slot_count
    uint64_t lengths    # bit n: a slot's name has n bytes (modulo 64)
    int* conjuncts      # nodes that must all hold, those of slot 0 first, ..., those of no slot last
    int starts[MAX_SLOTS + 2]

cdef class Program:
    cdef Plan plan
    cdef list blocks    # bytes objects that own every pointer above
    cdef readonly bint exact
    cdef void* block(self, size_t size) except NULL
    cdef const unsigned char* text(self, bytes memory)
    cdef dict choose_slots(self, list flat, int root)
    cdef choose_conjuncts(self, list flat, int root, int slots)
    cdef fill(self, Node* node, dict form, dict slots)
    cdef fill_quick(self, Node* node)
    cdef fill_operand(self, Operand* operand, dict form)

cdef int program_match(Program program, const unsigned char* data, size_t size) noexcept nogil
